"""Ref-DAVIS17: label images as gold, read when they are measured, and four sets of expressions."""

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
from evalkit.types import Sample

Make = Callable[..., Any]
FRAMES = ["00000", "00001"]


@pytest.fixture
def data(tmp_path: Path, box_pixels: Make) -> Callable[..., Path]:
    """Writes a video with the objects 1 and 2, of four expressions each."""

    def write(mode: str = "P", objects: tuple[Any, ...] = ("1", "2")) -> Path:
        folder = tmp_path / "data"
        told = {str(4 * place + n): {"exp": f"fish {n}", "obj_id": name} for place, name in enumerate(objects) for n in range(4)}
        meta = folder / "meta_expressions" / "valid" / "meta_expressions.json"
        meta.parent.mkdir(parents=True)
        meta.write_text(json.dumps({"videos": {"goldfish": {"expressions": told, "frames": FRAMES}}}))
        place = folder / "valid" / "Annotations" / "goldfish"
        place.mkdir(parents=True)
        for number, frame in enumerate(FRAMES):
            labels = np.zeros((6, 8), dtype=np.uint8)
            labels[box_pixels(number, 0, number + 3, 3)], labels[box_pixels(4, 3, 8, 6)] = 1, 2
            labels[0, 7] = 255
            image = PIL.Image.fromarray(labels)
            if mode == "P":
                image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
            (image if mode in "PL" else image.convert(mode)).save(place / f"{frame}.png")
        return folder

    return write


def samples(folder: Path) -> list[Sample]:
    return list(tasks.find("ref_davis17", folder).samples())


@pytest.mark.parametrize("mode", ["P", "L"])
def test_the_gold_is_the_label_of_the_object_in_each_frame(data: Callable[..., Path], box_pixels: Make, mode: str) -> None:
    made = samples(data(mode, ("1", 2)))
    one, two = made[0].target, made[7].target
    assert [evalkit.decode_mask(mask).tolist() for mask in one.masks] == [box_pixels(n, 0, n + 3, 3).tolist() for n in (0, 1)]
    assert [evalkit.decode_mask(mask).tolist() for mask in two.masks] == [box_pixels(4, 3, 8, 6).tolist()] * 2


def test_the_four_sets_are_subsets_and_the_whole_is_the_mean_over_them(
    data: Callable[..., Path], box_pixels: Make, mask_replies: Make, tmp_path: Path
) -> None:
    """3 of the 8 expressions are right: both of the first set, one of the second."""
    fish, other = [box_pixels(n, 0, n + 3, 3) for n in (0, 1)], [box_pixels(4, 3, 8, 6)] * 2
    model = mask_replies({"goldfish/0": fish, "goldfish/4": other, "goldfish/1": fish})
    summary = evalkit.run(model, "ref_davis17", data=str(data()), out=tmp_path / "out")
    got = {row["subset"]: row["value"] for row in summary.numbers if (row["metric"], row["rule"]) == ("j_and_f", "per-expression")}
    assert got == {"overall": 3 / 8, "anno_0": 1.0, "anno_1": 0.5, "anno_2": 0.0, "anno_3": 0.0}


def test_an_object_that_never_appears_is_found_by_empty_masks(data: Callable[..., Path], mask_replies: Make, tmp_path: Path) -> None:
    model = mask_replies({"goldfish/0": [np.zeros((6, 8), dtype=bool)] * 2, "goldfish/1": [np.ones((6, 8), dtype=bool)] * 2})
    summary = evalkit.run(model, "ref_davis17", data=str(data(objects=("7",))), out=tmp_path / "out")
    assert summary.value("ref_davis17", "j", "per-expression", "anno_0") == 1.0
    assert summary.value("ref_davis17", "j", "per-expression", "anno_1") == 0.0


def test_annotations_are_read_when_a_frame_is_measured(data: Callable[..., Path], mask_replies: Make, tmp_path: Path) -> None:
    folder = data()
    broken = folder / "valid" / "Annotations" / "goldfish" / "00001.png"
    broken.write_bytes(broken.read_bytes()[:40])
    made = samples(folder)
    assert made[0].target.frame(0)
    with pytest.raises(DataError, match=r"expected an image of labels at .*00001.png"):
        made[0].target.frame(1)
    with pytest.raises(DataError, match=r"00001.png"):
        evalkit.run(
            mask_replies({"goldfish/0": [np.zeros((6, 8))] * 2}),
            "ref_davis17",
            data=str(folder),
            out=tmp_path / "out",
            allow_incomplete=True,
        )


def test_an_annotation_of_another_size_is_named_with_its_frame(data: Callable[..., Path]) -> None:
    folder = data()
    PIL.Image.new("P", (9, 6)).save(folder / "valid" / "Annotations" / "goldfish" / "00001.png")
    with pytest.raises(DataError, match="expected an annotation that fits goldfish/0, got for frame 1 a mask of 9 x 6 pixels"):
        samples(folder)[0].target.frame(1)


def test_annotations_in_colours_are_refused(data: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=r"expected an image of labels with a palette or grey levels at .*00000.png, got mode RGB"):
        samples(data("RGB"))


def test_a_frame_without_an_annotation_is_named(data: Callable[..., Path]) -> None:
    folder = data()
    (folder / "valid" / "Annotations" / "goldfish" / "00001.png").unlink()
    with pytest.raises(DataError, match=r"expected an image of labels for each frame of goldfish, found none at .*00001.png"):
        samples(folder)


def test_an_object_without_a_number_is_named(data: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=r"expected an object's number as obj_id in .*expression 0, got 'fish'"):
        samples(data(objects=("fish",)))


def test_a_submission_has_a_folder_for_each_expression(data: Callable[..., Path], tmp_path: Path) -> None:
    from evalkit.export import export

    run = evalkit.run("oracle", "ref_davis17", data=str(data()), out=tmp_path / "out")
    export(run.folder, out=tmp_path / "pred")
    written = sorted(path.relative_to(tmp_path / "pred").as_posix() for path in (tmp_path / "pred").rglob("*.png"))
    assert written == [f"goldfish/{name}/{frame}.png" for name in range(8) for frame in FRAMES]
