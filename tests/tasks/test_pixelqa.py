"""PixelQA: what marks the objects, the letters and the masks of one reply, pixel F1 beside boundary F, and a whole run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evalkit
from evalkit import encode_mask
from evalkit import task as tasks
from evalkit.errors import DataError
from evalkit.geometry import Box, Point
from evalkit.types import Prediction, Sample, Unparsed

pytest.importorskip("cv2", reason="the extra segmentation is not installed")

SIZE = (60, 40)


def box(x1: int, y1: int, x2: int, y2: int) -> Any:
    made = np.zeros(SIZE[::-1], dtype=bool)
    made[y1:y2, x1:x2] = True
    return made


def row(question: str, *objects: dict[int, Any], **change: Any) -> dict[str, Any]:
    annotation = [
        {
            str(frame): {"segmentation": None if made is None else {"size": [40, 60], "counts": encode_mask(made).counts}}
            for frame, made in thing.items()
        }
        for thing in objects
    ]
    return {
        "id": 0,
        "video": "DAVIS/JPEGImages/480p/kites",
        "Question": question,
        "type": "Basic Questions",
        "options": ["(A) Red", "(B) Blue"],
        "Answer": "(B) Blue",
        "frame_idx": "3",
        "annotation": annotation,
    } | change


ONE = row("What colour is <object2><region>?", {0: box(5, 5, 25, 25), 3: box(10, 5, 30, 25), 6: None})
TWO = row("Is <object4><region> on <object1><region>? <object4> is small.", {3: box(2, 2, 5, 5)}, {3: box(20, 10, 50, 30)}, video="b")


def load(folder: Path, *rows: dict[str, Any], variant: str = "point") -> list[Sample]:
    (folder / "VideoRefer-Bench-Q.json").write_text(json.dumps(rows))
    task = tasks.find(f"pixelqa:{variant}", folder)
    return list(tasks.checked(task.samples(), task.name))


def scores(sample: Sample, *masks: Any) -> dict[str, Any]:
    """The records of a reply's masks under both rules, or the reason there are none."""
    rules = {rule.name: rule for rule in tasks.find("pixelqa:point").rules}
    prediction = Prediction("B", "B", masks=tuple(map(encode_mask, masks)))
    values = {name: rules[name].parse(prediction, sample) for name in ("volume", "davis")}
    return {
        name: value.reason if isinstance(value, Unparsed) else rules[name].metric.measure(value, sample) for name, value in values.items()
    }


# ---------------------------------------------------------------- what is asked


def test_objects_are_marked_in_one_frame_and_counted_from_zero(tmp_path: Path) -> None:
    one, two = load(tmp_path, ONE, TWO, variant="box")
    assert one.given == (None, Box(10, 5, 29, 24), None)
    assert two.given == (Box(2, 2, 4, 4), Box(20, 10, 49, 29))
    assert one.prompt.startswith("Marked in frame <2> of 3: [0].\nWhat colour is [0]?\nOptions:\n(A) Red\n(B) Blue\n")
    assert two.question == "Is [0] on [1]? [0] is small."
    assert two.prompt == two.wants.phrase + "\nPlease only give the best option."
    assert ("mask" in two.wants, two.wants.kind, two.wants.phrasing, two.target, two.options) == (
        True,
        "choice",
        "question",
        "B",
        ("Red", "Blue"),
    )


def test_a_point_is_the_pixel_deepest_inside_not_the_centre_of_the_box(tmp_path: Path) -> None:
    corner = box(0, 0, 50, 4) | box(0, 0, 13, 33)  # an L whose box's centre lies outside of it
    ell, square = load(tmp_path, row("<object0><region>", {3: corner}), row("<object0><region>", {3: box(20, 10, 29, 19)}))
    assert square.given == (Point(24, 14),)
    [point] = ell.given
    assert isinstance(point, Point)
    assert corner[int(point.y), int(point.x)]
    outside = np.argwhere(~np.pad(corner, 1)) - 1
    depths = {(int(x), int(y)): np.hypot(*(outside - (y, x)).T).min() for y, x in np.argwhere(corner)}
    assert depths[int(point.x), int(point.y)] == pytest.approx(max(depths.values()))
    assert max(depths.values()) > 6


def test_an_object_that_is_not_in_the_marked_frame_is_named(tmp_path: Path) -> None:
    for variant in ("point", "box"):
        with pytest.raises(DataError, match=r"expected a mask on the frame of frame_idx in .*row 0, got an empty one"):
            load(tmp_path, row("<object0><region>", {0: box(1, 1, 4, 4), 3: None}), variant=variant)


# ---------------------------------------------------------------- masks


def test_pixel_f1_of_the_volume_and_boundary_f_of_frames_are_two_numbers(tmp_path: Path) -> None:
    """Frame 1: 200 of 400 pixels, whose upper edge is 10 pixels off; frame 2 exact; frame 3 empty and right. By hand."""
    [sample] = load(tmp_path, ONE)
    got = scores(sample, box(5, 15, 25, 25), box(10, 5, 30, 25), box(0, 0, 0, 0))
    assert got["volume"] == {"j": pytest.approx(600 / 800, abs=1e-8), "pixel_f1": pytest.approx(2 * 0.75 / 1.75, abs=1e-6), "objects": 1}
    assert got["davis"]["j"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert (1 + 1) / 3 < got["davis"]["f"] < 1
    assert got["davis"]["f"] != pytest.approx(got["volume"]["pixel_f1"], abs=0.01)


def test_perfect_masks_are_one_but_for_an_epsilon_and_empty_ones_nothing(tmp_path: Path) -> None:
    [sample] = load(tmp_path, ONE)
    empty = box(0, 0, 0, 0)
    assert scores(sample, box(5, 5, 25, 25), box(10, 5, 30, 25), empty) == {
        "volume": {"j": pytest.approx(1, abs=1e-5), "pixel_f1": pytest.approx(1, abs=1e-5), "objects": 1},
        "davis": {"j": 1, "f": 1, "objects": 1},
    }
    assert scores(sample, empty, empty, empty)["volume"] == {"j": 0, "pixel_f1": 0, "objects": 1}


def test_masks_come_object_by_object(tmp_path: Path) -> None:
    [sample] = load(tmp_path, TWO)
    small, large = box(2, 2, 5, 5), box(20, 10, 50, 30)
    assert scores(sample, small, large)["volume"]["j"] == pytest.approx(2, abs=1e-5)
    assert scores(sample, large, small)["volume"]["j"] == 0


def test_masks_that_do_not_fit_are_none(tmp_path: Path) -> None:
    [sample] = load(tmp_path, ONE)
    frame = box(5, 5, 25, 25)
    assert scores(sample)["volume"] == "no mask"
    assert scores(sample, frame, frame)["davis"] == "2 masks for 1 objects on 3 frames"
    assert scores(sample, frame, frame, frame.T)["volume"] == "a mask of 40 x 60 pixels for an image of 60 x 40"


@pytest.mark.parametrize("protocol", ["direct", "segment"])
def test_a_run_gives_letters_and_masks_of_one_reply_and_counts_what_is_missing(protocol: str, tmp_path: Path) -> None:
    load(tmp_path, ONE, TWO)
    masks = [box(2, 2, 5, 5), box(20, 10, 50, 30)]
    told = [{"counts": encode_mask(made).counts, "size": [40, 60]} for made in masks]
    rows = [{"sample": "1", "text": "(B) Blue", "masks": told}, {"sample": "0", "text": "Blue it is"}]
    (tmp_path / "replies.jsonl").write_text("".join(json.dumps(item) + "\n" for item in rows))
    model, out = f"replay:{tmp_path / 'replies.jsonl'}", tmp_path / "out"
    summary = evalkit.run(model, "pixelqa", protocol=protocol, data=str(tmp_path), out=out)
    got = {(item["rule"], item["metric"]): (item["value"], item["unparsed"]) for item in summary.numbers if item["subset"] == "overall"}
    near = pytest.approx(2 / 3, abs=1e-5)
    masked = [("volume", "j"), ("volume", "pixel_f1"), ("volume", "j_and_pixel_f1"), ("davis", "j"), ("davis", "f"), ("davis", "j_and_f")]
    assert {key: got[key] for key in masked} == dict.fromkeys(masked, (near, 1)), "two of three objects"
    assert (got["official", "accuracy"], got["strict", "accuracy"]) == ((1.0, 0), (0.5, 1)), "a B is the first letter of Blue"
