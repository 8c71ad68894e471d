"""OCRBench: its rows in three forms and as published, the points, and what is refused."""

import base64
import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from evalkit import task as tasks
from evalkit.data import check_published
from evalkit.errors import DataError
from evalkit.images import resolve
from evalkit.scoring import Tally
from evalkit.types import Prediction, Sample

ROW: dict[str, Any] = {
    "dataset_name": "svt",
    "id": 9,
    "image_path": "svt/9.png",
    "question": "what is written in the image?",
    "answers": "HARBOUR",
    "type": "Irregular Text Recognition",
}
MATHEMATICS = "Handwritten Mathematical Expression Recognition"


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (6, 4), "gray").save(file, "PNG")
    return file.getvalue()


def write(folder: Path, *rows: dict[str, Any]) -> Path:
    (folder / "OCRBench.json").write_text(json.dumps([ROW | row for row in rows]), encoding="utf-8")
    return folder


def read(folder: Path) -> list[Sample]:
    return list(tasks.find("ocrbench", folder).samples())


def test_a_row_becomes_a_sample_with_its_group_and_its_type(tmp_path: Path) -> None:
    (tmp_path / "OCRBench_Images" / "svt").mkdir(parents=True)
    (tmp_path / "OCRBench_Images" / "svt" / "9.png").write_bytes(png())
    first, second = read(write(tmp_path, {}, {"answers": ["$4", "4 $"], "type": "Key Information Extraction"}))
    assert (first.id, first.prompt, first.target.answers) == ("0", "what is written in the image?", ("HARBOUR",))
    assert (second.id, second.target.answers) == ("1", ("$4", "4 $"))
    assert first.tags == {"Irregular Text Recognition", "Text Recognition"}
    assert second.tags == {"Key Information Extraction"}
    assert resolve(first.images[0]).size == (6, 4)


def test_the_hubs_and_vlmevalkits_rows_are_the_same(tmp_path: Path) -> None:
    import pandas as pd

    own, told = read(write(tmp_path, {})), {"question": ROW["question"], "answer": ["HARBOUR"]}
    hub, kit = tmp_path / "hub" / "data", tmp_path / "kit"
    hub.mkdir(parents=True)
    kit.mkdir()
    shown = {"dataset": "svt", "question_type": ROW["type"], "image": {"bytes": png(), "path": None}}
    pd.DataFrame([told | shown]).to_parquet(hub / "test-00000-of-00001.parquet")
    cells = ["0", base64.b64encode(png()).decode(), ROW["question"], "['HARBOUR']", ROW["type"]]
    (kit / "OCRBench.tsv").write_text("index\timage\tquestion\tanswer\tcategory\n" + "\t".join(cells) + "\n", encoding="utf-8")
    for folder in (hub.parent, kit):
        [sample] = read(folder)
        assert (sample.id, sample.prompt, sample.target, sample.tags) == (own[0].id, own[0].prompt, own[0].target, own[0].tags)
        assert resolve(sample.images[0]).size == (6, 4)


def test_the_real_rows_have_the_published_counts(shared: Callable[[str], Path]) -> None:
    task = tasks.find("ocrbench", shared("annotations/ocrbench"))
    counts: Counter[str] = Counter()
    for sample in tasks.checked(task.samples(), task.name):
        counts.update(["rows", *sample.tags])
    assert check_published(task.name, task.published, counts) == []


def test_every_real_answer_is_right_said_alone_and_in_a_sentence(shared: Callable[[str], Path]) -> None:
    task = tasks.find("ocrbench", shared("annotations/ocrbench"))
    tally = Tally(task)
    for sample in task.samples():
        text = f"It reads: {sample.target.answers[-1]}."
        tally.add(sample, Prediction(text, text))
    found = {(row["metric"], row["rule"], row["subset"]): row["value"] for row in tally.numbers()}
    assert found["points", "official", "overall"] == 1000
    assert {subset: found["points", "official", subset] for subset in ("Text Recognition", "Doc-oriented VQA", MATHEMATICS)} == {
        "Text Recognition": 300,
        "Doc-oriented VQA": 200,
        MATHEMATICS: 100,
    }


def test_points_are_counted_and_their_share_stands_beside_them(tmp_path: Path) -> None:
    samples = read(write(tmp_path, {}, {"image_path": "a"}, {"image_path": "b"}, {"image_path": "c", "type": MATHEMATICS}))
    tally = Tally(tasks.find("ocrbench"))
    for sample, text in zip(samples, ("harbour", "It says HARBOUR", "harbor", "harbour"), strict=True):
        tally.add(sample, Prediction(text, text))
    rows = {(row["metric"], row["subset"]): row for row in tally.numbers() if row["rule"] == "official"}
    assert (rows["points", "overall"]["value"], rows["accuracy", "overall"]["value"]) == (2, 0.5)
    assert (rows["points", "Text Recognition"]["value"], rows["points", MATHEMATICS]["value"]) == (2, 0)
    assert rows["points", "overall"]["low"] == pytest.approx(4 * rows["accuracy", "overall"]["low"])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"type": "OCR"}, r"expected one of the ten types in column type of .*row 1, got 'OCR'"),
        ({"type": "Text Recognition"}, "expected one of the ten types"),
        ({"answers": []}, r"expected a text or a list of texts in column answers of .*row 1, got \[\]"),
        ({"answers": [4]}, "expected a text or a list of texts"),
        ({"answers": " "}, "expected a text or a list of texts"),
    ],
)
def test_a_row_that_is_none_is_named(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(write(tmp_path, row))


def test_answers_that_are_no_list_of_pythons_are_named(tmp_path: Path) -> None:
    (tmp_path / "OCRBench.tsv").write_text(f"index\timage\tquestion\tanswer\tcategory\n0\tx\twhat?\t[HARBOUR\t{ROW['type']}\n")
    with pytest.raises(DataError, match=r"expected a list of answers in column answer of .*row 1, got '\[HARBOUR'"):
        read(tmp_path)


def test_a_file_of_another_form_is_named(tmp_path: Path) -> None:
    (tmp_path / "OCRBench.json").write_text('{"0": {}}')
    with pytest.raises(DataError, match=r"expected a list of rows in .*OCRBench\.json, got an object"):
        read(tmp_path)
    (tmp_path / "OCRBench.json").write_text('[{"question": "what?"}]')
    with pytest.raises(DataError, match=r"expected the columns question, answers, type, image_path in .*row 1"):
        read(tmp_path)
