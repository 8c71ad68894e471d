"""Refer-YouTube-VOS: which videos are of the validation set, and what is submitted to its server."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import evalkit
from evalkit import task as tasks
from evalkit.errors import DataError
from evalkit.export import export

Make = Callable[..., Any]
VIDEOS = {
    "9b": {"expressions": {"0": {"exp": "a fish"}, "1": {"exp": "a second fish"}}, "frames": ["00000", "00005"]},
    "1a": {"expressions": {"0": {"exp": "a boat"}}, "frames": ["00010"]},
    "4c": {"expressions": {"0": {"exp": "of the test set"}}, "frames": ["00000"]},
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for split, videos in (("valid", VIDEOS), ("test", {"4c": VIDEOS["4c"]})):
        folder = tmp_path / "data" / "meta_expressions" / split
        folder.mkdir(parents=True)
        (folder / "meta_expressions.json").write_text(json.dumps({"videos": videos}))
    return tmp_path / "data"


def test_the_videos_of_the_test_set_are_left_out(data: Path) -> None:
    made = list(tasks.find("ref_youtube_vos", data).samples())
    assert [sample.id for sample in made] == ["1a/0", "9b/0", "9b/1"]
    assert [image.source for image in made[1].images] == [
        data / "valid" / "JPEGImages" / "9b" / f"{name}.jpg" for name in ("00000", "00005")
    ]
    assert all(sample.target.hidden for sample in made)


def test_without_the_test_sets_file_it_is_asked_for(data: Path) -> None:
    (data / "meta_expressions" / "test" / "meta_expressions.json").unlink()
    with pytest.raises(DataError, match=r"expected meta_expressions/test/meta_expressions.json in .*ReferFormer"):
        list(tasks.find("ref_youtube_vos", data).samples())


def test_there_is_a_number_for_what_can_be_submitted_and_none_for_how_good_it_is(
    data: Path, box_pixels: Make, mask_replies: Make, tmp_path: Path
) -> None:
    model = mask_replies({"1a/0": [box_pixels(0, 0, 2, 2)], "9b/0": [box_pixels(0, 0, 2, 2)]})
    summary = evalkit.run(model, "ref_youtube_vos", data=str(data), out=tmp_path / "out")
    assert [(row["metric"], row["rule"], row["value"], row["missing"]) for row in summary.numbers] == [("coverage", "official", 0.5, 1)]
    assert any("server" in note for note in summary.tasks[0]["notes"])


def test_a_submission_is_ready_to_be_packed(data: Path, box_pixels: Make, mask_replies: Make, tmp_path: Path) -> None:
    mask = box_pixels(1, 1, 5, 4)
    for video, frames in (("1a", ["00010"]), ("9b", ["00000", "00005"])):
        folder = data / "valid" / "JPEGImages" / video
        folder.mkdir(parents=True)
        for frame in frames:
            PIL.Image.new("RGB", (8, 6)).save(folder / f"{frame}.jpg")
    run = evalkit.run(mask_replies({"9b/0": [mask]}), "ref_youtube_vos", data=str(data), out=tmp_path / "out")
    assert export(run.folder, out=tmp_path / "pred") == [tmp_path / "pred" / "Annotations"]
    found = {path.relative_to(tmp_path / "pred").as_posix(): path for path in (tmp_path / "pred").rglob("*.png")}
    assert sorted(found) == [
        "Annotations/1a/0/00010.png",
        "Annotations/9b/0/00000.png",
        "Annotations/9b/0/00005.png",
        "Annotations/9b/1/00000.png",
        "Annotations/9b/1/00005.png",
    ]
    shown = {name: np.asarray(PIL.Image.open(path)) for name, path in found.items()}
    assert shown.pop("Annotations/9b/0/00000.png").tolist() == (mask * 255).tolist()
    assert {(image.shape, image.max()) for image in shown.values()} == {((6, 8), 0)}
