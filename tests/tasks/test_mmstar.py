"""MMStar: its rows in three forms, how options are found in a question, and what is refused."""

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from evalkit import task as tasks
from evalkit.errors import DataError
from evalkit.images import resolve
from evalkit.types import Prediction, Sample, Unparsed

MODULE = tasks.module("mmstar")
ROW: dict[str, Any] = {
    "index": 5,
    "question": "Which vehicle is nearest?\nOptions: A: A tram, B: A van, red, C: A bicycle, D: A boat",
    "answer": "B",
    "category": "coarse perception",
    "l2_category": "image scene and topic",
}


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (6, 4), "gray").save(file, "PNG")
    return file.getvalue()


def parquet(folder: Path, **fields: Any) -> Path:
    import pandas as pd

    shown = {"image": {"bytes": png(), "path": None}, "meta_info": {"source": "made", "split": "val", "image_path": "images/5.jpg"}}
    pd.DataFrame([ROW | shown | fields]).to_parquet(folder / "mmstar.parquet")
    return folder


def tsv(folder: Path, **fields: Any) -> Path:
    row = ROW | {"image": base64.b64encode(png()).decode()} | fields
    cells = ['"' + str(value).replace('"', '""') + '"' for value in row.values()]
    (folder / "MMStar.tsv").write_text("\t".join(row) + "\n" + "\t".join(cells) + "\n", encoding="utf-8")
    return folder


def read(folder: Path) -> Sample:
    [sample] = tasks.find("mmstar", folder).samples()
    return sample


@pytest.mark.parametrize("write", [parquet, tsv])
def test_a_row_of_the_hub_becomes_a_sample_with_its_options_apart(tmp_path: Path, write: Any) -> None:
    sample = read(write(tmp_path))
    assert (sample.id, sample.question, sample.target) == ("5", "Which vehicle is nearest?", "B")
    assert sample.options == ("A tram", "A van, red", "A bicycle", "A boat")
    assert sample.prompt == (
        "Question: Which vehicle is nearest?\nOptions:\nA. A tram\nB. A van, red\nC. A bicycle\nD. A boat\n"
        "Please select the correct answer from the options above. \n"
    )
    assert sample.tags == {"category=coarse perception", "l2_category=image scene and topic"}
    assert resolve(sample.images[0]).size == (6, 4)


def test_vlmevalkits_columns_give_the_same_sample(tmp_path: Path) -> None:
    options = {"A": "A tram", "B": "A van, red", "C": "A bicycle", "D": "A boat"}
    (tmp_path / "hub").mkdir()
    own, hub = read(tsv(tmp_path, question="Which vehicle is nearest?", **options)), read(parquet(tmp_path / "hub"))
    assert (own.id, own.prompt, own.options, own.target, own.tags) == (hub.id, hub.prompt, hub.options, hub.target, hub.tags)


@pytest.mark.parametrize(
    ("text", "question", "options"),
    [
        ("Which?\nOptions: A: yes, B: no", "Which?", ("yes", "no")),
        ("Which?\nOptions: A: at B: or so, B: no\nmore, C: , D: x", "Which?", ("at B: or so", "no\nmore", "", "x")),
        ("Which, A: or B: ?", "Which, A: or B: ?", ()),
        ("Which?\nOptions: B: yes, C: no", "Which?\nOptions: B: yes, C: no", ()),
    ],
)
def test_options_are_found_in_the_order_of_their_letters(text: str, question: str, options: tuple[str, ...]) -> None:
    assert MODULE.parts(text) == (question, options)


def test_a_question_without_options_in_it_is_asked_as_it_is_and_answered_by_letter(tmp_path: Path) -> None:
    sample = read(parquet(tmp_path, question="Which, A or B?"))
    assert (sample.prompt, sample.options) == ("Question: Which, A or B?\n", ())
    assert MODULE.strict(Prediction("B", "B"), sample) == "B"
    assert isinstance(MODULE.strict(Prediction("F", "F"), sample), Unparsed)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"answer": "E"}, r"expected an answer among 4 options in .*row 1, got 'E'"),
        ({"answer": ""}, "expected an answer among 4 options"),
        ({"question": "Which?\nOptions: A: yes, B: no", "answer": "C"}, "expected an answer among 2 options"),
    ],
)
def test_a_row_that_is_none_is_named(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(tsv(tmp_path, **fields))


def test_columns_that_are_missing_are_named(tmp_path: Path) -> None:
    (tmp_path / "MMStar.tsv").write_text("index\tquestion\n1\tWhich?\n")
    with pytest.raises(DataError, match=r"expected the columns index, question, answer, .*row 1, got index, question"):
        read(tmp_path)
    (tmp_path / "mmstar.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"expected a Parquet file at .*mmstar\.parquet"):
        read(tmp_path)


def test_the_published_counts_are_six_times_250() -> None:
    published = dict(tasks.find("mmstar").published)
    assert published.pop("rows") == sum(published.values()) == 1500
