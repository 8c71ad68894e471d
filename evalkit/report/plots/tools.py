"""Tool use against accuracy: a metric by how often a reply asked for a tool, and how many replies did."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import UserError
from ..comparable import same_task
from ..runs import OVERALL, Run, check_mean, estimate, heading, notes, rule_of, task_of, titles, value_of
from . import Asked, Plot, paper

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 6
"""From this many on replies are one part."""


@dataclass(slots=True)
class Part:
    """Samples that asked for as many operations: their values, their groups, and in how many an operation failed."""

    values: list[float] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    failed: int = 0


def plot(runs: Sequence[Run], asked: Asked) -> Plot:
    """Above, the metric with its 95% interval by the number of operations asked for; below, how many replies there are of each."""
    task = task_of(runs, asked.task)
    same_task(runs, task)
    metric = asked.metric or str(runs[0].entry(task)["headline"])
    rule = rule_of(runs, task, metric, asked.rule)
    names = paper.distinct(titles(runs))
    parts = [_parts(run, task, metric, rule) for run in runs]
    most = max(number for mine in parts for number in mine)
    hatched: Any = None
    made = paper.figure(2.4)
    above, below = made.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    title, percent = paper.unit(metric)
    handles: list[Any] = []
    shown, told = [], []
    for place, (run, name, mine) in enumerate(zip(runs, names, parts, strict=True)):
        estimates = [estimate(mine[number].values, mine[number].groups, metric) if number in mine else None for number in range(most + 1)]
        handles.append(paper.points(above, estimates, place, len(runs), name))
        overall = run.numbers(task, metric, rule)[OVERALL]
        above.axhline(overall["value"], color=paper.COLOURS[place], linestyle="--", linewidth=0.7, label=f"all samples of {name}")
        shown.append(f"{name}, n = {overall['n']:,} (dashed: all samples)")
        hatched = _bars(below, mine, place, len(runs), name) or hatched
        told += [
            f"{name}, {_name(number)} asked for: {paper.ranged(found, percent)}, n {found.n}"
            for number, found in enumerate(estimates)
            if found
        ]
    if hatched:
        handles.append(hatched)
        shown.append("below: an operation failed")
    floor = runs[0].floor(task, metric)
    if floor is not None:
        handles.append(above.axhline(floor, color=paper.GREY, linestyle=":", linewidth=0.9, label="floor"))
        shown.append("best constant answer")
    if percent:
        paper.share_axis(above)
        above.set_ylim(-0.03, 1.03)
    paper.share_axis(below)
    above.set_ylabel(title)
    below.set_ylabel("replies (%)")
    below.set_xlabel("operations asked for in a reply (below: n)")
    ns = [[len(mine[number].values) if number in mine else 0 for mine in parts] for number in range(most + 1)]
    below.set_xticks(range(most + 1), [f"{_name(number)}\n{paper.span(n)}" for number, n in enumerate(ns)])
    for axes in (above, below):
        axes.grid(visible=False, axis="x")
    paper.legend(made, heading(runs, task, rule), handles, shown)
    what = f"{title.removesuffix(' (%)')} on {task} (rule {rule})"
    caption = f"{what} by the number of visual operations that a reply asked for. {'; '.join(told)}. Bars: 95% intervals."
    return Plot(made, caption, tuple(notes(runs, task)))


def _name(number: int) -> str:
    return f"{number}" if number < MOST else f"≥ {number}"


def _bars(axes: "Axes", parts: Mapping[int, Part], place: int, of: int, name: str) -> Any:
    """Draws the share of replies in each part, those with a failure hatched; returns these, None where there are none."""
    whole = sum(len(part.values) for part in parts.values())
    xs = [number + paper.shift(place, of, 0.6) for number in sorted(parts)]
    failed = [parts[number].failed / whole for number in sorted(parts)]
    done = [len(parts[number].values) / whole - share for number, share in zip(sorted(parts), failed, strict=True)]
    colour = paper.COLOURS[place]
    axes.bar(xs, done, 0.6 / of, color=colour, label=f"replies of {name}")
    if not any(failed):
        return None
    look: Any = {"facecolor": (colour, 0.25), "edgecolor": colour, "hatch": "////"}
    return axes.bar(xs, failed, 0.6 / of, bottom=done, label=f"with a failure, {name}", **look)


def _parts(run: Run, task: str, metric: str, rule: str) -> dict[int, Part]:
    """The samples by how many operations were asked for.

    Raises:
        UserError: the run's protocol has no tools, or no answer came.
    """
    value = value_of(metric, rule)
    parts: defaultdict[int, Part] = defaultdict(Part)
    with_tools = False
    for row, records in run.rows(task):
        used = next((record for record in records if record["metric"] == "operations"), None)
        with_tools = with_tools or used is not None
        if used and (found := value(records)) is not None:
            part = parts[min(int(used["asked"]), MOST)]
            part.values.append(found)
            part.groups.append(row["group"] or row["sample"])
            part.failed += used["failed"] > 0
    if not with_tools:
        raise UserError(
            f"no reply of {run.name} to {task} had a tool to ask for (protocol {run.summary['protocol']}): "
            "run it with one that has, such as --protocol pixel_reasoner"
        )
    check_mean(run, task, metric, rule, [found for part in parts.values() for found in part.values])
    if not parts:
        raise UserError(f"no sample of {task} in {run.name} has {metric} by rule {rule}: no answer came. The same `evalkit run` asks again")
    return dict(parts)
