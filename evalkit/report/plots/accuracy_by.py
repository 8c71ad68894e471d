"""A metric by subset: a relation, a category, the number to count, the size of the gold region."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import DataError, UserError, did_you_mean
from ...geometry import region_overlap
from ...images import resolve
from ...types import Estimate
from ..comparable import same_task
from ..runs import OVERALL, Run, check_mean, estimate, heading, notes, rule_of, task_of, titles, value_of
from . import Asked, Plot, paper

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 40
"""So many subsets are drawn, those with the most samples."""
MOST_COUNTS = 12
"""From this count on samples are one part."""
SIZES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
"""Where the parts by box size meet, in shares of the image's area."""
PLAIN = "subset"
COMPUTED = {"count": "true count (below: n)", "box-size": "gold region, % of the image (below: n)"}
"""Parts that are no tags: what their axis is called."""


@dataclass(frozen=True, slots=True)
class Part:
    """A subset: its estimate in each run, None where a run lacks it, and what a constant answer scores in it."""

    name: str
    estimates: list[Estimate | None]
    floor: float | None = None

    @property
    def n(self) -> str:
        """How many samples it has, in words; a range where the runs differ."""
        return paper.span([found.n for found in self.estimates if found])


def plot(runs: Sequence[Run], asked: Asked) -> Plot:
    """One point a run and part, with its 95% interval; parts that have no order are sorted by the first run's values."""
    task = task_of(runs, asked.task)
    same_task(runs, task)
    metric = asked.metric or str(runs[0].entry(task)["headline"])
    rule = rule_of(runs, task, metric, asked.rule)
    by, names = _chosen(runs, task, metric, asked.by), paper.distinct(titles(runs))
    left = ""
    if by in COMPUTED:
        parts = _computed(runs, task, metric, rule, by, asked)
        made = _upright(runs, parts, task, metric, rule, by, names)
    else:
        parts = _tagged(runs, task, metric, rule, by)
        if len(parts) > MOST:
            kept = sorted(parts, key=lambda part: -max(found.n for found in part.estimates if found))[:MOST]
            left = f"{len(parts) - MOST} smaller subsets are left out"
            parts = [part for part in parts if part in kept]
        made = _sideways(runs, parts, task, metric, rule, by, names)
    title, percent = paper.unit(metric)
    told = "; ".join(
        f"{part.name}: "
        + ", ".join(
            f"{name + ' ' if len(runs) > 1 else ''}{paper.ranged(found, percent)}"
            for name, found in zip(names, part.estimates, strict=True)
            if found
        )
        + f", n {part.n}"
        for part in parts
    )
    caption = f"{title.removesuffix(' (%)')} on {task} (rule {rule}) by {by}: {told}. Bars: 95% intervals; dashed: all samples."
    return Plot(made, caption + (f" {left}." if left else ""), (*notes(runs, task), *([left] if left else [])))


def _chosen(runs: Sequence[Run], task: str, metric: str, by: str | None) -> str:
    """The family that is named, else the only one that the tags make.

    Raises:
        UserError: there is no such family, or it has to be named.
    """
    families = list(dict.fromkeys(_family(subset) for run in runs for subset in run.numbers(task, metric) if _is_part(run, task, subset)))
    if by is None and len(families) == 1:
        return families[0]
    if by is None:
        raise UserError(f"expected --by and what {metric} of {task} is to be split by: {', '.join([*families, *COMPUTED])}")
    if by not in (*families, *COMPUTED):
        raise UserError(f"no subsets of {task} by '{by}' have {metric}. {did_you_mean(by, [*families, *COMPUTED])}")
    return by


def _family(subset: str) -> str:
    return subset.partition("=")[0] if "=" in subset else PLAIN


def _is_part(run: Run, task: str, subset: str) -> bool:
    return subset != OVERALL and subset not in run.entry(task).get("composites", ())


def _tagged(runs: Sequence[Run], task: str, metric: str, rule: str, family: str) -> list[Part]:
    """The parts of a family of tags, as the summaries have them, best of the first run first."""
    numbers = [run.numbers(task, metric, rule) for run in runs]
    names = dict.fromkeys(
        subset
        for run, rows in zip(runs, numbers, strict=True)
        for subset, row in rows.items()
        if _is_part(run, task, subset) and _family(subset) == family and row["value"] is not None
    )
    if not names:
        raise UserError(f"no sample of {task} by {family} has {metric} by rule {rule}: no answer came. The same `evalkit run` asks again")
    parts = []
    for subset in names:
        rows = [mine.get(subset) for mine in numbers]
        found = [Estimate(*(row[key] for key in ("value", "stderr", "low", "high", "n"))) if row else None for row in rows]
        floor = next((floor for run in runs if (floor := run.floor(task, metric, subset)) is not None), None)
        parts.append(
            Part(
                subset.partition("=")[2] if family != PLAIN else subset,
                [item if item and item.value is not None else None for item in found],
                floor,
            )
        )
    return sorted(parts, key=lambda part: (-next(item.value or 0 for item in part.estimates if item), part.name))


def _computed(runs: Sequence[Run], task: str, metric: str, rule: str, by: str, asked: Asked) -> list[Part]:
    """The parts by count or by box size, of the samples' own values."""
    value = value_of(metric, rule)
    place = _sizes(runs, task, asked) if by == "box-size" else {}
    columns: list[Mapping[int, tuple[list[float], list[str]]]] = []
    for run in runs:
        parts: dict[int, tuple[list[float], list[str]]] = defaultdict(lambda: ([], []))
        values = []
        for row, records in run.rows(task):
            if (found := value(records)) is None:
                continue
            values.append(found)
            target = row["target"]
            number = (
                place.get(row["sample"]) if by == "box-size" else min(target, MOST_COUNTS) if type(target) is int and target >= 0 else None
            )
            if number is not None:
                parts[number][0].append(found)
                parts[number][1].append(row["group"] or row["sample"])
        check_mean(run, task, metric, rule, values)
        columns.append(parts)
    places = sorted({number for parts in columns for number in parts})
    if not places:
        reason = "no sample's gold answer is a count" if by == "count" else f"no sample with {metric} has a gold region"
        raise UserError(
            f"nothing to split {metric} of {task} by {by}: {reason}. Tasks that count: tallyqa, shapes; with regions: vstar, shapes"
        )
    name = _count_name if by == "count" else _size_name
    return [Part(name(number), [estimate(*parts[number], metric) if number in parts else None for parts in columns]) for number in places]


def _sizes(runs: Sequence[Run], task: str, asked: Asked) -> dict[str, int]:
    """Of each answered sample with gold regions in which part by size it is.

    Raises:
        DataError: the data or an image of it is not there.
    """
    answered = {row["sample"] for run in runs for row in run.predictions(task)}
    found: dict[str, int] = {}
    try:
        for sample in runs[0].samples(task, asked.data):  # of one data, as was checked
            if sample.id in answered and sample.regions and sample.images:
                size = sample.images[0].size or resolve(sample.images[0]).size
                boxes = [box.ordered().clipped(size) for box in sample.regions] if size else []
                area = region_overlap([box for box in boxes if box.area > 0], ()).union
                if size and area:
                    found[sample.id] = sum(area / (size.width * size.height) >= edge for edge in SIZES)
    except DataError as error:
        raise DataError(
            f"the sizes of gold regions are in the data of {task}, images included: {error}. Name it with --data DIR"
        ) from error
    return found


def _count_name(number: int) -> str:
    return f"{number}" if number < MOST_COUNTS else f"≥ {number}"


def _size_name(number: int) -> str:
    edges = [f"{100 * edge:g}" for edge in SIZES]
    if number == 0:
        return f"< {edges[0]}"
    return f"≥ {edges[-1]}" if number == len(edges) else f"{edges[number - 1]}–{edges[number]}"


def _upright(runs: Sequence[Run], parts: Sequence[Part], task: str, metric: str, rule: str, by: str, names: Sequence[str]) -> "Figure":
    """Parts that have an order, side by side."""
    made = paper.figure(1.9)
    axes = made.subplots()
    title, percent = paper.unit(metric)
    handles, shown = [], []
    for place, (run, name) in enumerate(zip(runs, names, strict=True)):
        handles.append(paper.points(axes, [part.estimates[place] for part in parts], place, len(runs), name))
        overall = run.numbers(task, metric, rule).get(OVERALL)
        if overall and overall["value"] is not None:
            axes.axhline(overall["value"], color=paper.COLOURS[place], linestyle="--", linewidth=0.7, label=f"all samples of {name}")
        shown.append(f"{name} (dashed: all samples)")
    floor = runs[0].floor(task, metric)
    if floor is not None:
        handles.append(axes.axhline(floor, color=paper.GREY, linestyle=":", linewidth=0.9, label="floor"))
        shown.append("best constant answer")
    axes.set_xticks(range(len(parts)), [f"{part.name}\n{part.n}" for part in parts])
    axes.tick_params(axis="x", labelsize=7 if len(parts) <= 8 else 6)
    axes.set_xlabel(COMPUTED[by])
    axes.set_ylabel(title)
    axes.grid(visible=False, axis="x")
    if percent:
        paper.share_axis(axes)
        axes.set_ylim(-0.03, 1.03)
    paper.legend(made, heading(runs, task, rule), handles, shown)
    return made


def _sideways(runs: Sequence[Run], parts: Sequence[Part], task: str, metric: str, rule: str, by: str, names: Sequence[str]) -> "Figure":
    """Parts with names, one below the other."""
    made = paper.figure(0.6 + len(parts) * (0.06 + 0.1 * len(runs)))
    axes = made.subplots()
    title, percent = paper.unit(metric)
    handles, shown = [], []
    for place, (run, name) in enumerate(zip(runs, names, strict=True)):
        handles.append(paper.points(axes, [part.estimates[place] for part in parts], place, len(runs), name, sideways=True))
        overall = run.numbers(task, metric, rule).get(OVERALL)
        if overall and overall["value"] is not None:
            axes.axvline(overall["value"], color=paper.COLOURS[place], linestyle="--", linewidth=0.7, label=f"all samples of {name}")
        shown.append(f"{name} (dashed: all samples)")
    floors = [(part.floor, place) for place, part in enumerate(parts) if part.floor is not None]
    if floors:
        columns: Any = list(zip(*floors, strict=True))
        handles += axes.plot(*columns, linestyle="", marker="|", markersize=6, color=paper.GREY, label="floor")
        shown.append("best constant answer")
    axes.set_yticks(range(len(parts)), [f"{paper.short(part.name)} ({part.n})" for part in parts])
    axes.set_ylim(len(parts) - 0.4, -0.6)
    axes.set_ylabel(f"{by} (n)")
    axes.set_xlabel(title)
    axes.grid(visible=False, axis="y")
    if percent:
        paper.share_axis(axes, "x")
        axes.set_xlim(-0.02, 1.02)
    paper.legend(made, heading(runs, task, rule), handles, shown)
    return made
