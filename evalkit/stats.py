"""Estimates from records: shares, means, ratios and any statistic of sums, with standard errors and 95% intervals.

Samples about one image stand or fall together, so the unit of every formula and of every resampling is the cluster
(`group`), never the sample. Every estimate is a function of the records as a set: neither their order nor the codes of the
clusters change one bit of it, because rows are sorted before they are summed and clusters before anything is drawn.

Sources: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927); L. Kish, *Survey
Sampling* (1965), for the design effect; E. L. Korn and B. I. Graubard, *Survey Methodology* 24 (1998), for Wilson's kind of
interval on an effective n; B. Efron and R. J. Tibshirani, *An Introduction to the Bootstrap* (1993), for percentile intervals;
T. C. Hesterberg, *The American Statistician* 69 (2015), for their levels; D. B. Peizer and J. W. Pratt, JASA 63 (1968), Student's
distribution by the normal one; K. M. Wolter, *Introduction to Variance Estimation* (1985), for random groups and the linearised
variance of a ratio.
"""

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

from .types import Columns, Estimate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

    Array = np.ndarray[Any, Any]

RESAMPLES = 2_000
SEED = 0
"""Of the local generator behind every interval: the same records always give the same one."""
MOST_CLUSTERS = 16_384
"""How many units are drawn one by one at most; more clusters are first pooled at random into this many groups of even size."""
DRAWS_AT_ONCE = 1 << 20
"""Bounds the memory of a bootstrap, at 16 bytes a draw."""
Z = 1.959963984540054
"""The normal distribution's 97.5% quantile."""
_NORMAL = NormalDist()
_RESAMPLING = ContextVar("resampling", default=True)


@contextmanager
def values_only() -> Iterator[None]:
    """While it is entered nothing is resampled, and bootstrapped estimates are values alone: for who computes a statistic many times.

    >>> with values_only():
    ...     mean([0.0, 1.0], [0, 1])
    Estimate(value=0.5, stderr=0.5, low=None, high=None, n=2)
    """
    token = _RESAMPLING.set(False)
    try:
        yield
    finally:
        _RESAMPLING.reset(token)


def column(records: Columns, name: str) -> "Array":
    """The column `name` of the records, float (n,); an empty one where no record counts and so no column exists."""
    import numpy as np

    return records.values[name] if len(records) else np.zeros(0)


def share(correct: "ArrayLike", group: "ArrayLike") -> Estimate:
    """The share of ones among `correct` (zeros and ones), in [0, 1], with Wilson's interval on the effective n.

    The effective n, n over Kish's design effect, is that of independent samples with the same standard error, and at most n.
    Where it cannot be estimated, since all are right, all are wrong or all are of one cluster, the samples of a cluster count
    as wholly dependent: then it is n**2 / sum(size**2), which is n where each cluster has one sample.
    The standard error is None for a single cluster. No sample at all: an estimate of None with n = 0.

    >>> estimate = share([1, 1, 1, 0], [0, 1, 2, 3])
    >>> estimate.value, estimate.stderr, round(estimate.low, 3), round(estimate.high, 3), estimate.n
    (0.75, 0.25, 0.301, 0.954, 4)
    >>> round(share([1, 1], [0, 1]).low, 3), round(share([1, 1], [0, 0]).low, 3)
    (0.342, 0.207)
    """
    import numpy as np

    right, size = cluster_sums(group, correct, np.ones(np.size(correct)))
    n = int(size.sum())
    if n == 0:
        return Estimate(None, None, None, None, 0)
    value = float(right.sum() / n)
    stderr, low, high = _of_share(value, right, size)
    return Estimate(value, stderr, low, high, n)


def _of_share(value: float, right: "Array", size: "Array") -> tuple[float | None, float, float]:
    """The standard error and interval of a share, of sums by cluster; see `share`."""
    n = float(size.sum())
    effective, stderr = float(n**2 / (size**2).sum()), None
    if len(size) > 1:
        spread = value * (1 - value)
        variance = max(_variance(right, size), spread / (n - 1))
        stderr = math.sqrt(variance)
        if variance > 0:
            effective = 1 + spread / variance
    return stderr, *wilson(value, effective)


def wilson(value: float, n: float) -> tuple[float, float]:
    """Wilson's 95% score interval, inside [0, 1] and never of width 0, of a share `value` seen in `n` > 0 independent samples.

    >>> low, high = wilson(0.5, 100)
    >>> round(low, 4), round(high, 4)
    (0.4038, 0.5962)
    """
    centre = value + Z**2 / (2 * n)
    half = Z * math.sqrt(value * (1 - value) / n + Z**2 / (4 * n**2))
    scale = 1 + Z**2 / n
    # At 0 and 1 the bound is the value itself, save for rounding.
    low = 0.0 if value == 0 else (centre - half) / scale
    return low, 1.0 if value == 1 else (centre + half) / scale


def mean(values: "ArrayLike", group: "ArrayLike", *, bounded: bool = False, resamples: int = RESAMPLES) -> Estimate:
    """The mean of `values`, with the clustered standard error and a clustered bootstrap interval; see `ratio`.

    `bounded` says that every value is in [0, 1].

    >>> estimate = mean([0.0, 0.5, 1.0, 0.5], [0, 0, 1, 1])
    >>> estimate.value, estimate.stderr, estimate.n
    (0.5, 0.25, 4)
    >>> mean([], [])
    Estimate(value=None, stderr=None, low=None, high=None, n=0)
    """
    import numpy as np

    return ratio(values, np.ones(np.size(values)), group, bounded=bounded, resamples=resamples)


def ratio(
    numerator: "ArrayLike", denominator: "ArrayLike", group: "ArrayLike", *, bounded: bool = False, resamples: int = RESAMPLES
) -> Estimate:
    """The sum of `numerator` over that of `denominator` (not negative), with a clustered bootstrap interval.

    The standard error is the linearised one between clusters, times sqrt(clusters / (clusters - 1)). The value is None where
    the denominators sum to 0; error and interval are None with fewer than two clusters of a denominator above 0. n counts the
    records. `bounded` says that denominators are counts and no numerator is below 0 or above its denominator: where all clusters
    agree, so that no resample differs, error and interval are then those of a `share` of the counted.

    >>> estimate = ratio([1, 2], [2, 2], [0, 1])
    >>> estimate.value, estimate.low, estimate.high, estimate.n
    (0.75, 0.5, 1.0, 2)
    >>> estimate = ratio([2, 2], [2, 2], [0, 1], bounded=True)
    >>> estimate.value, round(estimate.low, 3), estimate.high
    (1.0, 0.342, 1.0)
    """
    import numpy as np

    sums = cluster_sums(group, numerator, denominator)
    estimate = bootstrap(operator.truediv, sums, np.size(group), resamples)
    if estimate.value is None or np.count_nonzero(sums[1]) < 2:
        return replace(estimate, stderr=None, low=None, high=None)
    if bounded and estimate.low is None:
        stderr, low, high = _of_share(estimate.value, *sums)
        return replace(estimate, stderr=stderr, low=low, high=high)
    return replace(estimate, stderr=math.sqrt(_variance(*sums)))


def combined(estimates: Sequence[Estimate], how: Literal["mean", "sum"]) -> Estimate:
    """The sum or the plain mean of independent estimates, its n the sum of theirs; None where one of the values is None.

    Its interval is made of theirs, each side from the sides that lead there (MOVER: G. Y. Zou and A. Donner, Statistics in
    Medicine 27, 2008): low = value - sqrt(sum((value_i - low_i)**2)). Error and interval are None where one of theirs is.

    >>> combined([Estimate(0.5, 0.03, 0.44, 0.56, 10), Estimate(0.7, 0.04, 0.62, 0.78, 10)], "sum")
    Estimate(value=1.2, stderr=0.05, low=1.1, high=1.3, n=20)
    """
    n = sum(estimate.n for estimate in estimates)
    values = [estimate.value for estimate in estimates if estimate.value is not None]
    if len(values) < len(estimates) or not values:
        return Estimate(None, None, None, None, n)
    scale = 1 / len(values) if how == "mean" else 1.0
    value = math.fsum(values) * scale
    errors = [estimate.stderr for estimate in estimates if estimate.stderr is not None]
    sides = [(e.value - e.low, e.high - e.value) for e in estimates if e.value is not None and e.low is not None and e.high is not None]
    below, above = (scale * math.hypot(*side) for side in zip(*sides, strict=True)) if sides else (0.0, 0.0)
    whole = len(sides) == len(values)
    return Estimate(
        value,
        scale * math.hypot(*errors) if len(errors) == len(values) else None,
        value - below if whole else None,
        value + above if whole else None,
        n,
    )


def _variance(numerator: "Array", denominator: "Array") -> float:
    clusters, total = len(numerator), denominator.sum()
    residual = numerator - numerator.sum() / total * denominator
    return float(clusters / (clusters - 1) * (residual**2).sum() / total**2)


def cluster_sums(group: "ArrayLike", *columns: "ArrayLike") -> "Array":
    """The sum of each column in each cluster, float (columns, clusters), the clusters in the order of their sums.

    Order and codes leave no trace, rounding included: rows are sorted before they are added up.

    >>> cluster_sums([7, 3, 7], [1, 5, 2], [1, 1, 1]).tolist()
    [[5.0, 3.0], [1.0, 2.0]]
    """
    import numpy as np

    rows = np.stack([np.asarray(column, dtype=float) for column in columns])
    order = np.lexsort(rows)
    code = np.unique(np.asarray(group), return_inverse=True)[1][order]
    sums = np.stack([np.bincount(code, weights=row[order]) for row in rows])
    return sums[:, np.lexsort(sums)]


def bootstrap(statistic: Callable[..., Any], sums: "Array", n: int, resamples: int = RESAMPLES) -> Estimate:
    """The statistic of the summed columns, with a percentile interval and standard error from resampled clusters.

    `statistic` takes one array for each row of `sums` (see `cluster_sums`), all of one shape, and returns an array of that
    shape, not finite where it is undefined; such resamples are left out. Percentiles keep to the statistic's range and need
    no derivative; their levels are Hesterberg's, as Student's interval is wider than the normal one, and with fewer than about
    20 clusters they are too narrow still. The interval is widened to hold the value where
    the statistic's bias put it outside. The value is None where undefined; error and interval are None for a single cluster,
    the interval also where all resamples agree, which is no evidence of certainty. Above `MOST_CLUSTERS` clusters, unless few of
    them differ, random groups of them are resampled instead.

    >>> root = bootstrap(lambda squares, count: (squares / count) ** 0.5, cluster_sums([0, 1, 2], [1, 4, 4], [1, 1, 1]), 3)
    >>> round(root.value, 3), root.low, root.high
    (1.732, 1.0, 2.0)
    """
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(*sums.sum(axis=1)))
        if not math.isfinite(value):
            return Estimate(None, None, None, None, n)
        if sums.shape[1] < 2 or not _RESAMPLING.get():
            return Estimate(value, None, None, None, n)
        drawn = statistic(*_resampled(sums, resamples))
    return from_resamples(value, drawn, n, sums.shape[1])


def paired_difference(first: "ArrayLike", second: "ArrayLike", group: "ArrayLike", *, resamples: int = RESAMPLES) -> Estimate:
    """The mean of `second` - `first` over samples that both answered, with the clustered error and bootstrap interval of a `mean`.

    Both are resampled together: what makes a cluster hard for both cancels, so that the interval is that of the difference and
    not of two independent means. Error and interval are None for a single cluster, the interval also where all clusters agree.

    >>> estimate = paired_difference([0, 0, 1, 1], [0, 1, 1, 1], [0, 1, 2, 3])
    >>> estimate.value, estimate.stderr, estimate.n
    (0.25, 0.25, 4)
    """
    import numpy as np

    return mean(np.subtract(second, first, dtype=float), group, resamples=resamples)


def from_resamples(value: float, drawn: "ArrayLike", n: int, clusters: float = math.inf) -> Estimate:
    """The estimate of a statistic that is `value`, and `drawn` (resamples,) in resamples of the clusters; see `bootstrap`.

    Resamples that are not finite are left out; error and interval are None where fewer than two are left. Where the number of
    `clusters` is not known the levels of the percentiles are those of many.

    >>> estimate = from_resamples(0.5, [0.25, 0.75, float("nan"), 0.5, 0.5], 4)
    >>> round(estimate.low, 5), round(estimate.high, 5), round(estimate.stderr, 3)
    (0.26875, 0.73125, 0.204)
    """
    import numpy as np

    finite = np.asarray(drawn, dtype=float)
    finite = finite[np.isfinite(finite)]
    if len(finite) < 2:
        return Estimate(value, None, None, None, n)
    stderr = float(finite.std(ddof=1))
    spread = 1.0 if math.isinf(clusters) else math.sqrt(clusters / (clusters - 1))
    level = _NORMAL.cdf(-student(0.975, clusters - 1) * spread)
    low, high = np.quantile(finite, [level, 1 - level]).tolist()
    if math.isclose(low, high, abs_tol=1e-6):
        return Estimate(value, stderr, None, None, n)
    return Estimate(value, stderr, min(low, value), max(high, value), n)


def student(share: float, freedom: float) -> float:
    """The quantile of Student's distribution, for shares of 0.5 and above: at 0.975 within 0.3% from 5 degrees on, no smaller below.

    >>> round(student(0.975, 30), 3), round(student(0.975, math.inf), 3)
    (2.042, 1.96)
    """
    z = _NORMAL.inv_cdf(share)
    if math.isinf(freedom):
        return z
    if freedom == 1:
        return math.tan(math.pi * (share - 0.5))
    return math.sqrt(freedom * math.expm1(z**2 * (freedom - 5 / 6) / _stretch(freedom) ** 2))


def student_share(t: float, freedom: float) -> float:
    """The share of Student's distribution below t, in [0, 1].

    >>> round(student_share(2.042, 30), 3), student_share(0, 3)
    (0.975, 0.5)
    """
    if math.isinf(freedom):
        return _NORMAL.cdf(t)
    if freedom == 1:
        return 0.5 + math.atan(t) / math.pi
    return _NORMAL.cdf(math.copysign(_stretch(freedom) * math.sqrt(math.log1p(t**2 / freedom) / (freedom - 5 / 6)), t))


def _stretch(freedom: float) -> float:
    return freedom - 2 / 3 + 1 / (10 * freedom)


def resample_weights(group: "ArrayLike", *columns: "Array | Sequence[Any]", resamples: int = RESAMPLES) -> "Array":
    """How often each resample draws each cluster, int (resamples, clusters), the clusters in the order of `np.unique(group)`.

    For a statistic that is no function of sums, such as average precision: it is computed anew with each record counted as
    often as its cluster is drawn, and `from_resamples` makes the estimate of it. `columns` are what the records hold, floats
    or lists of them; clusters are told apart by these alone, so that neither the order of records nor the codes of clusters
    change how often one of a given content is drawn. Without columns the order of the codes decides.

    >>> weights = resample_weights([7, 3, 7], [0.1, 0.2, 0.3], resamples=1000)
    >>> weights.shape, set(weights.sum(axis=1).tolist())
    ((1000, 2), {2})
    >>> bool((weights == resample_weights([1, 2, 1], [0.3, 0.2, 0.1], resamples=1000)[:, ::-1]).all())
    True
    """
    import numpy as np

    codes, code = np.unique(np.asarray(group), return_inverse=True)
    if not _RESAMPLING.get():
        return np.zeros((0, len(codes)), dtype=np.int32)
    content: list[list[tuple[bytes, ...]]] = [[] for _ in codes]
    for row, place in enumerate(code):
        content[place].append(tuple(np.asarray(column[row], dtype=float).tobytes() for column in columns))
    order = sorted(range(len(codes)), key=lambda place: sorted(content[place]))
    weights = np.zeros((resamples, len(codes)), dtype=np.int32)
    for part, picks in _picks(seeded(), len(codes), resamples):
        cell = picks + len(codes) * np.arange(len(picks))[:, None]
        weights[part, order] = np.bincount(cell.ravel(), minlength=cell.size).reshape(cell.shape)
    return weights


def _resampled(sums: "Array", resamples: int) -> "Array":
    """The summed columns of each resample, (columns, resamples). Clusters with the same sums must be neighbours to be quick."""
    import numpy as np

    generator, units = seeded(), sums.shape[1]
    first = np.flatnonzero(np.append(True, (sums[:, 1:] != sums[:, :-1]).any(axis=0)))
    if len(first) <= min(units / 16, DRAWS_AT_ONCE / resamples):
        # How often each of a few distinct clusters is drawn is multinomial: the same bootstrap, without drawing one by one.
        times = generator.multinomial(units, np.diff(np.append(first, units)) / units, size=resamples)
        return np.stack([(times * column[first]).sum(axis=1) for column in sums])
    if units > MOST_CLUSTERS:
        member = generator.permutation(units) % MOST_CLUSTERS
        sums, units = np.stack([np.bincount(member, weights=column) for column in sums]), MOST_CLUSTERS
    drawn = np.empty((len(sums), resamples))
    for part, picks in _picks(generator, units, resamples):
        drawn[:, part] = [column[picks].sum(axis=1) for column in sums]
    return drawn


def seeded() -> "np.random.Generator":
    """A source of random numbers, the same ones each time it is made."""
    import numpy as np

    return np.random.Generator(np.random.PCG64(SEED))


def _picks(generator: "np.random.Generator", units: int, resamples: int) -> Iterator[tuple[slice, "Array"]]:
    """Which units each resample draws, (resamples, units), a part of the resamples at a time."""
    step = max(DRAWS_AT_ONCE // max(units, 1), 1)
    for start in range(0, resamples if units else 0, step):
        part = slice(start, min(start + step, resamples))
        yield part, generator.integers(units, size=(part.stop - start, units))
