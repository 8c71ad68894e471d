"""Masks of a video against its gold masks, frame by frame: region J, boundary F, and what ReVOS measures beside them.

Masks stay run-length encoded; the pixels of one frame at a time are looked at. The formulas of J and F are DAVIS'
(davisvideochallenge/davis2017-evaluation, `davis2017/metrics.py`), those of accuracy and robustness ReVOS' (cilinyan/VISA,
`tools/metrics.py`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import stats
from ..errors import DataError
from ..geometry import Mask, Size
from ..rle import FittedMask, decode_mask, empty_mask, fitted_mask, mask_areas, union_mask
from ..types import Columns, Estimate, Record, Sample

if TYPE_CHECKING:
    import numpy as np

    Pixels = np.ndarray[Any, Any]

TOLERANCE = 0.008
"""How far a boundary may be off, as a share of the image's diagonal; in whole pixels, rounded up."""
WHITE = 255
"""What a pixel of a mask is in the files from which ReVOS' code reads predictions, where gold pixels are 1."""
FOREGROUND_EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class VideoMasks:
    """What is predicted for a video, one mask a frame in their order; None where a frame has none, which is like an empty one."""

    frames: Sequence[FittedMask | None] = field(repr=False)


@dataclass(frozen=True, slots=True)
class GoldVideo:
    """What is to be masked in each frame of a video: the pixels of any of its objects.

    An object's masks are a sequence, one a frame, None where it is not seen. They are taken from it when a frame is measured, so
    that the sequence may read them from files then.
    """

    count: int
    """The number of frames."""
    objects: tuple[Sequence[Mask | None], ...] = field(default=(), repr=False)
    size: Size | None = None
    """None where nothing says it: masks of any one size are then taken."""
    foreground: Sequence[Mask | None] | None = field(default=None, repr=False)
    """In each frame the pixels of every annotated object, whether asked for or not; None where that is not known."""
    hidden: bool = False
    """Whether the masks are not public, so that nothing can be measured."""
    name: str = "a video"
    """What it is called in messages."""

    def frame(self, number: int) -> FittedMask | None:
        """What is to be masked in a frame; None where no object is annotated.

        Raises:
            DataError: the annotation holds a mask that is none or of another size.
        """
        seen = [mask for masks in self.objects if (mask := self._fitted(masks[number], number))]
        return union_mask(seen) if len(seen) > 1 else next(iter(seen), None)

    def visible(self, number: int) -> FittedMask | None:
        """The foreground of a frame; None where there is none. Raises as `frame` does."""
        return self._fitted(self.foreground[number], number) if self.foreground else None

    @property
    def volumes(self) -> tuple[tuple[Mask, ...], ...]:
        """Each object's masks, one a frame, empty ones where it is not seen; none where nothing says of what size they are."""
        if self.size is None:
            return ()
        empty = empty_mask(self.size)
        return tuple(tuple(masks[number] or empty for number in range(self.count)) for masks in self.objects)

    @property
    def masks(self) -> tuple[Mask, ...]:
        """The gold as an answer: a mask for each frame, empty where nothing is to be masked."""
        empty = empty_mask(self.size or Size(1, 1))
        return tuple(self.frame(number) or empty for number in range(self.count))

    @property
    def blank(self) -> VideoMasks:
        """A reply of empty masks alone, as UniPixel writes where its model fails (`infer_seg.py`)."""
        return VideoMasks((None,) * self.count)

    def _fitted(self, mask: Mask | None, number: int) -> FittedMask | None:
        if mask is None:
            return None
        fitted = fitted_mask(mask, self.size or mask.size)
        if isinstance(fitted, FittedMask):
            return fitted
        raise DataError(f"expected an annotation that fits {self.name}, got for frame {number} {fitted.reason}")


@dataclass(frozen=True, slots=True)
class JAndF:
    """`j`, the mean over samples of a video's mean IoU, `f`, that of its boundaries' F-measure, and `j_and_f`, their mean; in [0, 1].

    The sample's target is a `GoldVideo`; where that is hidden, the sample does not count. No masks at all (None) score 0; a frame
    without one counts as an empty mask, which is right where nothing is to be found.

    >>> from evalkit.types import Wants
    >>> gold = Mask("022", Size(2, 2))
    >>> sample = Sample("1", "Which?", "Which?", (), Wants("mask"), target=GoldVideo(3, ((gold, gold, None),), gold.size))
    >>> JAndF().measure(VideoMasks((FittedMask(*gold), None, None)), sample)
    {'j_and_f': 0.6666666666666666, 'j': 0.6666666666666666, 'f': 0.6666666666666666}
    """

    @property
    def name(self) -> str:
        return "j_and_f"

    def measure(self, value: VideoMasks | None, sample: Sample) -> Record:
        """`j_and_f`, `j` and `f` of a video, means over its frames; empty where the gold is hidden.

        Raises:
            DataError: the annotation cannot be read.
            ValueError: the masks are not as many as the frames, or of another size.
        """
        gold: GoldVideo = sample.target
        if gold.hidden:
            return {}
        if value is None:
            return dict.fromkeys(("j_and_f", "j", "f"), 0.0)
        scores = [region_and_boundary(mask, gold.frame(number)) for number, mask in enumerate(_whole(value, gold))]
        j, f = (math.fsum(column) / gold.count for column in zip(*scores, strict=True))
        return {"j_and_f": (j + f) / 2, "j": j, "f": f}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """`j_and_f`, `j` and `f`, with clustered bootstrap intervals; each None over no sample."""
        return {name: stats.mean(stats.column(records, name), records.group, bounded=True) for name in ("j_and_f", "j", "f")}


@dataclass(frozen=True, slots=True)
class Robustness:
    """`pixel_accuracy`, the share of pixels told right, and `robustness`, what wrongly masked ones leave of 1; means in [0, 1].

    A frame's robustness is max(1 - excess / (foreground + 1e-6), 0), the excess being the pixels masked outside the target. The
    sample's target is a `GoldVideo`; where its foreground is not known or it is hidden, the sample does not count. No masks at all
    (None) score 0.

    >>> from evalkit.types import Wants
    >>> left, all = Mask("022", Size(2, 2)), Mask("04", Size(2, 2))
    >>> sample = Sample("1", "Which?", "Which?", (), Wants("mask"), target=GoldVideo(1, ((left,),), left.size, foreground=(all,)))
    >>> Robustness().measure(VideoMasks((FittedMask("013", left.size),)), sample)
    {'pixel_accuracy': 0.75, 'robustness': 1.0}
    >>> Robustness(coded=True).measure(VideoMasks((FittedMask(*all),)), sample)
    {'pixel_accuracy': 0.0, 'robustness': 0.0}
    """

    coded: bool = False
    """As the authors' code has it: masks are read as 0 and 255 and not made binary, so that no masked pixel equals the gold's 1, and
    each masked in excess counts 255 times."""

    @property
    def name(self) -> str:
        return "robustness"

    def measure(self, value: VideoMasks | None, sample: Sample) -> Record:
        """`pixel_accuracy` and `robustness` of a video, means over its frames; empty where the foreground is not known.

        Raises:
            DataError: the annotation cannot be read.
            ValueError: the masks are not as many as the frames, or of another size.
        """
        gold: GoldVideo = sample.target
        if gold.hidden or gold.foreground is None:
            return {}
        if value is None:
            return {"pixel_accuracy": 0.0, "robustness": 0.0}
        scores = [self._frame(mask, gold, number) for number, mask in enumerate(_whole(value, gold))]
        accuracy, robustness = (math.fsum(column) / gold.count for column in zip(*scores, strict=True))
        return {"pixel_accuracy": accuracy, "robustness": robustness}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """`pixel_accuracy` and `robustness`, with clustered bootstrap intervals; each None over no sample."""
        return {name: stats.mean(stats.column(records, name), records.group, bounded=True) for name in ("pixel_accuracy", "robustness")}

    def _frame(self, mask: FittedMask | None, gold: GoldVideo, number: int) -> tuple[float, float]:
        target, foreground = gold.frame(number), gold.visible(number)
        size = _one_size(mask, target, foreground)
        if size is None:
            return 1.0, 1.0
        pixels, there = size.width * size.height, _area(foreground)
        masked, wanted, both = _area(mask), _area(target), mask_areas(mask, target)[1] if mask and target else 0
        right = pixels - masked - wanted + both + (0 if self.coded else both)
        excess = (masked - both) * (WHITE if self.coded else 1)
        return right / pixels, max(1 - excess / (there + FOREGROUND_EPSILON), 0.0)


def region_and_boundary(mask: FittedMask | None, gold: FittedMask | None) -> tuple[float, float]:
    """J and F of one frame's mask and gold, both of one size, each in [0, 1]; None is an empty mask.

    J is their intersection over their union, 1 where both are empty. F is the harmonic mean of the shares of each one's boundary
    pixels that lie within a disk around one of the other's, its radius `TOLERANCE` of the diagonal in pixels, rounded up; a share is
    1 where a mask has no boundary, as an empty or a full one, and F 1 where neither has.

    Raises:
        ValueError: they differ in size.

    >>> left, right = FittedMask("022", Size(2, 2)), FittedMask("22", Size(2, 2))
    >>> region_and_boundary(left, right), region_and_boundary(left, None), region_and_boundary(None, None)
    ((0.0, 1.0), (0.0, 0.0), (1.0, 1.0))
    """
    import numpy as np

    size = _one_size(mask, gold)
    if size is None:
        return 1.0, 1.0
    # Transposed, arrays lie in memory as they are decoded; nothing here tells rows from columns.
    first, second = (decode_mask(known).T if known else np.zeros(size, dtype=bool) for known in (mask, gold))
    union = int(np.count_nonzero(first | second))
    j = int(np.count_nonzero(first & second)) / union if union else 1.0
    return j, _boundary_f(first, second, math.ceil(TOLERANCE * math.hypot(*size)))


def _boundary_f(first: "Pixels", second: "Pixels", radius: int) -> float:
    """The F-measure of the boundaries of two masks, arrays of one shape."""
    stride = first.shape[1] + 2 * radius  # so far apart, the end of one row is not near the beginning of the next
    one, other = _boundary(first, stride), _boundary(second, stride)
    if not len(one) or not len(other):
        return float(len(one) == len(other))
    precision, recall = _near(one, other, radius, stride) / len(one), _near(other, one, radius, stride) / len(other)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _boundary(pixels: "Pixels", stride: int) -> "Pixels":
    """Where a pixel differs from its neighbour in the next row, the next column or both (DAVIS' `_seg2bmap`): row * stride + column."""
    import numpy as np

    edge = np.zeros_like(pixels)
    edge[:-1] = pixels[:-1] ^ pixels[1:]
    edge[:, :-1] |= pixels[:, :-1] ^ pixels[:, 1:]
    edge[:-1, :-1] |= pixels[:-1, :-1] ^ pixels[1:, 1:]
    rows, columns = np.divmod(np.flatnonzero(edge), edge.shape[1])
    places: Pixels = rows * stride + columns
    return places


def _near(points: "Pixels", others: "Pixels", radius: int, stride: int) -> int:
    """How many of the points have one of the others in the disk x² + y² <= radius² around them: the same as dilating those by it.

    A disk is cut into rows, the longest first; in each the first of the others at or behind its beginning is looked up.
    """
    import numpy as np

    left, others = points, np.append(others, np.iinfo(np.int64).max)
    for step in sorted(range(-radius, radius + 1), key=abs):
        reach = math.isqrt(radius * radius - step * step)
        first = left + (step * stride - reach)
        left = left[others[np.searchsorted(others, first)] > first + 2 * reach]
    return len(points) - len(left)


def _whole(value: VideoMasks, gold: GoldVideo) -> Sequence[FittedMask | None]:
    if len(value.frames) != gold.count:
        raise ValueError(f"expected {gold.count} masks for {gold.name}, one a frame, got {len(value.frames)}")
    return value.frames


def _one_size(*masks: FittedMask | None) -> Size | None:
    """The size that the masks have, None where there is none at all."""
    sizes = {mask.size for mask in masks if mask}
    if len(sizes) > 1:
        raise ValueError(f"expected masks of one size in a frame, got {' and '.join(f'{x} x {y}' for x, y in sorted(sizes))} pixels")
    return next(iter(sizes), None)


def _area(mask: FittedMask | None) -> int:
    return mask_areas(mask)[0] if mask else 0
