"""`correlation`: does a reply's chain of thought fit the boxes that it points at? A judge picks them out against random ones.

GRIT's "vision-language reasoning cross-modal correlation" (arXiv 2505.15879, section 4.3 and figure 9): the reply's boxes are drawn
on one copy of the image, as many random ones on another, and the judge is shown both with the chain, its coordinates removed. The
question is the paper's to the letter, and so are the two candidates and the three repeats. There is no code of it and the paper leaves
the rest open; ours, so that a number can be reproduced:

- The reply's boxes are those of its evidence, clipped to the first image: each once, since a second outline on the first would not
  be seen and the random ones would then be more, and none without area there. A sample without such a box does not count.
- A random box has two x and two y drawn evenly and independently from 0 to the image's width and height and rounded to whole
  pixels, drawn anew where it is empty.
- Both are outlined alike, by `images.OUTLINE`, `THINNEST` and `THICKNESS`, at the image's own resolution.
- Which image comes first is an even draw. Everything random comes from `random.Random(f"correlation {sample.id} {repeat}")`, repeats
  numbered from 0, so that it is the same in every run and for every model.
- The chain is what comes before `<answer>`, the whole reply where there is none; `_chain.without_boxes` removes the coordinates.
- The judge decodes greedily. A repeat's number is the `draw` of its request.
- A judge's reply that does not name just one of the two images is wrong, and counted as `judge_unparsed`.

Chance is 0.5.
"""

import random
import re
from dataclasses import dataclass
from typing import Any

from ..geometry import Box, Size
from ..interfaces import Probe, Rule
from ..metrics.faithfulness import CrossModalCorrelation
from ..parsers.tags import without_thoughts
from ..types import Conversation, Draw, Generate, Message, Prediction, Request, Sample, Sampling, Unparsed
from ._chain import chain, without_boxes

REPEATS = 3
QUESTION = (
    "Please decide which image has the bounding boxes that match the following description: {masked}\n"
    'Reply with exactly "Image 0" or "Image 1".'
)
_NAMED = re.compile(r"\bimage\s*([01])\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Correlation:
    """What the judge was told and what it picked; None where the reply has no box in the image, and nobody is asked, or where a replay
    lacks a reply of the judge.

    `description` is the chain as it was shown; of each repeat `shown` is the number of the image with the reply's boxes, and
    `picked` the number that the judge named, None where it named neither or both.
    """

    sampling: Sampling = Sampling(max_tokens=1024)
    name: str = "correlation"
    to: str = "judge"

    def grade(self, sample: Sample, prediction: Prediction) -> Conversation[dict[str, Any] | None]:
        """Asks once a repeat."""
        boxes, size = drawable(sample, prediction), sample.images[0].size if sample.images else None
        if not boxes or size is None:
            return None
        description = without_boxes(chain(prediction.text))
        shown, picked = [], []
        for repeat in range(REPEATS):
            rng = random.Random(f"correlation {sample.id} {repeat}")
            place, others = int(rng.random() < 0.5), tuple(random_box(size, rng) for _ in boxes)
            sides = [sample.images[0].derive(Draw(drawn)) for drawn in ((others, boxes) if place else (boxes, others))]
            message = Message("user", (*sides, QUESTION.format(masked=description)))
            response = yield Request(Generate((message,), self.sampling), to=self.to, draw=repeat)
            if response.missing:
                return None
            shown.append(place)
            picked.append(named(response.text))
        return {"description": description, "shown": shown, "picked": picked}


def drawable(sample: Sample, prediction: Prediction) -> tuple[Box, ...]:
    """The prediction's boxes inside the sample's first image, original pixels, in order and each once; those with area only."""
    size = sample.images[0].size if sample.images else None
    if size is None:
        return ()
    clipped = (item.box.clipped(size) for item in prediction.evidence if item.box)
    return tuple(dict.fromkeys(box for box in clipped if box.area > 0))


def random_box(size: Size, rng: random.Random) -> Box:
    """A box with area in an image of `size`, whole pixels: both its x and both its y drawn evenly.

    >>> random_box(Size(100, 50), random.Random("correlation 7 0"))
    Box(x1=53, y1=7, x2=66, y2=26)
    """
    while True:
        (x1, x2), (y1, y2) = (sorted(round(rng.random() * side) for _ in range(2)) for side in size)
        if x1 < x2 and y1 < y2:
            return Box(x1, y1, x2, y2)


def named(text: str) -> int | None:
    """The number of the one image that a judge's reply names, its thoughts left out; None where it names neither or both.

    >>> named("Image 1"), named("<think>Image 0?</think> **image 1**."), named("Image 0 or Image 1"), named("the first")
    (1, 1, None, None)
    """
    found = set(_NAMED.findall(without_thoughts(text)))
    return int(found.pop()) if len(found) == 1 else None


def picks(prediction: Prediction, sample: Sample) -> list[bool | None] | Unparsed:
    """Of each repeat whether the judge picked the reply's boxes, None where it named no image."""
    verdict = prediction.verdicts.get("correlation")
    if verdict is None:
        return Unparsed("no box in the image")
    return [None if pick is None else pick == place for pick, place in zip(verdict["picked"], verdict["shown"], strict=True)]


def probe() -> Probe:
    """The probe; it needs a judge that is shown images."""
    return Probe(Correlation(), (Rule("evalkit", picks, CrossModalCorrelation(REPEATS), optional=True),))
