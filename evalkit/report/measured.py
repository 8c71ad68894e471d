"""A run's numbers as cells of a table: in a column's unit, with what was asked, and tested against a baseline."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import paired
from ..errors import Refused, UserError
from .comparable import asked, comparable
from .comparison import Chosen, Comparison, compared
from .form import Cell, Column
from .runs import Run

COUNTS = ("unparsed", "truncated", "refused", "missing")
LEVELS = ((0.01, "‡"), (0.05, "†"))
BASELINE = " (baseline)"
MOST = 12
"""Of so many lines a note says that they were not tested."""
KINDS = ("task", "data", "protocol", "sampling", "pixels", "judge", "samples")
"""What cells of one column share, of what runs are asked; the rule is the column's own."""


def cell(run: Run, row: Mapping[str, Any], scale: float, digits: int, made: Mapping[str, str], notes: Sequence[str] = ()) -> Cell:
    """The cell of a flat row that has a value, times `scale`; `made` as from the function of that name."""
    entry = run.entry(row["task"])
    part = entry["limit"] is not None or entry["published"] not in (None, entry["samples"])
    return Cell(
        text=f"{row['value'] * scale:.{digits}f}",
        value=row["value"] * scale,
        low=None if row["low"] is None else row["low"] * scale,
        high=None if row["high"] is None else row["high"] * scale,
        stderr=None if row["stderr"] is None else row["stderr"] * scale,
        n=row["n"],
        part=(entry["samples"], entry["published"]) if part else None,
        rule=row["rule"],
        counts={name: row[name] for name in COUNTS if row[name]},
        notes=(*notes, *([f"{row['gaps']:,} answers did not come"] if row["gaps"] else [])),
        contends=not (notes or row["gaps"]),
        made=made,
    )


def made(run: Run, kinds: Collection[str] = KINDS) -> dict[str, dict[str, str]]:
    """How a run measured each task, in words by what they are about; runs whose words are alike compare in what is of `kinds`."""
    found: dict[str, dict[str, str]] = {}
    for task in run.tasks:
        mine = found.setdefault(task, {})
        for (kind, what), value in asked(run, task, True).items():
            mine |= _words(run, what, value) if kind in kinds else {}
    return found


def _words(run: Run, what: str, value: Any) -> dict[str, str]:
    if what == "sampling":
        return {name: f"at most {one:,} new tokens" if name == "max_tokens" else f"{name} {_number(one)}" for name, one in value.items()}
    if what == "version of the task":
        return {what: f"version {value} of the task"}
    if what == "number of draws":
        return {what: f"{value:,} draw{'s' * (value != 1)}"}
    if what == "size of images":
        return {what: f"images of {value}"}
    if what in ("judge", "segmenter"):
        name = ((run.manifest.get("roles") or {}).get(what) or {}).get("name", "")
        return {what: f"{what} {name or 'none'}" + (f" ({value[:6]})" if name else "")} if value else {}
    if what == "set of samples":
        return {what: value}
    text = str(value) if value else "none"
    return {what: f"{what} {text if len(text) < 32 else text[:8]}"}


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def apart(runs: Sequence[Run], across: Collection[str]) -> list[tuple[str, ...]]:
    """Of each run in what of `across` it was measured otherwise than others, in words: what is noted where it splits no column."""
    ways = [{words for task in made(run, across).values() for words in task.values()} for run in runs]
    shared = set.intersection(*ways) if ways else set()
    return [tuple(sorted(way - shared)) for way in ways]


@dataclass(frozen=True, slots=True)
class Tested:
    """What the paired tests of runs against a baseline found."""

    base: Run
    found: Mapping[Path, Mapping[tuple[str, str, str, str], Comparison]] = field(default_factory=dict)
    """By run, and there by task, metric, rule and subset; only where the runs compare."""

    def line(self, run: Run, columns: Sequence[Column], cells: Mapping[str, Cell], scale: Mapping[str, float]) -> dict[str, Cell]:
        """The cells of a run with effect, p-value and mark; p-values are adjusted over those that the line has."""
        found = self.found.get(run.folder.path, {})
        here = {
            column.name: known
            for column in columns
            if (cell := cells.get(column.name)) and (known := found.get((column.task, column.metric, cell.rule, column.subset)))
        }
        adjusted = dict(zip(here, paired.holm([known.p for known in here.values()]), strict=True))
        return {name: _marked(cell, here.get(name), adjusted.get(name), scale[name]) for name, cell in cells.items()}


def _marked(cell: Cell, known: Comparison | None, p: float | None, scale: float) -> Cell:
    if known is None or p is None or known.effect.value is None:
        return cell
    return replace(cell, p=p, effect=known.effect.value * scale, mark=next((mark for level, mark in LEVELS if p < level), ""))


def tested(runs: Sequence[Run], base: Run, numbers: Sequence[tuple[str, str, str, str]], across: Collection[str]) -> Tested:
    """The tests of each run but the baseline in these numbers (task, metric, rule, subset), where the two compare but for `across`.

    Raises:
        Refused: no other run compares with the baseline in any of their tasks; the reasons are in the message.
        UserError: there is no other run, or the rows of one are damaged.
    """
    others = [run for run in runs if run.folder.path.resolve() != base.folder.path.resolve()]
    if not others:
        raise UserError(f"--baseline {base.folder.path} is the only run: name others to compare with it")
    tasks = {task for task, *_ in numbers}
    found: dict[Path, dict[tuple[str, str, str, str], Comparison]] = {}
    reasons: list[str] = []
    for run in others:
        why = {task: said for task, said in comparable(base, run, across).items() if task in tasks}
        reasons += [f"{run.name}: {'; '.join(said)}" for said in why.values() if said]
        chosen = _chosen([number for number in numbers if not why.get(number[0], ["absent"])], base, run)
        for item in compared(base, run, chosen=chosen, tasks=list(chosen)):
            found.setdefault(run.folder.path, {})[item.task, item.metric, item.rule, item.subset] = item
    if not found:
        more = f"; and {len(reasons) - 3} more reasons" if len(reasons) > 3 else ""
        told = "; ".join(reasons[:3]) or "no run has a number that it has"
        raise Refused(f"no run compares with the baseline {base.name}: {told}{more}. Leave out --baseline, or run both alike")
    return Tested(base, found)


def _chosen(numbers: Sequence[tuple[str, str, str, str]], *runs: Run) -> dict[str, list[Chosen]]:
    """The numbers that all runs have, by task."""
    known = [{(row["task"], row["metric"], row["rule"], row["subset"]) for row in run.summary["numbers"]} for run in runs]
    chosen: dict[str, list[Chosen]] = {}
    for task, metric, rule, subset in dict.fromkeys(numbers):
        if all((task, metric, rule, subset) in mine for mine in known):
            chosen.setdefault(task, []).append(Chosen(metric, rule, subset=subset))
    return chosen


def notes(columns: Sequence[Column], lines: Sequence[tuple[str, Mapping[str, Cell]]], base: str) -> list[str]:
    """What the marks of labelled lines mean, and what was not tested against the line of the baseline."""
    cells = [cell for _, mine in lines for cell in mine.values()]
    marks = {cell.mark for cell in cells}
    levels = "; ".join(f"{mark}: differs from {base} at p < {level}" for level, mark in reversed(LEVELS) if mark in marks)
    told = levels or f"No number differs from those of {base} at p < {LEVELS[-1][0]}"
    without = [column.name for column in columns if all(mine[column.name].p is None for _, mine in lines if column.name in mine)]
    others = [label for label, mine in lines if label != base and any(cell.p is None for name, cell in mine.items() if name not in without)]
    more = f" and {len(others) - MOST} more" if len(others) > MOST else ""
    return [
        f"{told}, by a paired test over the samples that both answered, adjusted by Holm over the columns of a line.",
        *([f"Not tested: {', '.join(without)}."] if without else []),
        *([f"Not tested where they were measured otherwise: {', '.join(others[:MOST])}{more}."] if others else []),
    ]
