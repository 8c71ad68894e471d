"""A table as Markdown, padded so that it reads as plain text on a terminal too."""

import re
from collections.abc import Collection, Mapping, Sequence

from .form import NOTHING, Column, Interval, Line, Table, beneath, error, footnotes, plain, ranks, remarks, told


def written(table: Table, interval: Interval = "ci") -> str:
    """The table with its caption above and its notes below; of a column's contenders the best is bold, the second between underscores."""
    numbers, placed, sources = footnotes(table), ranks(table), table.sources
    body: list[list[str]] = []
    for place, line in enumerate(table.lines):
        ranked = [placed.get((place, column.name), 0) for column in table.columns]
        cells = [_cell(line, column, rank, interval, numbers) for column, rank in zip(table.columns, ranked, strict=True)]
        body.append([_literal(line.label) + _marks(told(line, sources), numbers), *cells])
        for title, texts in beneath(table, line, interval):
            body.append([title, *(texts.get(column.name, "").replace(", ", " to ") for column in table.columns)])
    right = [place for place, column in enumerate(table.columns, start=1) if not column.words]
    head = [table.head, *(_celled(column.name) for column in table.columns)]
    notes = [f"[{number}] {plain(note)}" for note, number in numbers.items()]
    notes += [plain(note) for note in remarks(table, interval, best="Bold", second="between underscores")]
    parts = ["\n".join(map(plain, table.caption)), aligned(head, body, right), "\n".join(notes)]
    return "\n\n".join(part for part in parts if part)


def _cell(line: Line, column: Column, rank: int, interval: Interval, numbers: Mapping[str, int]) -> str:
    cell = line.cells.get(column.name)
    if cell is None:
        return "" if column.words else NOTHING
    look = {1: "**", 2: "_"}.get(rank, "")
    spread = error(cell, column, interval)
    return f"{look}{_celled(cell.text)}{look}{f' ± {spread}' if spread else ''}{cell.mark}{_marks(cell.notes, numbers)}"


def _marks(notes: Sequence[str], numbers: Mapping[str, int]) -> str:
    marks = ",".join(str(numbers[note]) for note in notes)
    return f" [{marks}]" if marks else ""


def _celled(text: str) -> str:
    """A text of evalkit's own, kept inside its cell."""
    return re.sub(r"([|<])", r"\\\1", plain(text))


def _literal(name: str) -> str:
    r"""A name whose signs mean nothing to Markdown.

    >>> _literal("<b>a*b|c")
    '\\<b>a\\*b\\|c'
    """
    return re.sub(r"([\\|<`*\[\]])", r"\\\1", plain(name))


def aligned(head: Sequence[str], body: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """A Markdown table, padded so that it reads as plain text too, the columns at the places `right` flush right.

    >>> print(aligned(["task", "n"], [["vstar", "191"]], right=[1]))
    | task  |   n |
    | ----- | --: |
    | vstar | 191 |
    """
    widths = [max(3, *(len(row[i]) for row in [head, *body])) for i in range(len(head))]
    aside = [str.rjust if i in right else str.ljust for i in range(len(head))]
    lines = [[move(cell, width) for move, cell, width in zip(aside, row, widths, strict=True)] for row in [head, *body]]
    rule = ["-" * (w - 1) + ":" if i in right else "-" * w for i, w in enumerate(widths)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [lines[0], rule, *lines[1:]])
