"""TallyQA: both forms of its rows, and what is simple, complex or neither."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalkit import task as tasks
from evalkit.errors import DataError
from evalkit.types import Image, Lazy

ROW: dict[str, Any] = {
    "image": "VG_100K/5.jpg",
    "answer": 2,
    "data_source": "imported_vqa",
    "question": "How many moons are there?",
    "image_id": 92000005,
    "question_id": 301,
    "issimple": True,
}


def write(path: Path, *rows: dict[str, Any]) -> None:
    path.write_text(json.dumps(rows))


def hub(folder: Path, name: str, *rows: dict[str, Any]) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (folder / "data").mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), folder / "data" / name, row_group_size=1)


def test_a_row_becomes_a_sample(tmp_path: Path) -> None:
    write(tmp_path / "test.json", ROW)
    [sample] = tasks.find("tallyqa", tmp_path).samples()
    assert (sample.id, sample.target, sample.group) == ("301", 2, "VG_100K/5.jpg")
    assert sample.prompt == "How many moons are there?\nAnswer the question using a single number."
    assert sample.question == "How many moons are there?"
    assert sample.images == (Image(tmp_path / "VG_100K" / "5.jpg"),)


@pytest.mark.parametrize(
    ("change", "tags"),
    [
        ({}, {"simple", "pooled"}),
        ({"data_source": "amt", "issimple": False}, {"complex", "pooled"}),
        ({"data_source": "amt", "issimple": True}, {"complex", "pooled"}),
        ({"issimple": False}, set()),
    ],
)
def test_complex_is_what_workers_wrote_and_simple_what_is_flagged_so(tmp_path: Path, change: dict[str, Any], tags: set[str]) -> None:
    write(tmp_path / "test.json", ROW | change)
    [sample] = tasks.find("tallyqa", tmp_path).samples()
    assert sample.tags == tags


def test_a_row_that_is_no_object_is_named(tmp_path: Path) -> None:
    (tmp_path / "test.json").write_text("[1, 2]")
    with pytest.raises(DataError, match=r"test\.json, row 0, got 1"):
        list(tasks.find("tallyqa", tmp_path).samples())


def test_an_image_row_without_a_list_of_questions_is_named(tmp_path: Path) -> None:
    hub(tmp_path, "test.parquet", {"image": {"bytes": b"", "path": ""}, "qa": None})
    with pytest.raises(DataError, match=r"expected list in column qa of .*image row 0, got None"):
        list(tasks.find("tallyqa", tmp_path).samples())


def test_a_row_without_the_flag_is_neither_simple_nor_complex(tmp_path: Path) -> None:
    write(tmp_path / "test.json", {key: value for key, value in ROW.items() if key != "issimple"})
    assert [sample.tags for sample in tasks.find("tallyqa", tmp_path).samples()] == [frozenset()]


def test_every_list_in_the_folder_is_read_where_there_is_no_test_json(tmp_path: Path) -> None:
    write(tmp_path / "b.json", ROW)
    write(tmp_path / "a.json", ROW | {"question_id": 300})
    assert [sample.id for sample in tasks.find("tallyqa", tmp_path).samples()] == ["300", "301"]
    write(tmp_path / "test.json", ROW | {"question_id": 302})
    assert [sample.id for sample in tasks.find("tallyqa", tmp_path).samples()] == ["302"]


def test_the_hubs_rows_are_numbered_over_all_files_and_hold_their_images(tmp_path: Path) -> None:
    pair = {"question": "How many?", "answer": 0, "is_simple": True}
    hub(
        tmp_path,
        "test-00000.parquet",
        *({"image": {"bytes": b"%d" % n, "path": None}, "qa": [pair, pair | {"is_simple": False, "answer": 4}]} for n in range(2)),
    )
    hub(tmp_path, "test-00001.parquet", {"image": {"bytes": b"2", "path": None}, "qa": [pair]})
    samples = list(tasks.find("tallyqa", tmp_path).samples())
    assert [sample.id for sample in samples] == ["0:0", "0:1", "1:0", "1:1", "2:0"]
    assert [sample.group for sample in samples] == ["0", "0", "1", "1", "2"]
    assert (samples[3].target, samples[3].tags) == (4, {"complex", "pooled"})
    assert samples[2].tags == {"simple", "pooled"}
    sources = [sample.images[0].source for sample in samples]
    assert [source.read() for source in sources if isinstance(source, Lazy)] == [b"0", b"0", b"1", b"1", b"2"]


@pytest.mark.parametrize("change", [{"answer": "two"}, {"image": None}, {"question": 3}])
def test_a_row_that_is_not_as_expected_is_named(tmp_path: Path, change: dict[str, Any]) -> None:
    write(tmp_path / "test.json", ROW, ROW | change)
    with pytest.raises(DataError, match=r"test\.json, row 1"):
        list(tasks.find("tallyqa", tmp_path).samples())
    (tmp_path / "test.json").write_text("{}")
    with pytest.raises(DataError, match="expected a list of rows"):
        list(tasks.find("tallyqa", tmp_path).samples())


def test_a_hub_answer_that_is_no_count_is_named(tmp_path: Path) -> None:
    hub(
        tmp_path,
        "test.parquet",
        {"image": {"bytes": b"", "path": None}, "qa": [{"question": "How many?", "answer": "few", "is_simple": True}]},
    )
    with pytest.raises(DataError, match=r"expected a count as answer in .*image row 0, question 0, got 'few'"):
        list(tasks.find("tallyqa", tmp_path).samples())


def test_the_real_subset_is_read_with_its_kinds(shared: Callable[[str], Path]) -> None:
    task = tasks.find("tallyqa", shared("annotations/tallyqa"))
    samples = list(tasks.checked(task.samples(), task.name))
    assert Counter(tag for sample in samples for tag in sample.tags) == {"simple": 155, "complex": 149, "pooled": 304}
    assert {sample.target for sample in samples} <= set(range(16))


def test_pixel_reasoners_rows_are_complex_ones(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    row = {"qid": "TallyQA-3", "question": "How many red cups?", "answer": ["\\boxed{4}"], "image": ["images/3.jpg"], "is_video": False}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "tallyqa_mini3200.parquet")
    task = tasks.find("tallyqa", tmp_path)
    [sample] = task.samples()
    assert (sample.id, sample.target, sample.tags) == ("TallyQA-3", 4, {"complex", "pooled"})
    assert sample.images == (Image(tmp_path / "images" / "3.jpg"),)
    assert "Pixel Reasoner's selection" in task.notes[0]
    pq.write_table(pa.Table.from_pylist([row | {"answer": ["four"]}]), tmp_path / "tallyqa_mini3200.parquet")
    with pytest.raises(DataError, match=r"expected a count as answer in .*tallyqa_mini3200\.parquet, row 0, got 'four'"):
        list(tasks.find("tallyqa", tmp_path).samples())
