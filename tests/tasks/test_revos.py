"""ReVOS: two groups and the mean of their numbers, accuracy and robustness as coded and as meant, and what is not asked."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import evalkit
from evalkit import task as tasks
from evalkit.errors import DataError
from evalkit.types import Sample

Make = Callable[..., Any]
SQUARE = (0, 0, 4, 3)
"""12 of 48 pixels."""


@pytest.fixture
def data(tmp_path: Path, box_pixels: Make, coco_rle: Make) -> Callable[..., Path]:
    """Writes one video of two frames, in both of which a square is to be found, with expressions of these types."""

    def write(*types: int, foreground: Any = True, texts: tuple[str, ...] = ("The dog that runs",)) -> Path:
        folder = tmp_path / "data"
        folder.mkdir()
        made = {
            str(place): {"exp": texts[place % len(texts)], "type_id": kind, "obj_id": [0], "anno_id": [2]}
            for place, kind in enumerate(types)
        }
        video = {"expressions": made, "frames": ["00000", "00003"], "height": 6, "width": 8}
        (folder / "meta_expressions_valid_.json").write_text(json.dumps({"videos": {"set/clip": video}}))
        rle = coco_rle(box_pixels(*SQUARE))
        (folder / "mask_dict.json").write_text(json.dumps({"2": [rle, rle]}))
        told = {"set/clip": {"masks_rle": [rle, rle], "foreground_ratio": [0.25, 0.25]}} if foreground is True else foreground
        if told is not None:
            (folder / "mask_dict_foreground.json").write_text(json.dumps(told))
        return folder

    return write


def samples(folder: Path) -> list[Sample]:
    return list(tasks.find("revos", folder).samples())


def numbers(model: str, folder: Path) -> dict[tuple[str, str, str], float | None]:
    summary = evalkit.run(model, "revos", data=str(folder), out=folder.parent / "out")
    return {(row["metric"], row["rule"], row["subset"]): row["value"] for row in summary.numbers}


def test_overall_is_the_mean_of_the_two_groups_not_of_the_expressions(
    data: Callable[..., Path], box_pixels: Make, mask_replies: Make
) -> None:
    """Of referring one of three is right, of reasoning the one: (1/3 + 1) / 2."""
    right = [box_pixels(*SQUARE)] * 2
    got = numbers(mask_replies({"set/clip/0": right, "set/clip/3": right}), data(0, 0, 0, 1))
    for metric in ("j", "f", "j_and_f"):
        assert got[metric, "official", "referring"] == pytest.approx(1 / 3)
        assert got[metric, "official", "reasoning"] == 1
        assert got[metric, "official", "overall"] == got[metric, "strict", "overall"] == pytest.approx(2 / 3)


def test_a_group_without_an_expression_leaves_the_whole_without_a_number(data: Callable[..., Path]) -> None:
    got = numbers("oracle", data(0, 0))
    assert got["j_and_f", "official", "referring"] == 1
    assert got["j_and_f", "official", "overall"] is None


def test_expressions_of_neither_group_are_not_asked_and_other_types_are_named(data: Callable[..., Path]) -> None:
    folder = data(0, 2, 1)
    assert [(sample.id, set(sample.tags)) for sample in samples(folder)] == [("set/clip/0", {"referring"}), ("set/clip/2", {"reasoning"})]
    (folder / "meta_expressions_valid_.json").write_text((folder / "meta_expressions_valid_.json").read_text().replace(": 2,", ": 5,"))
    with pytest.raises(DataError, match=r"expected a type_id of 0, 1 or 2 in .*expression 1, got 5"):
        samples(folder)


def test_the_authors_code_takes_a_quarter_of_accuracy_from_a_perfect_reply_to_a_quarter_of_the_image(data: Callable[..., Path]) -> None:
    got = numbers("oracle", data(0, 1))
    assert got["pixel_accuracy", "official", "overall"] == 0.75
    assert got["pixel_accuracy", "strict", "overall"] == 1.0
    assert got["robustness", "official", "overall"] == got["robustness", "strict", "overall"] == 1.0


def test_robustness_is_what_the_excess_leaves_of_the_foreground(data: Callable[..., Path], box_pixels: Make, mask_replies: Make) -> None:
    """3 pixels too many, of a foreground of 12: 0.75 as meant; as coded each counts 255 times."""
    more = [box_pixels(0, 0, 5, 3)] * 2
    got = numbers(mask_replies({"set/clip/0": more, "set/clip/1": more}), data(0, 1))
    assert got["robustness", "strict", "overall"] == pytest.approx(0.75, abs=1e-6)
    assert got["robustness", "official", "overall"] == 0.0


@pytest.mark.parametrize(
    ("replies", "accuracy", "robustness", "counted"),
    [
        ({"set/clip/0": []}, 0.75, 1.0, "unparsed"),
        ({"set/clip/0": [SQUARE]}, 0.0, 0.0, "unparsed"),
        ({"set/clip/9": [SQUARE]}, 0.0, 0.0, "missing"),
    ],
    ids=["no mask at all", "one frame without", "no reply"],
)
def test_no_masks_are_empty_ones_but_a_frame_without_one_makes_all_four_numbers_0(
    replies: Any, accuracy: float, robustness: float, counted: str, data: Callable[..., Path], box_pixels: Make, mask_replies: Make
) -> None:
    """Of 48 pixels 36 are outside the target; an empty mask has no excess. One of the two frames is masked right."""
    folder = data(0)
    told = {name: [box_pixels(*box) for box in boxes] for name, boxes in replies.items()}
    summary = evalkit.run(mask_replies(told), "revos", data=str(folder), out=folder.parent / "out")
    read = {(row["metric"], row["rule"]): row for row in summary.numbers if row["subset"] == "referring"}
    official = {metric: row["value"] for (metric, rule), row in read.items() if rule == "official" and metric != "coverage"}
    assert official == {"j_and_f": 0.0, "j": 0.0, "f": 0.0, "pixel_accuracy": accuracy, "robustness": robustness}
    assert {row["value"] for (_, rule), row in read.items() if rule == "strict"} == {0.0}
    assert {row[counted] for (metric, _), row in read.items() if metric != "coverage"} == {1}


def test_without_the_foreground_file_there_is_no_robustness_and_all_else_is_there(data: Callable[..., Path]) -> None:
    got = numbers("oracle", data(0, 1, foreground=None))
    assert {metric for metric, _, _ in got} == {"j_and_f", "j", "f", "coverage"}
    assert got["j_and_f", "official", "overall"] == 1


@pytest.mark.parametrize(
    ("foreground", "said"),
    [
        ({}, r"expected the columns set/clip in .*mask_dict_foreground.json"),
        ({"set/clip": {}}, "expected the columns masks_rle in .*foreground.json, video set/clip"),
        ({"set/clip": {"masks_rle": [None]}}, "expected 2 masks, one a frame, in .*foreground.json, video set/clip, got 1 masks"),
    ],
)
def test_a_foreground_that_is_not_as_expected_is_named(data: Callable[..., Path], foreground: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        samples(data(0, foreground=foreground))


def test_phrases_and_questions_have_the_authors_wordings(data: Callable[..., Path]) -> None:
    phrase, question = samples(data(0, 1, texts=("The dog  that runs", "Which dog is Tired?")))
    ending = "segmentation masks for each frame and for the entire video separately."
    assert phrase.prompt == f"What is the dog that runs in the Reference Video? Please respond with {ending}"
    assert question.prompt == f"which dog is tired? Please find it in the Reference Video and respond with {ending}"
    assert [sample.wants.phrasing for sample in (phrase, question)] == ["query", "question"]
    assert (phrase.question, question.question) == ("The dog that runs", "Which dog is Tired?")


def test_frames_of_a_video_lie_below_its_name_and_it_is_the_cluster(data: Callable[..., Path]) -> None:
    folder = data(0)
    [sample] = samples(folder)
    assert [image.source for image in sample.images] == [
        folder / "JPEGImages" / "set" / "clip" / f"{name}.jpg" for name in ("00000", "00003")
    ]
    assert sample.group == "set/clip"


def test_a_submission_has_a_folder_for_each_expression(data: Callable[..., Path], tmp_path: Path) -> None:
    from evalkit.export import export

    run = evalkit.run("oracle", "revos", data=str(data(0, 1)), out=tmp_path / "out")
    assert export(run.folder, out=tmp_path / "pred") == [tmp_path / "pred" / "set" / "clip"]
    written = sorted(path.relative_to(tmp_path / "pred").as_posix() for path in (tmp_path / "pred").rglob("*.png"))
    assert written == [f"set/clip/{name}/{frame}.png" for name in "01" for frame in ("00000", "00003")]
