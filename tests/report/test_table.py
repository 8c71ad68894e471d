"""Runs side by side: what compares stands in one column, what does not never does, and what is odd is told or refused."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from evalkit.cli.table import command
from evalkit.folder import RunFolder
from evalkit.report import form, html, latex, markdown, side_by_side
from evalkit.report.form import Cell, Column, Line, Table
from evalkit.report.runs import Run

Make = Callable[..., Path]


def made(name: str = "mine", value: float | None = 0.5, metric: str = "accuracy", limit: int | None = None, **more: Any) -> Run:
    """A run of `shapes` with one number; `more` replaces what its manifest says, `row` what its number does."""
    row = {"task": "shapes", "metric": metric, "rule": "official", "subset": "overall", "value": value, "stderr": 0.02, "n": 960}
    row |= {"low": None if value is None else value - 0.04, "high": None if value is None else value + 0.04}
    row |= dict.fromkeys(("unparsed", "truncated", "refused", "missing", "gaps"), 0) | more.pop("row", {})
    entry = {"task": "shapes", "version": 1, "headline": metric, "samples": limit or 960, "published": 960, "limit": limit, "gaps": []}
    entry |= more.pop("entry", {})
    summary = {"model": name, "protocol": more.pop("protocol", "grit"), "tasks": [entry], "numbers": [row]}
    said = {"protocol": "grit", "roles": {}, "tasks": [{"name": "shapes", "data": None}], "options": {"tasks": ["shapes"]}}
    return Run(RunFolder(Path(name)), summary, said | more)


def form_of(**sampling: Any) -> dict[str, Any]:
    """What a manifest says of how a protocol asked."""
    given = {"temperature": 0.0, "max_tokens": 1000, **sampling}
    budget = given.pop("budget", None)
    return {"protocol": ["grit", {"sampling": given, "budget": budget}], "tasks": [["shapes", 1, None, ""]]}


def grid(text: str) -> dict[str, dict[str, str]]:
    """The cells of a Markdown table by row and column."""
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line.startswith("|")]
    return {cells[0]: dict(zip(rows[0], cells, strict=True)) for cells in rows[2:]}


def said(*arguments: object) -> Result:
    return CliRunner().invoke(command, [*map(str, arguments)], standalone_mode=False)


# ---------------------------------------------------------------- what is printed


def test_the_best_is_bold_the_second_marked_and_shares_are_in_percent() -> None:
    text = markdown.written(side_by_side.table([made("a", 0.5), made("b", 0.75), made("c", 0.625)]))
    assert [grid(text)[name]["shapes"] for name in "abc"] == ["50.0", "**75.0**", "_62.5_"]
    assert "Bold: the best of a column; between underscores: the second." in text
    assert text.startswith("Accuracy on shapes, in percent.\n")
    assert "Read: accuracy (official): shapes." in text
    assert "n = 960." in text


def test_numbers_that_are_printed_alike_are_best_alike() -> None:
    cells = grid(markdown.written(side_by_side.table([made("a", 0.75001), made("b", 0.75004), made("c", 0.5)])))
    assert [cells[name]["shapes"] for name in "abc"] == ["**75.0**", "**75.0**", "_50.0_"]


def test_the_lowest_error_is_the_best_and_that_is_said() -> None:
    text = markdown.written(side_by_side.table([made("a", 1.5, "rmse"), made("b", 0.75, "rmse"), made("c", 1.25, "rmse")]))
    assert [grid(text)[name]["shapes"] for name in "abc"] == ["1.50", "**0.75**", "_1.25_"]
    assert "Lower is better: shapes." in text


def test_runs_of_one_model_are_told_apart_by_labels_beside_its_name() -> None:
    runs = [made("a", 0.5, options={"tasks": ["shapes"], "label": [f"step={step}"]}) for step in (200, 400)]
    assert [line.label for line in side_by_side.table(runs).lines] == ["a, step=200", "a, step=400"]


def test_two_runs_have_no_second_and_one_has_no_best() -> None:
    assert "_" not in grid(markdown.written(side_by_side.table([made("a", 0.5), made("b", 0.75)])))["a"]["shapes"]
    assert grid(markdown.written(side_by_side.table([made("a")])))["a"]["shapes"] == "50.0"


def test_a_judges_scores_and_sums_of_points_are_no_percent() -> None:
    table = side_by_side.table([made("a", 3.25, "judge_score")])
    assert (table.lines[0].cells["shapes"].text, "percent" in table.caption[0]) == ("3.25", False)
    assert side_by_side.table([made("a", 1531.25, "sums")]).lines[0].cells["shapes"].text == "1531.2"


@pytest.mark.parametrize(
    ("interval", "cell", "below"), [("ci", "50.0", "46.0 to 54.0"), ("stderr", "50.0 ± 2.0", None), ("none", "50.0", None)]
)
def test_a_number_has_its_interval_or_its_standard_error_or_neither(interval: Any, cell: str, below: str | None) -> None:
    cells = grid(markdown.written(side_by_side.table([made("a")]), interval))
    assert cells["a"]["shapes"] == cell
    assert cells.get("95% interval", {}).get("shapes") == below


def test_replies_that_gave_nothing_are_counted_in_a_note() -> None:
    text = markdown.written(side_by_side.table([made("a", row={"unparsed": 3, "refused": 1}), made("b")]))
    assert "counted as the benchmark says: a shapes 3 unparsed, 1 refused." in text


def test_a_part_of_a_benchmark_says_how_much_and_competes_among_its_like() -> None:
    text = markdown.written(side_by_side.table([made("a", 0.5, limit=48), made("b", 0.75, limit=48)]))
    assert (grid(text)["n/N"]["shapes"], grid(text)["b"]["shapes"]) == ("48/960", "**75.0**")
    assert "such a number is not the benchmark's" in text


def test_a_run_with_gaps_is_noted_and_never_the_best() -> None:
    text = markdown.written(side_by_side.table([made("a", 0.5), made("b", 0.9, row={"gaps": 2}), made("c", 0.4)]))
    assert (grid(text)["b"]["shapes"], grid(text)["a"]["shapes"]) == ("90.0 [1]", "**50.0**")
    assert "[1] 2 answers did not come" in text


# ---------------------------------------------------------------- what does not compare


@pytest.mark.parametrize(
    ("given", "titles"),
    [
        ({"entry": {"version": 2}}, ["version 1 of the task", "version 2 of the task"]),
        ({"tasks": [{"name": "shapes", "data": {"fingerprint": "f00d" * 16}}]}, ["data none", "data f00df00d"]),
        ({"protocol": "direct"}, ["protocol grit", "protocol direct"]),
        ({"protocol": "grit, blind"}, ["protocol grit", "protocol grit, blind"]),
        ({"resolved": form_of(temperature=0.7)}, ["temperature 0", "temperature 0.7"]),
        ({"resolved": form_of(max_tokens=50)}, ["at most 1,000 new tokens", "at most 50 new tokens"]),
        (
            {"shown": [3136, 50_176]},
            ["images of the size that the processor chooses", "images of 3,136 to 50,176 pixels"],
        ),
        ({"limit": 48}, ["960 samples", "48 samples drawn by seed 0"]),
        ({"row": {"rule": "strict"}}, ["official", "strict"]),
    ],
)
def test_numbers_that_do_not_compare_have_columns_of_their_own_titled_by_the_difference(given: dict[str, Any], titles: list[str]) -> None:
    table = side_by_side.table([made("a", 0.5, resolved=form_of()), made("b", 0.9, **{"resolved": form_of(), **given})])
    assert [(column.group, column.title) for column in table.columns] == [("shapes", title) for title in titles]
    assert [list(line.cells) for line in table.lines] == [[f"shapes {title}"] for title in titles]
    assert form.ranks(table) == {}, "neither is the best"


def test_what_may_differ_is_noted_of_the_lines_and_splits_no_column() -> None:
    runs = [made("a", 0.5, shown=[1, 100]), made("b", 0.9, shown=[1, 200]), made("c", 0.7, protocol="direct", shown=[1, 100])]
    table = side_by_side.table(runs, across=["pixels", "protocol"])
    assert [column.name for column in table.columns] == ["shapes"]
    assert table.lines[1].notes == ("images of 1 to 200 pixels", "protocol grit")
    assert form.ranks(table) == {(1, "shapes"): 1, (2, "shapes"): 2}
    assert "no kind of difference 'pixel' to look past" in str(said("nowhere", "--across", "pixel").exception)
    assert "--across goes without --suite" in str(said("nowhere", "--across", "pixels", "--suite", "grit").exception)


def test_a_judge_splits_only_tasks_that_have_one() -> None:
    judged = {"roles": {"judge": {"name": "gpt", "fingerprint": "abcdef123"}}}
    assert [column.name for column in side_by_side.table([made("a"), made("b", **judged)]).columns] == ["shapes"]


def test_how_a_protocol_decodes_goes_without_saying_beside_its_name() -> None:
    runs = [made("a", resolved=form_of()), made("b", protocol="direct", resolved=form_of(max_tokens=2048))]
    assert [column.title for column in side_by_side.table(runs).columns] == ["protocol grit", "protocol direct"]


def test_runs_of_other_tasks_leave_dashes() -> None:
    other = made("b", tasks=[{"name": "vstar", "data": None}], options={"tasks": ["vstar"]}, entry={"task": "vstar"}, row={"task": "vstar"})
    cells = grid(markdown.written(side_by_side.table([made("a"), other])))
    assert (cells["a"]["shapes"], cells["a"]["vstar"], cells["b"]["shapes"]) == ("50.0", "-", "-")


def test_published_numbers_stand_in_every_part_of_a_column_that_is_split() -> None:
    cells = [{"t": Cell("1.0", 1.0, made={"data": "data a"})}, {"t": Cell("2.0", 2.0, made={"data": "data b"})}, {"t": Cell("3.0", 3.0)}]
    table = form.split(Table(("t",), (Column("t"),), tuple(Line(name, cell) for name, cell in zip("abp", cells, strict=True))))
    assert [[*line.cells] for line in table.lines] == [["t data a"], ["t data b"], ["t data a", "t data b"]]


# ---------------------------------------------------------------- against a baseline


def test_numbers_that_differ_from_the_baseline_are_marked_and_the_marks_explained(run_folder: Make, replies: dict[str, Any]) -> None:
    base, worse, like = run_folder("base", replies["erring"](0.1)), run_folder("worse", replies["erring"](0.9)), run_folder("like")
    text = said(base, worse, like, "--baseline", base).stdout
    assert grid(text)["worse"]["shapes"].endswith("‡")
    assert not any(grid(text)[name]["shapes"].endswith(("†", "‡")) for name in ("base (baseline)", "like"))
    assert "‡: differs from base at p < 0.01, by a paired test over the samples that both answered, adjusted by Holm" in text
    rows = json.loads(said(base, worse, "--baseline", base, "--format", "json").stdout)
    assert [row["p_holm"] is None for row in rows] == [True, False]
    assert rows[1]["effect"] == pytest.approx(rows[1]["value"] - rows[0]["value"])


def test_p_values_are_adjusted_over_the_columns_of_a_line(run_folder: Make, replies: dict[str, Any]) -> None:
    tasks = ("shapes", "shapes:500")
    folders = [run_folder(name, replies["erring"](wrong), tasks=tasks) for name, wrong in (("base", 0.1), ("new", 0.5))]

    def adjusted() -> dict[str, float]:
        rows = json.loads(said(*folders, "--baseline", folders[0], "--format", "json").stdout)
        return {row["column"]: row["p_holm"] for row in rows if row["p_holm"] is not None}

    both = adjusted()
    for folder in folders:
        summary = json.loads((folder / "summary.json").read_text())
        summary["tasks"] = summary["tasks"][:1]
        (folder / "summary.json").write_text(json.dumps(summary))
    alone = adjusted()
    assert len(both) == 2
    assert both["shapes"] == pytest.approx(2 * alone["shapes"]), "of two that are alike"


def test_a_line_that_was_asked_otherwise_than_the_baseline_is_told_not_to_be_tested(run_folder: Make, replies: dict[str, Any]) -> None:
    base, new = run_folder("base", replies["erring"](0.1)), run_folder("new")
    other = run_folder("other", protocol="direct")
    text = said(base, new, other, "--baseline", base).stdout
    assert "Not tested where they were measured otherwise: other, direct." in text


def test_a_baseline_that_compares_with_no_run_is_refused_with_the_reason(run_folder: Make) -> None:
    base, new = run_folder("base"), run_folder("new", version=2)
    assert "no run compares with the baseline base: new: another version of the task" in str(said(new, "--baseline", base).exception)
    assert "is the only run" in str(said(base, "--baseline", base).exception)
    assert "expected one run's folder" in str(said(base, "--baseline", base.parent).exception)


# ---------------------------------------------------------------- odd runs and odd names


@pytest.mark.parametrize("samples", [1, 7])
@pytest.mark.parametrize("answer", [(0.0, 0), (1.0, 0), (0.3, 9, False)], ids=["right", "wrong", "no boxes"])
def test_runs_of_one_kind_of_answer_and_of_few_samples_are_tables_like_others(
    samples: int, answer: Any, run_folder: Make, replies: dict[str, Any]
) -> None:
    folders = [run_folder(name, replies["erring"](*answer), samples=samples) for name in ("one", "two")]
    for style in ("md", "latex", "html", "csv", "json"):
        told = said(*folders, "--baseline", folders[0], "--format", style)
        assert told.exit_code == 0, told.exception
        assert "nan" not in told.stdout.lower()
        assert said(folders[0], "--numbers", "all", "--format", style).exit_code == 0


def test_a_task_without_a_number_is_a_dash_and_so_is_one_without_any(run_folder: Make) -> None:
    assert grid(markdown.written(side_by_side.table([made("a", None), made("b")])))["a"]["shapes"] == "-"
    assert grid(markdown.written(side_by_side.table([made("a", None)])))["a"]["shapes"] == "-"
    assert said(run_folder("gone", samples=3, gaps=3), "--numbers", "headline").exit_code == 0


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    assert "expected a run's folder, or one that holds some" in str(said(tmp_path).exception)
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "summary.json").write_text("[]")
    assert "expected" in str(said(tmp_path).exception)
    assert "--numbers all goes without --baseline" in str(said(tmp_path, "--numbers", "all", "--baseline", tmp_path).exception)


def test_a_name_cannot_leave_its_cell_of_a_markdown_table() -> None:
    text = markdown.written(side_by_side.table([made("a | b\n| c | d"), made("<b>x</b>"), made("\x1b[2J[x](y)")]))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert [line.replace("\\|", "").count("|") for line in lines] == [3] * len(lines)
    assert "\\<b>x\\</b>" in text
    assert "(U+001B)\\[2J\\[x\\](y)" in text


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r\n=1"])
def test_a_spreadsheet_takes_no_name_for_a_formula(name: str) -> None:
    rows = form.flat(side_by_side.table([made(name, -0.5)]))
    read = next(csv.DictReader(io.StringIO(form.as_csv(rows), newline="")))
    assert read["model"] == f"'{name.strip()}"
    assert float(read["value"]) == -50.0
    assert rows[0]["model"] == name, "json has it as it is"


def test_hundreds_of_runs_are_one_table_each_line_once() -> None:
    runs = [made(f"step-{step}", step / 400) for step in range(400)]
    table = side_by_side.table(runs)
    assert len(table.columns) == 1
    for text in (markdown.written(table), latex.written(table), html.written(table)):
        assert all(text.count(f"step-{step}{end}") <= 1 for step in (1, 399) for end in ("<", " "))
        assert text.count("step-") == 400


def test_the_list_of_one_run_is_the_same_numbers_in_every_format(run_folder: Make) -> None:
    folder = run_folder("mine")
    value = next(row for row in json.loads(said(folder, "--format", "json").stdout) if row["metric"] == "grounding_iou")["value"]
    for style in ("md", "html"):
        assert f"{value:.4f}" in said(folder, "--format", style).stdout
    assert f"{100 * value:.1f}" not in said(folder, "--format", "latex").stdout, "a paper's table has headlines alone"
    assert "standard error" in said(folder, "--interval", "stderr").stdout


def test_numbers_that_another_hand_wrote_are_told_of(run_folder: Make, caplog: pytest.LogCaptureFixture) -> None:
    folder = run_folder("mine")
    said(folder)
    assert not caplog.messages
    path = folder / "summary.json"
    path.write_text(path.read_text().replace('"value": 0.', '"value": 0.9', 1))
    assert said(folder).exit_code == 0
    assert caplog.messages == [f"{path} is not as evalkit wrote it: `evalkit score {folder} --check` says how to mend it"]
