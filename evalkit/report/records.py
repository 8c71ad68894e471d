"""What a number of a run is made of: its records as columns, eight bytes a number, so that a million samples are cheap."""

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from .. import graders, manifest, protocols, stats, task
from ..errors import UserError, did_you_mean
from ..interfaces import Rule
from ..scoring import cluster
from ..task import Composite, Task
from ..types import Columns
from .runs import FIELDS, OVERALL, Run

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

CLOSE = 1e-9
"""How far a number may be from what is computed of its records, relative to it: sums differ by rounding."""


@dataclass(frozen=True, slots=True)
class Records:
    """Records (n,) of one rule: which answer each is of, its cluster, its numbers, and whether it is of each subset of a composite."""

    key: "Array"
    group: "Array"
    values: "dict[str, Array]"
    parts: "tuple[Array, ...]" = ()

    def __len__(self) -> int:
        return len(self.key)

    def at(self, places: "Array") -> "Records":
        """Those at the places, or where a mask is true."""
        values = {name: column[places] for name, column in self.values.items()}
        return Records(self.key[places], self.group[places], values, tuple(part[places] for part in self.parts))

    def exchanged(self, other: "Records", where: "Array") -> "Records":
        """With the numbers of another run's records of the same answers where the mask is true."""
        import numpy as np

        values = {name: np.where(where, other.values[name], column) for name, column in self.values.items()}
        return Records(self.key, self.group, values, self.parts)


@dataclass(frozen=True, slots=True)
class Number:
    """One estimate of a task by one rule, of all its samples or of the subsets of a composite."""

    task: str
    metric: str
    rule: Rule
    subset: str = OVERALL
    composite: Composite | None = None

    @classmethod
    def of(cls, run: Run, named: str, metric: str, rule: str, subset: str) -> Self:
        """The estimate as the code that is here now computes it.

        Raises:
            UserError: the task is not found, or no rule of it gives the estimate.
        """
        made = equipped(run, named)
        found = [known for known in made.rules if known.name == rule and metric in known.metric.summarise(_nothing())]
        if not found:
            known = sorted({name for known in made.rules if known.name == rule for name in known.metric.summarise(_nothing())})
            raise UserError(f"no estimate '{metric}' of {named} by rule '{rule}' is made of records. {did_you_mean(metric, known)}")
        composites = [known for known in made.composites if (known.metric, known.subset) == (metric, subset)]
        return cls(named, metric, found[0], subset, composites[0] if composites else None)

    def records(self, run: Run) -> Records:
        """The records that a run's number is made of, in the order of their answers' codes."""
        import numpy as np

        of = self.composite.of if self.composite else ()
        keys, groups = array("q"), array("q")
        columns: dict[str, array[float] | list[Sequence[float]]] = {}
        inside = [bytearray() for _ in of]
        for prediction, records in run.rows(self.task):
            tags = prediction["tags"]
            for record in records:
                if (record["rule"], record["metric"]) != (self.rule.name, self.rule.metric.name) or not self._holds(tags):
                    continue
                keys.append(code(prediction["sample"], prediction["draw"]))
                groups.append(cluster(prediction["group"] or prediction["sample"]))
                for place, subset in enumerate(of):
                    inside[place].append(subset in tags)
                for name in record.keys() - KNOWN or {"value"}:
                    number = record[name]
                    if name not in columns:
                        columns[name] = array("d") if isinstance(number, float | int) else []
                    columns[name].append(number)
        values = {name: _column(columns[name]) for name in sorted(columns)}
        parts = tuple(np.frombuffer(bytes(part), dtype=bool) for part in inside)
        made = Records(np.array(keys, dtype=np.int64), np.array(groups, dtype=np.int64), values, parts)
        return made.at(np.argsort(made.key))

    def _holds(self, tags: Sequence[str]) -> bool:
        return self.composite is not None or self.subset == OVERALL or self.subset in tags

    def value(self, records: Records) -> float:
        """The number of these records; nan where it is undefined."""
        with stats.values_only():
            parts = [records.at(part) for part in records.parts] if self.composite else [records]
            found = [self.rule.metric.summarise(Columns(part.values, part.group))[self.metric].value for part in parts]
        known = [value for value in found if value is not None]
        if len(known) < len(found):
            return math.nan
        return math.fsum(known) / (len(known) if self.composite is None or self.composite.how == "mean" else 1)

    def sums(self, *runs: Records) -> tuple[str, str] | None:
        """The columns whose sums the number is a ratio of, the second empty for a mean over records; None where it is no such ratio.

        Found by trying: a ratio that agrees with the number on all records of every run and on several parts of them is it.
        """
        import numpy as np

        names = [name for name, column in runs[0].values.items() if column.dtype != object]
        names.sort(key=lambda name: (name != FIELDS.get(self.metric), name != "correct"))
        alone = Number(self.task, self.metric, self.rule)
        trials = []
        for records in runs:
            masks = [np.ones(len(records), dtype=bool), *(records.group % number == 0 for number in (2, 3)), records.group % 2 == 1]
            trials += [(records.at(mask), alone.value(records.at(mask))) for mask in masks if mask.any()]

        def agrees(above: str, below: str) -> bool:
            return all(_same(_ratio(part, above, below), value) for part, value in trials)

        pairs = [(name, "") for name in names] + [(above, below) for above in names for below in names if above != below]
        return next((pair for pair in pairs if agrees(*pair)), None)


KNOWN = frozenset({"task", "sample", "draw", "rule", "metric", "value", "failure"})
"""What a row of records.jsonl holds beside the record. A record that is a `value` alone has that in place of what was read."""


def code(sample: str, draw: int) -> int:
    """A 63-bit code of an answer: of a sample and the number of its draw."""
    return cluster(f"{sample}\n{draw}")


def numerator(records: Records, pair: tuple[str, str]) -> "Array":
    """The first column of a pair that `Number.sums` found."""
    return records.values[pair[0]]


def denominator(records: Records, pair: tuple[str, str]) -> "Array":
    """The second column of the pair, ones for a mean."""
    import numpy as np

    return records.values[pair[1]] if pair[1] else np.ones(len(records))


def _ratio(records: Records, above: str, below: str) -> float:
    total = float(denominator(records, (above, below)).sum())
    return float(records.values[above].sum()) / total if total else float("nan")


def _same(first: float, second: float) -> bool:
    return (math.isnan(first) and math.isnan(second)) or math.isclose(first, second, rel_tol=CLOSE, abs_tol=1e-12)


def equipped(run: Run, named: str) -> Task:
    """A task of a run with all that the run sent after its predictions and read its replies by."""
    config = manifest.options(run.manifest)
    typed = config.tasks[[entry["name"] for entry in run.manifest["tasks"]].index(named)]
    made = task.find(typed, manifest.data_folder(config, typed))
    return made.equipped(protocols.find(run.manifest["protocol"]), [graders.find(name) for name in config.probe])


def _nothing() -> Columns:
    import numpy as np

    return Columns({}, np.zeros(0, dtype=np.int64))


def _column(column: "array[float] | list[Sequence[float]]") -> "Array":
    import numpy as np

    if isinstance(column, array):
        return np.array(column, dtype=float)
    lists = np.empty(len(column), dtype=object)
    for place, numbers in enumerate(column):
        lists[place] = np.asarray(numbers, dtype=float)
    return lists
