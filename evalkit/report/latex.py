r"""A table as LaTeX that compiles as it is, with pdfLaTeX and LuaLaTeX, in a document of one column or two.

It needs the packages booktabs and graphicx (Debian: texlive-latex-recommended). A table that fits a column of a two-column paper is a
`table`, a wider one a `table*` in smaller type; beyond the page's width its columns, and beyond the page's height its lines, go on in a
table of their own. What is wider than was thought is shrunk to the line by graphicx.

Of names, the signs that mean something to TeX are escaped, accented Latin letters, Greek ones and the usual signs are written by LaTeX's
own commands, which every font encoding has. Any other sign (CJK, Arabic, emoji, marks of direction) would stop pdfLaTeX or be left out
by XeLaTeX in silence, so that its code stands instead, as in U+4E2D; a comment above the table says which those were.

Numbers of a column stand with their decimal points one below the other: shorter ones are filled by phantoms, and marks take no width
of their own.
"""

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .form import Column, Interval, Line, Table, beneath, error, footnotes, letters, plain, ranks, remarks, told

SIGNS = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "`": "`{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "‘": "`{}",
    "’": "'{}",
    "“": "``{}",
    "”": "''{}",
    "…": r"\ldots{}",
    "\u00a0": "~",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ß": r"\ss{}",
    "ı": r"\i{}",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "§": r"$\S$",
    "¶": r"$\P$",
    "£": r"$\pounds$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "÷": r"$\div$",
    "−": "$-$",
    "°": r"$^{\circ}$",
    "µ": r"$\mu$",
    "μ": r"$\mu$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≠": r"$\neq$",
    "≈": r"$\approx$",
    "∞": r"$\infty$",
    "∆": r"$\Delta$",
    "•": r"$\bullet$",
    "←": r"$\leftarrow$",
    "→": r"$\rightarrow$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "½": r"$\frac12$",
    **{sign: f"$^{{{place}}}$" for place, sign in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
    **{sign: f"$_{{{place}}}$" for place, sign in enumerate("₀₁₂₃₄₅₆₇₈₉")},
}
ACCENTS = {"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": ".", "\u0308": '"'} | {
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0323": "d",
    "\u0327": "c",
    "\u0331": "b",
}
GREEK = dict(
    zip(
        "αβγδεζηθικλνξπρστυφχψω",
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda nu xi pi rho sigma tau upsilon phi chi psi omega".split(),
        strict=True,
    )
) | dict(zip("ΓΔΘΛΞΠΣΥΦΨΩ", "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega".split(), strict=True))
COLUMN, PAGE = 52, 118
"""How many signs of small type a column of the usual two-column papers holds, and both with the gap between them."""
LABEL, TITLE = 34, 14
"""From so many signs on, names and titles of columns are broken into lines."""
TAG = 40
"""Signs of a label."""
MOST = 44
"""Rows of a table on one page, with its caption and notes."""


@dataclass(frozen=True, slots=True)
class _Laid:
    """What every part of a table has in common."""

    table: Table
    interval: Interval
    numbers: Mapping[str, int]
    placed: Mapping[tuple[int, str], int]
    widest: "Mapping[str, tuple[int, int, str]]"
    """The most signs before the decimal point and behind it, and the longest marks, of each column's numbers."""


def written(table: Table, interval: Interval = "ci") -> str:
    """The table, ready to be pasted: comment lines, then one `table` or `table*`, or several where one page does not hold it."""
    numbers = footnotes(table)
    laid = _Laid(table, interval, numbers, ranks(table), {column.name: _widest(table, column, numbers) for column in table.columns})
    widths = {column.name: _width(laid, column) for column in table.columns}
    label = min(LABEL, max((len(line.label) for line in table.lines), default=0)) + 2
    panels = list(_panels(table.columns, widths, PAGE - label))
    pages = list(_pages(laid))
    notes = [f"$^{{\\mathrm{{{letters(number)}}}}}$\\,{_sentence(note)}" for note, number in laid.numbers.items()]
    notes += map(_sentence, remarks(table, interval, best="Bold", second="underlined"))
    floats = []
    for place, (page, panel) in enumerate((page, panel) for page in pages for panel in panels):
        of = len(pages) * len(panels)
        caption = list(table.caption) if place == 0 else [f"{table.caption[0].rstrip('.')}, continued." if table.caption else "Continued."]
        wide = label + sum(widths[column.name] for column in panel) > COLUMN
        floats.append(_float(laid, panel, page, caption, notes if place == of - 1 else [], wide, place))
    return "\n".join([*_comments("\n\n".join(floats)), "\n\n".join(floats)])


def _comments(text: str) -> list[str]:
    said = [r"% Needs \usepackage{booktabs} and \usepackage{graphicx} in the preamble."]
    codes = sorted(set(re.findall(r"\\texttt\{U\+([0-9A-F]+)\}", text)))
    if codes:
        said.append(f"% Signs that LaTeX's own fonts lack stand as their codes: {', '.join(f'U+{code}' for code in codes)}.")
    return said


def _float(
    laid: _Laid, columns: Sequence[Column], places: Sequence[int], caption: list[str], notes: list[str], wide: bool, part: int
) -> str:
    name, size, gap = ("table*", "footnotesize", 3.5) if wide else ("table", "small", 4.5)
    tag = re.sub(r"[^a-z0-9]+", "-", (laid.table.caption or ("",))[0].lower()).strip("-")
    tag = (tag if len(tag) <= TAG else tag[: TAG + 1].rpartition("-")[0]) or "evalkit"
    lines = [
        f"\\begin{{{name}}}[t]",
        r"  \centering",
        f"  \\caption{{{' '.join(map(_sentence, caption))}}}",
        f"  \\label{{tab:{tag}{-part - 1 if part else ''}}}\\par\\vspace{{3pt}}",
        f"  \\{size}\\setlength{{\\tabcolsep}}{{{gap}pt}}",
        r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        f"  \\begin{{tabular}}{{@{{}}l{''.join('l' if column.words else 'c' for column in columns)}@{{}}}}",
        r"    \toprule",
        *_head(laid.table, columns),
        r"    \midrule",
        *_rows(laid, columns, places),
        r"    \bottomrule",
        r"  \end{tabular}}",
    ]
    if notes:
        lines.append(f"  \\par\\smallskip\\parbox{{\\linewidth}}{{\\scriptsize\\raggedright {' '.join(notes)}}}")
    return "\n".join([*lines, f"\\end{{{name}}}"])


def _sentence(text: str) -> str:
    """The text with a full stop, its long words such as paths broken where they may be."""
    words = (text if text.endswith((".", "!", "?")) else f"{text}.").split()
    return " ".join(broken(word) if len(word) > LABEL else escaped(word) for word in words)


def _head(table: Table, columns: Sequence[Column]) -> Iterator[str]:
    """The rows above the numbers: the groups with their rules, where there are any, and the titles."""
    groups = Table((), tuple(columns), ()).groups
    if any(name for name, _ in groups):
        cells, rules, first = [], [], 2
        for name, count in groups:
            cells.append(f"\\multicolumn{{{count}}}{{c}}{{{escaped(name)}}}" if name else "")
            rules += [f"\\cmidrule(lr){{{first}-{first + count - 1}}}"] if name else []
            first += count
        yield f"    & {' & '.join(cells)} \\\\"
        yield f"    {' '.join(rules)}"
    yield f"    {escaped(table.head)} & {' & '.join(_title(column) for column in columns)} \\\\"


def _title(column: Column) -> str:
    if len(column.title) <= TITLE:
        return escaped(column.title)
    return f"\\parbox[b]{{{_ems(_title_width(column))}em}}{{\\centering {broken(column.title)}}}"


def _title_width(column: Column) -> int:
    """How wide a broken title is, in signs: as its longest word, and no more than three lines."""
    return max(TITLE, math.ceil(len(column.title) / 3), *(len(word) for word in column.title.split()))


def _ems(signs: int) -> str:
    return f"{signs * 0.55:.1f}"


def _rows(laid: _Laid, columns: Sequence[Column], places: Sequence[int]) -> Iterator[str]:
    table, sources = laid.table, laid.table.sources
    published = False
    for place in places:
        line = table.lines[place]
        if line.source and not published and place != places[0]:
            yield r"    \midrule"
        published = bool(line.source)
        marks = _raised("", told(line, sources), laid.numbers)
        label = ("{}" if line.label.startswith(("[", "*")) else "") + escaped(line.label) + marks
        if len(line.label) > LABEL:
            label = f"\\parbox[t]{{{_ems(LABEL)}em}}{{\\raggedright {broken(line.label)}{marks}}}"
        cells = [_cell(laid, line, column, laid.placed.get((place, column.name), 0)) for column in columns]
        yield f"    {label} & {' & '.join(cells)} \\\\"
        under = beneath(table, line, laid.interval)
        for _, texts in under:
            yield f"    & {' & '.join(_small(texts.get(column.name, '')) for column in columns)} \\\\"
        if under and place != places[-1]:
            yield r"    \addlinespace[2pt]"


def _small(text: str) -> str:
    """What stands under a number: an interval in brackets, or how much of a benchmark was asked."""
    return f"{{\\scriptsize {escaped(f'[{text}]' if ', ' in text else text)}}}" if text else ""


def _cell(laid: _Laid, line: Line, column: Column, rank: int) -> str:
    cell = line.cells.get(column.name)
    if cell is None:
        return "" if column.words else "--"
    if column.words:
        return escaped(cell.text)
    whole, fraction, mark = laid.widest[column.name]
    left, _, right = cell.text.partition(".")
    text = escaped(cell.text).replace("-", "$-$")
    text = {1: f"\\textbf{{{text}}}", 2: f"\\underline{{{text}}}"}.get(rank, text)
    lacking = ("" if right or not fraction else ".") + "0" * (fraction - len(right))
    spread = error(cell, column, laid.interval)
    small = f"{{\\scriptsize$\\,\\pm\\,${spread}}}" if spread else ""
    own = _raised(cell.mark, cell.notes, laid.numbers)
    around = own if own == mark else _in("rlap", own) + _in("hphantom", mark)
    return _in("phantom", "0" * (whole - len(left))) + text + _in("phantom", lacking) + small + around


def _in(command: str, text: str) -> str:
    return f"\\{command}{{{text}}}" if text else ""


def _raised(mark: str, notes: Sequence[str], numbers: Mapping[str, int]) -> str:
    """Marks and the letters of notes as a superscript."""
    signs = mark.replace("†", r"\dagger").replace("‡", r"\ddagger")
    found = signs + _in("mathrm", ",".join(letters(numbers[note]) for note in notes))
    return f"$^{{{found}}}$" if found else ""


def _widest(table: Table, column: Column, numbers: Mapping[str, int]) -> "tuple[int, int, str]":
    cells = [cell for line in table.lines if (cell := line.cells.get(column.name))]
    parts = [cell.text.partition(".") for cell in cells if not column.words]
    marks = [_raised(cell.mark, cell.notes, numbers) for cell in cells]
    return (
        max((len(part[0]) for part in parts), default=0),
        max((len(part[2]) for part in parts), default=0),
        max(marks, key=len, default=""),
    )


def _width(laid: _Laid, column: Column) -> int:
    """About how wide a column is, in signs of small type, with the space beside it."""
    found = [len(column.title) if len(column.title) <= TITLE else _title_width(column)]
    for line in laid.table.lines:
        if cell := line.cells.get(column.name):
            spread = error(cell, column, laid.interval)
            found.append(len(cell.text) + len(spread) + 2 * bool(spread) + len(cell.mark) + len(cell.notes))
        found += [math.ceil((len(texts.get(column.name, "")) + 2) * 0.85) for _, texts in beneath(laid.table, line, laid.interval)]
    return max(found) + 2


def _panels(columns: Sequence[Column], widths: Mapping[str, int], room: int) -> Iterator[list[Column]]:
    """The columns in parts that fit a page, of groups as whole as can be."""
    panel: list[Column] = []
    used = start = 0
    for name, count in Table((), tuple(columns), ()).groups:
        group = columns[start : start + count]
        start += count
        width = max(sum(widths[column.name] for column in group), len(name) + 2)
        if panel and used + width > room:
            yield panel
            panel, used = [], 0
        for column in group:
            if panel and used + widths[column.name] > room:
                yield panel
                panel, used = [], 0
            panel.append(column)
            used += widths[column.name]
    yield panel


def _pages(laid: _Laid) -> Iterator[list[int]]:
    """The places of the lines that one page holds."""
    page: list[int] = []
    used = 0
    for place, line in enumerate(laid.table.lines):
        rows = 1 + len(beneath(laid.table, line, laid.interval)) + len(line.label) // LABEL
        if page and used + rows > MOST:
            yield page
            page, used = [], 0
        page.append(place)
        used += rows
    yield page


def escaped(text: str) -> str:
    r"""The text with the meaning that it has outside TeX; see above.

    >>> escaped("a_b & 50%"), escaped("Müller-Å"), escaped("中")
    ('a\\_b \\& 50\\%', 'M\\"{u}ller-\\r{A}', '\\texttt{U+4E2D}')
    """
    return re.sub("-(?=-)", "-{}", "".join(map(_sign, unicodedata.normalize("NFC", plain(text)))))


def broken(text: str) -> str:
    """The text, escaped, which may be broken behind every sign that is no letter, and else behind every twelfth."""
    found, since = [], 0
    for sign in unicodedata.normalize("NFC", plain(text)):
        found.append(_sign(sign))
        since = since + 1 if sign.isalnum() else 0
        if not (since % 12 or sign == " "):
            found.append(r"\allowbreak{}")
    return "".join(found)


def _sign(sign: str) -> str:
    if sign in SIGNS:
        return SIGNS[sign]
    if " " <= sign <= "~":
        return sign
    if sign in GREEK:
        return f"$\\{GREEK[sign]}$"
    base, *accents = list(unicodedata.normalize("NFD", sign))
    if not accents or not base.isascii() or any(accent not in ACCENTS for accent in accents):
        return f"\\texttt{{U+{ord(sign):04X}}}"
    for accent in sorted(accents, key="\u0323\u0327\u0331".find):  # those below come last: TeX sets them under whatever there is
        base = f"\\{ACCENTS[accent]}{{{base}}}"
    return base
