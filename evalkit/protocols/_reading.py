"""What protocols share when they read a reply."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..geometry import Box, Frame, Size, to_original
from ..interfaces import Reading
from ..types import Budget, Evidence, Image, ModelInfo, Operation, Prediction, Response, Sample

Written = tuple[float, float, float, float]
TEXT_AND_REGIONS: frozenset[Reading] = frozenset({"text", "boxes", "masks"})
"""What the predictions of a protocol hold whose model replies in text and may point."""


def shown(images: Iterable[Image], budget: Budget | None) -> tuple[Image, ...]:
    """The images as they are shown, each with this budget; None leaves each its own."""
    return tuple(replace(image, budget=budget) if budget else image for image in images)


def whole(budget: Budget | None, own: Budget) -> Budget:
    """The budget, a bound that it lacks that of `own` as far as the other leaves room; `own` where there is none.

    >>> whole(Budget(None, 50_000), Budget(3_136, 200_704)), whole(Budget(300_000, None), Budget(3_136, 200_704))
    (Budget(min_pixels=3136, max_pixels=50000), Budget(min_pixels=300000, max_pixels=300000))
    """
    if budget is None:
        return own
    least, most = budget.min_pixels, budget.max_pixels
    if most is None and own.max_pixels is not None:
        most = max(own.max_pixels, least or 0)
    if least is None and own.min_pixels is not None:
        least = own.min_pixels if most is None else min(own.min_pixels, most)
    return Budget(least, most)


def evidence(written: Iterable[tuple[Written, str]], sample: Sample, model: ModelInfo, seen: Sequence[Size]) -> tuple[Evidence, ...]:
    """The boxes, each with its label, that a reply wrote about the sample's first image: as written, and in original pixels.

    `box` is None where the model's frame, or what the frame needs to be converted, is not known.
    """
    original = sample.images[0].size if sample.images else None
    shown = seen[0] if seen else None
    return tuple(Evidence(q, model.frame, _box(q, model.frame, original, shown), label) for q, label in written)


def _box(written: Written, frame: Frame | None, original: Size | None, seen: Size | None) -> Box | None:
    """The box in original pixels, where what its frame needs is known; a frame of original pixels needs nothing."""
    if frame is None or (frame is Frame.SEEN and seen is None) or (frame is not Frame.ORIGINAL and original is None):
        return None
    return to_original(written, frame, original or Size(1, 1), seen)


def given(response: Response) -> tuple[Evidence, ...]:
    """The boxes that the engine gave as values, in original pixels whatever frame the model writes in."""
    labels = response.labels or ("",) * len(response.boxes)
    scores = response.scores or (None,) * len(response.boxes)
    return tuple(
        Evidence((box.x1, box.y1, box.x2, box.y2), Frame.ORIGINAL, box, label, score)
        for box, label, score in zip(response.boxes, labels, scores, strict=True)
    )


def prediction(
    response: Response, answer: str | None, failure: str, boxes: tuple[Evidence, ...], operations: tuple[Operation, ...] = ()
) -> Prediction:
    """The prediction of a finished reply; a truncated, refused or missing one says so whatever could be read in it."""
    if response.missing:
        return Prediction(response.text, None, "missing", finish=response.finish, missing=True)
    whole = response.reasoning + response.text
    return Prediction(whole, answer, failure, boxes, response.masks, operations, response.finish)
