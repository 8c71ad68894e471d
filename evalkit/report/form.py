"""A table as a value: models by benchmarks, each number with all that is to be said of it. What writes it down knows no runs and no papers.

A column holds only numbers that compare: cells that were measured otherwise are `split` into columns of their own. Of a column's
contenders the best and the second are told apart as they are printed, so that a tie is a tie.
"""

import csv
import io
import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Interval = Literal["ci", "stderr", "none"]
NOTHING = "-"
DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
FORMULA = ("=", "+", "-", "@")
"""What a text on one line begins with that spreadsheets take for a formula (OWASP, "CSV Injection")."""
DECODING = ("temperature", "top_p", "top_k", "max_tokens", "repetition_penalty")
"""What a protocol has its own values of."""
COUNTED = 24
"""Notes about single cells name no more than so many of them."""


@dataclass(frozen=True, slots=True)
class Column:
    """Where numbers that compare stand one below the other."""

    title: str
    group: str = ""
    """The title above it, shared with its neighbours."""
    task: str = ""
    metric: str = ""
    subset: str = ""
    digits: int = 1
    words: bool = False
    """Whether its cells are words, flush left, and not numbers."""
    lowest: bool = False
    """Whether its lowest number is the best, as of an error."""

    @property
    def name(self) -> str:
        """The title with its group's, unique in a table."""
        return f"{self.group} {self.title}".strip()


@dataclass(frozen=True, slots=True)
class Cell:
    """One number in its column's unit, as it is printed, and what is to be said about it."""

    text: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    stderr: float | None = None
    n: int | None = None
    part: tuple[int, int | None] | None = None
    """How many samples were asked of how many, where that is a part of the benchmark."""
    rule: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Replies that were unparsed, truncated, refused, missing: those that are not 0."""
    notes: tuple[str, ...] = ()
    contends: bool = True
    """Whether it may be the best: it compares with the others of its column."""
    made: Mapping[str, str] = field(default_factory=dict)
    """How it was measured, in words by what they are about; cells that differ have columns of their own. Empty for a published one."""
    p: float | None = None
    """Of the paired test against the baseline, adjusted."""
    effect: float | None = None
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One model's numbers."""

    label: str
    cells: Mapping[str, Cell]
    """By the column's name."""
    protocol: str = ""
    source: str = ""
    """Where published numbers were read; empty for a run."""
    notes: tuple[str, ...] = ()
    """What holds for all of them."""


@dataclass(frozen=True, slots=True)
class Table:
    """Lines by columns, with a caption above (its first sentence the title) and notes below."""

    caption: tuple[str, ...]
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()
    head: str = "model"

    @property
    def sources(self) -> bool:
        """Whether published numbers are of several sources, so that each line names its own."""
        return len({line.source for line in self.lines if line.source}) > 1

    @property
    def groups(self) -> list[tuple[str, int]]:
        """The groups of neighbouring columns and how many columns each has, in order; empty names stand for none, one column each."""
        found: list[tuple[str, int]] = []
        for column in self.columns:
            if column.group and found and found[-1][0] == column.group:
                found[-1] = (column.group, found[-1][1] + 1)
            else:
                found.append((column.group, 1))
        return found


def split(table: Table) -> Table:
    """The table with each column that holds numbers which do not compare made into several, titled by what they differ in.

    Published numbers, of which that is not known, stand in each of them.
    """
    columns: list[Column] = []
    parts: dict[str, list[tuple[Column, Mapping[str, str]]]] = {}
    for column in table.columns:
        ways: list[Mapping[str, str]] = []
        for line in table.lines:
            cell = line.cells.get(column.name)
            if cell and cell.made and cell.made not in ways:
                ways.append(cell.made)
        named = _apart(ways) if len(ways) > 1 else [""]
        titled = [replace(column, group=column.group or column.title, title=_joined(column, name)) if name else column for name in named]
        parts[column.name] = list(zip(titled, ways or [{}], strict=True))
        columns += titled
    lines = []
    for line in table.lines:
        cells = {
            part.name: cell
            for column in table.columns
            if (cell := line.cells.get(column.name))
            for part, way in parts[column.name]
            if not cell.made or cell.made == way
        }
        lines.append(replace(line, cells=cells))
    return replace(table, columns=tuple(columns), lines=tuple(lines))


def _joined(column: Column, way: str) -> str:
    return f"{column.title}, {way}" if column.group else way


def _apart(ways: Sequence[Mapping[str, str]]) -> list[str]:
    """What tells each of the ways from the others, in words; how a protocol decodes goes without saying where protocols differ."""
    keys = dict.fromkeys(key for way in ways for key in way)
    names = [", ".join(way[key] for key in keys if key in way and _tells(key, ways)) for way in ways]
    return [name if names.count(name) == 1 else f"{name} ({place})".strip() for place, name in enumerate(names, start=1)]


def _tells(key: str, ways: Sequence[Mapping[str, str]]) -> bool:
    """Whether a key tells ways apart, one of decoding those of one protocol."""
    of = {way.get("protocol") if key in DECODING else "" for way in ways}
    return any(len({way.get(key) for way in ways if protocol in ("", way.get("protocol"))}) > 1 for protocol in of)


def ranks(table: Table) -> dict[tuple[int, str], int]:
    """Which cells are the best (1) and the second (2) of their column, by the line's place and the column's name.

    Only cells that contend are ranked, by value as it is printed; two make no second, and one no best.
    """
    found: dict[tuple[int, str], int] = {}
    for column in table.columns:
        here = {
            place: round(cell.value, column.digits)
            for place, line in enumerate(table.lines)
            if (cell := line.cells.get(column.name)) and cell.contends and cell.value is not None and math.isfinite(cell.value)
        }
        if len(here) < 2 or column.words:
            continue
        best, *rest = sorted(set(here.values()), reverse=not column.lowest)
        second = rest[0] if rest and len(here) > 2 else None
        for place, value in here.items():
            if value in (best, second):
                found[place, column.name] = 1 if value == best else 2
    return found


def gathered(line: Line) -> Line:
    """The line with the notes that all its cells share said once, of the line."""
    cells = list(line.cells.values())
    if len(cells) < 2:
        return line
    shared = tuple(note for note in cells[0].notes if all(note in cell.notes for cell in cells))
    kept = {name: replace(cell, notes=tuple(note for note in cell.notes if note not in shared)) for name, cell in line.cells.items()}
    return replace(line, cells=kept, notes=(*line.notes, *shared))


def told(line: Line, sources: bool) -> tuple[str, ...]:
    """What is noted of a line itself: its notes, and its source where lines have several."""
    return (*line.notes, *([line.source] if sources and line.source else []))


def footnotes(table: Table) -> dict[str, int]:
    """The notes of lines and cells in the order in which they are met, numbered from 1."""
    met: dict[str, int] = {}
    sources = table.sources
    for line in table.lines:
        cells = (line.cells.get(column.name) for column in table.columns)
        for note in [*told(line, sources), *(note for cell in cells if cell for note in cell.notes)]:
            met.setdefault(note, len(met) + 1)
    return met


def beneath(table: Table, line: Line, interval: Interval) -> list[tuple[str, dict[str, str]]]:
    """What stands under a line's numbers, row by row with a title: 95% intervals, and how much of the benchmark was asked."""
    rows: list[tuple[str, dict[str, str]]] = [("95% interval", {}), ("n/N", {})]
    for column in table.columns:
        cell = line.cells.get(column.name)
        if cell and interval == "ci" and cell.low is not None and cell.high is not None:
            rows[0][1][column.name] = f"{cell.low:.{column.digits}f}, {cell.high:.{column.digits}f}"
        if cell and cell.part:
            rows[1][1][column.name] = f"{cell.part[0]:,}/{'?' if cell.part[1] is None else f'{cell.part[1]:,}'}"
    return [row for row in rows if row[1]]


def error(cell: Cell, column: Column, interval: Interval) -> str:
    """What stands after a number and a plus-minus, or nothing."""
    return f"{cell.stderr:.{column.digits}f}" if interval == "stderr" and cell.stderr is not None else ""


def remarks(table: Table, interval: Interval, *, best: str, second: str) -> list[str]:
    """What is to be said of the whole table: how to read it, n, and unparsed replies; `best` and `second` are how those look."""
    places = set(ranks(table).values())
    noted = any(not cell.contends for line in table.lines for cell in line.cells.values())
    said = [f"{best}: the best of a column{' among numbers that compare' if noted else ''}"] if places else []
    said = [said[0] + (f"; {second}: the second." if 2 in places else ".")] if said else []
    lowest = [column.name for column in table.columns if column.lowest]
    said += [f"Lower is better: {', '.join(lowest)}."] if lowest else []
    measured = [cell for line in table.lines if not line.source for cell in line.cells.values()]
    if interval == "ci" and any(cell.low is not None for cell in measured):
        said.append("Under a number: its 95% interval.")
    if interval == "stderr" and any(cell.stderr is not None for cell in measured):
        said.append("±: the standard error.")
    if any(cell.part for cell in measured):
        said.append("n/N: so many of a benchmark's samples were asked; such a number is not the benchmark's.")
    return [*said, *_sizes(table), *_unread(table), *table.notes]


def _sizes(table: Table) -> list[str]:
    """How many samples the measured numbers are of: by column where the runs agree."""
    by_n: dict[str, list[str]] = {}
    for column in table.columns:
        here = {cell.n for line in table.lines if not line.source and (cell := line.cells.get(column.name)) and cell.n is not None}
        if here:
            size = f"{min(here):,}" + (f" to {max(here):,}" if len(here) > 1 else "")
            by_n.setdefault(size, []).append(column.name)
    if not by_n:
        return []
    if len(by_n) == 1:
        return [f"n = {next(iter(by_n))}."]
    return ["n: " + "; ".join(f"{size} ({', '.join(names)})" for size, names in by_n.items()) + "."]


def _unread(table: Table) -> list[str]:
    """How many replies of which numbers were unparsed, truncated, refused or missing."""
    found = [
        f"{line.label} {column.name} {', '.join(f'{count:,} {what}' for what, count in cell.counts.items())}"
        for line in table.lines
        for column in table.columns
        if (cell := line.cells.get(column.name)) and cell.counts
    ]
    if not found:
        return []
    more = f"; and {len(found) - COUNTED} more numbers" if len(found) > COUNTED else ""
    return [f"Replies that gave nothing to score, counted as the benchmark says: {'; '.join(found[:COUNTED])}{more}."]


def flat(table: Table) -> list[dict[str, Any]]:
    """One row a number, in the unit of its column, every row with the same keys."""
    placed = ranks(table)
    return [
        {
            "table": table.caption[0].rstrip(".") if table.caption else "",
            "model": line.label,
            "protocol": line.protocol,
            "source": line.source or "run",
            "column": column.name,
            "task": column.task,
            "metric": column.metric,
            "rule": cell.rule,
            "subset": column.subset,
            "value": cell.value,
            "stderr": cell.stderr,
            "low": cell.low,
            "high": cell.high,
            "n": cell.n,
            "asked": cell.part[0] if cell.part else None,
            "of": cell.part[1] if cell.part else None,
            "unparsed": cell.counts.get("unparsed", 0) if not line.source else None,
            "rank": placed.get((place, column.name)),
            "effect": cell.effect,
            "p_holm": cell.p,
            "notes": "; ".join((*line.notes, *cell.notes)),
        }
        for place, line in enumerate(table.lines)
        for column in table.columns
        if (cell := line.cells.get(column.name))
    ]


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as CSV with a head, lines ending in a newline; empty where there are none.

    A text is on one line, and one that a spreadsheet would take for a formula has an apostrophe before it; a number never has.

    >>> as_csv([{"model": "=1+1", "value": -0.5}])
    "model,value\\n'=1+1,-0.5\\n"
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _harmless(value) for key, value in row.items()} for row in rows)
    return file.getvalue()


def _harmless(value: Any) -> Any:
    text = plain(value) if isinstance(value, str) else ""
    return f"'{text}" if text.startswith(FORMULA) else text or value


def letters(number: int) -> str:
    """What a note is called where numbers would be taken for exponents: a to z, then aa, ab, ... for 1 and up.

    >>> letters(1), letters(26), letters(28)
    ('a', 'z', 'ab')
    """
    before, last = divmod(number - 1, 26)
    return (letters(before) if before else "") + chr(ord("a") + last)


def plain(text: str) -> str:
    """The text on one line, with control characters and marks of direction, which would change what is around them, by their codes.

    >>> plain("a\\tb\\x1b[1m \\u202egnp")
    'a b(U+001B)[1m (U+202E)gnp'
    """
    line = " ".join(text.split())
    return "".join(f"(U+{ord(sign):04X})" if sign in DIRECTIONS or unicodedata.category(sign) in ("Cc", "Cs") else sign for sign in line)
