"""A paper's table: runs above the published rows, each number in the column of the suite that it belongs to.

What does not compare is marked, never left unsaid: a run asked by another protocol or judge or at another size of images, a part of a
benchmark, a published number that is known to come from elsewhere. Only unmarked numbers compete for the best of a column.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .. import config, protocols
from ..errors import UserError
from ..geometry import Frame
from ..suites import SuiteColumn, SuiteConfig
from ..types import Budget, ModelInfo
from . import form, measured
from .comparable import pixels
from .form import Cell, Line, Table
from .published import Published
from .runs import LOWER_IS_BETTER, Run, titles

UNSTATED = "unstated"


def table(suite: SuiteConfig, runs: Sequence[Run], published: Iterable[Published] = (), base: Run | None = None) -> Table:
    """The paper's table: the runs that have a number of it, in their order, then the published rows in theirs.

    Where runs are of several versions of a task, or of several data, its columns are split. A dash is a number that was not measured.

    Raises:
        Refused: no run compares with the baseline `base`.
        UserError: there is no other run than the baseline, or the rows of one are damaged.
    """
    columns = [
        form.Column(c.title, c.group, c.task, c.metric, c.subset, c.digits, lowest=c.metric in LOWER_IS_BETTER) for c in suite.columns
    ]
    rows = [(run, cells) for run in runs if (cells := _measured(suite, run))]
    labels = titles([run for run, _ in rows], models=True) if rows else []
    notes = _below(suite)
    if base is not None:
        tests = measured.tested([run for run, _ in rows], base, [(c.task, c.metric, c.rule, c.subset) for c in suite.columns], ())
        scales = {column.name: column.scale for column in suite.columns}
        rows = [(run, tests.line(run, columns, cells, scales)) for run, cells in rows]
        name = next((label for label, (run, _) in zip(labels, rows, strict=True) if run is base), base.name)
        notes += measured.notes(columns, [(label, cells) for label, (_, cells) in zip(labels, rows, strict=True)], name)
    lines = [
        Line(label + (measured.BASELINE if run is base else ""), cells, str(run.summary["protocol"]))
        for label, (run, cells) in zip(labels, rows, strict=True)
    ]
    papers: dict[tuple[str, str, str], dict[str, Cell]] = {}
    for row in published:
        for column in suite.columns:
            if _belongs(row, column, suite):
                papers.setdefault((row.model, row.protocol, row.source), {})[column.name] = _quoted(row, suite)
    lines += [
        Line(f"{model}, {protocol}" if protocol not in ("", suite.protocol) else model, cells, protocol, source)
        for (model, protocol, source), cells in papers.items()
    ]
    return form.split(Table(tuple(caption(suite)), tuple(columns), tuple(map(form.gathered, lines)), tuple(notes)))


def has(suite: SuiteConfig, run: Run) -> bool:
    """Whether a run has a number of the table."""
    return bool(_found(suite, run))


def caption(suite: SuiteConfig) -> list[str]:
    """What the table is, how its numbers are asked for, and by which rules they are read."""
    asked = [f"protocol {suite.protocol}"]
    asked += [f"judge {suite.judge}"] if suite.judge and any(column.judged for column in suite.columns) else []
    asked += [f"{pixels(suite.min_pixels, suite.max_pixels)} an image"] if suite.min_pixels or suite.max_pixels else []
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
    found = _found(suite, run)
    how = measured.made(run, ("task", "data")) if found else {}
    cells = {}
    for column, row in found:
        notes = [*_differences(suite, column, run), *_part(run.entry(column.task))]
        cells[column.name] = measured.cell(run, row, column.scale, column.digits, how[column.task], notes)
    return cells


def _found(suite: SuiteConfig, run: Run) -> list[tuple[SuiteColumn, Mapping[str, Any]]]:
    """The columns that a run has a number of, each with its flat row."""
    rows = {(row["task"], row["metric"], row["rule"], row["subset"]): row for row in run.summary["numbers"] if row["value"] is not None}
    keys = ((column, (column.task, column.metric, column.rule, column.subset)) for column in suite.columns)
    return [(column, rows[key]) for column, key in keys if key in rows]


def _differences(suite: SuiteConfig, column: SuiteColumn, run: Run) -> list[str]:
    """How a run was made otherwise than the suite says, in sentences."""
    manifest, told = run.manifest, []
    asked, _, blind = run.summary["protocol"].partition(", ")
    if asked != suite.protocol:
        told.append(f"asked by protocol {asked}, the table's is {suite.protocol}")
    if blind:
        told.append(f"asked {blind}")
    if column.published_rule:
        told.append(f"read by rule {column.rule}, the published by {column.published_rule}")
    frame = manifest.get("roles", {}).get("model", {}).get("frame") or "unknown"
    if column.frame and manifest and frame != column.frame:
        told.append(f"boxes written in frame {frame}, the table's in frame {column.frame}")
    name = manifest.get("roles", {}).get("judge", {}).get("name", "")
    judge = manifest.get("options", {}).get("judge") or name
    if column.judged and suite.judge and _source(judge) != _source(suite.judge):
        told.append(f"judged by {name or judge or 'none'}, the table by {suite.judge}")
    if manifest.get("roles", {}).get("model", {}).get("details", {}).get("engine") == "replay":
        return [*told, "replayed: how its replies were decoded, and from images of what size, is not known"]
    form = (manifest.get("resolved", {}).get("protocol") or ["", None])[1] or {}
    sampling, budget = form.get("sampling") or {}, form.get("budget") or {}
    for name, key, title in (("temperature",) * 3, ("max_new_tokens", "max_tokens", "new tokens"), ("top_p",) * 3, ("top_k",) * 3):
        meant = getattr(suite, name)
        if meant is not None and key in sampling and sampling[key] != meant:
            told.append(f"{title} {sampling[key]}, the table's {meant:g}")
    meant, shown = _meant(suite), (budget.get("min_pixels"), budget.get("max_pixels"))
    if any(meant) and not (suite.min_pixels or suite.max_pixels):
        shown = tuple(manifest.get("shown") or (shown if any(shown) else meant))
    if shown != meant:
        told.append(f"images of {pixels(*shown)}, the table's of {pixels(*meant)}")
    return told


def _meant(suite: SuiteConfig) -> tuple[int | None, int | None]:
    """The least and the most pixels of an image as the suite says, else as its protocol shows them to a model like the paper's."""
    if suite.min_pixels or suite.max_pixels:
        return suite.min_pixels, suite.max_pixels
    own = protocols.shows(protocols.find(suite.protocol), ModelInfo("", "", Frame.SEEN), Budget())
    return own.min_pixels, own.max_pixels


def _source(model: str) -> str:
    """What a model's name stands for, where it is declared; of a file that is gone, its path."""
    try:
        declared = config.model(model)
    except UserError:
        return model
    return declared.source if declared else model


def _part(entry: Mapping[str, Any]) -> list[str]:
    if entry["limit"] is not None:
        return ["a part of the benchmark only"]
    if entry["published"] not in (None, entry["samples"]):
        return [f"of data with {entry['samples']:,} rows, where the benchmark has {entry['published']:,}"]
    return []


def _belongs(row: Published, column: SuiteColumn, suite: SuiteConfig) -> bool:
    same = (row.task, row.metric, row.subset) == (column.task, column.metric, column.subset)
    return same and row.source == (suite.source or row.source) and row.rule in (column.published_rule or column.rule, UNSTATED)


def _quoted(row: Published, suite: SuiteConfig) -> Cell:
    notes = [row.flag] if row.flag else []
    least, most = _meant(suite)
    if row.resolution and least and most and row.resolution != f"{least} to {most} pixels":
        notes.append(f"images of {row.resolution}, the table's of {pixels(least, most)}")
    notes += ["the source does not state by what rule replies are read"] if row.rule == UNSTATED else []
    return Cell(row.written, row.value, n=row.n, rule=row.rule, notes=tuple(notes), contends=not notes)


def _below(suite: SuiteConfig) -> list[str]:
    """What is to be said of the whole table."""
    missing = [column.name for column in suite.columns if column.task in suite.not_built]
    return [*suite.notes, *([f"Not built in evalkit, so dashes for every run: {', '.join(missing)}."] if missing else [])]
