"""A table as one HTML file without scripts or anything from elsewhere: dark where the reader's system is, and wide tables scroll."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from .form import NOTHING, Column, Interval, Line, Table, beneath, error, footnotes, letters, plain, ranks, remarks, told

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1f; --paper: #fff; --faint: #5d5d66; --rule: #c9c9d1; --shade: #f4f4f7; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8ec; --paper: #17171a; --faint: #a3a3ad; --rule: #44444d; --shade: #222227; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
figure { margin: 0; padding: 1rem; max-width: 100%; box-sizing: border-box; }
figcaption, footer { max-width: 46rem; }
figcaption p { margin: 0 0 .3rem; color: var(--faint); } figcaption p:first-child { color: var(--ink); font-weight: 600; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; border-block: 2px solid var(--ink); }
th, td { padding: .3rem .7rem; text-align: right; vertical-align: top; white-space: nowrap; }
th { font-weight: 600; vertical-align: bottom; } th.group { text-align: center; border-bottom: 1px solid var(--rule); }
tbody th, .words, thead th:first-child { text-align: left; font-weight: 400; } tbody th { vertical-align: top; }
thead th:first-child { font-weight: 600; } thead th[scope=col] { white-space: normal; max-width: 9rem; } thead .words { font-weight: 600; }
tbody th { white-space: normal; overflow-wrap: anywhere; min-width: 8rem; max-width: 18rem; }
tbody th, thead th:first-child { position: sticky; left: 0; background: var(--paper); }
thead + tbody { border-top: 1px solid var(--ink); } tbody + tbody { border-top: 1px solid var(--rule); }
tbody tr:hover > * { background: var(--shade); }
td b { font-weight: 700; } td u { text-underline-offset: .2em; }
small { display: block; color: var(--faint); font-size: .8em; } td span { color: var(--faint); font-size: .85em; }
sup { line-height: 0; font-size: .7em; } footer { color: var(--faint); font-size: .85em; } footer p { margin: .2rem 0; }
@media (max-width: 30rem) { body { font-size: 13px; } figure { padding: .6rem; } th, td { padding: .25rem .4rem; }
  tbody th { min-width: 5.5rem; max-width: 8rem; } }
""".strip()


def written(table: Table, interval: Interval = "ci") -> str:
    """The page; every name and note in it is escaped, and set apart from the direction of what is around it."""
    numbers, placed = footnotes(table), ranks(table)
    title = _text(table.caption[0]) if table.caption else "evalkit table"
    notes = [f"<sup>{letters(number)}</sup> {_text(note)}" for note, number in numbers.items()]
    notes += [_text(note) for note in remarks(table, interval, best="Bold", second="underlined")]
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title>",
        f"<style>\n{STYLE}\n</style>",
        "<figure>",
        f"<figcaption>{''.join(f'<p>{_text(sentence)}</p>' for sentence in table.caption)}</figcaption>",
        '<div class="scroll"><table>',
        *_head(table),
        *_body(table, interval, numbers, placed),
        "</table></div>",
        f"<footer>{''.join(f'<p>{note}</p>' for note in notes)}</footer>",
        "</figure>",
        "</html>",
    ]
    return "\n".join(lines)


def _text(text: str) -> str:
    return escape(plain(text))


def _head(table: Table) -> Iterator[str]:
    yield "<thead>"
    if any(name for name, _ in table.groups):
        tags = (f'th class="group" scope="colgroup" colspan="{count}"' if name else "td" for name, count in table.groups)
        groups = "".join(f"<{tag}>{_text(name)}</{tag[:2]}>" for tag, (name, _) in zip(tags, table.groups, strict=True))
        yield f"<tr><td></td>{groups}</tr>"
    titles = "".join(f'<th scope="col"{_kind(column)}>{_text(column.title)}</th>' for column in table.columns)
    yield f'<tr><th scope="col">{_text(table.head)}</th>{titles}</tr>'
    yield "</thead>"


def _kind(column: Column) -> str:
    return ' class="words"' if column.words else ""


def _body(table: Table, interval: Interval, numbers: Mapping[str, int], placed: Mapping[tuple[int, str], int]) -> Iterator[str]:
    """The lines, those of papers in a part of their own."""
    sources = table.sources
    yield "<tbody>"
    for place, line in enumerate(table.lines):
        if line.source and place and not table.lines[place - 1].source:
            yield "</tbody>\n<tbody>"
        under = [texts for _, texts in beneath(table, line, interval)]
        cells = (_cell(line, column, placed.get((place, column.name), 0), interval, numbers, under) for column in table.columns)
        yield f'<tr><th scope="row"><bdi>{_text(line.label)}</bdi>{_raised("", told(line, sources), numbers)}</th>{"".join(cells)}</tr>'
    yield "</tbody>"


def _cell(line: Line, column: Column, rank: int, interval: Interval, numbers: Mapping[str, int], under: Sequence[Mapping[str, str]]) -> str:
    cell = line.cells.get(column.name)
    if cell is None:
        return f"<td{_kind(column)}>{'' if column.words else NOTHING}</td>"
    tag = {1: "b", 2: "u"}.get(rank)
    text = f"<{tag}>{_text(cell.text)}</{tag}>" if tag else _text(cell.text)
    spread = error(cell, column, interval)
    small = "".join(f"<small>{texts[column.name].replace(', ', ' to ')}</small>" for texts in under if column.name in texts)
    around = f" <span>± {spread}</span>" if spread else ""
    return f"<td{_kind(column)}>{text}{around}{_raised(cell.mark, cell.notes, numbers)}{small}</td>"


def _raised(mark: str, notes: Sequence[str], numbers: Mapping[str, int]) -> str:
    raised = mark + ",".join(letters(numbers[note]) for note in notes)
    return f"<sup>{raised}</sup>" if raised else ""
