"""Whether intervals and tests hold what they say, by simulation: how often intervals cover, tests alarm, and effects are found.

python -m tests.bench.simulation [PART] [REPEATS]

`coverage` is the farthest that 95% intervals are from covering in 95 of 100 repeats, in points, over those with at least 100 clusters
and shares between 0.1 and 0.9, of a difference those of samples that differ; a share is drawn anew in each repeat around its place,
since the coverage of one swings by more than a point with it (Brown, Cai and DasGupta, Statistical Science 16, 2001). `alarms` is
the most by which a test finds a difference in more repeats than it says, where there is none. `power` is the farthest that the share
of found effects is from that of the exact test in the same repeats, or from what was meant. Of each, two standard errors of the
simulation itself are taken off. PART is one of these names; alone, every part prints its table.
"""

import json
import math
import operator
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from evalkit import paired, stats
from evalkit.types import Estimate

Array = np.ndarray[Any, Any]
ALPHA = 0.05
PERMUTATIONS = 199
REPEATS = 4_000


class Drawn:
    """Two runs on the same samples: `share` right in clusters of up to `most` samples that share their luck, the second `better`."""

    def __init__(self, rng: np.random.Generator, clusters: int, most: int, share: float, better: float = 0.0) -> None:
        self.group = np.repeat(np.arange(clusters), rng.integers(1, most + 1, clusters))
        hard = rng.random(clusters)[self.group]
        # Each answer has its cluster's luck with probability 1/2, else its own; the runs share either with probability 0.7.
        together = rng.random(len(self.group)) < 0.5
        alone = rng.random(len(self.group))
        luck = np.where(together, hard, alone)
        self.first = (luck < share).astype(float)
        same = rng.random(len(self.group)) < 0.7
        other = np.where(same, luck, rng.random(len(self.group)))
        self.second = (other < share + better).astype(float)
        self.ones = np.ones(len(self.group))


class Overlaps:
    """Two runs that are alike on the same images, one sample each: the overlaps share their luck, and are of masks of any size."""

    def __init__(self, rng: np.random.Generator, clusters: int) -> None:
        self.group, self.ones, self.union = np.arange(clusters), np.ones(clusters), rng.lognormal(8, 0.7, clusters)
        luck = rng.beta(2, 1, clusters)
        self.first, self.second = (np.where(rng.random(clusters) < 0.5, luck, rng.beta(2, 1, clusters)) for _ in range(2))
        self.sure = rng.random((2, clusters))

    @property
    def ratios(self) -> "list[tuple[list[tuple[Array, Array]], list[tuple[Array, Array]]]]":
        """The parts of the mean IoU, of the cIoU and of a sum over two subsets, as MME has, in both runs."""
        both = (self.first, self.second)
        odd = self.group % 2 == 1
        mean, pooled, total = (
            [[(run, self.ones)] for run in both],
            [[(run * self.union, self.union)] for run in both],
            [[((run > 0.5) * part, part * 1.0) for part in (odd, ~odd)] for run in both],
        )
        return [(one, other) for one, other in (mean, pooled, total)]

    def precision(self, kept: Array) -> float:
        """The difference in average precision of the images kept: of one box each, found where it overlaps by half."""
        one, other = (_precision(run[kept], sure[kept]) for run, sure in zip((self.first, self.second), self.sure, strict=True))
        return other - one

    def exchanged(self, swapped: Array) -> float:
        """The same with the runs exchanged of these images."""
        first, second = np.where(swapped, self.second, self.first), np.where(swapped, self.first, self.second)
        one, other = np.where(swapped, self.sure[::-1], self.sure)
        return _precision(second, other) - _precision(first, one)


OVERLAPS = ("mean IoU", "cIoU", "a sum of two shares", "AP")


def _precision(overlap: Array, sure: Array) -> float:
    right = overlap[np.argsort(-sure)] > 0.5
    return float((np.cumsum(right) / np.arange(1, len(right) + 1))[right].sum() / len(right))


Row = tuple[str, bool, float, float, int]
"""What, whether it counts, in what percentage of the repeats it was so, in what it should be, and how many those are."""


def coverage(repeats: int) -> Iterator[Row]:
    """How many intervals cover."""
    rng = np.random.default_rng(0)
    for clusters, most, places in (
        (100, 1, (0.02, 0.1, 0.3, 0.5)),
        (100, 5, (0.1, 0.3, 0.9)),
        (400, 5, (0.3,)),
        (20, 1, (0.3,)),
        (20, 5, (0.3,)),
    ):
        for place in places:
            hits, differing = np.zeros(2), 0.0
            for _ in range(repeats):
                share = place * rng.uniform(0.8, 1.2) if place < 0.9 else rng.uniform(0.85, 0.9)
                runs = Drawn(rng, clusters, most, share)
                differing += float((runs.first != runs.second).mean()) / repeats
                hits += (
                    _covers(stats.share(runs.first, runs.group), share),
                    _covers(paired.of_shares(runs.first, runs.second, runs.group).estimate, 0),
                )
            for what, hit, width in zip(("share", "difference of shares"), hits, (place, differing), strict=True):
                counts = clusters >= 100 and 0.1 <= round(width, 2) <= 0.9
                yield f"{what} {width:.2g}, {clusters} clusters of up to {most}", counts, 100 * hit / repeats, 95, repeats
    few = repeats // 4
    for clusters in (20, 100, 200):
        covered = np.zeros(6)
        for _ in range(few):
            runs = Overlaps(rng, clusters)
            mean, pooled, total = runs.ratios
            covered += (
                _covers(stats.mean(runs.first, runs.group, bounded=True), 2 / 3),
                _covers(stats.ratio(runs.first * runs.union, runs.union, runs.group), 2 / 3),
                *(_covers(paired.of_ratios(*two, runs.group).estimate, 0) for two in (mean, pooled, total)),
                _covers(paired.of_statistic(runs.precision, clusters, clusters).estimate, 0),
            )
        for what, hit in zip(("mean IoU", "cIoU", *(f"difference of {name}" for name in OVERLAPS)), covered, strict=True):
            yield f"{what}, {clusters} clusters", clusters >= 100, 100 * hit / few, 95, few


def _covers(estimate: Estimate, truth: float) -> bool:
    return estimate.low is not None and estimate.high is not None and estimate.low <= truth <= estimate.high


def alarms(repeats: int) -> Iterator[Row]:
    """How often a test finds a difference that there is not."""
    rng = np.random.default_rng(1)
    for clusters, most, share in ((30, 1, 0.5), (200, 1, 0.9), (20, 5, 0.5), (100, 5, 0.9)):
        hits = np.zeros(2)
        for _ in range(repeats):
            runs = Drawn(rng, clusters, most, share)
            hits += (_exchanged(runs) <= ALPHA, most == 1 and _mcnemar(runs) <= ALPHA)
        yield f"exchange of {clusters} clusters of up to {most}, share {share:g}", True, 100 * hits[0] / repeats, ALPHA * 100, repeats
        if most == 1:
            yield f"McNemar on {clusters} samples, share {share:g}", True, 100 * hits[1] / repeats, ALPHA * 100, repeats
    for clusters in (30, 100):
        hits = np.zeros(4)
        for _ in range(repeats // 4):
            overlaps = Overlaps(rng, clusters)
            p = [_exchanged_ratios(overlaps.group, *two) for two in overlaps.ratios]
            hits += [*(one <= ALPHA for one in p), paired.permutation_of(overlaps.exchanged, clusters, PERMUTATIONS) <= ALPHA]
        for what, hit in zip(OVERLAPS, hits, strict=True):
            yield f"exchange of {clusters} clusters, {what}", True, 400 * hit / repeats, ALPHA * 100, repeats // 4
    found = passed = 0
    for _ in range(repeats):
        five = [Drawn(rng, 100, 1, 0.7) for _ in range(5)]
        adjusted = paired.holm([_mcnemar(runs) for runs in five])
        found += any(p is not None and p <= ALPHA for p in adjusted)
        worse = Drawn(rng, 400, 1, 0.7, -0.1)
        above = paired.of_shares(worse.first, worse.second, worse.group).above(-0.1)
        passed += above is not None and above <= ALPHA / 2
    yield "any of five tasks, by Holm", True, 100 * found / repeats, ALPHA * 100, repeats
    yield "passing a loss of just the margin, 400 samples", True, 100 * passed / repeats, ALPHA * 50, repeats


def power(repeats: int) -> Iterator[Row]:
    """How often an effect is found, and how often the exact test finds it."""
    rng = np.random.default_rng(2)
    for clusters, share, better in ((100, 0.5, 0.15), (300, 0.7, 0.08), (300, 0.85, 0.06)):
        hits = np.zeros(2)
        for _ in range(repeats):
            runs = Drawn(rng, clusters, 1, share, better)
            hits += (_exchanged(runs) <= ALPHA, _mcnemar(runs) <= ALPHA)
        yield f"exchange, {clusters} samples, {share:g} and {better:g} more", True, *(100 * hits / repeats), repeats
    for share, better in ((0.5, 0.1), (0.7, 0.06)):
        pilot = Drawn(rng, 200_000, 1, share, better)
        difference = paired.of_shares(pilot.first, pilot.second, pilot.group)
        needed = difference.needed(difference.value) or 0
        found = sum(_mcnemar(Drawn(rng, needed, 1, share, better)) <= ALPHA for _ in range(repeats))
        yield f"McNemar, {better:g} more than {share:g}, the {needed} samples needed", True, 100 * found / repeats, 80.0, repeats


def _exchanged(runs: Drawn) -> float:
    return paired.permutation(operator.truediv, (runs.first, runs.ones), (runs.second, runs.ones), runs.group, permutations=PERMUTATIONS)


def _exchanged_ratios(group: Array, *runs: "list[tuple[Array, Array]]") -> float:
    first, second = ([column for ratio in run for column in ratio] for run in runs)

    def statistic(*sums: Array) -> Any:
        return sum(above / below for above, below in zip(sums[::2], sums[1::2], strict=True))

    return paired.permutation(statistic, first, second, group, permutations=PERMUTATIONS)


def _mcnemar(runs: Drawn) -> float:
    return paired.mcnemar(int((runs.first > runs.second).sum()), int((runs.first < runs.second).sum()))


PARTS: dict[str, tuple[Callable[[int], Iterator[Row]], bool]] = {
    "coverage": (coverage, False),
    "alarms": (alarms, True),
    "power": (power, False),
}


def main(name: str = "", repeats: str = str(REPEATS)) -> None:
    told = {}
    for part, (rows, beyond) in PARTS.items():
        if name not in ("", part):
            continue
        worst = 0.0
        for what, counts, got, meant, of in rows(int(repeats)):
            noise = 2 * math.sqrt(meant * (100 - meant) / of)
            apart = max(0.0, (got - meant if beyond else abs(got - meant)) - noise)
            worst = max(worst, apart) if counts else worst
            print(f"{part:9} {what:60} {got:6.2f} against {meant:5.1f}{'' if counts else '  as measured'}", file=sys.stderr, flush=True)
        told[part] = worst
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
