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
from dataclasses import dataclass, field, is_dataclass
from typing import TYPE_CHECKING, Any

from .interfaces import Metric, Reading, Rule
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


def _unparsed(scored: Scored, prediction: Prediction) -> int:
    return UNPARSED if scored.failure and not prediction.missing else 0


def _counts(flags: "np.ndarray[Any, Any]", gaps: int) -> dict[str, int]:
    return {**{name: int((flags & bit > 0).sum()) for name, bit in FLAGS.items()}, "gaps": gaps}


def score(rules: Iterable[Rule], prediction: Prediction, sample: Sample) -> list[Scored]:
    """What each rule makes of one prediction. A parser of several rules reads once, equal metrics measure the same value once."""
    read: dict[Callable[..., Any], Any] = {}
    done: list[tuple[Metric, Any, Record]] = []
    scored = []
    for rule in rules:
        value: Any = None
        measured, failure = None, "missing"
        if not prediction.missing:
            if rule.parse not in read:
                read[rule.parse] = rule.parse(prediction, sample)
            value, failure = read[rule.parse], ""
            measured = value
            if isinstance(value, Unparsed):
                value, measured, failure = None, value.scored_as, value.reason
        record = next((record for metric, known, record in done if _same(metric, rule.metric) and _same(known, measured)), None)
        if record is None:
            record = rule.metric.measure(measured, sample)
            done.append((rule.metric, measured, record))
        scored.append(Scored(rule, value, record, failure))
    return scored


def _same(one: Any, other: Any) -> bool:
    """Whether these are one object or, of a dataclass, equal ones, as the masks that two parsers read of a video are.

    Of other classes equal values may still measure differently: 1 is True.
    """
    if one is other or type(one) is not type(other) or not is_dataclass(one):
        return one is other
    try:
        return bool(one == other)
    except ValueError:  # arrays in it do not say whether they are equal
        return False


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
        self._repeats = _Repeats([rule for rule, _ in self._rules], repeats) if repeats > 1 else None

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
        if self._repeats:
            self._repeats.add(sample, None)
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
        if self._repeats:
            self._repeats.add(sample, [(scored, flags | _unparsed(scored, prediction)) for scored in made])
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
            if self._repeats:
                yield from self._repeats.numbers(subset)


@dataclass(slots=True)
class _Whole:
    """The samples of which every draw has an answer, under one rule: `row` says which sample each is."""

    row: "array[int]" = field(default_factory=lambda: array("I"))
    passed: bytearray = field(default_factory=bytearray)
    agreed: "array[float]" = field(default_factory=lambda: array("d"))
    flags: bytearray = field(default_factory=bytearray)
    gaps: Counter[str] = field(default_factory=Counter)
    """In each subset the samples that lack an answer."""


class _Repeats:
    """`pass@N` (any draw right) and `majority@N` (the value most draws agree on), for rules that record `correct`.

    Over the samples of which every draw has an answer; the others are gaps. A flag counts where any draw has it. What was read is held
    only until a sample's last draw is there: it may be the masks of a video.
    """

    def __init__(self, rules: Sequence[Rule], repeats: int) -> None:
        self._repeats = repeats
        self._rules = [(rule, _Whole()) for rule in rules]
        self._draws: defaultdict[str, list[list[tuple[Scored, int]] | None]] = defaultdict(list)
        self._group = array("q")
        self._tagged: defaultdict[str, array[int]] = defaultdict(lambda: array("I"))

    def add(self, sample: Sample, draw: list[tuple[Scored, int]] | None) -> None:
        """Adds one draw: what each rule made of it, with its flags; None where no answer came."""
        self._draws[sample.id].append(draw)
        if len(self._draws[sample.id]) < self._repeats:
            return
        draws = self._draws.pop(sample.id)
        answered = [draw for draw in draws if draw is not None]
        row, subsets = len(self._group), (OVERALL, *sample.tags)
        self._group.append(cluster(sample.group or sample.id))
        for subset in subsets:
            self._tagged[subset].append(row)
        for place, (rule, whole) in enumerate(self._rules):
            if "correct" not in rule.metric.measure(None, sample):
                continue
            if len(answered) < self._repeats:
                whole.gaps.update(subsets)
                continue
            scored = [draw[place][0] for draw in answered]
            agreed = rule.metric.measure(_majority([made.value for made in scored]), sample)
            whole.row.append(row)
            whole.passed.append(any(made.record["correct"] for made in scored))
            whole.agreed.append(agreed["correct"])  # type: ignore[arg-type]  # a number: it is `correct`
            whole.flags.append(functools.reduce(operator.or_, (draw[place][1] for draw in answered)))

    def numbers(self, subset: str) -> Iterator[dict[str, Any]]:
        """The flat rows of a subset."""
        import numpy as np

        from .stats import share

        group = np.frombuffer(self._group, dtype=np.int64)
        member = np.zeros(len(group), dtype=bool)
        member[np.frombuffer(self._tagged.get(subset, array("I")), dtype=np.uint32)] = True
        for rule, whole in self._rules:
            if rule.subsets is not None and subset not in rule.subsets:
                continue
            row = np.frombuffer(whole.row, dtype=np.uint32)
            inside = member[row]
            if not inside.any() and not whole.gaps[subset]:
                continue
            counts = _counts(np.frombuffer(whole.flags, dtype=np.uint8)[inside], whole.gaps[subset])
            for name, column in (("pass", np.frombuffer(whole.passed, dtype=np.uint8)), ("majority", np.frombuffer(whole.agreed))):
                yield _row(f"{name}@{self._repeats}", rule.name, subset, share(column[inside], group[row[inside]]), counts)


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
