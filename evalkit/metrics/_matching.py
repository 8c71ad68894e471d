"""Which detections of one image are right: matching and suppression as pycocotools and OVDEval's authors do them, on plain arrays.

A detection is matched at ten IoU thresholds in four ranges of area at once, each a bit of one integer: bit 10 * range + threshold.
"""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

AREAS = {"all": (0, 1e10), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}
"""The ranges of area, in square pixels and both ends included (`Params` of pycocotools/cocoeval.py)."""
STEPS = 10
"""How many IoU thresholds there are: .50, .55, ... .95."""
EVERY = (1 << STEPS) - 1
"""The bits of all thresholds, in one range of area."""
EVERYWHERE = (1 << STEPS * len(AREAS)) - 1


def box_areas(boxes: "Array") -> "Array":
    """The areas of boxes (n, 4), corners, in square pixels, float (n,); 0 where a box is degenerate.

    Sides are rounded to 9 decimals: a corner made of x and width gives back the width as it was written, so that an IoU of exactly
    a threshold, or an area of exactly a range's end, falls on the side where it falls in a file of x, y, width and height.

    >>> import numpy as np
    >>> box_areas(np.array([[0.1, 0.1, 0.1 + 32, 0.1 + 32]])).tolist()
    [1024.0]
    """
    import numpy as np

    sides = np.maximum(np.round(boxes[:, 2:] - boxes[:, :2], 9), 0.0)
    areas: Array = sides[:, 0] * sides[:, 1]
    return areas


def box_iou(boxes: "Array", gold: "Array", crowd: "Array | bool" = False) -> "Array":
    """The IoU of each of the boxes (d, 4) with each of the gold boxes (g, 4), corners, in [0, 1]; 0 where the union is 0.

    With a gold box that is a `crowd` (g,) it is the share of the box inside it, as in pycocotools (`bbIou`).

    >>> import numpy as np
    >>> boxes = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10]])
    >>> box_iou(boxes[:1], boxes, np.array([False, True])).tolist()
    [[1.0, 0.5]]
    """
    import numpy as np

    sides = np.minimum(boxes[:, None, 2:], gold[:, 2:]) - np.maximum(boxes[:, None, :2], gold[:, :2])
    sides = np.maximum(sides, 0.0)
    inter, area = sides[..., 0] * sides[..., 1], box_areas(boxes)[:, None]
    union = np.where(crowd, area, area + box_areas(gold) - inter)
    iou: Array = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
    return iou


def outside(areas: "Array") -> list[int]:
    """The bits of the ranges that each of `areas` (n,), in square pixels, is not in.

    >>> import numpy as np
    >>> [f"{bits:b}".count("1") for bits in outside(np.array([5.0, 1024.0, 2e4]))]
    [20, 10, 20]
    """
    low, high, everywhere = _ranges()
    bits: list[int] = (((areas[:, None] < low) | (areas[:, None] > high)) @ everywhere).tolist()
    return bits


def match(iou: "Array", same: "Array", out: Sequence[int], skipped: Sequence[int], crowd: Sequence[bool]) -> tuple[list[int], list[int]]:
    """The bits where each detection is true, and those where it is false; where neither, it does not count.

    `iou` and `same` (whether the labels agree) are (d, g), the detections by descending score. `out` are the bits of the areas
    that a detection is outside of, `skipped` those where a gold box does not count. As in `COCOeval.evaluateImg`: each detection
    takes the free gold box of the highest IoU (of equals the last), one that counts before one that does not; a crowd is always
    free. It does not count where its gold box does not, or where it has none and its own area is outside.

    >>> import numpy as np
    >>> true, false = match(np.array([[0.6], [0.9]]), np.ones((2, 1), bool), [0, 0], [0], [False])
    >>> [f"{bits & EVERY:010b}" for bits in (*true, *false)]
    ['0000000111', '0111111000', '1111111000', '1000000111']
    """
    import numpy as np

    rows, places = np.nonzero(same & (iou >= 0.5))
    found = iou[rows, places]
    order = np.lexsort((-places, -found, rows))
    reached = np.searchsorted(_thresholds(), found[order], side="right")
    near: dict[int, list[tuple[int, int]]] = {}
    for row, place, steps in zip(rows[order].tolist(), places[order].tolist(), reached.tolist(), strict=True):
        near.setdefault(row, []).append((place, _in_all_areas((1 << steps) - 1)))
    true, false, free = [0] * len(out), [EVERYWHERE & ~bits for bits in out], [EVERYWHERE] * len(skipped)
    for row, candidates in near.items():
        left = EVERYWHERE
        for place, bits in candidates:
            taken = bits & free[place] & left & ~skipped[place]
            left, free[place] = left ^ taken, free[place] ^ taken
        true[row] = EVERYWHERE ^ left
        for place, bits in candidates:
            taken = bits & free[place] & left & skipped[place]
            left, free[place] = left ^ taken, free[place] if crowd[place] else free[place] ^ taken
        false[row] &= left
    return true, false


def kept_by_gold(iou: "Array", scores: "Array", threshold: float = 0.5) -> "Array":
    """Which detections outlive the suppression by gold boxes of OVDEval's eval.py, bool (d,).

    Of the detections whose IoU (d, g) with a gold box is above the threshold, whatever the labels, the one with the highest of
    the `scores` (d,) is kept; the others go, but for those that another gold box keeps. What overlaps no gold box stays. Equal
    scores are left to numpy's argsort, as there: where all are equal the last is kept, else it may be another of the highest.

    >>> import numpy as np
    >>> iou = np.array([[0.9, 0.0], [0.8, 0.6], [0.7, 0.0], [0.0, 0.0]])
    >>> kept_by_gold(iou, np.array([0.5, 0.4, 0.5, 0.1])).tolist()
    [False, True, True, True]
    """
    import numpy as np

    kept = np.ones(len(scores), dtype=bool)
    columns, rows = np.nonzero(threshold < iou.T)
    kept[rows] = False
    on: dict[int, list[int]] = {}
    for column, row in zip(columns.tolist(), rows.tolist(), strict=True):
        on.setdefault(column, []).append(row)
    for places in on.values():
        kept[places[int(np.argsort(scores[places])[-1])]] = True
    return kept


@cache
def _ranges() -> tuple["Array", "Array", "Array"]:
    """The ends of the ranges of area, and the bits of each."""
    import numpy as np

    low, high = np.array(list(AREAS.values())).T
    return low, high, EVERY << STEPS * np.arange(len(AREAS))


@cache
def _thresholds() -> "Array":
    import numpy as np

    return np.linspace(0.5, 0.95, STEPS)


def _in_all_areas(bits: int) -> int:
    """The bits of ten thresholds, once for each range of area."""
    return bits | bits << STEPS | bits << 2 * STEPS | bits << 3 * STEPS
