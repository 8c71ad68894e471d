"""Ref-SAV: frames of videos by their numbers, two groups, and the file of results."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import evalkit
from evalkit import task as tasks
from evalkit.data import decode
from evalkit.errors import DataError
from evalkit.types import Sample

Make = Callable[..., Any]


@pytest.fixture
def data(tmp_path: Path, box_pixels: Make, coco_rle: Make) -> Callable[..., Path]:
    """Writes one video of three annotated frames, with expressions of these types."""

    def write(*types: int, **more: Any) -> Path:
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        told = {str(place): {"exp": "The ball that rolls.", "type_id": kind, "anno_id": ["12"]} for place, kind in enumerate(types)}
        video = {"expressions": told, "frames": ["00000", "00008", "00020"], "height": 6, "width": 8} | more
        (folder / "meta_expressions_valid.json").write_text(json.dumps({"videos": {"sav_055123": video}}))
        masks = [coco_rle(box_pixels(n, 0, n + 3, 3)) for n in range(3)]
        (folder / "mask_dict.json").write_text(json.dumps({"12": masks}))
        return folder

    return write


def samples(folder: Path) -> list[Sample]:
    return list(tasks.find("ref_sav", folder).samples())


def test_the_frames_are_those_of_the_video_with_these_numbers(data: Callable[..., Path], make_video: Callable[..., Path]) -> None:
    """The fixture's frame n has grey level 8 * n."""
    folder = data(0)
    make_video(folder / "videos" / "sav_055" / "sav_055123.mp4")
    [sample] = samples(folder)
    levels = [decode(image).getpixel((60, 40))[0] for image in sample.images]  # type: ignore[index]
    assert levels == pytest.approx([0, 64, 160], abs=3)


def test_a_description_is_asked_as_the_authors_ask_it(data: Callable[..., Path]) -> None:
    [sample] = samples(data(0))
    assert sample.prompt == "Please segment the object according to the description: The ball that rolls."
    assert (sample.question, sample.wants.phrasing) == ("The ball that rolls.", "description")


def test_overall_is_the_mean_of_long_and_short(data: Callable[..., Path], box_pixels: Make, mask_replies: Make, tmp_path: Path) -> None:
    right = [box_pixels(n, 0, n + 3, 3) for n in range(3)]
    model = mask_replies({"sav_055123/0": right, "sav_055123/3": right})
    summary = evalkit.run(model, "ref_sav", data=str(data(0, 0, 0, 1)), out=tmp_path / "out")
    got = {row["subset"]: row["value"] for row in summary.numbers if (row["metric"], row["rule"]) == ("j_and_f", "official")}
    assert got == {"overall": pytest.approx(2 / 3), "long": pytest.approx(1 / 3), "short": 1.0}


def test_results_are_in_the_form_that_the_authors_script_reads(
    data: Callable[..., Path], box_pixels: Make, coco_rle: Make, mask_replies: Make, tmp_path: Path
) -> None:
    from evalkit.export import export

    masks = [box_pixels(0, 0, 3, 3)] * 2
    run = evalkit.run(mask_replies({"sav_055123/0": masks}), "ref_sav", data=str(data(0, 1)), out=tmp_path / "out")
    [path] = export(run.folder, out=tmp_path / "pred")
    first, none = coco_rle(masks[0]), coco_rle(box_pixels(0, 0, 0, 0))
    told = {"exp": "The ball that rolls."}
    assert json.loads(path.read_text()) == {
        "sav_055123": {"0": told | {"prediction_masks": [first, first, none]}, "1": told | {"prediction_masks": [none] * 3}}
    }


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"height": None}, "expected int in column height of .*expression 0"),
        ({"frames": ["00000", "00008", "last"]}, "expected a digit and a frame's number as its name in .*got 'last'"),
        ({"frames": ["00000"]}, "expected 1 masks, one a frame, in .*annotation 12, got 3 masks"),
        ({"expressions": {"0": {"exp": "it", "type_id": 3, "anno_id": ["12"]}}}, "expected a type_id of 0 or 1 in .*got 3"),
        ({"expressions": {"0": {"exp": "it", "anno_id": ["12"]}}}, "expected the columns type_id in .*expression 0"),
    ],
)
def test_files_that_are_not_as_expected_are_named(data: Callable[..., Path], changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        samples(data(0, **changes))
