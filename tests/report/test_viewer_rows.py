"""How the viewer indexes a run: as far as it is written, once, block by block, and kept for the next time."""

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.folder import RunFolder
from evalkit.report.viewer import rows as viewer_rows
from evalkit.report.viewer.rows import Index
from tests.report.browser.folders import ended, manifest, record, row, written

FLAGS, IOU, MARKS, UNREAD = 7, 10, 11, 12


def indexed(path: Path, cache: Path | None = None) -> tuple[Index, list[Any]]:
    index = Index(RunFolder(path), cache)
    index.read()
    return index, [json.loads(text) for text in index.segment(0, 1000)[0]]


def reads(index: Index) -> list[str]:
    index.read()
    return [json.loads(text)[1] for text in index.segment(0, 1000)[0]]


def test_a_row_has_its_marks_under_every_rule_its_iou_and_what_could_not_be_read(tmp_path: Path) -> None:
    predictions = [row("1", tags=["far"]), row("2", finish="length")]
    records = [
        record("1"),
        record("1", metric="grounding_iou", iou=0.25),
        record("1", metric="box_match", matched=1.0, predicted=1.0, gold=3.0),
        record("2", correct=0.0, failure="no letter"),
    ]
    index, (first, second) = indexed(ended(tmp_path / "run", predictions, records))
    assert index.state == "whole"
    assert index.keys.texts == ["official\naccuracy", "official\ngrounding_iou", "official\nbox_match"]
    assert (first[MARKS], first[IOU], first[UNREAD]) == ([1.0, 0.25, 0.5], 0.25, [])
    assert (second[MARKS], second[IOU], second[UNREAD]) == ([0.0], None, [0])
    assert second[FLAGS] == viewer_rows.UNPARSED | viewer_rows.TRUNCATED
    assert index.told(0)[1] == records[:3]
    assert index.told(1) == (predictions[1], records[3:])


def test_samples_without_an_answer_come_last_with_their_reason(tmp_path: Path) -> None:
    index, told = indexed(ended(tmp_path / "run", [row("1")], [record("1")], [{"sample": "9", "draw": 0, "reason": "time-out"}]))
    assert [line[1] for line in told] == ["1", "9"]
    assert told[1][FLAGS] == viewer_rows.GAP
    assert index.told(1)[0]["reason"] == "time-out"


def test_a_long_question_is_cut_and_stays_one_line(tmp_path: Path) -> None:
    _, (told,) = indexed(ended(tmp_path / "run", [row("1", question="a\n" * 5000)], []))
    assert len(told[3]) <= viewer_rows.QUESTION
    assert "\n" not in told[3]


def test_a_run_that_is_being_written_is_read_as_far_as_it_is_and_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "run"
    manifest(path)
    index = Index(RunFolder(path))
    assert (reads(index), index.state) == ([], "growing")
    written(path, [row("1"), row("2")], [record("1")], ".part")
    assert (reads(index), index.segment(0, 9)[1]) == (["1", "2"], 0)  # more of their records may come
    with (path / "predictions.jsonl.part").open("a") as file:
        file.write('{"task": "toy", "sam')
    written(path, [], [record("1"), record("2"), record("2", rule="strict")], ".part")
    (path / "predictions.jsonl.part").write_text("".join(json.dumps(row(name)) + "\n" for name in "123"))
    assert (reads(index), index.segment(0, 9)[1]) == (["1", "2", "3"], 1)
    assert [found["rule"] for found in index.told(1)[1]] == ["official", "strict"]
    version = index.version
    ended(path, [row("1"), row("2"), row("3"), row("4")], [record(name) for name in "1234"])
    for name in ("predictions", "records"):
        (path / f"{name}.jsonl.part").unlink()
    assert (reads(index), index.state, index.segment(0, 9)[1]) == (["1", "2", "3", "4"], "whole", 4)
    assert index.version == version + 1


def test_a_run_that_is_begun_anew_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "run"
    manifest(path)
    written(path, [row("1"), row("2")], [], ".part")
    index = Index(RunFolder(path))
    assert reads(index) == ["1", "2"]
    written(path, [row("7")], [], ".part")
    assert reads(index) == ["7"]


def test_the_last_whole_rows_stay_while_a_run_is_done_again(tmp_path: Path) -> None:
    path = ended(tmp_path / "run", [row("1"), row("2")], [record("1"), record("2")])
    written(path, [row("1")], [], ".part")
    assert [line[1] for line in indexed(path)[1]] == ["1", "2"]


def test_an_index_is_kept_until_the_run_changes_and_never_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ended(tmp_path / "run", [row("1", tags=["far"])], [record("1")], [{"sample": "9", "draw": 0, "reason": "time-out"}])
    before = sorted(path.iterdir())
    first, told = indexed(path, tmp_path / "cache")
    with monkeypatch.context() as blind:
        blind.setattr(viewer_rows.Lines, "block", lambda self: pytest.fail("read again"))
        again, kept = indexed(path, tmp_path / "cache")
    assert (kept, again.tags.texts, again.keys.texts, again.told(0), again.told(1)) == (
        (told, first.tags.texts, first.keys.texts, first.told(0), first.told(1))
    )
    written(path, [row("1"), row("22")], [record("1"), record("22")])
    assert [line[1] for line in indexed(path, tmp_path / "cache")[1]] == ["1", "22", "9"]
    assert sorted(path.iterdir()) == before


def test_two_viewers_of_a_run_are_told_apart_since_browsers_keep_pictures_by_it(tmp_path: Path) -> None:
    path = ended(tmp_path / "run", [row("1")], [])
    assert Index(RunFolder(path)).version != Index(RunFolder(path)).version


def test_many_rows_are_read_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer_rows, "BLOCK", 700)
    monkeypatch.setattr(viewer_rows, "AHEAD", 3)
    names = [str(number) for number in range(200)]
    records = [record(name, rule=rule) for name in names if int(name) % 3 for rule in ("official", "strict")]
    index, told = indexed(ended(tmp_path / "run", [row(name) for name in names], records))
    assert [line[1] for line in told] == names
    assert [len(index.told(place)[1]) for place in range(200)] == [2 if place % 3 else 0 for place in range(200)]


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([record("1"), record("unknown")], "does not go with its predictions.jsonl, as from 'unknown' on"),
        (["no object"], "is no JSON Lines file"),
    ],
)
def test_files_that_do_not_go_together_are_told(tmp_path: Path, records: list[Any], said: str) -> None:
    index, _ = indexed(ended(tmp_path / "run", [row("1")], records))
    assert index.state == "broken"
    assert said in index.trouble


def test_a_run_without_records_shows_its_replies(tmp_path: Path) -> None:
    path = ended(tmp_path / "run", [row("1")], [])
    (path / "records.jsonl").unlink()
    index, told = indexed(path)
    assert (told[0][1], told[0][MARKS], index.told(0)) == ("1", [], (row("1"), []))
