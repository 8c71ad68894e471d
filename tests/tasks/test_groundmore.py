"""GroundMoRe: which twenty frames are looked at, and that there is nothing to be found outside the action."""

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
CLIP = "kitchen_0110_0116"
QUESTION = {
    "question": "What is lifted? ",
    "answer": "the pan",
    "obj_id": "1",
    "q_type": "Causal",
    "action_start": "1:11",
    "action_end": "1:13",
}


@pytest.fixture
def data(tmp_path: Path, box_pixels: Make) -> Callable[..., Path]:
    """Writes one clip of so many frames, in each of which the objects 1 and 2 are to be seen."""

    def write(*questions: dict[str, Any], count: int = 36, clip: str = CLIP) -> Path:
        folder = tmp_path / "data"
        images, masks = (folder / "groundmore_videos" / clip / name for name in ("images", "masks"))
        images.mkdir(parents=True)
        masks.mkdir()
        told = {str(place): QUESTION | question for place, question in enumerate(questions or ({},))}
        (folder / "groundmore_test.json").write_text(json.dumps({"videos": {clip: {"questions": told}}}))
        labels = np.zeros((6, 8), dtype=np.uint8)
        labels[box_pixels(0, 0, 4, 3)], labels[box_pixels(4, 3, 8, 6)] = 1, 2
        drawn = PIL.Image.fromarray(labels)
        drawn.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
        for number in range(count):
            PIL.Image.new("RGB", (8, 6)).save(images / f"frame_{number:06}.jpg")
            drawn.save(masks / f"frame_{number:06}.png")
        return folder

    return write


def samples(folder: Path) -> list[Sample]:
    return list(tasks.find("groundmore", folder).samples())


def seen(sample: Sample) -> list[int]:
    """The numbers of the frames in which there is something to be found."""
    return [int(Path(image.name).stem[-6:]) for image, number in zip(sample.images, range(20), strict=True) if sample.target.frame(number)]


def test_twenty_frames_are_spread_from_the_first_to_the_last_by_cutting_off(data: Callable[..., Path]) -> None:
    [sample] = samples(data())
    numbers = [int(Path(image.name).stem[-6:]) for image in sample.images]
    assert numbers == [0, 1, 3, 5, 7, 9, 11, 12, 14, 16, 18, 20, 22, 23, 25, 27, 29, 31, 33, 35]
    assert numbers == [35 * place // 19 for place in range(20)]


def test_a_clip_of_fewer_frames_has_some_twice(data: Callable[..., Path]) -> None:
    [sample] = samples(data(count=3))
    assert [Path(image.name).stem[-1] for image in sample.images] == list("0" * 10 + "1" * 9 + "2")


def test_outside_the_action_nothing_is_to_be_found(data: Callable[..., Path]) -> None:
    """From 1 to 3 seconds into the clip, 6 frames a second, the last one excluded: frames 6 to 17."""
    [sample] = samples(data())
    assert seen(sample) == [7, 9, 11, 12, 14, 16]


@pytest.mark.parametrize(("start", "end"), [("71", "73"), ("01:11", "00:01:13"), (" 1:11", "0:1:13 ")])
def test_times_are_read_with_and_without_hours_and_minutes(data: Callable[..., Path], start: str, end: str) -> None:
    [sample] = samples(data({"action_start": start, "action_end": end}))
    assert seen(sample) == [7, 9, 11, 12, 14, 16]


def test_a_frame_without_a_label_image_has_nothing_to_be_found(data: Callable[..., Path]) -> None:
    folder = data()
    (folder / "groundmore_videos" / CLIP / "masks" / "frame_000009.png").unlink()
    assert seen(samples(folder)[0]) == [7, 11, 12, 14, 16]


def test_masks_outside_the_action_are_wrong_and_empty_ones_right(
    data: Callable[..., Path], box_pixels: Make, mask_replies: Make, tmp_path: Path
) -> None:
    """The object is to be found in 6 of the 20 frames."""
    model = mask_replies({f"{CLIP}/0": [box_pixels(0, 0, 4, 3)] * 20, f"{CLIP}/1": [box_pixels(0, 0, 0, 0)] * 20})
    folder = data({}, {"q_type": "Descriptive"})
    summary = evalkit.run(model, "groundmore", data=str(folder), out=tmp_path / "out")
    got = {row["subset"]: row["value"] for row in summary.numbers if (row["metric"], row["rule"]) == ("j", "official")}
    assert got == {"overall": pytest.approx(0.5), "causal": pytest.approx(6 / 20), "descriptive": pytest.approx(14 / 20)}


def test_a_question_is_asked_as_the_authors_ask_it(data: Callable[..., Path]) -> None:
    [sample] = samples(data({"obj_id": 2}))
    assert (sample.prompt, sample.wants.phrasing) == ("What is lifted? Please respond with masks.", "question")
    assert (sample.id, sample.group, sample.tags) == (f"{CLIP}/0", CLIP, {"causal"})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"action_start": "soon"}, r"expected a time such as 0:12 in .*video kitchen_0110_0116, question 0, got 'soon'"),
        ({"obj_id": "pan"}, "expected an object's number as obj_id of question kitchen_0110_0116/0, got 'pan'"),
        ({"q_type": None}, "expected str in column q_type of .*question 0"),
    ],
)
def test_a_question_that_is_not_as_expected_is_named(data: Callable[..., Path], changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        samples(data(changes))


@pytest.mark.parametrize(("count", "clip"), [(0, CLIP), (3, "kitchen")])
def test_a_clip_without_frames_or_times_in_its_name_is_named(data: Callable[..., Path], count: int, clip: str) -> None:
    with pytest.raises(DataError, match=f"expected a clip's name such as .* and its frames in .*, got '{clip}' and {count} frames"):
        samples(data(count=count, clip=clip))


def test_a_submission_has_the_frames_that_were_shown(data: Callable[..., Path], tmp_path: Path) -> None:
    from evalkit.export import export

    run = evalkit.run("oracle", "groundmore", data=str(data()), out=tmp_path / "out")
    export(run.folder, out=tmp_path / "pred")
    written = {
        path.relative_to(tmp_path / "pred").as_posix(): PIL.Image.open(path).getextrema() for path in (tmp_path / "pred").rglob("*.png")
    }
    assert len(written) == 20
    assert written[f"{CLIP}/0/frame_000007.png"] == (0, 255)
    assert written[f"{CLIP}/0/frame_000000.png"] == (0, 0)
