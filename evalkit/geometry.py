"""Boxes, points, masks and frames; the one place where coordinates change frame.

Inside evalkit there is one frame: float pixels of the original image, corners (x1, y1, x2, y2), x2 and y2 exclusive. What a
model writes is in the frame its config or architecture *declares*, and is converted here, once. Nothing guesses.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple


class Size(NamedTuple):
    """An image's width and height in pixels."""

    width: int
    height: int


class Point(NamedTuple):
    """A point in pixels of the original image."""

    x: float
    y: float


class Box(NamedTuple):
    """A box in pixels of the original image; x2 and y2 exclusive. Degenerate where x2 <= x1 or y2 <= y1."""

    x1: float
    y1: float
    x2: float
    y2: float

    @property
    def area(self) -> float:
        """The area in square pixels, 0 where degenerate.

        >>> Box(0, 0, 4, 3).area, Box(4, 0, 0, 3).area
        (12, 0)
        """
        return max(self.x2 - self.x1, 0) * max(self.y2 - self.y1, 0)

    def ordered(self) -> "Box":
        """The same box with its corners the right way round.

        >>> Box(10, 20, 0, 5).ordered()
        Box(x1=0, y1=5, x2=10, y2=20)
        """
        return Box(min(self.x1, self.x2), min(self.y1, self.y2), max(self.x1, self.x2), max(self.y1, self.y2))

    def clipped(self, size: Size) -> "Box":
        """The part of the box that lies in an image of `size`; degenerate where none does."""
        return Box(max(self.x1, 0), max(self.y1, 0), min(self.x2, size.width), min(self.y2, size.height))


class Mask(NamedTuple):
    """A binary mask as COCO run-length encoding: `counts` is pycocotools' compressed string, `size` the mask's."""

    counts: str
    size: Size

    def as_coco(self) -> dict[str, Any]:
        """The mask as COCO's files have it.

        >>> Mask("0120", Size(width=2, height=3)).as_coco()
        {'size': [3, 2], 'counts': '0120'}
        """
        return {"size": [self.size.height, self.size.width], "counts": self.counts}


class Frame(StrEnum):
    """In what a model writes coordinates: pixels of the `original` or of the image as `seen` after the processor's resize,
    `unit` (0 to 1 of the image's sides) or `thousand` (0 to 1000 of them)."""

    ORIGINAL = "original"
    SEEN = "seen"
    UNIT = "unit"
    THOUSAND = "thousand"


def scale(frame: Frame, original: Size, seen: Size | None) -> tuple[float, float]:
    """What one unit of `frame` is in original pixels, along x and y.

    Raises:
        ValueError: the frame is `seen` and the size seen is not known.

    >>> scale(Frame.THOUSAND, Size(640, 480), None)
    (0.64, 0.48)
    >>> scale(Frame.SEEN, Size(640, 480), Size(320, 120))
    (2.0, 4.0)
    """
    if frame is Frame.ORIGINAL:
        return 1.0, 1.0
    if frame is Frame.UNIT:
        return float(original.width), float(original.height)
    if frame is Frame.THOUSAND:
        return original.width / 1000, original.height / 1000
    if seen is None:
        raise ValueError("frame 'seen' needs the size of the image as the model saw it, got none")
    return original.width / seen.width, original.height / seen.height


def to_original(written: Sequence[float], frame: Frame, original: Size, seen: Size | None = None) -> Box:
    """The box in original pixels, corners ordered, of four numbers written in `frame`. Not clipped to the image.

    >>> to_original([100, 500, 200, 250], Frame.THOUSAND, Size(640, 480))
    Box(x1=64.0, y1=120.0, x2=128.0, y2=240.0)
    """
    x1, y1, x2, y2 = written
    across, down = scale(frame, original, seen)
    return Box(x1 * across, y1 * down, x2 * across, y2 * down).ordered()


def from_original(box: Box, frame: Frame, original: Size, seen: Size | None = None) -> tuple[float, float, float, float]:
    """The four numbers that a model using `frame` would write for `box`: the inverse of `to_original`.

    >>> from_original(Box(64, 120, 128, 240), Frame.UNIT, Size(640, 480))
    (0.1, 0.25, 0.2, 0.5)
    """
    across, down = scale(frame, original, seen)
    return box.x1 / across, box.y1 / down, box.x2 / across, box.y2 / down


def is_finite(numbers: Sequence[float]) -> bool:
    """Whether every number is finite: NaN and infinities never become boxes."""
    return all(math.isfinite(number) for number in numbers)


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, in [0, 1]; 0 where either is degenerate.

    >>> iou(Box(0, 0, 10, 10), Box(5, 0, 15, 10))
    0.3333333333333333
    >>> iou(Box(4, 4, 4, 4), Box(4, 4, 4, 4))
    0.0
    """
    width = min(a.x2, b.x2) - max(a.x1, b.x1)
    height = min(a.y2, b.y2) - max(a.y1, b.y1)
    inter = max(width, 0.0) * max(height, 0.0)
    union = a.area + b.area - inter
    return inter / union if union > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Overlap:
    """Areas of two sets of boxes taken as regions: of their intersection and of their union, in square pixels."""

    inter: float
    union: float


def region_overlap(first: Sequence[Box], second: Sequence[Box]) -> Overlap:
    """Areas of the intersection and the union of two regions, each the union of its boxes (corners in any order).

    Exact: the plane is cut at every box side, and a sweep down the rows of cells keeps how many boxes of each region lie over
    each cell of the row. Time grows with the square of the number of distinct sides (10,000 boxes without a side in common: a
    second or two; sides that are whole thousandths or pixels: a fraction of that), memory with the number itself.

    >>> region_overlap([Box(0, 0, 10, 10), Box(20, 20, 30, 30)], [Box(0, 0, 10, 10)])
    Overlap(inter=100.0, union=200.0)
    >>> region_overlap([], [])
    Overlap(inter=0.0, union=0.0)
    """
    import numpy as np

    boxes = np.array([box.ordered() for box in (*first, *second)], dtype=float).reshape(-1, 4)
    xs, ys = np.unique(boxes[:, [0, 2]]), np.unique(boxes[:, [1, 3]])
    left, right = np.searchsorted(xs, boxes[:, [0, 2]].T).tolist()
    top, bottom = np.searchsorted(ys, boxes[:, [1, 3]].T).tolist()
    changes: list[list[tuple[int, int]]] = [[] for _ in ys]
    for i in range(len(boxes)):
        changes[top[i]].append((i, 1))
        changes[bottom[i]].append((i, -1))
    depth = np.zeros((2, max(len(xs) - 1, 0)), dtype=np.int32)
    inter = union = 0.0
    with np.errstate(over="ignore"):
        widths = np.diff(xs)
        for row, height in enumerate(np.diff(ys)):
            for i, step in changes[row]:
                depth[int(i >= len(first)), left[i] : right[i]] += step
            cells, (one, other) = height * widths, depth > 0
            inter += float(cells[one & other].sum())
            union += float(cells[one | other].sum())
    return Overlap(inter, union)
