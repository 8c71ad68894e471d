"""A metric over checkpoints or training size, with bands of the 95% intervals: GRIT's data-scaling figure (arXiv 2505.15879)."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import UserError, did_you_mean
from ..comparable import same_task
from ..runs import OVERALL, Run, notes, rule_of, task_of, told
from . import Asked, Plot, paper

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE = 20
"""From how many times the least place on, places are shown on a logarithmic axis."""
NEAR = 1.6
"""How many times the one before a place on such an axis must be for both to be named."""


@dataclass(frozen=True, slots=True)
class Line:
    """The points of one line: where, and the flat row there."""

    name: str
    xs: list[float]
    rows: list[dict[str, Any]]
    floors: list[float | None]

    def column(self, name: str) -> list[float]:
        """A number of each row, not a number where there is none."""
        return [math.nan if row[name] is None else row[name] for row in self.rows]


def plot(runs: Sequence[Run], asked: Asked) -> Plot:
    """One axes a metric, one line a task and family of runs."""
    tasks = [task_of(runs, name) for name in _listed(asked.task)] or _shared(runs)
    for task in tasks:
        same_task(runs, task)
    key, places = _places(runs, asked.x)
    metrics = _listed(asked.metric) or list(dict.fromkeys(runs[0].entry(task)["headline"] for task in tasks))
    panels = {metric: _lines(runs, tasks, metric, asked.rule, key, places) for metric in metrics}
    names = list(dict.fromkeys(line.name for lines in panels.values() for line in lines))
    if len(names) > len(paper.COLOURS):
        raise UserError(f"expected at most {len(paper.COLOURS)} lines in one plot, got {len(names)}: choose with --task, or fewer runs")
    rules = {metric: lines[0].rows[0]["rule"] for metric, lines in panels.items()}
    by = rules.popitem()[1] if len(set(rules.values())) == 1 else ", ".join(f"{rule} of {metric}" for metric, rule in rules.items())
    protocols = sorted({str(run.summary["protocol"]) for run in runs})
    heading = f"protocol {' and '.join(protocols)}, rule {by}{_parts(runs, tasks)}"
    made = paper.figure(0.35 + 1.35 * len(panels))
    grid: Any = made.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (metric, lines) in zip(grid, panels.items(), strict=True):
        _draw(axes, metric, lines, names)
    grid[-1].set_xlabel(key)
    _scale(grid[-1], sorted(set(places)))
    _legend(made, heading, panels, names)
    every = tuple(dict.fromkeys(note for task in tasks for note in notes(runs, task)))
    return Plot(made, _caption(key, panels), every)


def _listed(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _shared(runs: Sequence[Run]) -> list[str]:
    shared = [name for name in runs[0].tasks if all(name in run.tasks for run in runs)]
    return shared or [task_of(runs, None)]  # which says what each run has


def _places(runs: Sequence[Run], key: str | None) -> tuple[str, list[float]]:
    """The label that the curve goes over, and its value for each run.

    Raises:
        UserError: a run lacks it, it is no number, several may be meant, or all have the same.
    """
    how = "the same `evalkit run` once more with --label {0}=N --reuse {1}, which asks nothing again"
    labels = [run.labels for run in runs]
    if key is None:
        known = list(dict.fromkeys(name for said in labels for name in said))
        numeric = [name for name in known if all(_number(said[name]) is not None for said in labels if name in said)]
        shared = [name for name in numeric if all(name in said for said in labels)]
        if len(shared) > 1:
            raise UserError(f"the runs have labels {', '.join(shared)}: name the one that the curve goes over with --x")
        if not known:
            raise UserError(
                f"a curve needs a label on each run, such as step=200, and {runs[0].name} has none. Give it: "
                + how.format("step", runs[0].folder.path)
            )
        key = (shared or numeric or known)[0]
    for run, said in zip(runs, labels, strict=True):
        if key not in said:
            near = f" {did_you_mean(key, list(said))}" if said else ""
            raise UserError(f"run {run.name} has no label '{key}'.{near} Give it: " + how.format(key, run.folder.path))
        if _number(said[key]) is None:
            raise UserError(f"expected a number as label {key} of run {run.name}, got '{said[key]}': " + how.format(key, run.folder.path))
    places = [_number(said[key]) or 0.0 for said in labels]
    if len(set(places)) < 2:
        raise UserError(
            f"a curve needs runs at two values of {key} or more, got only {places[0]:g}: add run folders, or choose --kind accuracy-by"
        )
    return key, places


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _lines(runs: Sequence[Run], tasks: Sequence[str], metric: str, rule: str | None, key: str, places: Sequence[float]) -> list[Line]:
    """The lines of one metric, in the order of tasks and runs; tasks without the metric have none.

    Raises:
        UserError: no task has it, or two runs of a line are at one place.
    """
    having = [task for task in tasks if runs[0].numbers(task, metric)] or tasks[:1]
    families = [told(run, without=key)[1:] for run in runs]
    differs = [place for place in range(len(families[0])) if len({family[place] for family in families}) > 1]
    names = [", ".join(family[place] for place in differs if family[place]) for family in families]
    lines = []
    for task in having:
        chosen = rule_of(runs, task, metric, rule)
        for name in dict.fromkeys(names):
            mine = sorted((place, number) for number, place in enumerate(places) if names[number] == name)
            for (place, first), (other, second) in itertools.pairwise(mine):
                if place == other:
                    raise UserError(
                        f"{runs[first].name} and {runs[second].name} are both at {key}={place:g}: leave one out, "
                        "or tell them apart by another label, such as --label data=B"
                    )
            rows = [(place, runs[number]) for place, number in mine]
            found = [(place, run.numbers(task, metric, chosen).get(OVERALL), run.floor(task, metric)) for place, run in rows]
            kept = [(place, row, floor) for place, row, floor in found if row]
            if kept:
                label = f"{task}, {name}" if name else task
                lines.append(Line(label, *(list(column) for column in zip(*kept, strict=True))))
    if not lines:
        raise UserError(f"no run has '{metric}' of all samples of {', '.join(having)}: choose another with --metric")
    return lines


def _draw(axes: "Axes", metric: str, lines: Sequence[Line], names: Sequence[str]) -> None:
    title, percent = paper.unit(metric)
    axes.set_ylabel(f"{title}\nn = {paper.span([row['n'] for line in lines for row in line.rows])}")
    if percent:
        paper.share_axis(axes)
    seen = set()
    for line in lines:
        place = names.index(line.name)
        colour = paper.COLOURS[place]
        low, high, values = line.column("low"), line.column("high"), line.column("value")
        axes.fill_between(line.xs, low, high, color=colour, alpha=0.18, linewidth=0, label=f"95% interval of {line.name}")
        if len(line.xs) == 1:
            axes.vlines(line.xs, low, high, color=colour, linewidth=1)
        axes.plot(line.xs, values, color=colour, marker=paper.MARKERS[place], label=line.name, clip_on=False, zorder=3)
        floors = [(x, floor) for x, floor in zip(line.xs, line.floors, strict=True) if floor is not None]
        if floors and str(floors) not in seen:
            seen.add(str(floors))
            axes.plot(*zip(*floors, strict=True), color=colour, linestyle=(0, (1, 1.5)), linewidth=0.9, label=f"floor of {line.name}")


def _scale(axes: "Axes", places: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    plain = FuncFormatter(lambda value, _: f"{value:,g}" if abs(value) < 1e6 else f"{value:.3g}")
    if places[0] > 0 and places[-1] >= WIDE * places[0]:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        if len(places) <= 7 and all(after >= NEAR * before for before, after in itertools.pairwise(places)):
            axes.set_xticks(places)
    elif len(places) <= 4 and all(b - a > 0.15 * (places[-1] - places[0]) for a, b in itertools.pairwise(places)):
        axes.set_xticks(places)
    axes.xaxis.set_major_formatter(plain)


def _legend(made: Any, heading: str, panels: dict[str, list[Line]], names: Sequence[str]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    shown: list[str] = []
    for place, name in enumerate(names):
        handles.append(Line2D([], [], color=paper.COLOURS[place], marker=paper.MARKERS[place]))
        shown.append(name)
    handles.append(Patch(color=paper.GREY, alpha=0.25, linewidth=0))
    shown.append("95% interval")
    if any(floor is not None for lines in panels.values() for line in lines for floor in line.floors):
        handles.append(Line2D([], [], color=paper.GREY, linestyle=(0, (1, 1.5)), linewidth=0.9))
        shown.append("best constant answer")
    paper.legend(made, heading, handles, shown, columns=2 if max(map(len, shown)) <= 24 else 1)


def _parts(runs: Sequence[Run], tasks: Sequence[str]) -> str:
    partial = [task for task in tasks if any(run.entry(task)["limit"] is not None for run in runs)]
    return f"; partial: {', '.join(partial)}" if partial else ""


def _caption(key: str, panels: dict[str, list[Line]]) -> str:
    """What is drawn, with the number at every point."""
    told = []
    for metric, lines in panels.items():
        title, percent = paper.unit(metric)
        for line in lines:
            points = "; ".join(f"{x:g}: {paper.ranged(row, percent)}, n {row['n']}" for x, row in zip(line.xs, line.rows, strict=True))
            told.append(f"{title.removesuffix(' (%)')} of {line.name} (rule {line.rows[0]['rule']}) at {key} {points}.")
    return " ".join([*told, "Bands: 95% intervals."])
