"""Average precision and recall of a data set of matched images, for any weights of the images: the curves of COCO.

Images are matched once (`_matching`); a resample of the images only weighs what was found in them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from .. import stats
from ..types import Columns, Estimate
from ._matching import EVERY, STEPS

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Ties = Literal["order", "together"]
FIRST = (1, 10, 100)
"""The numbers of detections of one label in one image for which recall is given."""
WORK = 1_000_000
"""Bounds the time of a bootstrap: resamples times detections. There are at least `FEWEST` resamples whatever they cost."""
FEWEST = 100
CELLS = 1 << 17
"""Bounds the memory of a bootstrap: for how many weights of detections it makes a handful of arrays at once."""


@dataclass(frozen=True, slots=True)
class _Found:
    """The detections (d,) by label and descending score, and the gold boxes (g,) by label: labels as their places among the `labels`
    that have a gold box, images as places among the records, and bits."""

    labels: int
    label: "Array"
    image: "Array"
    score: "Array"
    rank: "Array"
    true: "Array"
    false: "Array"
    gold_label: "Array"
    gold_image: "Array"
    gold_skipped: "Array"


def estimates(records: Columns, ties: Ties, areas: Sequence[str]) -> dict[str, Estimate]:
    """`ap`, `ap50`, `ap75`, `ar1`, `ar10`, `ar100`, and `ap_` and `ar_` with each further range of `areas`, of the records that
    `AveragePrecision.measure` makes; see there. `areas` are the first of `AREAS`.

    A resample repeats images, so that its curve is more jagged and the best of its precisions higher by chance; resamples are
    therefore moved to have the value as their mean.
    """
    import numpy as np

    n = len(records)
    nothing = Estimate(None, None, None, None, n)
    if n == 0:
        return dict.fromkeys(_names(areas), nothing)
    found = _sorted(records)
    clusters, cluster = np.unique(records.group, return_inverse=True)
    weights = np.ones((1, n))
    if len(clusters) > 1:
        resamples = min(max(WORK // max(len(found.image), n), FEWEST), stats.RESAMPLES)
        drawn = stats.resample_weights(records.group, records.values["order"], resamples=resamples)
        weights = np.concatenate([weights, drawn[:, cluster]])
    made = {}
    for name, (value, *drawn) in zip(_names(areas), _curves(found, weights, ties, len(areas)), strict=True):
        centred = np.clip(drawn - np.nanmean(drawn) + value, 0, 1) if drawn and not np.isnan(value) else drawn
        made[name] = nothing if np.isnan(value) else stats.from_resamples(float(value), centred, n)
    return made


def _names(areas: Sequence[str]) -> list[str]:
    further = areas[1:]
    return [
        "ap",
        "ap50",
        "ap75",
        *(f"ap_{area}" for area in further),
        *(f"ar{most}" for most in FIRST),
        *(f"ar_{area}" for area in further),
    ]


def _sorted(records: Columns) -> _Found:
    """What the records hold of the labels that have a gold box; equal scores by the order of their images."""
    import numpy as np

    images = np.argsort(records.values["order"], kind="stable")

    def joined(name: str) -> "Array":
        return np.concatenate(records.values[name][images])

    def image_of(name: str) -> "Array":
        return np.repeat(images, [len(values) for values in records.values[name][images]])

    labels, gold_label = np.unique(joined("gold_label"), return_inverse=True)
    gold = np.argsort(gold_label, kind="stable")
    label, score = joined("label"), joined("score")
    order = np.lexsort((-score, label))
    order = order[np.isin(label[order], labels)]
    rank, true, false = (joined(name).astype(np.int64)[order] for name in ("rank", "true", "false"))
    return _Found(
        len(labels),
        np.searchsorted(labels, label[order]),
        image_of("label")[order],
        score[order],
        rank,
        true,
        false,
        gold_label[gold],
        image_of("gold_label")[gold],
        joined("gold_skipped").astype(np.int64)[gold],
    )


def _curves(found: _Found, weights: "Array", ties: Ties, areas: int) -> "Array":
    """The value of each of `_names`, float (names, r), for r weights of each image, (r, n); NaN where no gold box counts."""
    import numpy as np

    precision = np.zeros((areas, STEPS, len(weights)))
    recall = np.zeros((areas, len(FIRST), STEPS, len(weights)))
    rows = max(CELLS // max(len(found.image), 1), 1)
    for area in range(areas):
        counts = found.gold_skipped >> STEPS * area & 1 == 0
        ends = np.searchsorted(found.gold_label[counts], np.arange(found.labels + 1))
        gold = np.diff(_added(weights, found.gold_image[counts])[:, ends])
        present = (gold > 0).sum(axis=1)
        gold[gold == 0] = np.inf
        within = np.flatnonzero((found.true | found.false) >> STEPS * area & EVERY)
        curves = [_Curve.of(found, within, STEPS * area + step, ties) for step in range(STEPS)]
        for start in range(0, len(weights), rows):
            part = slice(start, start + rows)
            every = _added(weights[part], found.image[within])
            for step, curve in enumerate(curves):
                precision[area, step, part], recall[area, :, step, part] = curve.summed(weights[part], every, gold[part])
        with np.errstate(invalid="ignore"):
            precision[area] /= present
            recall[area] /= present
    average, recalls = precision.mean(axis=1), recall.mean(axis=2)
    values: Array = np.stack([average[0], precision[0, 0], precision[0, STEPS // 2], *average[1:], *recalls[0], *recalls[1:, -1]])
    return values


@dataclass(frozen=True, slots=True)
class _Points:
    """Some of the detections within an area, by their images, and how many of them lie before the first detection of each point's
    label and how many up to the point, (p,)."""

    image: "Array"
    start: "Array"
    end: "Array"

    def weighed(self, sums: "Array") -> "Array":
        """Of the running sums of their weights what lies between: (r, p)."""
        weighed: Array = sums.take(self.end, axis=1) - sums.take(self.start, axis=1)
        return weighed


@dataclass(frozen=True, slots=True)
class _Curve:
    """The curves of all labels at one IoU threshold and range of area, by their points: of all detections that count within the area
    at some threshold, of those that are true at this one, and of those that do not count at this one."""

    every: _Points
    true: _Points
    lost: _Points
    label: "Array"
    """Of each point, (p,)."""
    begins: "Array"
    """Which points are the first of their labels."""
    true_label: "Array"
    first: "Array"
    """Whether the rank of a true detection is below each of `FIRST`, float (t, 3)."""

    @classmethod
    def of(cls, found: _Found, within: "Array", bit: int, ties: Ties) -> "_Curve":
        """The curves at this bit. With ties in order each true detection is a point, else the end of each run of equal scores that holds
        one: what lies between them is never the best."""
        import numpy as np

        image, label, score = found.image[within], found.label[within], found.score[within]
        true = found.true[within] >> bit & 1 == 1
        lost = ~true & (found.false[within] >> bit & 1 == 0)
        points = np.flatnonzero(true if ties == "order" else _changes(label) | _changes(score))
        points = points[np.diff(true.cumsum()[points], prepend=0) > 0]
        first = np.searchsorted(label, label[points])

        def among(chosen: "Array") -> _Points:
            before = np.append(0, chosen.cumsum())
            return _Points(image[chosen], before[first], before[points + 1])

        return cls(
            every=_Points(image, first, points + 1),
            true=among(true),
            lost=among(lost),
            label=label[points],
            begins=np.flatnonzero(np.diff(first, prepend=-1)),
            true_label=label[true],
            first=(found.rank[within][true][:, None] < FIRST).astype(float),
        )

    def summed(self, weights: "Array", every: "Array", gold: "Array") -> tuple["Array", "Array"]:
        """Average precision (r,) and recall with each of `FIRST` (3, r), added up over the labels.

        `weights` (r, n) are of the images, `every` the running sums of those of all detections within the area, `gold` (r, labels)
        of all gold boxes of a label. Precision is the mean over 101 levels of recall of the best at that level or above. Level 0
        is reached by the first point of a label, as in `COCOeval.accumulate`; a level that is not reached counts 0.
        """
        import numpy as np

        recalls = (weights.take(self.true.image, axis=1) / gold.take(self.true_label, axis=1) @ self.first).T
        if not len(self.label):
            return np.zeros(len(weights)), recalls
        hits = self.true.weighed(_added(weights, self.true.image))
        counted = self.every.weighed(every) - self.lost.weighed(_added(weights, self.lost.image))
        lift = 2.0 * (self.label[-1] - self.label)  # with it one running maximum, from the right, starts anew in each label
        best = np.maximum.accumulate((hits / (counted + np.spacing(1)) + lift)[:, ::-1], axis=1)[:, ::-1] - lift
        recall = hits / gold.take(self.label, axis=1)
        nearest = (recall * (len(_levels()) - 1) + 0.5).astype(np.intp)
        reached = nearest + (_levels().take(nearest) <= recall)
        steps = np.diff(reached, axis=1, prepend=0)
        steps[:, self.begins] = reached[:, self.begins]
        return (steps * best).sum(axis=1) / len(_levels()), recalls


def _changes(values: "Array") -> "Array":
    """Whether each value is the last, or another follows it."""
    import numpy as np

    return np.append(values[1:] != values[:-1], True)[: len(values)]


def _added(weights: "Array", image: "Array") -> "Array":
    """The running sums of the weights (r, n) of these images (m,), from 0 on: (r, m + 1)."""
    import numpy as np

    sums = np.zeros((len(weights), len(image) + 1))
    np.cumsum(weights.take(image, axis=1), axis=1, out=sums[:, 1:])
    return sums


@cache
def _levels() -> "Array":
    import numpy as np

    return np.linspace(0, 1, 101)
