"""Answers that are whole numbers of things."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import stats
from ..types import Columns, Estimate, Record, Sample

if TYPE_CHECKING:
    import numpy as np

FARTHEST = 10**9
"""Where a raw error ends: a reply of a thousand digits is as wrong as can be, and still a float whose square is finite."""


@dataclass(frozen=True, slots=True)
class Counts:
    """`accuracy` and root mean squared errors of whole numbers, as TallyQA defines them (Acharya, Kafle, Kanan, AAAI 2019).

    `accuracy` in [0, 1], where an unparsed reply is wrong, and three readings of the error, all at least 0:
    - `rmse`: parsed replies only, clipped to 0 and `largest`, since one "2014" would drown every other error;
    - `rmse_raw`: parsed replies only, as they are;
    - `rmse_unparsed_zero`: all replies, clipped, an unparsed one taken for 0 as in the authors' scorer.

    >>> from evalkit.types import Wants
    >>> sample = Sample("1", "How many?", "How many?", (), Wants("count"), target=4)
    >>> Counts().measure(2014, sample)
    {'correct': 0.0, 'error': 11.0, 'raw_error': 2010.0, 'parsed': 1.0}
    >>> Counts().measure(None, sample)
    {'correct': 0.0, 'error': -4.0, 'raw_error': -4.0, 'parsed': 0.0}
    """

    largest: int = 15
    """The largest answer that predictions are clipped to."""

    @property
    def name(self) -> str:
        return "counts"

    def measure(self, value: Any | None, sample: Sample) -> Record:
        """`correct`, `error` (clipped prediction minus target), `raw_error` and `parsed`; None has the errors of a 0."""
        count = 0 if value is None else value
        return {
            "correct": float(value is not None and value == sample.target),
            "error": float(min(max(count, 0), self.largest) - sample.target),
            "raw_error": float(min(max(count - sample.target, -FARTHEST), FARTHEST)),
            "parsed": float(value is not None),
        }

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """`accuracy` with Wilson's interval; `rmse`, `rmse_raw` and `rmse_unparsed_zero` with bootstrap intervals."""
        error, parsed = stats.column(records, "error"), stats.column(records, "parsed") > 0
        raw_error = stats.column(records, "raw_error")
        return {
            "accuracy": stats.share(stats.column(records, "correct"), records.group),
            "rmse": _rmse(error[parsed], records.group[parsed]),
            "rmse_raw": _rmse(raw_error[parsed], records.group[parsed]),
            "rmse_unparsed_zero": _rmse(error, records.group),
        }


def _rmse(error: "np.ndarray[Any, Any]", group: "np.ndarray[Any, Any]") -> Estimate:
    sums = stats.cluster_sums(group, error**2, error**0)
    return stats.bootstrap(lambda squares, count: (squares / count) ** 0.5, sums, len(error))
