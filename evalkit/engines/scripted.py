"""Engines without weights: a function that replies, and three answerers with a known score, `--model oracle`, `mute` and `guess`.

They test a benchmark, one's own file too: the oracle must reach 100% on every task, the mute one be unparsed everywhere, and the
guesser land on the chance level; whatever else they reach is a fault of the harness, not of a model.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import Refused
from ..geometry import Box, Frame, Size, from_original
from ..types import Generate, Image, Likelihood, ModelInfo, Request, Response, Sample, images_of
from .common import admit

LIKELY = frozenset({"generate", "likelihood"})
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Scripted:
    """An engine whose every answer is what `reply` returns for the request: a text, or a whole response."""

    def __init__(self, reply: Callable[[Request], str | Response], info: ModelInfo | None = None) -> None:
        self.reply = reply
        self.info = info or ModelInfo("scripted", "scripted", Frame.ORIGINAL)

    async def answer(self, request: Request) -> Response:
        """What the function returned. Raises whatever the function raises."""
        admit(self.info, request)
        answered = self.reply(request)
        return Response(answered) if isinstance(answered, str) else answered


def oracle(samples: Mapping[str, Sample], frame: Frame = Frame.ORIGINAL) -> Scripted:
    """An engine that answers with the gold, in the form that the sample wants and in `frame`.

    Args:
        samples: every sample by the name under which requests carry it, `task/id`.
        frame: in what it writes boxes. Only `original` does without the images' sizes. What it sees is never resized.
    """

    def reply(request: Request) -> str | Response:
        sample = _sample(samples, request)
        wanted, size = sample.wants.kind, _size(sample, request, frame)
        if isinstance(request.kind, Likelihood):
            gold = LETTERS.index(sample.target)
            return Response(likelihoods=tuple(-1.0 - (place != gold) for place in range(len(request.kind.continuations))))
        masks = tuple(sample.target.masks) if "mask" in sample.wants else ()
        if wanted == "mask":
            return Response(masks=masks, boxes=sample.regions)
        evidence = [_written(box, frame, size) for box in sample.regions]
        if wanted == "boxes":
            evidence, answer = _detections(sample.target, frame, size)
        elif wanted == "points":
            answer = json.dumps([_written((*point, *point), frame, size)[:2] for point in sample.target])
        else:
            answer = str(sample.target)
        text = _in_form(request, answer, evidence)
        return Response(text, masks=masks) if masks else text

    info = ModelInfo("oracle", f"oracle {frame}", frame, LIKELY, reads_images=frame is not Frame.ORIGINAL, stored=False)
    return Scripted(reply, info)


def mute() -> Scripted:
    """An engine that says nothing to everything."""
    return Scripted(lambda request: "", ModelInfo("mute", "mute", Frame.ORIGINAL, reads_images=False, stored=False))


def guess(samples: Mapping[str, Sample]) -> Scripted:
    """An engine that draws evenly, by sample and draw: a letter among the options, yes or no, 0 to 5, a box. A text is empty.

    Boxes and points are in thousandths of the image.
    """
    info = ModelInfo("guess", "guess", Frame.THOUSAND, LIKELY, reads_images=False, stored=False)

    def drawn(request: Request) -> random.Random:
        return random.Random(f"{request.sample} {request.draw} {request.turn} {request.to}")

    def reply(request: Request) -> str | Response:
        if isinstance(request.kind, Likelihood):
            rng = drawn(request)
            return Response(likelihoods=tuple(-rng.random() for _ in request.kind.continuations))
        sample, rng = _sample(samples, request), drawn(request)
        xs, ys = sorted(rng.sample(range(1001), 2)), sorted(rng.sample(range(1001), 2))
        box = [xs[0], ys[0], xs[1], ys[1]]
        answers: dict[str, Callable[[], str]] = {
            "choice": lambda: rng.choice(LETTERS[: len(sample.options) or 4]),
            "yes_no": lambda: rng.choice(("yes", "no")),
            "count": lambda: str(rng.randint(0, 5)),
            "number": lambda: str(rng.randint(0, 5)),
            "boxes": lambda: json.dumps([box]),
            "points": lambda: json.dumps([box[:2]]),
        }
        return _in_form(request, answers.get(sample.wants.kind, str)(), [box])

    return Scripted(reply, info)


def _sample(samples: Mapping[str, Sample], request: Request) -> Sample:
    if request.sample not in samples:
        raise Refused(f"expected a request for one of the {len(samples)} samples given, got '{request.sample}'")
    return samples[request.sample]


def _size(sample: Sample, request: Request, frame: Frame) -> Size:
    """The first image's size; any, where the frame needs none."""
    images: list[Image] = [*images_of(request), *sample.images]
    size = next((image.size for image in images if image.size), None)
    if size is None and frame is not Frame.ORIGINAL:
        raise Refused(f"expected sample '{request.sample}' to know its image's size for boxes in frame '{frame}', got none")
    return size or Size(1, 1)


def _detections(target: Sequence[Any], frame: Frame, size: Size) -> tuple[list[list[float]], str]:
    """The gold boxes as numbers, and as the JSON that names them where they have labels. Crowds are not boxes of things."""
    kept = [item for item in target if not getattr(item, "crowd", False)]
    boxes = [_written(getattr(item, "box", item), frame, size) for item in kept]
    labels = [getattr(item, "label", "") for item in kept]
    return boxes, json.dumps([{"bbox_2d": box, "label": label} if label else box for box, label in zip(boxes, labels, strict=True)])


def _written(box: Sequence[float], frame: Frame, size: Size) -> list[float]:
    """The numbers of a box as a model would write them, whole ones without a point."""
    numbers = from_original(Box(*box), frame, size, size)
    return [int(number) if float(number).is_integer() else number for number in numbers]


def _in_form(request: Request, answer: str, boxes: Sequence[Sequence[Any]]) -> str:
    """The answer alone, or in the form that the last user turn asks for: with thoughts, with a caption, in a `\\boxed{}`."""
    if not isinstance(request.kind, Generate):
        return answer
    asked = [part for message in request.kind.messages if message.role == "user" for part in message.content if isinstance(part, str)]
    last = asked[-1] if asked else ""
    if "\\boxed{}" in last:
        return f"\\boxed{{{answer}}}"
    if "<bbox>" in last:
        return f"<caption>A picture.</caption> <bbox>{json.dumps(boxes)}</bbox> <answer>{answer}</answer>"
    if "<answer>" not in last:
        return answer
    thought = " ".join(f'{{"bbox_2d": {json.dumps(list(box))}}}' for box in boxes)
    return f"<think> {thought} </think> <rethink> So it is. </rethink> <answer> {answer}</answer>"
