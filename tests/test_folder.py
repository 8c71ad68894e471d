"""What a row of predictions.jsonl holds of regions: predicted and gold, in COCO's form, and where the images are."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalkit import folder
from evalkit.errors import UserError
from evalkit.folder import Rows, RunFolder
from evalkit.geometry import Box, Mask, Point, Size
from evalkit.metrics.detection import GoldBox
from evalkit.metrics.masks import GoldAnswer, GoldMask
from evalkit.metrics.video import GoldVideo
from evalkit.types import Crop, Image, Prediction, Sample, Still, Wants

SIZE = Size(3, 2)
LEFT, EMPTY = Mask("024", SIZE), Mask("6", SIZE)
LEFT_RLE, EMPTY_RLE = {"size": [2, 3], "counts": "024"}, {"size": [2, 3], "counts": "6"}
PHOTO = Image(Path("photos") / "a.jpg", size=SIZE)


@pytest.fixture
def row(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """The row of a sample and a prediction with these masks."""

    def written(wants: Wants, target: Any, *masks: Mask, images: tuple[Image, ...] = (), **more: Any) -> dict[str, Any]:
        rows = Rows(RunFolder(tmp_path))
        rows.add("t", Sample("1", "Which?", "Which?", images, wants, target, **more), 0, Prediction("B", "B", masks=masks), ())
        rows.keep()
        [line] = (tmp_path / "predictions.jsonl").read_text().splitlines()
        made: dict[str, Any] = json.loads(line)
        return made

    return written


Row = Callable[..., dict[str, Any]]


def test_masks_of_an_image_are_a_list_in_cocos_form_predicted_and_gold(row: Row) -> None:
    made = row(Wants("mask"), GoldMask(LEFT, Mask("222", SIZE)), EMPTY, LEFT, images=(PHOTO,), regions=(Box(0, 0, 1, 2),))
    assert made["masks"] == [EMPTY_RLE, LEFT_RLE]
    assert made["gold"] == {"boxes": [[0, 0, 1, 2]], "masks": [LEFT_RLE]}
    assert made["target"] is None


def test_masks_of_a_video_are_a_list_for_each_object_of_one_a_frame(row: Row) -> None:
    video, frames = Wants("mask", form="video"), (PHOTO, PHOTO)
    gold = GoldVideo(2, ((LEFT, None), (None, None)), SIZE)
    made = row(video, gold, LEFT, EMPTY, EMPTY, LEFT, images=frames)
    assert made["masks"] == [[LEFT_RLE, EMPTY_RLE], [EMPTY_RLE, LEFT_RLE]]
    assert made["gold"] == {"masks": [[LEFT_RLE, EMPTY_RLE], [EMPTY_RLE, EMPTY_RLE]]}
    assert row(video, gold, LEFT, images=frames)["masks"] == [[LEFT_RLE]]


def test_an_answer_in_words_keeps_them_beside_its_masks(row: Row) -> None:
    made = row(Wants("choice", also=("mask",), form="video"), GoldAnswer("B", [[LEFT, EMPTY]]), images=(PHOTO, PHOTO))
    assert (made["target"], made["gold"]) == ("B", {"masks": [[LEFT_RLE, EMPTY_RLE]]})
    assert "masks" not in made


def test_gold_that_a_server_has_is_nowhere(row: Row) -> None:
    made = row(Wants("mask", form="video"), GoldVideo(2, hidden=True), LEFT, LEFT, images=(PHOTO, PHOTO))
    assert "gold" not in made


@pytest.mark.parametrize("target", [(Box(1, 2, 3, 4),), [GoldBox(Box(1, 2, 3, 4), "cat")]], ids=["boxes", "boxes with labels"])
def test_gold_boxes_are_plain_lists_once(row: Row, target: Any) -> None:
    for regions in ((), (Box(1, 2, 3, 4),)):
        assert row(Wants("boxes"), target, regions=regions)["gold"] == {"boxes": [[1, 2, 3, 4]]}


def test_the_masks_of_gold_boxes_are_gold_masks(row: Row) -> None:
    made = row(Wants("boxes"), (GoldBox(Box(0, 0, 1, 2), "cat", mask=LEFT), GoldBox(Box(1, 0, 2, 2), "dog")))
    assert made["gold"] == {"boxes": [[0, 0, 1, 2], [1, 0, 2, 2]], "masks": [LEFT_RLE]}


def test_gold_evidence_and_gold_points_are_plain_lists(row: Row) -> None:
    assert row(Wants("choice"), "A", regions=(Box(1, 2, 3, 4),))["gold"] == {"boxes": [[1, 2, 3, 4]]}
    assert row(Wants("points"), (Point(1, 2), Point(3, 4)))["gold"] == {"points": [[1, 2], [3, 4]]}


@pytest.mark.parametrize("target", ["a word", 7, None, (), "boxes", [[1, 2, 3, 4]]])
@pytest.mark.parametrize("kind", ["text", "boxes", "points"])
def test_a_sample_without_regions_has_no_gold_ones(row: Row, kind: Any, target: Any) -> None:
    made = row(Wants(kind), target)
    assert not {"gold", "masks", "images"} & set(made)
    assert made["target"] == (list(target) if isinstance(target, tuple) else target)


def test_images_are_told_where_they_are_files(row: Row) -> None:
    inside = PHOTO.derive(Crop(0, 0, 1, 1))
    told = row(Wants("text"), "x", images=(PHOTO, Image(Path("b.jpg")), inside))["images"]
    assert told == [{"path": str(Path("photos/a.jpg")), "size": [3, 2]}, {"path": "b.jpg", "size": None}, {"path": None, "size": [1, 1]}]
    assert "images" not in row(Wants("text"), "x", images=(Image(b"bytes", size=SIZE),))
    assert "images" not in row(Wants("text"), "x", images=(Image(Path("v.mp4")).derive(Still(3)),))


def test_rows_can_be_read_about_a_second_after_they_came_while_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(folder, "monotonic", lambda: now)
    rows = Rows(RunFolder(tmp_path))

    def read_after(sample: str) -> int:
        rows.add("t", Sample(sample, "Which?", "Which?", (), Wants("text"), "x"), 0, Prediction("x", "x"), ())
        return (tmp_path / "predictions.jsonl.part").read_text().count("\n")

    counts = [read_after("1")]
    now += folder.FLUSH
    counts += [read_after("2"), read_after("3")]
    now += folder.FLUSH
    counts.append(read_after("4"))
    rows.close()
    assert counts == [0, 2, 2, 4]


def test_the_sums_say_which_files_are_no_longer_as_they_were_written(tmp_path: Path) -> None:
    folder, rows = RunFolder(tmp_path), Rows(RunFolder(tmp_path))
    rows.add("t", Sample("1", "Which?", "Which?", (), Wants("text"), "B"), 0, Prediction("B \ud83d é", "B"), ())
    rows.keep()
    folder.write("summary.json", {"format": 1, "model": "é"})
    assert folder.changed() == []
    with (tmp_path / "summary.json").open("a") as file:
        file.write(" ")
    (tmp_path / "records.jsonl").unlink()
    assert folder.changed() == ["records.jsonl", "summary.json"]


def test_the_sums_are_in_the_form_that_sha256sum_reads(tmp_path: Path) -> None:
    RunFolder(tmp_path).write("summary.json", {"format": 1})
    digest = hashlib.sha256((tmp_path / "summary.json").read_bytes()).hexdigest()
    assert (tmp_path / "SHA256SUMS").read_text() == f"{digest}  summary.json\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_what_cannot_be_written_is_said_in_words(tmp_path: Path) -> None:
    for name in ("summary.json.part", "predictions.jsonl.part"):
        (tmp_path / name).symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"cannot write into .*No space left.*the same command goes on"):
        RunFolder(tmp_path).write("summary.json", {})
    rows = Rows(RunFolder(tmp_path))
    rows.add("t", Sample("1", "Which?", "Which?", (), Wants("text"), "B"), 0, Prediction("B", "B"), ())
    with pytest.raises(UserError, match=r"cannot write into .*No space left"):
        rows.keep()
    rows.close()
