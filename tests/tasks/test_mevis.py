"""MeViS, and with it what all sets of referring video segmentation share: files, how many masks a reply holds, and submissions."""

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
from evalkit.types import Sample

Make = Callable[..., Any]
FRAMES = ["00000", "00001", "00002"]
EMPTY = np.zeros((6, 8), dtype=bool)


@pytest.fixture
def data(tmp_path: Path, box_pixels: Make, coco_rle: Make) -> Callable[..., Path]:
    """Writes a split of one video with two objects; the keywords change its two files."""

    def write(split: str = "valid_u", masks: dict[str, Any] | None = None, video: Any = None, **more: Any) -> Path:
        folder = tmp_path / "data" / split
        folder.mkdir(parents=True)
        told = {"expressions": {"0": {"exp": "The bird that flies\n away", "obj_id": [3], "anno_id": [4]}}, "frames": FRAMES} | more
        (folder / "meta_expressions.json").write_text(json.dumps({"videos": {"3a1f": told if video is None else video}}))
        if split == "valid_u":
            bird, nest = [box_pixels(x, 1, x + 2, 4) for x in (0, 2, 4)], [box_pixels(1, 2, 4, 5), None, None]
            own = {"4": [coco_rle(one) for one in bird], "5": [coco_rle(one) for one in nest], "6": [None] * 3}
            (folder / "mask_dict.json").write_text(json.dumps(own | (masks or {})))
        return tmp_path / "data"

    return write


def expression(*annotations: int) -> dict[str, Any]:
    return {"expressions": {"0": {"exp": "these", "obj_id": [], "anno_id": list(annotations)}}}


def samples(folder: Path, split: str = "valid_u") -> list[Sample]:
    return list(tasks.find(f"mevis:{split}", folder).samples())


def numbers(model: str, folder: Path, split: str = "valid_u") -> dict[tuple[str, str], tuple[float | None, int]]:
    """Of each metric and rule the value, and how many were not parsed."""
    summary = evalkit.run(model, f"mevis:{split}", data=str(folder), out=folder.parent / "out", allow_incomplete=True)
    assert summary.complete
    return {(row["metric"], row["rule"]): (row["value"], row["unparsed"]) for row in summary.numbers}


# ---------------------------------------------------------------- what is asked


def test_an_expression_is_asked_about_all_frames_in_their_order(data: Callable[..., Path]) -> None:
    [sample] = samples(data())
    assert (sample.id, sample.group) == ("3a1f/0", "3a1f")
    assert sample.question == sample.prompt == sample.wants.phrase == "The bird that flies away"
    assert (sample.wants.kind, sample.wants.form, sample.wants.phrasing) == ("mask", "video", "query")
    assert [Path(image.name).parts[-4:] for image in sample.images] == [("valid_u", "JPEGImages", "3a1f", f"{name}.jpg") for name in FRAMES]


def test_the_masks_of_several_objects_are_one_and_none_is_an_empty_one(data: Callable[..., Path], box_pixels: Make) -> None:
    [sample] = samples(data(**expression(4, 5)))
    first, second, _ = sample.target.masks
    assert evalkit.decode_mask(first).tolist() == (box_pixels(0, 1, 2, 4) | box_pixels(1, 2, 4, 5)).tolist()
    assert evalkit.decode_mask(second).tolist() == box_pixels(2, 1, 4, 4).tolist()


@pytest.mark.parametrize("annotations", [(), (6,)])
def test_where_nothing_is_ever_to_be_found_empty_masks_are_right(
    data: Callable[..., Path], annotations: tuple[int, ...], mask_replies: Make
) -> None:
    read = numbers(mask_replies({"3a1f/0": [EMPTY] * 3}), data(**expression(*annotations)))
    assert set(read.values()) == {(1.0, 0)}


def test_a_reply_without_masks_is_scored_as_empty_ones_officially_and_as_nothing_strictly_and_counted(
    data: Callable[..., Path], mask_replies: Make
) -> None:
    """The nest is seen in the first of three frames alone."""
    folder = data(**expression(5))
    read = numbers("mute", folder)
    assert {rule: read["j", rule] for rule in ("official", "strict")} == {"official": (pytest.approx(2 / 3), 1), "strict": (0.0, 1)}
    assert read["f", "official"] == read["j", "official"]
    assert read["coverage", "official"] == (0.0, 1)
    missing = numbers(mask_replies({"other/0": [EMPTY]}), folder)
    assert set(missing.values()) == {(0.0, 0)}


# ---------------------------------------------------------------- how many masks


def test_fewer_masks_than_frames_leave_the_last_empty_and_are_told_by_coverage_and_refused_strictly(
    data: Callable[..., Path], box_pixels: Make, mask_replies: Make
) -> None:
    read = numbers(mask_replies({"3a1f/0": [box_pixels(0, 1, 2, 4), box_pixels(2, 1, 4, 4)]}), data())
    assert read["j", "official"] == read["f", "official"] == read["coverage", "official"] == (pytest.approx(2 / 3), 0)
    assert read["j", "strict"] == (0.0, 1)


def test_more_masks_than_frames_that_are_no_whole_number_of_objects_are_no_answer(data: Callable[..., Path], mask_replies: Make) -> None:
    read = numbers(mask_replies({"3a1f/0": [EMPTY] * 4}), data())
    assert set(read.values()) == {(0.0, 1)}


def test_several_objects_of_a_reply_are_one_region_frame_by_frame(data: Callable[..., Path], box_pixels: Make, mask_replies: Make) -> None:
    bird, nest = [box_pixels(x, 1, x + 2, 4) for x in (0, 2, 4)], [box_pixels(1, 2, 4, 5), EMPTY, EMPTY]
    folder = data(**expression(4, 5))
    assert set(numbers(mask_replies({"3a1f/0": [*bird, *nest]}), folder).values()) == {(1.0, 0)}
    assert set(numbers(mask_replies({"3a1f/0": [*nest, *bird]}), folder).values()) == {(1.0, 0)}
    [sample] = samples(folder)
    assert [sum(evalkit.decode_mask(mask).sum() for mask in volume) for volume in sample.target.volumes] == [18, 9]


def test_a_mask_of_another_size_is_no_answer_and_says_so(data: Callable[..., Path], mask_replies: Make) -> None:
    folder = data()
    assert set(numbers(mask_replies({"3a1f/0": [EMPTY, EMPTY, EMPTY.T]}), folder).values()) == {(0.0, 1)}
    task = tasks.find("mevis:valid_u", folder)
    [sample] = task.samples()
    unfit = evalkit.Prediction("", "", masks=(evalkit.encode_mask(EMPTY.T),))
    assert task.rules[0].parse(unfit, sample) == evalkit.Unparsed("a mask of 6 x 8 pixels for an image of 8 x 6")


def test_a_video_without_a_reply_is_missing_and_scores_nothing(data: Callable[..., Path], mask_replies: Make) -> None:
    folder = data()
    summary = evalkit.run(mask_replies({"other/0": [EMPTY]}), "mevis", data=str(folder), out=folder.parent / "out")
    assert {(row["value"], row["missing"]) for row in summary.numbers} == {(0.0, 1)}


# ---------------------------------------------------------------- the server's half


def test_valid_has_no_number_but_how_much_can_be_submitted(data: Callable[..., Path], mask_replies: Make) -> None:
    folder = data("valid", expressions={"7": {"exp": "the bird"}})
    assert numbers(mask_replies({"3a1f/7": [EMPTY] * 2}), folder, "valid") == {("coverage", "official"): (pytest.approx(2 / 3), 0)}
    assert numbers("mute", folder, "valid") == {("coverage", "official"): (0.0, 1)}
    [note] = tasks.find("mevis:valid", folder).notes
    assert "evalkit export" in note


@pytest.mark.parametrize("split", ["valid", "valid_u"])
def test_a_submission_is_a_folder_of_black_and_white_images(
    split: str, data: Callable[..., Path], box_pixels: Make, mask_replies: Make, tmp_path: Path
) -> None:
    folder = data(split, **({"expressions": {"0": {"exp": "the bird"}}} if split == "valid" else {}))
    masks = [box_pixels(0, 1, 2, 4), box_pixels(2, 1, 4, 4)]
    run = evalkit.run(mask_replies({"3a1f/0": masks}), f"mevis:{split}", data=str(folder), out=tmp_path / "out")
    written = export(run.folder, out=tmp_path / "pred")
    assert written == [tmp_path / "pred" / "3a1f"]
    found = {path.relative_to(tmp_path / "pred").as_posix(): PIL.Image.open(path) for path in (tmp_path / "pred").rglob("*.png")}
    assert sorted(found) == [f"3a1f/0/{frame}.png" for frame in FRAMES]
    assert {image.mode for image in found.values()} == {"L"}
    read = [np.asarray(found[name]) for name in sorted(found)]
    assert [image.tolist() for image in read] == [(mask * 255).tolist() for mask in [*masks, EMPTY]]


def test_what_is_no_answer_is_submitted_black_in_the_size_of_the_frames(data: Callable[..., Path], tmp_path: Path) -> None:
    folder = data("valid", expressions={"0": {"exp": "the bird"}})
    frames = folder / "valid" / "JPEGImages" / "3a1f"
    frames.mkdir(parents=True)
    for name in FRAMES:
        PIL.Image.new("RGB", (8, 6)).save(frames / f"{name}.jpg")
    run = evalkit.run("mute", "mevis:valid", data=str(folder), out=tmp_path / "out")
    export(run.folder, out=tmp_path / "pred")
    assert [np.asarray(PIL.Image.open(path)).tolist() for path in (tmp_path / "pred").rglob("*.png")] == [EMPTY.tolist()] * 3


# ---------------------------------------------------------------- broken files


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"video": {"frames": FRAMES}}, r"expected the columns expressions, frames in .*meta_expressions.json, video 3a1f"),
        ({"frames": []}, r"expected the names of a video's frames in .*video 3a1f, got \[\]"),
        ({"frames": [0, 1, 2]}, "expected the names of a video's frames"),
        ({"expressions": {"0": {"anno_id": [4]}}}, "expected the columns exp in .*video 3a1f, expression 0"),
        ({"expressions": {"0": {"exp": "it"}}}, "expected the columns anno_id in .*expression 0"),
        ({**expression(9)}, r"expected annotation 9 of .*expression 0 in .*mask_dict.json, found none"),
        ({"masks": {"4": [None]}}, r"expected 3 masks, one a frame, in .*mask_dict.json, annotation 4, got 1 masks"),
        ({"masks": {"4": "none"}}, "expected 3 masks, one a frame, in .*annotation 4, got 'none'"),
        ({"masks": {"4": [7, 7, 7]}}, "expected run lengths of COCO's form in .*annotation 4, frame 0, got 7"),
    ],
)
def test_files_that_are_not_as_expected_are_named(data: Callable[..., Path], changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        samples(data(**changes))


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        ({"size": [6, 8], "counts": "5"}, "for frame 1 a mask whose runs cover 5 pixels of 48"),
        ({"size": [6, 9], "counts": "f1"}, "for frame 1 a mask of 9 x 6 pixels for an image of 8 x 6"),
    ],
)
def test_an_annotation_that_does_not_fit_ends_the_run_with_its_place(
    data: Callable[..., Path], coco_rle: Make, mask_replies: Make, mask: dict[str, Any], said: str
) -> None:
    folder = data(masks={"4": [coco_rle(EMPTY), mask, None]})
    with pytest.raises(DataError, match=f"expected an annotation that fits 3a1f/0, got {said}"):
        numbers(mask_replies({"3a1f/0": [EMPTY] * 3}), folder)


def test_a_video_without_a_frame_is_a_gap_that_names_it(data: Callable[..., Path], tmp_path: Path) -> None:
    folder, model = data(), tmp_path / "model.py"
    model.write_text("class Model:\n    def generate(self, messages, images):\n        return 'a bird'\n")
    summary = evalkit.run(f"plugin:{model}:Model", "mevis", data=str(folder), out=tmp_path / "out")
    assert not summary.complete
    [gap] = summary.tasks[0]["gaps"]
    assert "00000.jpg" in gap["reason"]


def test_without_its_masks_valid_u_says_what_belongs_there(data: Callable[..., Path]) -> None:
    folder = data()
    (folder / "valid_u" / "mask_dict.json").unlink()
    with pytest.raises(DataError, match=r"expected valid_u/mask_dict.json in .*henghuiding/MeViS"):
        samples(folder)
