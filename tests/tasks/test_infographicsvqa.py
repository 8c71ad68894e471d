"""InfographicsVQA: the competition's file and Pixel Reasoner's, and what each rule counts."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

import evalkit
from evalkit import task as tasks
from evalkit.data import resolve
from evalkit.errors import DataError
from evalkit.geometry import Size
from evalkit.metrics.text import GoldText
from evalkit.types import Image, Sample

ROW: dict[str, Any] = {
    "questionId": 98313,
    "question": "What is the second option?",
    "image_local_name": "20471.jpeg",
    "image_url": "https://example.org/20471.jpeg",
    "ocr_output_file": "20471.json",
    "answers": ["blocking", "block"],
    "answer_type": ["single span"],
    "evidence": ["Text", "Figure"],
    "operation/reasoning": ["counting"],
    "data_split": "val",
}
QUESTION = {"qid": "InfoVQA-7", "question": "How many?", "answer": ["\\boxed{12%}"], "image": ["images/a.png"], "is_video": False}


def competition(folder: Path, *rows: Any, name: str = "infographicsVQA_val_v1.0_withQT.json") -> list[Sample]:
    (folder / name).write_text(json.dumps({"dataset_name": "infographicVQA", "dataset_split": "val", "data": rows}))
    return list(tasks.find("infographicsvqa", folder).samples())


def packed(folder: Path, *rows: dict[str, Any]) -> list[Sample]:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.Table.from_pylist(list(rows)), folder / "infographics.parquet")
    file = io.BytesIO()
    PIL.Image.new("RGB", (30, 90)).save(file, "PNG")
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        archive.writestr("images/a.png", file.getvalue())
    return list(tasks.find("infographicsvqa", folder).samples())


def test_a_row_of_the_competition_becomes_a_sample(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    [sample] = competition(tmp_path, ROW)
    assert (sample.id, sample.target, sample.group) == ("98313", GoldText(("blocking", "block")), "20471.jpeg")
    assert sample.prompt == "What is the second option?\nAnswer the question using a single word or phrase."
    assert sample.images == (Image(tmp_path / "images" / "20471.jpeg"),)
    assert sample.tags == {"answer_type=single span", "evidence=Text", "evidence=Figure", "operation=counting"}


def test_images_may_lie_beside_a_file_without_kinds(tmp_path: Path) -> None:
    plain = {key: value for key, value in ROW.items() if key not in ("answer_type", "evidence", "operation/reasoning")}
    [sample] = competition(tmp_path, plain, name="infographicsVQA_val_v1.0.json")
    assert (sample.images[0].source, sample.tags) == (tmp_path / "20471.jpeg", set())


def test_a_row_of_pixel_reasoner_is_read_with_its_image_out_of_the_archive(tmp_path: Path) -> None:
    first, second = packed(tmp_path, QUESTION, QUESTION | {"qid": "InfoVQA-8", "answer": ["4", "four"]})
    assert (first.id, first.target, second.target) == ("InfoVQA-7", GoldText(("12%",)), GoldText(("4", "four")))
    assert resolve(first.images[0]).size == Size(30, 90)
    assert first.images == second.images


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([{**ROW, "answers": []}], r"expected texts as answers in .*withQT\.json, row 0, got \[\].*test split"),
        ([ROW, {**ROW, "answers": [3]}], r"row 1, got \[3\]"),
        ([{key: value for key, value in ROW.items() if key != "answers"}], r"expected the columns .*answers in .*row 0"),
        ([{**ROW, "question": None}], r"expected str in column question of .*row 0, got None"),
        (["row"], r"row 0, got 'row'"),
    ],
)
def test_a_row_that_is_not_as_expected_is_named(tmp_path: Path, rows: list[Any], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        competition(tmp_path, *rows)


@pytest.mark.parametrize("change", [{"answer": []}, {"image": []}, {"image": None}, {"answer": None}, {"question": None}])
def test_a_parquet_row_that_is_not_as_expected_is_named(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"expected .* in .*infographics\.parquet, row 0, got"):
        packed(tmp_path, QUESTION | change)


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    (tmp_path / "infographicsVQA_val_v1.0.json").write_text("[]")
    with pytest.raises(DataError, match=r"expected the columns data in .*infographicsVQA_val_v1\.0\.json, got \[\]"):
        list(tasks.find("infographicsvqa", tmp_path).samples())


def test_the_numbers_have_their_names(tmp_path: Path) -> None:
    """The table's number is ANLS; what the code of Pixel Reasoner prints is beside it."""
    packed(tmp_path, QUESTION)
    summary = evalkit.run("oracle", "infographicsvqa", data=str(tmp_path), out=tmp_path / "out")
    rows = {(row["metric"], row["rule"]): row["value"] for row in summary.numbers if row["subset"] == "overall"}
    assert {key: rows[key] for key in [("anls", "official"), ("anls", "strict"), ("accuracy", "exact")]} == {
        ("anls", "official"): 1.0,
        ("anls", "strict"): 1.0,
        ("accuracy", "exact"): 1.0,
    }
