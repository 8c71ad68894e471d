"""Whether what a model says and what it looks at belong together: the numbers of the probes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import stats
from ..geometry import Box, Size
from ..types import Columns, Estimate, Record, Sample

if TYPE_CHECKING:
    import numpy as np

CHANCE = 0.5
"""What a judge that tosses a coin between two images scores."""


@dataclass(frozen=True, slots=True)
class CrossModalCorrelation:
    """`correlation`: how often a judge tells a reply's boxes from random ones by its words, in [0, 1], over samples and repeats.

    Beside it `correlation_deviation`, the standard deviation (ddof 1) of the repeats' means, which the paper (GRIT, arXiv 2505.15879)
    writes behind its +-; `correlation_floor`, what chance gives; and `judge_unparsed`, the share of the judge's replies that name no
    image and are wrong. A sample without boxes does not count.

    >>> from evalkit.types import Wants
    >>> sample = Sample("1", "Where?", "Where?", (), Wants("boxes"), target=None)
    >>> CrossModalCorrelation().measure([True, None, False], sample)
    {'right': [1.0, 0.0, 0.0], 'unparsed': 1.0}
    """

    repeats: int = 3

    @property
    def name(self) -> str:
        return "correlation"

    def measure(self, value: Sequence[bool | None] | None, sample: Sample) -> Record:
        """Of each repeat whether it was `right`, and how many of them named no image; empty where nothing was asked."""
        if value is None:
            return {}
        return {"right": [float(pick or False) for pick in value], "unparsed": float(sum(pick is None for pick in value))}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """The four, each over samples; all with clustered intervals but the floor, which is known."""
        import numpy as np

        group, n = records.group, len(records)
        right = np.array(list(stats.column(records, "right")), dtype=float).reshape(n, self.repeats)
        sums = stats.cluster_sums(group, *right.T, np.ones(n))
        return {
            "correlation": stats.mean(right.mean(1), group, bounded=True),
            "correlation_deviation": stats.bootstrap(lambda *sums: np.std(np.divide(sums[:-1], sums[-1]), axis=0, ddof=1), sums, n),
            "correlation_floor": Estimate(CHANCE, None, None, None, n),
            "judge_unparsed": stats.mean(stats.column(records, "unparsed") / self.repeats, group, bounded=True),
        }


@dataclass(frozen=True, slots=True)
class BoxErasure:
    """`box_erasure`: how much more attention an image gets where the boxes stand in the context, in [-1, 1].

    The mean over samples of the image's share of the attention with boxes minus that without, and beside it the two shares,
    `attention_with_boxes` and `attention_without_boxes`, in [0, 1]. A sample without both does not count.

    >>> from evalkit.types import Wants
    >>> sample = Sample("1", "Where?", "Where?", (), Wants("boxes"), target=None)
    >>> BoxErasure().measure({"with_boxes": 0.25, "without_boxes": 0.125}, sample)
    {'with_boxes': 0.25, 'without_boxes': 0.125}
    """

    @property
    def name(self) -> str:
        return "box_erasure"

    def measure(self, value: Mapping[str, float] | None, sample: Sample) -> Record:
        """The two shares; empty where there are none."""
        return {name: value[name] for name in ("with_boxes", "without_boxes")} if value else {}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """The paired difference and the two means, with clustered bootstrap intervals."""
        present, erased = stats.column(records, "with_boxes"), stats.column(records, "without_boxes")
        return {
            "box_erasure": stats.paired_difference(erased, present, records.group),
            "attention_with_boxes": stats.mean(present, records.group, bounded=True),
            "attention_without_boxes": stats.mean(erased, records.group, bounded=True),
        }


@dataclass(frozen=True, slots=True)
class RegionAttentionDensity:
    """`rad`: the mean over samples of `density`, at least 0; 1 is attention that does not care for the regions.

    >>> from evalkit.types import Wants
    >>> sample = Sample("1", "Where?", "Where?", (), Wants("boxes"), target=None)
    >>> RegionAttentionDensity().measure(1.5, sample), RegionAttentionDensity().measure(None, sample)
    ({'rad': 1.5}, {})
    """

    @property
    def name(self) -> str:
        return "region_attention"

    def measure(self, value: float | None, sample: Sample) -> Record:
        """`rad`; empty where there is none."""
        return {} if value is None else {"rad": value}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """`rad`, with a clustered bootstrap interval."""
        return {"rad": stats.mean(stats.column(records, "rad"), records.group)}


def density(grid: Sequence[Sequence[float]], regions: Sequence[Box], size: Size) -> float:
    """The share of an image's attention inside the regions over their share of its area: from 0 to 1 over that share.

    Args:
        grid: rows of attention, evenly over the image, no cell below 0 and some above.
        regions: boxes in pixels of the image, some of it inside.
        size: of the image.

    >>> density([[3, 1]], [Box(0, 0, 50, 40)], Size(100, 40)), density([[2, 2]], [Box(25, 0, 50, 10)], Size(100, 40))
    (1.5, 1.0)
    """
    import numpy as np

    attention = np.array(grid, dtype=float)
    covered = coverage(regions, size, *attention.shape)
    return float((attention * covered).sum() / attention.sum() / covered.mean())


def coverage(regions: Sequence[Box], size: Size, rows: int, columns: int) -> "np.ndarray[Any, Any]":
    """Which share of each cell of a grid over the image the regions cover, float (rows, columns) in [0, 1].

    Regions are in pixels of the image, corners in any order; what lies outside does not count, what several cover counts once.

    >>> coverage([Box(0, 0, 30, 10), Box(10, 0, 30, 10)], Size(40, 20), 2, 2).tolist()
    [[1.0, 0.5], [0.0, 0.0]]
    """
    import numpy as np

    boxes = [region.ordered().clipped(size) for region in regions]
    boxes = [box for box in boxes if box.area > 0]
    down, across = np.arange(rows + 1) * size.height / rows, np.arange(columns + 1) * size.width / columns
    ys = np.unique([*down, *(y for box in boxes for y in (box.y1, box.y2))])
    xs = np.unique([*across, *(x for box in boxes for x in (box.x1, box.x2))])
    inside = np.zeros((len(ys) - 1, len(xs) - 1))
    for box in boxes:
        top, bottom = np.searchsorted(ys, (box.y1, box.y2))
        left, right = np.searchsorted(xs, (box.x1, box.x2))
        inside[top:bottom, left:right] = 1
    inside *= np.diff(ys)[:, None] * np.diff(xs)
    sums = np.add.reduceat(np.add.reduceat(inside, np.searchsorted(ys, down[:-1]), axis=0), np.searchsorted(xs, across[:-1]), axis=1)
    shares: np.ndarray[Any, Any] = sums / (size.width * size.height / (rows * columns))
    return shares
