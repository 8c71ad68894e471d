"""What protocols share when they read a reply."""

from collections.abc import Iterable, Sequence

from ..geometry import Box, Frame, Size, to_original
from ..types import Evidence, ModelInfo, Operation, Prediction, Response, Sample

Written = tuple[float, float, float, float]


def evidence(quadruples: Iterable[Written], sample: Sample, model: ModelInfo, seen: Sequence[Size]) -> tuple[Evidence, ...]:
    """The boxes a reply wrote about the sample's first image, in the model's declared frame and in original pixels.

    `box` is None where the frame, or what the frame needs to be converted, is not known.
    """
    original = sample.images[0].size if sample.images else None
    shown = seen[0] if seen else None
    return tuple(Evidence(q, model.frame, _box(q, model.frame, original, shown)) for q in quadruples)


def _box(written: Written, frame: Frame | None, original: Size | None, seen: Size | None) -> Box | None:
    """The box in original pixels, where what its frame needs is known; a frame of original pixels needs nothing."""
    if frame is None or (frame is Frame.SEEN and seen is None) or (frame is not Frame.ORIGINAL and original is None):
        return None
    return to_original(written, frame, original or Size(1, 1), seen)


def given(response: Response) -> tuple[Evidence, ...]:
    """The boxes that the engine gave as values, in original pixels whatever frame the model writes in."""
    return tuple(Evidence((box.x1, box.y1, box.x2, box.y2), Frame.ORIGINAL, box) for box in response.boxes)


def prediction(
    response: Response, answer: str | None, failure: str, boxes: tuple[Evidence, ...], operations: tuple[Operation, ...] = ()
) -> Prediction:
    """The prediction of a finished reply; a truncated, refused or missing one says so whatever could be read in it."""
    if response.missing:
        return Prediction(response.text, None, "missing", finish=response.finish, missing=True)
    whole = response.reasoning + response.text
    return Prediction(whole, answer, failure, boxes, response.masks, operations, response.finish)
