"""A paper's table: runs above the published rows, each number in the column of the suite that it belongs to.

What does not compare is marked, never left unsaid: a run asked by another protocol or judge or at another size of images, a part of a
benchmark, a published number that is known to come from elsewhere. Only unmarked numbers compete for the best of a column.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import config
from ..config import Column, SuiteConfig
from .published import Published
from .table import aligned

UNSTATED = "unstated"
NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Cell:
    """One number in a column's unit, and what is to be said about it."""

    value: float
    text: str
    low: float | None = None
    high: float | None = None
    n: int | None = None
    whole: int | None = None
    """How many samples the benchmark has, where the number is of fewer."""
    rule: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """One model's numbers."""

    label: str
    source: str
    """Where published numbers were read; empty for a run."""
    protocol: str
    cells: Mapping[str, Cell]
    """By the column's name."""
    notes: tuple[str, ...] = ()
    """What holds for all of them."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a run's folder says."""

    folder: str
    summary: Mapping[str, Any]
    manifest: Mapping[str, Any] = field(default_factory=dict)


def lines(suite: SuiteConfig, runs: Sequence[Run], published: Iterable[Published] = ()) -> list[Line]:
    """The rows of the table: the runs that have a number of it, in their order, then the published ones in theirs."""
    measured = [(run, cells) for run in runs if (cells := _measured(suite, run))]
    labels = _labels([run for run, _ in measured])
    made = [Line(label, "", run.summary["protocol"], cells) for label, (run, cells) in zip(labels, measured, strict=True)]
    papers: dict[tuple[str, str, str], dict[str, Cell]] = {}
    for row in published:
        for column in suite.columns:
            if _belongs(row, column, suite):
                papers.setdefault((row.model, row.protocol, row.source), {})[column.name] = _quoted(row)
    made += [
        Line(f"{model}, {protocol}" if protocol not in ("", suite.protocol) else model, source, protocol, cells)
        for (model, protocol, source), cells in papers.items()
    ]
    return [_gathered(line) for line in made]


def markdown(suite: SuiteConfig, table: Sequence[Line]) -> str:
    """The table with its caption above and its notes below; of a column's unmarked numbers the best is bold."""
    several = len({line.source for line in table if line.source}) > 1
    numbers = _numbered(table, several)
    best = _best(suite, table)
    body: list[list[str]] = []
    for line in table:
        told = [*line.notes, *([line.source] if several and line.source else [])]
        body.append([line.label + _marks(told, numbers), *(_cell(line, column, best, numbers) for column in suite.columns)])
        if not line.source:
            body.append(["95% interval", *(_interval(line.cells.get(column.name), column) for column in suite.columns)])
            body.append(["n", *(_count(line.cells.get(column.name)) for column in suite.columns)])
    head = ["model", *(column.name for column in suite.columns)]
    notes = [f"[{number}] {note}" for note, number in numbers.items()]
    below = [*notes, *_below(suite, table)]
    return "\n\n".join(["\n".join(caption(suite)), aligned(head, body, range(1, len(head))), "\n".join(below)]).rstrip()


def flat(suite: SuiteConfig, table: Sequence[Line]) -> list[dict[str, Any]]:
    """One row a number, in the unit of its column, every row with the same keys."""
    best = _best(suite, table)
    return [
        {
            "suite": suite.title,
            "model": line.label,
            "protocol": line.protocol,
            "source": line.source or "run",
            "column": column.name,
            "task": column.task,
            "metric": column.metric,
            "rule": cell.rule,
            "subset": column.subset,
            "value": cell.value,
            "low": cell.low,
            "high": cell.high,
            "n": cell.n,
            "of": cell.whole or cell.n,
            "best": best.get(column.name) == cell.value and not _told(line, cell),
            "notes": "; ".join(_told(line, cell)),
        }
        for line in table
        for column in suite.columns
        if (cell := line.cells.get(column.name))
    ]


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as CSV with a head, lines ending in a newline; empty where there are none."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def caption(suite: SuiteConfig) -> list[str]:
    """What the table is, how its numbers are asked for, and by which rules they are read."""
    asked = [f"protocol {suite.protocol}"]
    asked += [f"judge {suite.judge}"] if suite.judge and any(column.judged for column in suite.columns) else []
    asked += [f"{_pixels(suite.min_pixels, suite.max_pixels)} an image"] if suite.min_pixels or suite.max_pixels else []
    asked += [f"temperature {suite.temperature:g}"] if suite.temperature is not None else []
    asked += [f"at most {suite.max_new_tokens:,} new tokens"] if suite.max_new_tokens else []
    read: dict[str, list[str]] = {}
    for column in suite.columns:
        if column.task not in suite.not_built:
            read.setdefault(f"{column.metric} ({column.rule})", []).append(column.name)
    rules = "; ".join(f"{how}: {', '.join(names)}" for how, names in read.items())
    others = sorted({column.published_rule for column in suite.columns if column.published_rule})
    rules += f"; published by {', '.join(others)}" if others else ""
    title = f"{suite.title}. Published: {suite.source}." if suite.source else f"{suite.title}."
    return [title, f"Asked: {', '.join(asked)}.", f"Read: {rules}."]


def _measured(suite: SuiteConfig, run: Run) -> dict[str, Cell]:
    rows = {(row["task"], row["metric"], row["rule"], row["subset"]): row for row in run.summary["numbers"]}
    tasks = {entry["task"]: entry for entry in run.summary["tasks"]}
    cells = {}
    for column in suite.columns:
        row = rows.get((column.task, column.metric, column.rule, column.subset))
        if row is None or row["value"] is None:
            continue
        low, high = (None if row[end] is None else row[end] * column.scale for end in ("low", "high"))
        entry = tasks[column.task]
        whole = entry["published"] if column.subset == "overall" and entry["samples"] != entry["published"] else None
        value = row["value"] * column.scale
        notes = (*_differences(suite, column, run), *_gaps(entry, row))
        cells[column.name] = Cell(value, f"{value:.{column.digits}f}", low, high, row["n"], whole, column.rule, notes)
    return cells


def _differences(suite: SuiteConfig, column: Column, run: Run) -> list[str]:
    """How a run was made otherwise than the suite says, in sentences."""
    manifest, told = run.manifest, []
    asked, _, blind = run.summary["protocol"].partition(", ")
    if asked != suite.protocol:
        told.append(f"asked by protocol {asked}, the table's is {suite.protocol}")
    if blind:
        told.append(f"asked {blind}")
    if column.published_rule:
        told.append(f"read by rule {column.rule}, the published by {column.published_rule}")
    judge = manifest.get("options", {}).get("judge") or manifest.get("roles", {}).get("judge", {}).get("name", "")
    if column.judged and suite.judge and _source(judge) != _source(suite.judge):
        told.append(f"judged by {judge or 'none'}, the table by {suite.judge}")
    if manifest.get("roles", {}).get("model", {}).get("details", {}).get("engine") == "replay":
        return [*told, "replayed: how its replies were decoded, and from images of what size, is not known"]
    form = (manifest.get("resolved", {}).get("protocol") or ["", None])[1] or {}
    sampling, budget = form.get("sampling") or {}, form.get("budget") or {}
    for name, key, title in (("temperature",) * 3, ("max_new_tokens", "max_tokens", "new tokens"), ("top_p",) * 3, ("top_k",) * 3):
        meant = getattr(suite, name)
        if meant is not None and key in sampling and sampling[key] != meant:
            told.append(f"{title} {sampling[key]}, the table's {meant:g}")
    meant, shown = (suite.min_pixels, suite.max_pixels), (budget.get("min_pixels"), budget.get("max_pixels"))
    if shown != meant:
        told.append(f"images of {_pixels(*shown)}, the table's of {_pixels(*meant)}")
    return told


def _source(model: str) -> str:
    """What a model's name stands for, where it is declared."""
    declared = config.model(model)
    return declared.source if declared else model


def _gaps(entry: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    told = ["a part of the benchmark only"] if entry["limit"] is not None else []
    if not told and entry["published"] not in (None, entry["samples"]):
        told = [f"of data with {entry['samples']:,} rows, where the benchmark has {entry['published']:,}"]
    return told + ([f"{row['gaps']} answers did not come"] if row["gaps"] else [])


def _belongs(row: Published, column: Column, suite: SuiteConfig) -> bool:
    same = (row.task, row.metric, row.subset) == (column.task, column.metric, column.subset)
    return same and row.source == (suite.source or row.source) and row.rule in (column.published_rule or column.rule, UNSTATED)


def _quoted(row: Published) -> Cell:
    notes = [row.flag] if row.flag else []
    notes += ["the source does not state by what rule replies are read"] if row.rule == UNSTATED else []
    return Cell(row.value, row.written, n=row.n, rule=row.rule, notes=tuple(notes))


def _labels(runs: Sequence[Run]) -> list[str]:
    """Each run's model with the labels it was given; its folder where that does not tell runs apart."""
    told = [", ".join([run.summary["model"], *run.manifest.get("options", {}).get("label", ())]) for run in runs]
    return [name if told.count(name) == 1 else run.folder for name, run in zip(told, runs, strict=True)]


def _gathered(line: Line) -> Line:
    """The line with the notes that all its cells share said once, of the line."""
    first = next(iter(line.cells.values()))
    shared = tuple(note for note in first.notes if all(note in cell.notes for cell in line.cells.values())) if len(line.cells) > 1 else ()
    cells = {
        name: Cell(c.value, c.text, c.low, c.high, c.n, c.whole, c.rule, tuple(note for note in c.notes if note not in shared))
        for name, c in line.cells.items()
    }
    return Line(line.label, line.source, line.protocol, cells, shared)


def _told(line: Line, cell: Cell) -> tuple[str, ...]:
    return (*line.notes, *cell.notes)


def _best(suite: SuiteConfig, table: Sequence[Line]) -> dict[str, float]:
    """The greatest number of each column that has more than one without a note."""
    found = {}
    for column in suite.columns:
        here = [cell.value for line in table if (cell := line.cells.get(column.name)) and not _told(line, cell)]
        if len(here) > 1:
            found[column.name] = max(here)
    return found


def _numbered(table: Sequence[Line], several: bool) -> dict[str, int]:
    """The notes in the order in which they are met, numbered from 1; with the sources where there are several."""
    met: dict[str, int] = {}
    for line in table:
        sources = [line.source] if several and line.source else []
        for note in [*line.notes, *sources, *(note for cell in line.cells.values() for note in cell.notes)]:
            met.setdefault(note, len(met) + 1)
    return met


def _marks(notes: Iterable[str], numbers: Mapping[str, int]) -> str:
    marks = ",".join(str(numbers[note]) for note in notes)
    return f" [{marks}]" if marks else ""


def _cell(line: Line, column: Column, best: Mapping[str, float], numbers: Mapping[str, int]) -> str:
    cell = line.cells.get(column.name)
    if cell is None:
        return NOTHING
    bold = "**" if best.get(column.name) == cell.value and not _told(line, cell) else ""
    return f"{bold}{cell.text}{bold}{_marks(cell.notes, numbers)}"


def _interval(cell: Cell | None, column: Column) -> str:
    return "" if cell is None or cell.low is None or cell.high is None else f"{cell.low:.{column.digits}f} to {cell.high:.{column.digits}f}"


def _count(cell: Cell | None) -> str:
    if cell is None or cell.n is None:
        return ""
    return f"{cell.n:,} of {cell.whole:,}" if cell.whole else f"{cell.n:,}"


def _below(suite: SuiteConfig, table: Sequence[Line]) -> list[str]:
    """What is to be said of the whole table."""
    said = [*suite.notes]
    missing = [column.name for column in suite.columns if column.task in suite.not_built]
    said += [f"Not built in evalkit, so dashes for every run: {', '.join(missing)}."] if missing else []
    said += ["Bold: the best of a column among numbers without a note."] if _best(suite, table) else []
    return said


def _pixels(least: int | None, most: int | None) -> str:
    if not least and not most:
        return "the size that protocol and processor choose"
    return f"{least or 1:,} to {most:,} pixels" if most else f"{least:,} pixels at least"
