"""Masks as run-length encodings: made, read safely, and measured without a pixel being decoded.

The form is COCO's compressed string. pycocotools does the arithmetic but trusts what it is given: runs that do not add up to the
mask's size make it loop for ever, and empty ones make it write where it must not. So it only ever sees a `FittedMask`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .geometry import Mask, Size
from .types import Unparsed

if TYPE_CHECKING:
    import numpy as np

DIGITS = 7
"""The most characters of one run, of five bits each: enough for any image that can be read."""


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


def union_mask(masks: Sequence[FittedMask]) -> FittedMask:
    """The mask of all pixels that lie in one of the masks, at least one, all of one size.

    >>> union_mask([FittedMask("0120", Size(2, 2)), FittedMask("211", Size(2, 2))])
    FittedMask(counts='0111', size=Size(width=2, height=2))
    """
    from pycocotools import mask as coco

    return FittedMask(coco.merge([_coco(mask) for mask in masks])["counts"].decode(), masks[0].size)


def mask_areas(mask: FittedMask, *others: FittedMask) -> list[int]:
    """How many pixels a mask has, then how many it shares with each of the others, all of one size.

    >>> mask_areas(FittedMask("0120", Size(2, 2)), FittedMask("022", Size(2, 2)), FittedMask("4", Size(2, 2)))
    [2, 1, 0]
    """
    from pycocotools import mask as coco

    own = _coco(mask)
    areas: list[int] = coco.area([own, *(coco.merge([own, _coco(other)], intersect=True) for other in others)]).tolist()
    return areas


def _coco(mask: FittedMask) -> dict[str, Any]:
    return {"size": [mask.size.height, mask.size.width], "counts": mask.counts}


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
