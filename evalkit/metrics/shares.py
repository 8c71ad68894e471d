"""One value a sample, averaged: what a protocol, a judge or a probe says of each reply beside its score."""

from collections.abc import Mapping
from dataclasses import dataclass

from .. import stats
from ..errors import DataError
from ..types import AnswerKind, Columns, Estimate, Record, Sample


@dataclass(frozen=True, slots=True)
class Share:
    """The estimate `name`: the share of samples whose value is true, in [0, 1]. Where nothing was read it is not.

    >>> from evalkit.types import Wants
    >>> sample = Sample("1", "How many?", "How many?", (), Wants("count"), target=4)
    >>> Share("kept").measure(True, sample), Share("kept", ("text",)).measure(True, sample)
    ({'share': 1.0}, {})
    """

    name: str
    kinds: tuple[AnswerKind, ...] = ()
    """The kinds of answer whose samples count; all where empty."""

    def measure(self, value: bool | None, sample: Sample) -> Record:
        """`share`: 1 where the value is true, else 0; empty where the sample wants another kind."""
        return {} if self.kinds and sample.wants.kind not in self.kinds else {"share": float(bool(value))}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """The estimate, with Wilson's interval on the effective n."""
        return {self.name: stats.share(stats.column(records, "share"), records.group)}


@dataclass(frozen=True, slots=True)
class Mean:
    """The estimate `name`: the mean of values in [0, 1]; 0 where nothing was read.

    >>> from evalkit.types import Wants
    >>> sample = Sample("1", "Which?", "Which?", (), Wants("text"), target="red")
    >>> Mean("overlap").measure(0.25, sample), Mean("overlap").measure(None, sample)
    ({'value': 0.25}, {'value': 0.0})
    """

    name: str
    kinds: tuple[AnswerKind, ...] = ()
    """The kinds of answer whose samples count; all where empty."""

    def measure(self, value: float | None, sample: Sample) -> Record:
        """`value`, 0 where it is None; empty where the sample wants another kind.

        Raises:
            DataError: it is no number in [0, 1].
        """
        if self.kinds and sample.wants.kind not in self.kinds:
            return {}
        if not 0 <= (number := float(value or 0.0)) <= 1:
            raise DataError(
                f"expected a value in [0, 1] as the {self.name} of {sample.id}, got {number}: divide it by the largest that it can be, "
                "or average it by a metric of your own"
            )
        return {"value": number}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """The estimate, with a clustered bootstrap interval."""
        return {self.name: stats.mean(stats.column(records, "value"), records.group, bounded=True)}
