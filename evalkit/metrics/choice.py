"""Answers that are right or wrong: letters, yes or no, exact strings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import stats
from ..types import Columns, Estimate, Record, Sample


@dataclass(frozen=True, slots=True)
class Accuracy:
    """`accuracy`: the share of samples whose value equals the target, in [0, 1]. An unparsed reply is wrong.

    >>> from evalkit.types import Wants
    >>> sample = Sample("1", "Which?", "Which?", (), Wants("choice"), target="B")
    >>> Accuracy().measure("B", sample), Accuracy().measure(None, sample)
    ({'correct': 1.0}, {'correct': 0.0})
    """

    @property
    def name(self) -> str:
        return "accuracy"

    def measure(self, value: Any | None, sample: Sample) -> Record:
        """`correct`: 1 where the value equals the target, else 0."""
        return {"correct": float(value is not None and value == sample.target)}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """`accuracy`, with Wilson's interval on the effective n."""
        return {"accuracy": stats.share(stats.column(records, "correct"), records.group)}
