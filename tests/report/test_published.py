"""The numbers of papers: every row has what a row needs, a place in a table, and a flag where it cannot be what its column says."""

from pathlib import Path

import pytest

from evalkit import suites
from evalkit.errors import DataError
from evalkit.report.published import COLUMNS, home, published
from evalkit.report.suite import UNSTATED

HEAD = ",".join(COLUMNS)
ROW = "M,vstar,accuracy,official,overall,70.0,direct,,,191,a paper,"
POINTS = {"score"}
"""Metrics that are sums of points."""
PIXEL_REASONER = "arXiv 2505.15966, Table 1"


def test_every_row_is_in_percent_or_points_and_none_comes_twice() -> None:
    rows = published()
    assert len(rows) > 250
    assert all(0 <= row.value <= (100 if row.metric not in POINTS else 2000) for row in rows)
    assert max(row.value for row in rows if row.metric not in POINTS) > 1, "shares are in percent"
    keys = [(row.model, row.protocol, row.task, row.metric, row.rule, row.subset, row.source) for row in rows]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("name", suites.names())
def test_every_row_of_a_papers_table_has_a_column(name: str) -> None:
    suite = suites.find(name)
    if not suite.source:
        pytest.skip("a table of its own, of no paper")
    columns = {(column.task, column.metric, column.published_rule or column.rule, column.subset) for column in suite.columns}
    rows = [row for row in published() if row.source == suite.source]
    assert rows
    ruled = {(row.task, row.metric, row.rule, row.subset) for row in rows if row.rule != UNSTATED}
    assert ruled <= columns
    assert {(row.task, row.metric, row.subset) for row in rows} == {(task, metric, subset) for task, metric, _, subset in columns}


def test_a_v_star_value_of_pixel_reasoner_is_flagged_where_no_number_of_right_answers_gives_it() -> None:
    """191 questions give 192 values. The paper's own rows cut the second digit off (155 / 191 = 81.15 is its 81.1); others may not."""
    rounded = {f"{100 * right / 191:.1f}" for right in range(192)}
    cut = {f"{1000 * right // 191 / 10:.1f}" for right in range(192)}
    rows = [row for row in published() if row.source == PIXEL_REASONER and row.task == "vstar"]
    assert len(rows) == 17
    for row in rows:
        own = row.protocol == "pixel_reasoner"
        assert bool(row.flag) == (row.written not in (rounded | cut if own else rounded)), row
    flagged = {row.written for row in rows if row.flag}
    assert {"70.4", "73.2", "79.2", "51.2", "68.5"} <= flagged
    assert not {row.flag for row in published() if row.source == PIXEL_REASONER and row.task != "vstar"} - {""}


def test_the_file_is_the_one_that_is_shipped() -> None:
    assert home().is_file()
    assert home().name == "published.csv"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD.replace("rule", "rules") + "\n" + ROW, "expected the columns model, task"),
        ("", "got none"),
        (f"{HEAD}\n{ROW}\n{ROW},more", "expected 12 values in .*, line 3, got 13"),
        (f"{HEAD}\n{ROW.replace('a paper', '')}", "expected a value for source in .*, line 2"),
        (f"{HEAD}\n{ROW.replace('70.0', '70 %')}", "expected numbers as value and n in .*, line 2"),
        (f"{HEAD}\n{ROW.replace('191', 'all')}", "expected numbers as value and n in .*, line 2"),
    ],
)
def test_a_wrong_row_is_named_by_its_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "published.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        published(tmp_path / "published.csv")


def test_a_value_keeps_the_digits_in_which_it_was_published(tmp_path: Path) -> None:
    (tmp_path / "published.csv").write_text(f"{HEAD}\n{ROW}\n")
    (row,) = published(tmp_path / "published.csv")
    assert (row.value, row.written, row.n, row.flag) == (70.0, "70.0", 191, "")
