"""One file that shows a table as it is, and runs or loads nothing."""

import re
from html.parser import HTMLParser

from evalkit import suites
from evalkit.report import html, suite
from evalkit.report.form import Cell, Column, Line, Table
from evalkit.report.published import published

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)> \" ' & \u202e </style></table>"


class Tags(HTMLParser):
    """Counts what is opened, and checks that it is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.open: list[str] = []
        self.attributes: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += [name for name, _ in attrs]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def table() -> Table:
    columns = (Column(EVIL, group=EVIL), Column("b", group=EVIL), Column("c"))
    cells = {columns[0].name: Cell("50.0", 50.0, 46.0, 54.0, 2.0, 10, (10, 20), notes=(EVIL,), mark="†")}
    return Table((EVIL, EVIL), columns, (Line(EVIL, cells, notes=(EVIL,)), Line("paper", {}, source=EVIL)), (EVIL,), EVIL)


def test_names_are_text_wherever_they_stand() -> None:
    found = Tags(html.written(table()))
    assert found.open == []
    assert not {"script", "img", "link", "iframe"} & set(found.seen)
    assert not [name for name in found.attributes if name.startswith("on")]
    assert "\u202e" not in html.written(table())


def test_every_row_has_as_many_cells_as_there_are_columns() -> None:
    text = html.written(table())
    for row in re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL):
        spans = [int(number) for number in re.findall(r'colspan="(\d+)"', row)]
        assert len(re.findall(r"<t[hd][ >]", row)) - len(spans) + sum(spans) == 1 + 3


def test_the_file_needs_nothing_else_and_suits_the_dark_and_the_telephone() -> None:
    text = html.written(suite.table(suites.find("grit"), [], published()))
    assert "http" not in re.sub(r"arXiv[^<]*", "", text)
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    assert "overflow-x: auto" in text


def test_the_best_is_bold_the_second_underlined_and_published_rows_are_a_part_of_their_own() -> None:
    values = [("a", 60.0, ""), ("b", 50.0, ""), ("c", 40.0, "arXiv")]
    lines = tuple(Line(name, {"t": Cell(f"{value}", value)}, source=source) for name, value, source in values)
    text = html.written(Table(("t",), (Column("t"),), lines))
    assert "<b>60.0</b>" in text
    assert "<u>50.0</u>" in text
    assert re.search(r"</tbody>\s*<tbody>\s*<tr><th scope=\"row\"><bdi>c</bdi>", text)


def test_intervals_parts_marks_and_notes_stand_with_their_number() -> None:
    text = html.written(table())
    assert re.search(r"50\.0<sup>†a</sup><small>46\.0 to 54\.0</small><small>10/20</small>", text)
    assert "50.0 <span>± 2.0</span>" in html.written(table(), "stderr")
