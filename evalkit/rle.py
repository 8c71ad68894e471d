"""Masks as run-length encodings: made, read safely, and measured without a pixel being decoded.

The form is COCO's compressed string. pycocotools does the arithmetic but trusts what it is given: runs that do not add up to the
mask's size make it loop for ever, and empty ones make it write where it must not. So it only ever sees a `FittedMask`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .geometry import Box, Mask, Size
from .types import Unparsed

if TYPE_CHECKING:
    import numpy as np

    Ints = np.ndarray[Any, np.dtype[np.int64]]

DIGITS = 7
"""The most characters of one run, of five bits each: enough for any image that can be read."""
FARTHEST = 10
"""A polygon's corner may lie so many times an image's longer side away: pycocotools' memory grows with the distance."""


class FittedMask(Mask):
    """A mask whose runs are known to add up to its size, none but the first empty."""

    __slots__ = ()


def encode_mask(pixels: "np.ndarray[Any, Any]") -> FittedMask:
    """The mask of the pixels that are not 0, of an array (height, width).

    >>> import numpy as np
    >>> encode_mask(np.eye(2))
    FittedMask(counts='0120', size=Size(width=2, height=2))
    """
    import numpy as np
    from pycocotools import mask as coco

    height, width = pixels.shape
    return FittedMask(coco.encode(np.asfortranarray(pixels != 0, dtype=np.uint8))["counts"].decode(), Size(width, height))


def decode_mask(mask: FittedMask) -> "np.ndarray[Any, Any]":
    """The pixels of a mask, bool (height, width).

    >>> decode_mask(FittedMask("0120", Size(2, 2))).tolist()
    [[True, False], [False, True]]
    """
    import numpy as np

    runs = _runs(mask.counts)  # a third of the time of pycocotools' decode, which NumPy 2 warns of besides
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(mask.size.width, mask.size.height).T


def fitted_mask(mask: Mask, size: Size) -> FittedMask | Unparsed:
    """The same mask where it is one of an image of `size`, without empty runs; else what is wrong with it.

    >>> fitted_mask(Mask("0120", Size(2, 2)), Size(2, 2))
    FittedMask(counts='0120', size=Size(width=2, height=2))
    >>> fitted_mask(Mask("0120", Size(2, 2)), Size(4, 3)).reason, fitted_mask(Mask("0122", Size(2, 2)), Size(2, 2)).reason
    ('a mask of 2 x 2 pixels for an image of 4 x 3', 'a mask whose runs cover 6 pixels of 4')
    """
    if mask.size != size:
        return Unparsed(f"a mask of {mask.size.width} x {mask.size.height} pixels for an image of {size.width} x {size.height}")
    if isinstance(mask, FittedMask):
        return mask
    import numpy as np

    try:
        runs = _runs(mask.counts)
    except (ValueError, AttributeError):  # counts that are no text have no `encode`
        return Unparsed("a mask that is no compressed run-length encoding")
    if (covered := int(runs.sum())) != size.width * size.height:
        return Unparsed(f"a mask whose runs cover {covered} pixels of {size.width * size.height}")
    if runs[1:].all():
        return FittedMask(mask.counts, size)
    return encode_mask(np.repeat(np.arange(len(runs)) % 2, runs).reshape(size.width, size.height).T)


def coco_mask(segmentation: Any, size: Size) -> FittedMask | Unparsed:
    """The mask of an image of `size` that COCO's `segmentation` stands for, as `annToRLE` of pycocotools has it; else what is wrong.

    A list of polygons, each [x1, y1, x2, y2, ...] in pixels and all of them together the thing; or {"counts": ..., "size": [height,
    width]} with the runs as a list or as the compressed string.

    >>> coco_mask([[0, 0, 2, 0, 2, 1, 0, 1]], Size(2, 2)), coco_mask({"counts": [2, 2], "size": [2, 2]}, Size(2, 2))
    (FittedMask(counts='01100', size=Size(width=2, height=2)), FittedMask(counts='22', size=Size(width=2, height=2)))
    >>> coco_mask([[0, 0, 2]], Size(2, 2)).reason
    'a polygon that is no list of at least three corners x, y'
    """
    from pycocotools import mask as coco

    if isinstance(segmentation, dict):
        return _run_lengths(segmentation, size)
    if not isinstance(segmentation, list) or not segmentation:
        return Unparsed("neither polygons nor run lengths")
    farthest = FARTHEST * max(size)
    for polygon in segmentation:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            return Unparsed("a polygon that is no list of at least three corners x, y")
        if not all(type(number) in (int, float) and abs(number) <= farthest for number in polygon):
            return Unparsed("a polygon with a corner that is no number or far from the image")
    runs = coco.merge(coco.frPyObjects(segmentation, size.height, size.width))
    return fitted_mask(Mask(runs["counts"].decode(), size), size)


def _run_lengths(given: dict[str, Any], size: Size) -> FittedMask | Unparsed:
    from pycocotools import mask as coco

    counts: Any = given.get("counts")
    shape = given.get("size")
    if not isinstance(shape, list) or len(shape) != 2 or not all(type(side) is int and side > 0 for side in shape):
        return Unparsed("run lengths without the size [height, width] of their mask")
    if isinstance(counts, list):
        if not all(type(run) is int and run >= 0 for run in counts) or sum(counts) != shape[0] * shape[1]:
            return Unparsed(f"a list of run lengths that does not cover {shape[0] * shape[1]} pixels")
        counts = coco.frPyObjects({"counts": counts, "size": shape}, *shape)["counts"].decode()
    return fitted_mask(Mask(counts, Size(shape[1], shape[0])), size)


def union_mask(masks: Sequence[FittedMask]) -> FittedMask:
    """The mask of all pixels that lie in one of the masks, at least one, all of one size.

    >>> union_mask([FittedMask("0120", Size(2, 2)), FittedMask("211", Size(2, 2))])
    FittedMask(counts='0111', size=Size(width=2, height=2))
    """
    from pycocotools import mask as coco

    return FittedMask(coco.merge([mask.as_coco() for mask in masks])["counts"].decode(), masks[0].size)


def mask_areas(mask: FittedMask, *others: FittedMask) -> list[int]:
    """How many pixels a mask has, then how many it shares with each of the others, all of one size.

    >>> mask_areas(FittedMask("0120", Size(2, 2)), FittedMask("022", Size(2, 2)), FittedMask("4", Size(2, 2)))
    [2, 1, 0]
    """
    from pycocotools import mask as coco

    own = mask.as_coco()
    areas: list[int] = coco.area([own, *(coco.merge([own, other.as_coco()], intersect=True) for other in others)]).tolist()
    return areas


def empty_mask(size: Size) -> FittedMask:
    """The mask of an image of `size` without a pixel.

    >>> empty_mask(Size(2, 3))
    FittedMask(counts='6', size=Size(width=2, height=3))
    """
    from pycocotools import mask as coco

    height, width = size.height, size.width
    return FittedMask(coco.frPyObjects({"counts": [height * width], "size": [height, width]}, height, width)["counts"].decode(), size)


def mask_box(mask: FittedMask, least: int = 1) -> Box | None:
    """The tight box of a mask's parts of at least `least` pixels, x2 and y2 exclusive; None where there is no such part.

    Pixels that touch, be it by a corner, are of one part (8-connected). Time and memory grow with the number of runs, not of pixels.

    >>> mask_box(FittedMask("0120", Size(2, 2))), mask_box(FittedMask("0120", Size(2, 2)), 3)
    (Box(x1=0, y1=0, x2=2, y2=2), None)
    """
    import numpy as np

    x, top, bottom = _strokes(mask)
    if least > 1:
        part = _parts(x, top, bottom, mask.size.height)
        large = np.bincount(part, bottom - top)[part] >= least
        x, top, bottom = x[large], top[large], bottom[large]
    return Box(int(x[0]), int(top.min()), int(x[-1]) + 1, int(bottom.max())) if len(x) else None


def _strokes(mask: FittedMask) -> "tuple[Ints, Ints, Ints]":
    """The runs of a mask's pixels, cut at the foot of each column, in order: x, top and bottom, bottom exclusive."""
    import numpy as np

    height, marks = mask.size.height, _runs(mask.counts).cumsum()
    ends = marks[1::2]
    begins = marks[::2][: len(ends)]
    run, step = _ranges((ends - 1) // height - begins // height + 1)
    x: Ints = begins[run] // height + step
    return x, np.maximum(begins[run] - x * height, 0), np.minimum(ends[run] - x * height, height)


def _parts(x: "Ints", top: "Ints", bottom: "Ints", height: int) -> "Ints":
    """The number of the part that each stroke belongs to: that of the part's first stroke."""
    import numpy as np

    stride = height + 1  # so that the foot of a column does not touch the head of the next
    left = (x - 1) * stride
    first = np.searchsorted(x * stride + bottom, left + top)
    stroke, step = _ranges(np.maximum(np.searchsorted(x * stride + top, left + bottom, "right") - first, 0))
    other = first[stroke] + step  # all that touch the stroke from the column before
    part: Ints = np.arange(len(x))
    while (apart := part[stroke] != part[other]).any():
        stroke, other = stroke[apart], other[apart]
        one, two = part[stroke], part[other]
        np.minimum.at(part, np.maximum(one, two), np.minimum(one, two))
        while (part != (onward := part[part])).any():
            part = onward
    return part


def _ranges(lengths: "Ints") -> "tuple[Ints, Ints]":
    """Of ranges of these lengths, one after the other, for each place the number of its range and its place in there, from 0."""
    import numpy as np

    number: Ints = np.repeat(np.arange(len(lengths)), lengths)
    return number, np.arange(len(number)) - np.repeat(lengths.cumsum() - lengths, lengths)


def _runs(counts: str) -> "np.ndarray[Any, Any]":
    """The lengths of the runs of a compressed string, background first, int (n,). Source: `rleFrString` of pycocotools.

    A character holds five bits, lowest first, and a sixth that says whether more follow; the last bit of a number is its sign.
    From the fourth run on, the number is the difference to the run two before.

    Raises:
        ValueError: it is no such string, or a run is shorter than nothing.
    """
    import numpy as np

    codes = np.frombuffer(counts.encode("ascii"), np.uint8) - np.uint8(48)
    if not len(codes) or codes.max() > 63 or codes[-1] > 31:
        raise ValueError(counts)
    ends = np.flatnonzero(codes < 32)
    starts = np.append(0, ends[:-1] + 1)
    place = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    digits = (codes & 31).astype(np.int64)
    digits[ends] = (digits[ends] ^ 16) - 16
    runs: np.ndarray[Any, Any] = np.add.reduceat(digits << 5 * place, starts)
    runs[1::2], runs[2::2] = runs[1::2].cumsum(), runs[2::2].cumsum()
    if place.max() >= DIGITS or runs.min() < 0:
        raise ValueError(counts)
    return runs
