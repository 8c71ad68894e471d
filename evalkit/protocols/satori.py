"""`satori`: the benchmark's own wording and SATORI-R1's suffix; a caption, the boxes that matter, then the answer, each in its tags.

Source: justairr/SATORI-R1 at 8857b30. The system message and the suffix are those of its evaluation
(`VLMEvalKit/vlmeval/vlm/qwen2_vl/model.py`; the first is its `prompt.txt`), with its 2048 new tokens; its temperature of 0.01 with
top_k 1 is greedy, and asked for as such. `satori:no_caption` is the ablation of `model_nocap.py`, slips of the pen included. The wording
before the suffix is what VLMEvalKit's `prompt.py` for Qwen2-VL makes of a benchmark: without white space at its end, and for open
questions with `BRIEFLY` below it. Qwen2.5-VL writes pixels of the resized image, in the frame `seen`; in that frame images are shown in
256 to 512 times 28 x 28 pixels unless another budget is given (the authors took `--min-pixels 78400` for OCRBench).

The `<thinking>` stage of the paper's second version is in no released prompt, and is not here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..geometry import Frame, is_finite
from ..interfaces import Reading, Rule
from ..metrics.shares import Share
from ..types import Budget, Conversation, Generate, Message, ModelInfo, Prediction, Request, Sample, Sampling
from ._reading import TEXT_AND_REGIONS, Written, evidence, given, prediction, shown, whole

VARIANTS = ("satori", "no_caption")
BUDGET = Budget(256 * 28 * 28, 512 * 28 * 28)
SYSTEM = {
    "satori": (
        "Given an image and a question, follow these steps: First, generate a brief image caption describing the overall scene. Provide"
        " the caption inside <caption> </caption>. Next, determine the relevant reasoning process for answering the question by"
        " identifying the most relevant image regions. Enclose these coordinates in <bbox>[[x1,y1,x2,y2], ...]</bbox>. Finally, provide"
        " the final answer to the question inside <answer> </answer> tags."
    ),
    "no_caption": (
        "A conversation between User and Assistant in a Visual Question Answering (VQA) task. The User asks a question about an image,"
        " and the Assistant solves it. The Assistant first determines the relevant reasoning process based on the image and highlights"
        " the key region using a bounding box. The reasoning process is enclosed within <bbox>[[x1,y1,x2,y2],...]</bbox>, where"
        " [x1,y1,x2,y2] represents the coordinates of the most relevant image region for answering the question. The final answer is"
        " enclosed within <answer></answer>., i.e., <box> bounding box here </bbox><answer> answer here </answer>"
    ),
}
SUFFIX = {
    "satori": (
        " \nFirst, provide an image caption describing the overall scene inside <caption> </caption>. Then, output the list of bounding"
        " boxes in the format of [[x1,y1,x2,y2], ...] inside <bbox> </bbox>. Finally, give the final answer in <answer> </answer>."
    ),
    "no_caption": (
        " \nOutput the list of bounding boxes in the format of [[x1,y1,x2,y2], ...] in <bbox> </bbox> and\n final answer in <answer>"
        " </answer> tags."
    ),
}
BRIEFLY = "\nPlease try to answer the question with short words or phrases if possible."

NUMBER = r"[+-]?(?:\d++(?:\.\d*+)?+|\.\d++)(?:[eE][+-]?\d++)?+"
BOX = rf"\[\s*+{NUMBER}(?:\s*+,\s*+{NUMBER}){{3}}\s*+(?:,\s*+)?+\]"
BOXES = re.compile(rf"\s*+(?:{BOX}|\[\s*+{BOX}(?:\s*+,\s*+{BOX})*+\s*+(?:,\s*+)?+\])\s*+")
FORM = [
    re.compile(part)
    for part in (r"\s*+<caption>", r"</caption>\s*+<bbox>\s*+\[\[", r"\]\]\s*+</bbox>\s*+<answer>", r"(?m:</answer>[^\S\n]*+$)")
]
"""What a reply begins with, and what follows after anything, one after the other; the last at the end of a line."""


@dataclass(frozen=True, slots=True)
class Satori:
    """One turn: a caption, boxes, the answer."""

    sampling: Sampling = Sampling(max_tokens=2048)
    budget: Budget | None = None
    variant: str = VARIANTS[0]
    gives: ClassVar[frozenset[Reading]] = TEXT_AND_REGIONS

    @property
    def name(self) -> str:
        return "satori" if self.variant == VARIANTS[0] else f"satori:{self.variant}"

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Whether a reply keeps the form that was asked for; the authors have no such reading of the ablation."""
        return OF_FORM if self.variant == VARIANTS[0] else ()

    def converse(self, sample: Sample, model: ModelInfo) -> Conversation[Prediction]:
        """Asks in the benchmark's wording. A reply whose first `<answer>` does not close in its line has no answer."""
        briefly = BRIEFLY if sample.wants.kind in ("text", "count", "number") else ""
        text = f"{sample.prompt.rstrip()}{briefly}{SUFFIX[self.variant]}"
        messages = Message("system", (SYSTEM[self.variant],)), Message("user", (*shown(sample.images, self._budget(model)), text))
        response = yield Request(Generate(messages, self.sampling))
        whole = response.reasoning + response.text
        boxes = given(response) or evidence(((box, "") for box in written_boxes(whole)), sample, model, response.seen)
        answer = written_answer(whole)
        failure = "" if answer is not None else "no <answer> in one line" if "<answer>" in whole else "no <answer>"
        return prediction(response, answer, failure, boxes)

    def shows(self, model: ModelInfo, own: Budget) -> Budget:
        """At how many pixels an image is shown to a model whose processor does `own` by itself."""
        return whole(self._budget(model), own)

    def _budget(self, model: ModelInfo) -> Budget | None:
        return whole(self.budget, BUDGET) if model.frame is Frame.SEEN else self.budget


def protocol(variant: str = VARIANTS[0], **sampling: Any) -> Satori:
    """The protocol in a variant, with these fields of its sampling replaced."""
    return Satori(replace(Satori().sampling, **sampling), variant=variant)


# ---------------------------------------------------------------- readings of its own


def written_answer(text: str) -> str | None:
    """What stands, stripped, in the first `<answer>..</answer>` that closes in its line; None where none does.

    The evaluation's expression, whose dot is no line break (`model.py`); it makes a " " of what is None here.

    >>> written_answer("<answer> cat </answer> <answer>dog</answer>"), written_answer("<answer>cat\\n</answer>")
    ('cat', None)
    """
    for line in text.split("\n"):
        answer, closed, _ = line.partition("<answer>")[2].partition("</answer>")
        if closed:
            return answer.strip()
    return None


def written_boxes(text: str) -> tuple[Written, ...]:
    """The boxes in the first `<bbox>..</bbox>`, a list of lists of four numbers or one such list; none where it holds anything else.

    The reading of the authors' reward (`plugin.py: BoundingBoxAccuracy`), which takes a list of Python's.

    >>> written_boxes("<bbox>[[1,2,3,4], [5,6,7.5,8]]</bbox>"), written_boxes("<bbox>[1, 2, 3, 4]</bbox>")
    (((1.0, 2.0, 3.0, 4.0), (5.0, 6.0, 7.5, 8.0)), ((1.0, 2.0, 3.0, 4.0),))
    >>> written_boxes("<bbox>[[1,2,3,4], [5,6]]</bbox>"), written_boxes("<bbox>[[1,2,3,4]]")
    ((), ())
    """
    _, opened, rest = text.partition("<bbox>")
    inside, closed, _ = rest.partition("</bbox>")
    if not (opened and closed and BOXES.fullmatch(inside)):
        return ()
    boxes = tuple(_fours(inside))
    return boxes if all(map(is_finite, boxes)) else ()


def _fours(text: str) -> Iterator[Written]:
    numbers = map(float, re.findall(NUMBER, text))
    return zip(numbers, numbers, numbers, numbers, strict=True)


def keeps_form(text: str) -> bool:
    """Whether a reply is a caption, boxes and an answer, each in its tags, and nothing before them or after them in the last line.

    The condition of the authors' format reward (`plugin.py: Format`).

    >>> keeps_form("<caption>A dog.</caption> <bbox>[[1,2,3,4]]</bbox><answer>dog</answer>")
    True
    >>> keeps_form("<bbox>[[1,2,3,4]]</bbox><answer>dog</answer>")
    False
    """
    at = match.end() if (match := FORM[0].match(text)) else -1
    for part in FORM[1:]:
        match = part.search(text, at) if at >= 0 else None
        at = match.end() if match else -1
    return at >= 0


OF_FORM = (Rule("official", lambda prediction, _: keeps_form(prediction.text), Share("format"), subsets=("overall",), optional=True),)
