"""Whether one of two runs does better on the same samples: paired differences with intervals, tests, and what would settle them.

The unit is the cluster, as in `stats`: a run's records of one cluster are exchanged for the other's together or not at all, and
no record is left out alone. Nothing depends on the order of records, and a seeded generator of its own draws what is drawn.

Sources: Q. McNemar, Psychometrika 12 (1947), the exact test of paired shares; E. J. G. Pitman, JRSS supplement 4 (1937), and
B. Phipson and G. K. Smyth, *Statistical Applications in Genetics and Molecular Biology* 9 (2010), permutation and the p-value of
some of the permutations; S. Holm, *Scandinavian Journal of Statistics* 6 (1979); T. Tango, *Statistics in Medicine* 17 (1998), the
score test and interval of paired shares; P. S. Kott, *Journal of Official Statistics* 17 (2001), the delete-a-group jackknife;
H. S. Bloom, *Evaluation Review* 19 (1995), the minimum detectable effect.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from .stats import DRAWS_AT_ONCE, MOST_CLUSTERS, cluster_sums, seeded, student, student_share
from .types import Estimate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

    Array = np.ndarray[Any, Any]

PERMUTATIONS = 9_999
GROUPS = 100
"""How many groups of clusters a jackknife leaves out in turn at most."""
POWER = 0.8
ENOUGH = 20
TOLERANCE = 1e-9
"""A permuted difference counts as no smaller than the one seen up to this share of it: equal ones differ by rounding."""
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Difference:
    """How much higher a number is in the second run than in the first, and what it is worth."""

    value: float
    error: float | None
    """The standard error that its interval is made with; None for a single cluster."""
    freedom: float
    """Degrees of freedom of that error."""
    stderr: float | None
    n: int
    clusters: int
    turned: tuple[float, float, float] | None = None
    """Of shares: how many samples were lost and gained, and of how many, all of the effective n; these have the score test."""

    def __neg__(self) -> "Difference":
        """How much lower it is."""
        return replace(self, value=-self.value, turned=self.turned and (self.turned[1], self.turned[0], self.turned[2]))

    def interval(self, alpha: float = 0.05) -> tuple[float, float] | None:
        """The interval of level 1 - alpha: the differences that the score test does not reject, else Student's; None for one cluster."""
        if self.error is None:
            return None
        quantile = student(1 - alpha / 2, self.freedom)
        if self.turned:
            return _root(self.turned, quantile), _root(self.turned, -quantile)
        return self.value - quantile * self.error, self.value + quantile * self.error

    @property
    def estimate(self) -> Estimate:
        low, high = self.interval() or (None, None)
        return Estimate(self.value, self.stderr, low, high, self.n)

    def above(self, bound: float) -> float | None:
        """The one-sided p-value of the difference being no more than `bound`: the non-inferiority test where that is -margin."""
        if self.error is None:
            return None
        if self.turned:
            return 1 - student_share(_score(bound, *self.turned), self.freedom)
        return 1 - student_share((self.value - bound) / self.error, self.freedom)

    def detectable(self, alpha: float = 0.05, power: float = POWER) -> float | None:
        """The least difference that a two-sided test on as many samples finds with that power; see Bloom."""
        if self.error is None:
            return None
        step = 1 / self.n if self.turned else 0.0
        return (student(1 - alpha / 2, self.freedom) + student(power, self.freedom)) * self.error + step

    def needed(self, distance: float, alpha: float = 0.05, power: float = POWER) -> int | None:
        """How many samples tell a difference `distance` away from the hypothesis apart from it, spread as these are; None: none do."""
        if self.error is None or distance == 0:
            return None
        least = self.n * ((_NORMAL.inv_cdf(1 - alpha / 2) + _NORMAL.inv_cdf(power)) * self.error / distance) ** 2
        if self.turned:  # McNemar's exact test goes by whole samples: J. L. Fleiss et al., Statistical Methods for Rates and Proportions
            least *= (1 + math.sqrt(1 + 4 / (least * abs(distance)))) ** 2 / 4
        return math.ceil(least) if math.isfinite(least) else None


def of_shares(first: "ArrayLike", second: "ArrayLike", group: "ArrayLike") -> Difference:
    """The difference of two shares of the same samples, each 1 or 0, in [-1, 1], with Tango's score interval on the effective n.

    The effective n is n over the design effect of the differences, as in `stats.share`: at most n; where no sample differs, those of
    a cluster count as wholly dependent. The interval has some width even then. At least one sample.

    >>> difference = of_shares([1] * 48 + [0] * 2, [1] * 36 + [0] * 12 + [1] * 2, range(50))
    >>> round(difference.value, 3), [round(end, 4) for end in difference.interval()]
    (-0.2, [-0.3447, -0.0611])
    """
    import numpy as np

    change = np.subtract(second, first, dtype=float)
    summed, size = cluster_sums(group, change, np.ones(np.size(change)))
    n, clusters = int(size.sum()), len(size)
    lost, gained = float((change < 0).sum() / n), float((change > 0).sum() / n)
    value = float(summed.sum() / n)
    spread = lost + gained - value**2
    effective, stderr = float(n**2 / (size**2).sum()), None
    if clusters > 1:
        variance = max(_variance(summed - value * size, n), spread / (n - 1))
        stderr = math.sqrt(variance)
        if variance > 0:
            effective = 1 + spread / variance
    freedom = clusters - 1 if 1 < clusters < n else math.inf
    turned = (lost * effective, gained * effective, effective)
    error = stderr or (_root(turned, -1) - _root(turned, 1)) / 2
    return Difference(value, error, freedom, stderr, n, clusters, turned)


def _score(change: float, lost: float, gained: float, n: float) -> float:
    """Tango's score statistic of the difference being `change`, in (-1, 1): standard normal where it is, larger where it is more.

    The share of losses that the data make likeliest under that is the root of a quadratic equation.
    """
    middle = (2 * n - gained + lost) * change - gained - lost
    share = (math.sqrt(max(middle**2 + 8 * n * lost * change * (1 - change), 0.0)) - middle) / (4 * n)
    distance, spread = gained - lost - n * change, n * (2 * share + change * (1 - change))
    return distance / math.sqrt(spread) if spread > 0 else math.copysign(math.inf, distance) if distance else 0.0


def _root(turned: tuple[float, float, float], score: float) -> float:
    """The difference in [-1, 1] at which the score statistic, which falls with it, is `score`."""
    low, high = -1.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _score(middle, *turned) > score else (low, middle)
    return (low + high) / 2


def of_ratios(
    first: Sequence[tuple["ArrayLike", "ArrayLike"]],
    second: Sequence[tuple["ArrayLike", "ArrayLike"]],
    group: "ArrayLike",
    *,
    weight: float = 1.0,
    span: float = 1.0,
) -> Difference:
    """The difference of a ratio of sums, or of `weight` times the sum of several, with the linearised error between clusters.

    `first` and `second` hold each ratio's numerators and denominators, of the same samples in the same order; a mean has ones below.
    No denominator may sum to 0. `span` is the range of the number; where no cluster differs the interval is that of shares
    none of which does, times that.

    >>> difference = of_ratios([([1, 2, 2, 0], [2, 2, 2, 2])], [([2, 2, 2, 1], [2, 2, 2, 2])], range(4))
    >>> difference.value, round(difference.stderr, 3)
    (0.25, 0.144)
    """
    import numpy as np

    sums = cluster_sums(group, *(column for pair in (*first, *second) for column in pair))
    numerator, denominator = sums[::2], sums[1::2]
    totals = denominator.sum(axis=1)
    ratios = numerator.sum(axis=1) / totals
    sign = np.repeat([-weight, weight], len(first))
    pull = (sign / totals) @ (numerator - ratios[:, None] * denominator)
    return _of_pulls(float(sign @ ratios), pull, np.size(group), span)


def of_statistic(difference: Callable[["Array"], float], clusters: int, n: int, *, span: float = 1.0) -> Difference:
    """The difference of any statistic, with the standard error of the delete-a-group jackknife.

    `difference` is told which of the clusters to keep, bool (clusters,). Groups of even size are left out in turn, at most `GROUPS`
    of them; a number that cannot be computed without one has no interval.

    >>> values = [0.1, 0.4, 0.2, 0.3]
    >>> made = of_statistic(lambda kept: sum(v for v, k in zip(values, kept) if k) / float(sum(kept)), 4, 4)
    >>> round(made.value, 3), round(made.stderr, 4)
    (0.25, 0.0645)
    """
    import numpy as np

    value = float(difference(np.ones(clusters, dtype=bool)))
    if clusters < 2:
        return Difference(value, None, 0, None, n, clusters)
    groups = min(clusters, GROUPS)
    member = seeded().permutation(clusters) % groups
    without = np.array([difference(member != group) for group in range(groups)])
    if not np.isfinite(without).all():
        return Difference(value, None, groups - 1, None, n, clusters)
    pull = (without.mean() - without) * (groups - 1) / groups
    return _of_pulls(value, pull, n, span, clusters)


def _of_pulls(value: float, pull: "Array", n: int, span: float, clusters: int = 0) -> Difference:
    """The difference of which each cluster, or group of them, moves the value by `pull`."""
    import numpy as np

    units = len(pull)
    clusters = clusters or units
    if units < 2:
        return Difference(value, None, 0, None, n, clusters)
    stderr = math.sqrt(_variance(pull, 1))
    apart = bool(np.abs(pull).max() > TOLERANCE * max(abs(value), span) / units)
    error = stderr if apart else span * math.sqrt(2) / (clusters + 2)
    return Difference(value, error, units - 1, stderr, n, clusters)


def _variance(residual: "Array", total: float) -> float:
    return float(len(residual) / (len(residual) - 1) * (residual**2).sum() / total**2)


# ---------------------------------------------------------------- tests


def mcnemar(lost: int, gained: int) -> float:
    """The two-sided p-value of McNemar's exact test: as many samples go from right to wrong as back, whatever their number.

    Exact for independent samples, each asked once; of clusters use `permutation`.

    >>> round(mcnemar(8, 1), 6), mcnemar(3, 3), mcnemar(0, 0)
    (0.039062, 1.0, 1.0)
    """
    import numpy as np

    n, few = lost + gained, min(lost, gained)
    if lost == gained:
        return 1.0
    steps = np.arange(1, few + 1)
    logs = np.append(0.0, np.cumsum(np.log(n - steps + 1) - np.log(steps))) - n * math.log(2)
    return min(1.0, float(2 * np.exp(logs - logs[-1]).sum() * math.exp(logs[-1])))


def permutation(
    statistic: Callable[..., Any],
    first: Sequence["ArrayLike"],
    second: Sequence["ArrayLike"],
    group: "ArrayLike",
    *,
    permutations: int = PERMUTATIONS,
) -> float:
    """The two-sided p-value, in (0, 1], of two runs being alike: of how large a difference of a statistic of sums is by chance.

    `statistic` takes the summed columns of one run. By chance each cluster's records may as well be
    the other run's. All exchanges are looked at where they are no more than `permutations`, else as many at random, with the p-value
    (b + 1) / (m + 1), which is valid for any m. A cluster whose sums agree changes nothing; above `MOST_CLUSTERS` others, random
    groups of them are exchanged together, which is as valid.

    >>> permutation(lambda right, n: right / n, ([1, 1, 1, 1, 0], [1] * 5), ([0, 0, 0, 0, 0], [1] * 5), range(5))
    0.125
    """
    import numpy as np

    sums = cluster_sums(group, *first, *second)
    before, after = sums[: len(first)], sums[len(first) :]
    half, middle = (after - before) / 2, (after + before).sum(axis=1)[:, None] / 2
    half = half[:, (half != 0).any(axis=0)]
    if half.shape[1] > MOST_CLUSTERS:
        member = seeded().permutation(half.shape[1]) % MOST_CLUSTERS
        half = np.stack([np.bincount(member, weights=row) for row in half])

    def differences(swapped: "Array") -> "Array":
        moved = half @ np.where(swapped, -1.0, 1.0).T
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(statistic(*(middle + moved)) - statistic(*(middle - moved)))

    return _p_value(differences, half.shape[1], permutations)


def permutation_of(difference: Callable[["Array"], float], clusters: int, permutations: int = PERMUTATIONS) -> float:
    """The p-value of `permutation` for any statistic, at the cost of computing it for each exchange.

    Drawing ends once `ENOUGH` differences were as large, after as many as it took: p is then their share, as valid, and what is far
    from significant costs little (J. Besag and P. Clifford, Biometrika 78, 1991).
    `difference` is told of which clusters the runs are exchanged, bool (clusters,), the clusters in an order that does not depend on
    that of the records.

    >>> permutation_of(lambda swapped: sum(-1 if s else 1 for s in swapped), 5)
    0.0625
    """
    import numpy as np

    def differences(swapped: "Array") -> "Array":
        return np.array([difference(row) for row in swapped])

    if 2 ** min(clusters, 60) <= permutations + 1:
        return _p_value(differences, clusters, permutations)
    seen, generator, count = abs(difference(np.zeros(clusters, dtype=bool))), seeded(), 0
    for drawn in range(1, permutations + 1):
        count += not abs(difference(generator.integers(2, size=clusters) == 1)) < seen * (1 - TOLERANCE)
        if count == ENOUGH:
            return count / drawn
    return (count + 1) / (permutations + 1)


def _p_value(differences: Callable[["Array"], "Array"], clusters: int, permutations: int) -> float:
    import numpy as np

    seen = abs(float(differences(np.zeros((1, clusters), dtype=bool))[0]))

    def as_large(swapped: "Array") -> int:
        return int((~(np.abs(differences(swapped)) < seen * (1 - TOLERANCE))).sum())  # undefined ones count as large

    if 2 ** min(clusters, 60) <= permutations + 1:
        every = np.arange(2**clusters)[:, None] >> np.arange(clusters) & 1 == 1
        return as_large(every) / len(every)
    generator, count, step = seeded(), 0, max(DRAWS_AT_ONCE // clusters, 1)
    for start in range(0, permutations, step):
        count += as_large(generator.integers(2, size=(min(step, permutations - start), clusters), dtype=np.int8) == 1)
    return (count + 1) / (permutations + 1)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """The p-values adjusted so that all of a family are tested at one level, each at least what it was; None stays and does not count.

    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]
    """
    made: list[float | None] = [None] * len(p_values)
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    least = 0.0
    for rank, (p, place) in enumerate(known):
        made[place] = least = max(least, min(1.0, p * (len(known) - rank)))
    return made
