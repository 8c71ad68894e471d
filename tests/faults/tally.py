"""What is counted of every fault that is tried."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Tally:
    """How often a fault was tried, and what it cost. Tallies add up with `+`.

    Args:
        tried: kills, requests, files or inputs: those that came about, however many were asked for.
        lost: answers that were kept (their commit had returned) and are gone, or were paid for twice.
        scored: errors that were stored or scored as answers.
        crashes: tracebacks, hangs, damaged files, processes left over, results that differ; each is told in `notes`.
        notes: what to know, a line each.
        lacks: what this machine lacks to try it, or to try it as often as asked; empty: nothing.
    """

    tried: int = 0
    lost: int = 0
    scored: int = 0
    crashes: int = 0
    notes: list[str] = field(default_factory=list)
    lacks: str = ""

    def __add__(self, other: "Tally") -> "Tally":
        counts = (self.tried + other.tried, self.lost + other.lost, self.scored + other.scored, self.crashes + other.crashes)
        return Tally(*counts, self.notes + other.notes, self.lacks or other.lacks)

    def crashed(self, note: str) -> None:
        self.crashes += 1
        self.notes.append(note)

    def loses(self, what: Collection[str], how: str) -> None:
        """Counts answers that are lost, with a few of them in a note that says how."""
        if what:
            self.lost += len(what)
            self.notes.append(f"{how}: {sorted(what)[:5]}")


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the table: `what` is tried `whole` times by `make faults` and `quick` times by the tests; 0 leaves it out there.

    `try_` gets an empty folder and the number of times.
    """

    what: str
    try_: Callable[[Path, int], Tally]
    whole: int
    quick: int
    needs: str = ""
    """The package without which it cannot be tried."""
