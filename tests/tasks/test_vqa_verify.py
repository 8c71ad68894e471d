"""VQA-Verify: its rows in two forms, SATORI-R1's three rewards over one reply, and what is refused."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from evalkit import task as tasks
from evalkit.errors import DataError
from evalkit.geometry import Box, Frame, Size
from evalkit.images import resolve
from evalkit.protocols import find
from evalkit.scoring import Tally
from evalkit.types import ModelInfo, Response, Sample

ROW: dict[str, Any] = {
    "image": "images/1.png",
    "question": "What animal is it?",
    "possible_answers": ["cat", "Cat"],
    "image_caption": "the image shows a dog on a couch",
    "bboxs": [[0, 0, 320, 240]],
    "width": 640,
    "height": 480,
}


def write(folder: Path, *rows: dict[str, Any]) -> Path:
    (folder / "train.jsonl").write_text("".join(json.dumps(ROW | row) + "\n" for row in rows), encoding="utf-8")
    return folder


def read(folder: Path) -> list[Sample]:
    return list(tasks.find("vqa_verify", folder).samples())


def scored(folder: Path, reply: str, protocol: str = "satori") -> dict[tuple[str, str], float]:
    """The numbers of one reply of a model that sees 644 x 476 pixels, by metric and rule."""
    [sample] = read(folder)
    conversation = find(protocol).converse(sample, ModelInfo("m", "p", Frame.SEEN))
    next(conversation)
    with pytest.raises(StopIteration) as end:
        conversation.send(Response(reply, seen=(Size(644, 476),)))
    tally = Tally(tasks.find("vqa_verify"))
    tally.add(sample, end.value.value)
    return {(row["metric"], row["rule"]): row["value"] for row in tally.numbers() if row["subset"] == "overall"}


def test_a_row_becomes_a_sample_with_all_that_is_right_about_it(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (640, 480), "gray").save(tmp_path / "images" / "1.png")
    first, second = read(write(tmp_path, {}, {"bboxs": []}))
    assert (first.id, second.id, first.prompt, first.group) == ("0", "1", "What animal is it?", "images/1.png")
    assert (first.target.answers, first.target.caption) == (("cat", "Cat"), "the image shows a dog on a couch")
    assert (first.regions, second.regions) == ((Box(0, 0, 320, 240),), ())
    assert resolve(first.images[0]).size == (640, 480)


def test_rows_in_parquet_bring_their_images(tmp_path: Path) -> None:
    import pandas as pd

    file = io.BytesIO()
    Image.new("RGB", (640, 480), "gray").save(file, "PNG")
    (tmp_path / "data").mkdir()
    pd.DataFrame([ROW | {"image": {"bytes": file.getvalue(), "path": None}}]).to_parquet(tmp_path / "data" / "train-0.parquet")
    [sample] = read(tmp_path)
    assert (sample.target.answers, sample.regions, sample.group) == (("cat", "Cat"), (Box(0, 0, 320, 240),), "")
    assert resolve(sample.images[0]).size == (640, 480)


def test_one_reply_is_scored_as_by_the_authors_three_rewards(tmp_path: Path) -> None:
    """Their functions' own values: the box in pixels of the resized image, the caption by its words, the answer by its letters."""
    reply = "<caption>a dog sits on the couch</caption> <bbox>[[0,0,320,240]]</bbox> <answer>Cat</answer>"
    numbers = scored(write(tmp_path, {}), reply)
    assert numbers["accuracy", "official"] == numbers["accuracy", "strict"] == 1
    assert numbers["grounding_iou", "official"] == pytest.approx(0.98556, abs=5e-6)
    assert numbers["caption", "official"] == pytest.approx(0.324607, abs=1e-6)


def test_what_a_reply_lacks_counts_nothing_and_takes_nothing_else_along(tmp_path: Path) -> None:
    write(tmp_path, {})
    assert scored(tmp_path, "<caption>a cat</caption>")["caption", "official"] == pytest.approx(0.103722, abs=1e-6)
    numbers = scored(tmp_path, "<answer>\ncat\n</answer>")
    assert (numbers["accuracy", "official"], numbers["grounding_iou", "official"], numbers["caption", "official"]) == (1, 0, 0)


def test_rows_without_boxes_or_a_caption_do_not_count_there(tmp_path: Path) -> None:
    numbers = scored(write(tmp_path, {"bboxs": [], "image_caption": ""}), "<answer>cat</answer>")
    assert (numbers["accuracy", "official"], numbers["grounding_iou", "official"], numbers["caption", "official"]) == (1, None, None)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"possible_answers": []}, r"expected texts as possible_answers in .*row 1, got \[\]"),
        ({"possible_answers": [3]}, "expected texts as possible_answers"),
        ({"possible_answers": "cat"}, r"expected list in column possible_answers of .*row 1, got 'cat'"),
        ({"bboxs": [[1, 2, 3]]}, r"expected a list of boxes, each of four finite numbers, in bboxs of .*row 1, got \[1, 2, 3\]"),
        ({"width": "640"}, r"expected int in column width of .*row 1, got '640'"),
        ({"image": 3}, r"expected str in column image of .*row 1, got 3"),
    ],
)
def test_a_row_that_is_none_is_named(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(write(tmp_path, row))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"question": "Which?"}\n')
    with pytest.raises(DataError, match=r"expected the columns question, possible_answers, .* got question"):
        read(tmp_path)
