"""LaTeX that a real pdfLaTeX takes as it is, whatever names hold."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from evalkit import suites
from evalkit.report import latex, suite
from evalkit.report.form import Cell, Column, Line, Table, split
from evalkit.report.published import published

NAMES = [
    r"50% of a_b & c#d $e$ {f} ~g ^h \input{i} \\",
    "[x] first", "*star", "<b>bold</b> |pipe| \"quoted\" 'it' `tick` --dash---",
    "Müller Ångström façade naïve Łódź Đorđe ß ệ ı Œuvre ẞ",
    "通义千问-VL", "مرحبا", "שלום", "\u202egnp.exe\u202c", "\u200bzero\u200d\ufeff", "🦙 llama 👩‍🔬", "α-β Ωmega ∀x∈ℝ ±½²₃ †‡§¶£©→",
    "new\nline\ttab\x00\x1b[31m\x7f", "e\u0301 combining \u0301", "ﬁ ligature …–—“q”‘s’", "",
    "a/very/long/path/to/some-checkpoint_of.a-training/that/nobody/would/ever/print/in/a/table/step-000012345",
    "x" * 200,
]  # fmt: skip


def compiled(folder: Path, *tables: str, options: str = "twocolumn") -> str:
    """The log of pdfLaTeX on a paper that holds the tables; fails where it does, skips where it is not installed."""
    if not shutil.which("pdflatex"):
        absent = "pdflatex is absent: apt-get install --no-install-recommends texlive-latex-recommended"
        pytest.fail(absent) if os.environ.get("EVALKIT_REQUIRE_TEX") else pytest.skip(absent)
    head = rf"\documentclass[{options}]{{article}}\usepackage{{booktabs}}\usepackage{{graphicx}}\extrafloats{{100}}\begin{{document}}"
    (folder / "paper.tex").write_text("\n".join([head, *tables, r"\end{document}"]), "utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert (folder / "paper.pdf").stat().st_size > 1000
    return (folder / "paper.log").read_text("latin-1")


def named(names: list[str], columns: int = 3, **cell: object) -> Table:
    """A table of these names, which are the titles, notes and rules too."""
    titles = [names[place % len(names)] for place in range(columns)]
    made = tuple(Column(f"{title} {place}", group=titles[0] if place else "") for place, title in enumerate(titles))
    full = Cell("71.25", 71.25, 69.0, 73.5, 1.1, 288, (24, 288), "r", {"unparsed": 1}, (names[0], names[-1]), mark="†")
    lines = [Line(name, {made[0].name: full, made[-1].name: Cell("9.5", 9.5)}, notes=(name,)) for name in names]
    return Table((f"About {names[0]}.", names[-1] or "x"), made, tuple(lines), (names[0],), names[0])


def test_names_with_any_sign_compile(tmp_path: Path) -> None:
    text = latex.written(named(NAMES))
    log = compiled(tmp_path, text, latex.written(named(NAMES), "stderr"))
    assert "Missing character" not in log
    assert "undefined" not in log.lower().replace("undefined references", "")


@pytest.mark.parametrize("name", ["grit", "unipixel", "core"])
def test_a_papers_table_compiles_and_is_no_wider_than_the_page(name: str, tmp_path: Path) -> None:
    chosen = suites.find(name)
    for options in ("twocolumn", "10pt"):
        log = compiled(tmp_path, latex.written(suite.table(chosen, [], published())), options=options)
        assert "Overfull \\hbox" not in log


def test_many_lines_and_columns_go_on_in_tables_of_their_own(tmp_path: Path) -> None:
    columns = tuple(Column(f"task-{place}", group=f"group {place // 3}") for place in range(40))
    lines = tuple(Line(f"step-{step}", {column.name: Cell("50.0", 50.0, 48, 52) for column in columns}) for step in range(60))
    text = latex.written(Table(("Many.",), columns, lines))
    assert text.count(r"\begin{table*}") == text.count(r"\end{table*}") > 2
    assert text.count("Many, continued.") == text.count(r"\caption") - 1
    assert all(text.count(f"& task-{place} ") == text.count("& task-1 ") for place in range(2, 40, 5))
    assert len(set(re.findall(r"\\label\{(.*?)\}", text))) == text.count(r"\label")
    assert "Overfull \\vbox" not in compiled(tmp_path, text)


def test_a_narrow_table_takes_one_column_of_a_paper_and_a_wide_one_both() -> None:
    def wide(columns: int) -> bool:
        made = tuple(Column(f"task-{place}") for place in range(columns))
        return r"\begin{table*}" in latex.written(Table(("t",), made, (Line("model", {c.name: Cell("50.0", 50.0) for c in made}),)))

    assert (wide(2), wide(9)) == (False, True)


def test_decimal_points_stand_one_below_the_other_and_marks_take_no_width() -> None:
    column = Column("t")
    cells = {"a": Cell("100.0", 100.0, mark="†"), "b": Cell("9.5", 9.5), "c": Cell("44", 44.0)}
    text = latex.written(Table(("t",), (column,), tuple(Line(name, {"t": cell}) for name, cell in cells.items())))
    assert r"a & \textbf{100.0}$^{\dagger}$ \\" in text
    assert r"b & \phantom{00}9.5\hphantom{$^{\dagger}$} \\" in text
    assert r"c & \phantom{0}\underline{44}\phantom{.0}\hphantom{$^{\dagger}$} \\" in text


def test_intervals_stand_below_in_brackets_and_errors_behind_a_plus_minus() -> None:
    table = Table(("t",), (Column("t"),), (Line("a", {"t": Cell("50.0", 50.0, 46.0, 54.0, 2.0)}),))
    assert r"& {\scriptsize [46.0, 54.0]} \\" in latex.written(table)
    assert r"50.0{\scriptsize$\,\pm\,$2.0}" in latex.written(table, "stderr")
    assert "46.0" not in latex.written(table, "none") + latex.written(table, "stderr")


def test_groups_have_a_rule_over_their_columns() -> None:
    columns = (Column("x"), Column("a", "g_1"), Column("b", "g_1"))
    text = latex.written(Table(("t",), columns, (Line("m", {}),)))
    assert r"&  & \multicolumn{2}{c}{g\_1} \\" in text
    assert r"\cmidrule(lr){3-4}" in text


def test_published_rows_stand_below_a_rule_with_letters_for_their_flags() -> None:
    lines = (Line("mine", {"t": Cell("50.0", 50.0)}), Line("theirs", {"t": Cell("60.0", 60.0, notes=("odd",), contends=False)}, source="s"))
    text = latex.written(Table(("t",), (Column("t"),), lines))
    assert re.search(r"mine .*\n    \\midrule\n    theirs & 60.0\$\^\{\\mathrm\{a\}\}\$", text)
    assert r"$^{\mathrm{a}}$\,odd." in text


def test_what_the_table_needs_and_which_signs_are_codes_stand_on_top() -> None:
    text = latex.written(split(Table(("t",), (Column("t"),), (Line("千 \u202e", {}),))))
    assert text.startswith("% Needs \\usepackage{booktabs}")
    assert "as their codes: U+5343" in text.splitlines()[1]
    assert "\u202e" not in text
