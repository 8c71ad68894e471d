"""Plots of runs: one file per kind, each a function `plot(runs, asked)` that draws on a figure one column of a paper wide."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..runs import Run

KINDS = {
    "curve": "a metric over checkpoints or training size, by the label of each run",
    "iou": "how the overlaps of the predicted boxes with the gold ones are distributed",
    "accuracy-by": "a metric by subset, by the number to count, or by the size of the gold region",
    "tools": "a metric by how often a reply asked for a tool",
    "calibration": "how many boxes replies hold against the number they answer",
    "attention": "the box-erasure probe: attention to the image with boxes and without",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be drawn of the runs; None leaves it to the kind."""

    task: str | None = None
    """One task; for a curve several, comma between."""
    metric: str | None = None
    """One estimate; for a curve several, comma between, each in axes of its own."""
    rule: str | None = None
    by: str | None = None
    """A family of subsets, `subset`, `count` or `box-size`."""
    x: str | None = None
    """The label whose value a curve goes over."""
    sample: str | None = None
    data: Path | None = None
    """Where a task's data is, in place of where the run found it."""


USES = {"curve": ("metric", "x"), "accuracy-by": ("metric", "by", "data"), "tools": ("metric",), "attention": ("sample", "data")}
"""The fields that a kind reads, besides task and rule."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A figure, a caption with its numbers, and what is to be said about them."""

    figure: "Figure"
    caption: str
    notes: tuple[str, ...] = ()


def draw(kind: str, runs: "Sequence[Run]", asked: Asked) -> Plot:
    """The plot of a kind of the runs, at least one; to be drawn and saved inside `paper.styled()`.

    Raises:
        UserError: the runs have no data for it, or do not go together; the message says what to run.
    """
    made: Plot = import_module(f"{__name__}.{kind.replace('-', '_')}").plot(runs, asked)
    return made
