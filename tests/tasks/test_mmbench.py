"""MMBench: its rows in three forms, what circular means, and what is refused."""

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from evalkit import task as tasks
from evalkit.errors import DataError, ImageError
from evalkit.images import resolve
from evalkit.scoring import Tally
from evalkit.types import Prediction, Sample

COLUMNS = "index question hint A B C D answer category source l2-category comment split image".split()


def png(width: int = 6) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, 4), "gray").save(file, "PNG")
    return file.getvalue()


BASE64 = base64.b64encode(png()).decode()
ROW: dict[str, Any] = {
    "index": 3,
    "question": "Which?",
    "hint": "Look.",
    "A": "cat",
    "B": "dog",
    "C": "",
    "D": "",
    "answer": "B",
    "category": "ocr",
    "l2-category": "finegrained_perception (instance-level)",
    "image": BASE64,
}
TURNED = {"index": 1000003, "A": "dog", "B": "cat", "answer": "A", "image": "3"}


def tsv(folder: Path, *rows: dict[str, Any], name: str = "MMBench_DEV_EN.tsv") -> Path:
    lines = ["\t".join(COLUMNS), *("\t".join(str((ROW | row).get(column, "")) for column in COLUMNS) for row in rows)]
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def read(folder: Path) -> list[Sample]:
    return list(tasks.find("mmbench", folder).samples())


def numbers(samples: list[Sample], reply: Callable[[Sample], str]) -> dict[tuple[str, str], Any]:
    """The accuracies of replies, by rule and subset."""
    tally = Tally(tasks.find("mmbench"))
    for sample in samples:
        text = reply(sample)
        tally.add(sample, Prediction(text, text))
    return {(row["rule"], row["subset"]): (row["value"], row["n"]) for row in tally.numbers() if row["metric"] == "accuracy"}


def test_a_row_becomes_a_sample_in_vlmevalkits_wording(tmp_path: Path) -> None:
    [sample] = read(tsv(tmp_path, {}))
    assert (sample.id, sample.group, sample.target, sample.options) == ("3", "3", "B", ("cat", "dog"))
    assert sample.question == "Look.\nWhich?"
    assert sample.prompt == (
        "Hint: Look.\nQuestion: Which?\nOptions:\nA. cat\nB. dog\nPlease select the correct answer from the options above. \n"
    )
    assert sample.tags == {"category=ocr", "l2-category=finegrained_perception (instance-level)"}
    assert resolve(sample.images[0]).size == (6, 4)


@pytest.mark.parametrize("hint", ["", "nan"])
def test_an_empty_hint_is_not_told(tmp_path: Path, hint: str) -> None:
    [sample] = read(tsv(tmp_path, {"hint": hint}))
    assert (sample.question, sample.prompt.partition("\n")[0]) == ("Which?", "Question: Which?")


def test_a_rotation_shares_its_questions_group_and_may_name_its_image(tmp_path: Path) -> None:
    first, turned = read(tsv(tmp_path, {}, TURNED))
    assert (turned.id, turned.group, turned.target) == ("1000003", "3", "A")
    assert turned.images == first.images


def test_the_hubs_rows_are_the_same(tmp_path: Path) -> None:
    """Both data sets: images in base64 as text, and images as {bytes, path}; null in place of an empty cell."""
    import pandas as pd

    rows = [ROW | {"C": None, "D": None, "hint": None}, ROW | TURNED | {"C": None, "D": None, "hint": None, "image": BASE64}]
    own = read(tsv(tmp_path, {"hint": ""}, TURNED | {"hint": "", "image": BASE64}))
    for name, shown in (("validation", lambda row: row["image"]), ("dev", lambda row: {"bytes": png(), "path": None})):
        path = tmp_path / name / "data" / f"{name}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True)
        pd.DataFrame([row | {"image": shown(row)} for row in rows]).to_parquet(path)
        hub = read(tmp_path / name)
        assert [(s.id, s.prompt, s.options, s.target, s.tags, s.group) for s in hub] == [
            (s.id, s.prompt, s.options, s.target, s.tags, s.group) for s in own
        ]
        assert resolve(hub[1].images[0]).size == (6, 4)


def test_a_question_is_right_only_if_all_its_rotations_are(tmp_path: Path) -> None:
    """Question 3 is right in both, question 4 in its first form only."""
    other = {"index": 4, "category": "image_style"}
    samples = read(tsv(tmp_path, {}, TURNED, other, TURNED | other | {"index": 1000004, "image": "4"}))
    said = {"3": "B", "1000003": "A", "4": "B", "1000004": "B"}
    found = numbers(samples, lambda sample: said[sample.id])
    assert found["official", "overall"] == found["strict", "overall"] == (0.5, 2)
    assert found["vanilla", "overall"] == (1.0, 2)
    assert (found["official", "category=ocr"], found["official", "category=image_style"]) == ((1.0, 1), (0.0, 1))


def test_one_letter_for_everything_scores_nothing_and_so_says_the_floor(tmp_path: Path) -> None:
    samples = read(tsv(tmp_path, {}, TURNED))
    tally = Tally(tasks.find("mmbench"))
    for sample in samples:
        tally.count(sample)
        tally.add(sample, Prediction("B", "B"))
    rows = {(row["metric"], row["rule"]): row["value"] for row in tally.numbers() if row["subset"] == "overall"}
    assert rows["accuracy", "official"] == rows["accuracy_floor", "majority"] == 0.0
    assert rows["accuracy", "vanilla"] == 1.0


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"answer": ""}, r"expected an answer among 2 options in .*row 1, got ''.*test set they are not public"),
        ({"answer": "C"}, "expected an answer among 2 options"),
        ({"index": "x1"}, r"expected a whole number as index in .*row 1, got 'x1'"),
        ({"image": "99"}, r"index of an earlier row that has one, in .*row 1, got '99'"),
        ({"B": "", "C": "dog"}, r"expected options in the columns A, B, \.\.\. without a gap in .*row 1"),
    ],
)
def test_a_row_that_is_none_is_named(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(tsv(tmp_path, row))


def test_columns_that_are_missing_are_named(tmp_path: Path) -> None:
    (tmp_path / "MMBench_DEV_EN.tsv").write_text("index\tquestion\n1\tWhich?\n")
    with pytest.raises(DataError, match=r"expected the columns index, question, hint, A, .*row 1, got index, question"):
        read(tmp_path)


def test_an_image_that_is_no_base64_is_named(tmp_path: Path) -> None:
    [sample] = read(tsv(tmp_path, {"image": "?" * 80}))
    with pytest.raises(DataError, match=r"expected an image in base64 in column image of .*row 1"):
        resolve(sample.images[0])
    [sample] = read(tsv(tmp_path, {"image": "QUJD" * 20}))
    with pytest.raises(ImageError):
        resolve(sample.images[0])


def test_a_parquet_file_that_is_cut_off_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dev-0.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"expected a Parquet file at .*dev-0\.parquet, got: .*is it cut off"):
        read(tmp_path)


def test_a_folder_without_the_rows_says_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected MMBench_DEV_EN\.tsv or .* found nothing.*Its layout"):
        read(tmp_path)
