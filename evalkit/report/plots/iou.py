"""How the overlaps of the predicted boxes with the gold ones are distributed: a histogram of the IoU of each sample."""

from collections.abc import Sequence
from typing import Any

from ...errors import UserError
from ..comparable import same_task
from ..runs import OVERALL, Run, check_mean, heading, notes, rule_of, task_of, titles, value_of
from . import Asked, Plot, paper

METRIC = "grounding_iou"
BINS = 20


def plot(runs: Sequence[Run], asked: Asked) -> Plot:
    """One outline a run, filled for a single one; the mean of each as a line with its 95% interval as a band."""
    import numpy as np

    task = task_of(runs, asked.task)
    same_task(runs, task)
    for run in runs:
        if not run.numbers(task, METRIC):
            raise UserError(
                f"run {run.name} has no IoU of {task}: the task has no gold boxes, or no rule reads them. "
                "Choose a task that has with --task, such as grit_vsr, vqa_verify or shapes"
            )
    rule = rule_of(runs, task, METRIC, asked.rule)
    value = value_of(METRIC, rule)
    made = paper.figure(1.7)
    axes = made.subplots()
    edges = np.linspace(0, 1, BINS + 1)
    handles: list[Any] = []
    names, told = [], []
    for place, (run, title) in enumerate(zip(runs, paper.distinct(titles(runs)), strict=True)):
        values = np.array([found for _, records in run.rows(task) if (found := value(records)) is not None])
        check_mean(run, task, METRIC, rule, values.tolist())
        row = run.numbers(task, METRIC, rule)[OVERALL]
        if not len(values):
            raise UserError(f"no sample of {task} in {run.name} has an IoU: no answer came to one with gold boxes")
        colour, none = paper.COLOURS[place], float((values == 0).mean())
        shares = np.histogram(values, edges)[0] / len(values)
        fill = {"fill": True, "facecolor": (colour, 0.3), "edgecolor": colour} if len(runs) == 1 else {"color": colour}
        handles.append(axes.stairs(shares, edges, label=title, linewidth=1, linestyle=paper.DASHES[place], **fill))
        if none and len(runs) == 1:
            handles.append(axes.bar(0, none, 1 / BINS, align="edge", color=colour, label="no overlap", zorder=2))
        axes.axvline(row["value"], color=colour, linestyle=paper.DASHES[place], linewidth=0.9, label=f"mean of {title}")
        if row["low"] is not None:
            axes.axvspan(row["low"], row["high"], color=colour, alpha=0.15, linewidth=0, label=f"95% interval of {title}")
        interval = "" if row["low"] is None else f" ({row['low']:.2f}–{row['high']:.2f})"
        names.append(f"{paper.short(title, 24)}: mean {row['value']:.2f}{interval}, n = {len(values):,}")
        names += [f"no overlap at all: {none:.0%}"] if none and len(runs) == 1 else []
        told.append(f"{title}: mean {paper.ranged(row, False)}, n {len(values)}, without any overlap {none:.1%}.")
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("IoU of predicted and gold boxes")
    axes.set_ylabel("samples (%)")
    paper.share_axis(axes)
    paper.legend(made, heading(runs, task, rule), handles, names)
    what = f"IoU of the predicted with the gold boxes on {task} (rule {rule}), {BINS} bins."
    caption = f"{what} {' '.join(told)} Lines: means, bands: 95% intervals."
    return Plot(made, caption, tuple(notes(runs, task)))
