"""The headlines of runs side by side: a line a run, a column a task, with the composites of a task as sub-scores."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from . import form, measured
from .comparable import pixels
from .form import Cell, Column, Line, Table
from .runs import LOWER_IS_BETTER, OVERALL, Run, titles
from .table import headlines

POINTS = ("judge_score", "points", "score")
"""Estimates that are no shares: means of a judge's scale, sums of points. They are printed as they are."""
ASKED = ("protocol", "judge", "size of images", "temperature", "max_tokens", "number of draws")
"""What the caption says of how all numbers were asked for, but for what goes without saying."""
UNSAID = ("1 draw", f"images of {pixels(None, None)}")
Key = tuple[str, str, str, str]


def table(runs: Sequence[Run], base: Run | None = None, across: Collection[str] = ()) -> Table:
    """The table of the runs, in their order; numbers that do not compare have columns of their own, but where they differ in what is
    `across`: that is noted of their lines.

    Raises:
        Refused: no run compares with the baseline `base`.
        UserError: there is no other run than the baseline, or the rows of one are damaged.
    """
    rows = [{_key(row): row for row in headlines(run.summary)} for run in runs]
    columns = _columns([key for found in rows for key in found])
    rows = [{key: row for key, row in found.items() if row["value"] is not None} for found in rows]
    scales = {key: _scale(key, [found[key] for found in rows if key in found]) for key in columns}
    columns = {key: _digits(column, scales[key], rows, key) for key, column in columns.items()}
    lines = []
    for run, found in zip(runs, rows, strict=True):
        how = measured.made(run, [kind for kind in measured.KINDS if kind not in across])
        cells = {key: measured.cell(run, row, scales[key], columns[key].digits, how[key[0]]) for key, row in found.items()}
        lines.append({columns[key].name: cell for key, cell in cells.items()})
    labels = titles(runs, models=True)
    notes: list[str] = []
    if base is not None:
        tests = measured.tested(runs, base, list(columns), across)
        by_name = {column.name: scales[key] for key, column in columns.items()}
        lines = [tests.line(run, list(columns.values()), cells, by_name) for run, cells in zip(runs, lines, strict=True)]
        name = next(label for label, run in zip(labels, runs, strict=True) if run is base)
        notes = measured.notes(list(columns.values()), list(zip(labels, lines, strict=True)), name)
    made = [
        Line(label + (measured.BASELINE if run is base else ""), cells, str(run.summary["protocol"]), notes=told)
        for label, run, cells, told in zip(labels, runs, lines, measured.apart(runs, across), strict=True)
    ]
    return form.split(Table(_caption(columns, scales, lines), tuple(columns.values()), tuple(map(form.gathered, made)), tuple(notes)))


def _key(row: Mapping[str, Any]) -> Key:
    return row["task"], row["metric"], row["rule"], row["subset"]


def _columns(keys: Sequence[Key]) -> dict[Key, Column]:
    """A column for each key, those of a task side by side; titled by the task alone where it has one number."""
    tasks: dict[str, list[Key]] = {}
    for key in dict.fromkeys(keys):
        tasks.setdefault(key[0], []).append(key)
    made: dict[Key, Column] = {}
    for task, mine in tasks.items():
        for key in mine:
            _, metric, rule, subset = key
            told = [subset if subset != OVERALL else metric if len({other[3] for other in mine}) > 1 else ""]
            told += [metric] if len({other[1] for other in mine}) > 1 and metric not in told else []
            told += [rule] if len({other[2] for other in mine}) > 1 else []
            title = ", ".join(filter(None, told))
            made[key] = Column(title or task, task if title else "", task, metric, subset, lowest=metric in LOWER_IS_BETTER)
    return made


def _scale(key: Key, rows: Sequence[Mapping[str, Any]]) -> float:
    """100 for shares, which are printed in percent; 1 for points."""
    return 1 if key[1] in POINTS or any(not -1 <= row["value"] <= 1 for row in rows) else 100


def _digits(column: Column, scale: float, rows: Sequence[Mapping[Key, Mapping[str, Any]]], key: Key) -> Column:
    largest = max((abs(found[key]["value"]) for found in rows if key in found), default=0.0)
    return replace(column, digits=2 if scale == 1 and largest < 10 else 1)


def _caption(columns: Mapping[Key, Column], scales: Mapping[Key, float], lines: Sequence[Mapping[str, Cell]]) -> tuple[str, ...]:
    """What the table is, how its numbers were asked for as far as that is one, and by which rules they were read."""
    metrics = {metric for _, metric, _, _ in columns}
    title = f"{metrics.pop()} on" if len(metrics) == 1 else "headline numbers on"
    points = [column.name for key, column in columns.items() if scales[key] == 1]
    unit = ", in percent" if not points else f", in percent but for {', '.join(points)}" if len(points) < len(columns) else ""
    made = [cell.made for line in lines for cell in line.values()]
    common = [made[0][name] for name in ASKED if made and all(one.get(name, "") == made[0].get(name) for one in made)]
    read: dict[str, list[str]] = {}
    for key, column in columns.items():
        read.setdefault(f"{key[1]} ({key[2]})", []).append(column.name)
    rules = "; ".join(f"{how}: {', '.join(names)}" for how, names in read.items())
    said = f"{title} {', '.join(dict.fromkeys(key[0] for key in columns)) or 'nothing'}{unit}."
    asked = [words for words in common if words not in UNSAID]
    return (said[0].upper() + said[1:], *([f"Asked: {', '.join(asked)}."] if asked else []), *([f"Read: {rules}."] if rules else []))
