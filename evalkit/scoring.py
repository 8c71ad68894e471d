"""From predictions to records, and from records to the flat rows of a summary.

A `Tally` holds one task's records as columns, so that a million samples are cheap: eight bytes a number, eight a cluster,
four a tag, one for what went wrong. Summaries do not depend on the order in which predictions came.
"""

import functools
import hashlib
import itertools
import operator
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .interfaces import Reading, Rule
from .task import Composite, Task
from .types import Columns, Estimate, Prediction, Record, Sample, Unparsed

if TYPE_CHECKING:
    import numpy as np

UNPARSED, TRUNCATED, REFUSED, MISSING = 1, 2, 4, 8
FLAGS = {"unparsed": UNPARSED, "truncated": TRUNCATED, "refused": REFUSED, "missing": MISSING}
FINISHES = {"stop": 0, "length": TRUNCATED, "refused": REFUSED}
OVERALL = "overall"
READINGS: tuple[Reading, ...] = ("text", "boxes", "masks", "likelihoods")


@dataclass(frozen=True, slots=True)
class Scored:
    """One prediction under one rule: what was read, the record, and the reason where nothing was read."""

    rule: Rule
    value: Any
    record: Record
    failure: str


@dataclass(slots=True)
class _Rows:
    """The records of one rule: `row` says which prediction each belongs to."""

    row: "array[int]" = field(default_factory=lambda: array("I"))
    values: dict[str, "array[float] | list[Sequence[float]]"] = field(default_factory=dict)
    flags: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True, slots=True)
class _Draws:
    """What came of each draw of one sample, rule by rule."""

    sample: Sample
    scored: list[list[Scored]] = field(default_factory=list)
    flags: list[list[int]] = field(default_factory=list)


def _unparsed(scored: Scored, prediction: Prediction) -> int:
    return UNPARSED if scored.failure and not prediction.missing else 0


def _counts(flags: "np.ndarray[Any, Any]", gaps: int) -> dict[str, int]:
    return {**{name: int((flags & bit > 0).sum()) for name, bit in FLAGS.items()}, "gaps": gaps}


def score(rules: Iterable[Rule], prediction: Prediction, sample: Sample) -> list[Scored]:
    """What each rule makes of one prediction; rules that share a parser share what it read."""
    read: dict[Callable[..., Any], Any] = {}
    scored = []
    for rule in rules:
        value: Any = None
        failure = "missing"
        if not prediction.missing:
            if rule.parse not in read:
                read[rule.parse] = rule.parse(prediction, sample)
            value, failure = read[rule.parse], ""
            if isinstance(value, Unparsed):
                value, failure = None, value.reason
        scored.append(Scored(rule, value, rule.metric.measure(value, sample), failure))
    return scored


class Tally:
    """The records of one task, whatever the order in which its predictions come."""

    def __init__(self, task: Task, repeats: int = 1, gives: Collection[Reading] = READINGS) -> None:
        """`gives` is what the predictions hold: rules that read anything else have no number."""
        self.task, self.repeats = task, repeats
        self.samples, self.predictions = 0, 0
        self.counts: Counter[str] = Counter()
        self.gaps: list[tuple[str, int, str]] = []
        self._missing: dict[str, frozenset[str]] = {}
        self._gaps_in: Counter[str] = Counter()
        self._group = array("q")
        self._tagged: dict[str, array[int]] = defaultdict(lambda: array("I"))
        self._rules: list[tuple[Rule, _Rows]] = [(rule, _Rows()) for rule in task.rules if rule.reads in gives]
        self._targets: defaultdict[str, Counter[str | int]] = defaultdict(Counter)
        self._draws: dict[str, _Draws] = {}

    def count(self, sample: Sample) -> None:
        """Counts a sample as the data has it, whether or not it gets an answer."""
        self.samples += 1
        self.counts["rows"] += 1
        self.counts.update(sample.tags)
        if isinstance(sample.target, (str, int)):
            self.counts[f"answer={sample.target}"] += 1
            if any("correct" in rule.metric.measure(None, sample) for rule, _ in self._rules):
                for subset in (OVERALL, *sample.tags):
                    self._targets[subset][sample.target] += 1

    def gap(self, sample: Sample, draw: int, reason: str) -> None:
        """Notes that no answer came."""
        self.gaps.append((sample.id, draw, reason))
        if self.repeats > 1:
            self._draws.setdefault(sample.id, _Draws(replace(sample, images=())))
        self._gaps_in[OVERALL] += 1
        self._gaps_in.update(sample.tags)

    def add(self, sample: Sample, prediction: Prediction) -> list[Scored]:
        """Scores a prediction under every rule of the task and keeps the records."""
        row = self.predictions
        self.predictions += 1
        self._group.append(cluster(sample.group or sample.id))
        for tag in sample.tags | prediction.tags:
            self._tagged[tag].append(row)
        if prediction.missing:
            self._missing[sample.id] = sample.tags
        flags = FINISHES[prediction.finish] | (MISSING if prediction.missing else 0)
        made = score((rule for rule, _ in self._rules), prediction, sample)
        for scored, (_, rows) in zip(made, self._rules, strict=True):
            if not scored.record:
                continue
            rows.row.append(row)
            rows.flags.append(flags | _unparsed(scored, prediction))
            for name, number in scored.record.items():
                column = rows.values.get(name)
                if column is None:
                    column = rows.values[name] = array("d") if isinstance(number, float | int) else []
                column.append(number)  # type: ignore[arg-type]
        if self.repeats > 1:
            draws = self._draws.setdefault(sample.id, _Draws(replace(sample, images=())))
            draws.scored.append(made)
            draws.flags.append([flags | _unparsed(scored, prediction) for scored in made])
        return made

    def lacking(self, subset: str) -> tuple[int, int]:
        """How many samples a subset has as the data has it, and how many of them lack a reply."""
        missing = sum(subset == OVERALL or subset in tags for tags in self._missing.values())
        return self.samples if subset == OVERALL else self.counts[subset], missing

    def running(self) -> float | None:
        """The mean of the first record field of the first rule so far: the score to show while running."""
        for _, rows in self._rules:
            for column in rows.values.values():
                if isinstance(column, array):
                    recent = column[-2000:]
                    return sum(recent) / len(recent)
        return None

    def numbers(self) -> Iterator[dict[str, Any]]:
        """One flat row for each subset, rule and estimate: `overall` first, then the task's composites, then the tags in order.

        Beside each accuracy stands `accuracy_floor`, rule `majority`: what answering every question of the subset alike would give;
        so do the task's own `floors`.
        """
        made = {composite.metric for composite in self.task.composites}
        kept = {(composite.metric, subset) for composite in self.task.composites for subset in composite.of}
        members: dict[tuple[str, str, str], dict[str, Any]] = {}
        told: list[dict[str, Any]] = []
        for subset, rows in itertools.groupby(self._of_subsets(), key=lambda row: str(row["subset"])):
            measured = set()
            for row in rows:
                metric = row["metric"]
                members[metric, row["rule"], subset] = row
                if metric not in made or (metric, subset) in kept:
                    measured.add(metric)
                    told.append(row)
            told += self._floors(subset, measured)
        yield from (row for row in told if row["subset"] == OVERALL)
        for composite in self.task.composites:
            for rule in dict.fromkeys(rule for metric, rule, _ in members if metric == composite.metric):
                yield _composed(composite, rule, [members.get((composite.metric, rule, subset)) for subset in composite.of])
            if composite.metric in self.task.floors and any(metric == composite.metric for metric, _, _ in members):
                value = self.task.floors[composite.metric] * (len(composite.of) if composite.how == "sum" else 1)
                yield _floor(composite.metric, composite.subset, value, sum(self.lacking(subset)[0] for subset in composite.of))
        yield from (row for row in told if row["subset"] != OVERALL)

    def _floors(self, subset: str, measured: Collection[str]) -> Iterator[dict[str, Any]]:
        """What one constant answer scores, for the estimates measured in a subset."""
        targets, asked = self._targets[subset], self.lacking(subset)[0]
        if "accuracy" in measured and targets:
            yield _floor("accuracy", subset, max(targets.values()) / targets.total(), targets.total())
        for metric, value in self.task.floors.items():
            if metric in measured:
                yield _floor(metric, subset, value, asked)

    def _of_subsets(self) -> Iterator[dict[str, Any]]:
        import numpy as np

        group = np.frombuffer(self._group, dtype=np.int64)
        for subset in [OVERALL, *sorted(set(self._tagged) | (set(self._gaps_in) - {OVERALL}))]:
            member = None
            if subset != OVERALL:
                member = np.zeros(len(group), dtype=bool)
                member[np.frombuffer(self._tagged[subset], dtype=np.uint32)] = True
            for rule, rows in self._rules:
                if rule.subsets is not None and subset not in rule.subsets:
                    continue
                row = np.frombuffer(rows.row, dtype=np.uint32)
                inside = slice(None) if member is None else member[row]
                values = {name: _column(column)[inside] for name, column in rows.values.items()}
                flags = np.frombuffer(rows.flags, dtype=np.uint8)[inside]
                if len(flags) or (not rule.optional and (self._gaps_in[subset] or subset == OVERALL)):
                    for metric, estimate in rule.metric.summarise(Columns(values, group[row[inside]])).items():
                        yield _row(metric, rule.name, subset, estimate, _counts(flags, self._gaps_in[subset]))
            if self.repeats > 1:
                yield from self._over_draws(subset)

    def _over_draws(self, subset: str) -> Iterator[dict[str, Any]]:
        """`pass@N` (any draw right) and `majority@N` (the value most draws agree on), for rules that record `correct`.

        Over the samples of which every draw has an answer; the others are gaps. A flag counts where any draw has it.
        """
        import numpy as np

        from .stats import share

        asked = [draws for _, draws in sorted(self._draws.items()) if subset == OVERALL or subset in draws.sample.tags]
        for place, (rule, _) in enumerate(self._rules):
            if rule.subsets is not None and subset not in rule.subsets:
                continue
            meant = [draws for draws in asked if "correct" in rule.metric.measure(None, draws.sample)]
            if not meant:
                continue
            counted = [draws for draws in meant if len(draws.flags) == self.repeats]
            gaps = len(meant) - len(counted)
            group = np.array([cluster(draws.sample.group or draws.sample.id) for draws in counted], dtype=np.int64)
            flags = np.array(
                [functools.reduce(operator.or_, (flags[place] for flags in draws.flags), 0) for draws in counted], dtype=np.uint8
            )
            passed = [any(made[place].record["correct"] for made in draws.scored) for draws in counted]
            agreed = [
                rule.metric.measure(_majority([made[place].value for made in draws.scored]), draws.sample)["correct"] for draws in counted
            ]
            for name, column in (("pass", passed), ("majority", agreed)):
                yield _row(f"{name}@{self.repeats}", rule.name, subset, share(np.array(column), group), _counts(flags, gaps))


def _column(column: "array[float] | list[Sequence[float]]") -> "np.ndarray[Any, Any]":
    import numpy as np

    if isinstance(column, array):
        return np.frombuffer(column)
    lists = np.empty(len(column), dtype=object)
    for place, numbers in enumerate(column):
        lists[place] = np.asarray(numbers, dtype=float)
    return lists


def _floor(metric: str, subset: str, value: float, n: int) -> dict[str, Any]:
    return _row(f"{metric}_floor", "majority", subset, Estimate(value, None, None, None, n), dict.fromkeys((*FLAGS, "gaps"), 0))


def _composed(composite: Composite, rule: str, rows: Sequence[Mapping[str, Any] | None]) -> dict[str, Any]:
    """The flat row of a composite, its counts those of its members together."""
    from .stats import combined

    estimates = [Estimate(*(row[name] for name in ("value", "stderr", "low", "high", "n"))) for row in rows if row]
    missing = [Estimate(None, None, None, None, 0)] * (len(rows) - len(estimates))
    counts = {name: sum(row[name] for row in rows if row) for name in (*FLAGS, "gaps")}
    return _row(composite.metric, rule, composite.subset, combined([*estimates, *missing], composite.how), counts)


def cluster(name: str) -> int:
    """A 63-bit code of a cluster's name, the same in every process."""
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 1


def _majority(values: list[Any]) -> Any:
    """The commonest value that was read; of several, the smallest as text, so that order does not matter."""
    counts = Counter(repr(value) for value in values if value is not None)
    if not counts:
        return None
    most = min(counts, key=lambda text: (-counts[text], text))
    return next(value for value in values if repr(value) == most)


def _row(metric: str, rule: str, subset: str, estimate: Estimate, counts: Mapping[str, int]) -> dict[str, Any]:
    return {
        "metric": metric,
        "rule": rule,
        "subset": subset,
        "value": estimate.value,
        "stderr": estimate.stderr,
        "low": estimate.low,
        "high": estimate.high,
        "n": estimate.n,
        **counts,
    }
