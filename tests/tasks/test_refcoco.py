"""RefCOCO, RefCOCO+ and RefCOCOg: both forms of the rows, masks as COCO draws them, the rules, and the real files in every frame."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

import evalkit
from evalkit import encode_mask, protocols, runner
from evalkit import task as tasks
from evalkit.engines.scripted import Scripted
from evalkit.errors import DataError
from evalkit.geometry import Box, Frame, Size, from_original, iou
from evalkit.scoring import Tally, score
from evalkit.types import ModelInfo, Prediction, Request, Response, Sample, Unparsed

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' decode under NumPy 2

REAL = [
    ("refcoco:val", 10834),
    ("refcoco:testA", 5657),
    ("refcoco:testB", 5095),
    ("refcoco_plus:val", 10758),
    ("refcoco_plus:testA", 5726),
    ("refcoco_plus:testB", 4889),
    ("refcocog:val", 4896),
    ("refcocog:test", 9602),
]
ROW = {
    "img_path": "COCO_train2014_000000000801.jpg",
    "expression": "left bowl",
    "bbox": [2.0, 3.0, 12.0, 9.0],
    "height": 12,
    "width": 20,
    "image_id": 801,
    "sent_id": 7,
}
TWO = [[2.0, 3.0, 8.5, 3.0, 8.5, 9.0, 2.0, 9.0], [12.2, 1.0, 17.9, 2.5, 15.0, 10.1]]


def write(folder: Path, *changes: dict[str, Any], name: str = "refcoco_unc_val") -> Path:
    path = folder / f"REC_{name}.jsonl"
    path.write_text("".join(json.dumps(ROW | change) + "\n" for change in changes))
    return path


def hub(folder: Path, *changes: dict[str, Any], split: str = "validation") -> Path:
    """A file of the hub's, a row for each change of COCO's annotation of a plain one; `sentences` change that."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = []
    for number, change in enumerate(changes):
        thing = {"segmentation": TWO, "bbox": [2.0, 1.0, 15.9, 9.1], "iscrowd": 0, "image_id": 801, "id": number} | change
        texts = thing.pop("sentences", [f"bowl {number}"])
        rows.append(
            {
                "sentences": [
                    {"raw": text, "sent": text, "sent_id": 10 * number + place, "tokens": []} for place, text in enumerate(texts)
                ],
                "image_id": 801,
                "raw_anns": json.dumps(thing),
                "raw_image_info": json.dumps({"file_name": ROW["img_path"], "height": 12, "width": 20}),
                "bbox": [2.0, 1.0, 17.9, 10.1],
            }
        )
    (folder / "data").mkdir(exist_ok=True)
    path = folder / "data" / f"{split}-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def samples(folder: Path, name: str = "refcoco:val") -> list[Sample]:
    task = tasks.find(name, folder)
    return list(tasks.checked(task.samples(), task.name))


def pixels(mask: Any) -> Any:
    return coco.decode({"size": [mask.size.height, mask.size.width], "counts": mask.counts}).astype(bool)


# ---------------------------------------------------------------- rows


def test_a_line_is_an_expression_with_its_box(tmp_path: Path) -> None:
    write(tmp_path, {}, {"sent_id": 8, "expression": "the bowl"})
    (tmp_path / "train2014").mkdir()
    Image.new("RGB", (20, 12)).save(tmp_path / "train2014" / str(ROW["img_path"]))
    first, second = samples(tmp_path)
    assert (first.id, first.question, first.target, first.regions, first.group) == (
        "7",
        "left bowl",
        (Box(2, 3, 12, 9),),
        first.target,
        "801",
    )
    assert "left bowl" in first.prompt
    assert (second.id, second.images) == ("8", first.images)
    assert evalkit.resolve(first.images[0]).size == first.images[0].size == Size(20, 12)


@pytest.mark.parametrize("place", ["train2014", "images/train2014", "images", "."])
def test_photographs_are_found_where_they_are_mostly_put(tmp_path: Path, place: str) -> None:
    write(tmp_path, {})
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 12)).save(tmp_path / place / str(ROW["img_path"]))
    assert evalkit.resolve(samples(tmp_path)[0].images[0]).digest


def test_the_hubs_rows_give_the_same_samples_and_masks_too(tmp_path: Path) -> None:
    hub(tmp_path, {"sentences": ["The red bowl.", "bowl"]}, {})
    boxes, masks = samples(tmp_path), samples(tmp_path, "refcoco:val-masks")
    assert [sample.id for sample in boxes] == [sample.id for sample in masks] == ["0", "1", "10"]
    assert [sample.question for sample in boxes] == ["The red bowl.", "bowl", "bowl 1"]
    assert boxes[0].target == masks[0].regions == (Box(2.0, 1.0, 17.9, 10.1),)
    assert (masks[0].wants.kind, masks[0].wants.phrase, masks[0].group) == ("mask", "The red bowl.", "801")
    assert masks[0].images[0].size == masks[0].target.mask.size == Size(20, 12)


def test_of_the_hubs_splits_test_is_test_a(tmp_path: Path) -> None:
    hub(tmp_path, {}, split="test")
    assert len(samples(tmp_path, "refcoco:testA")) == len(samples(tmp_path, "refcoco:testA-masks")) == 1
    with pytest.raises(DataError, match=r"expected REC_refcoco_unc_testB\.jsonl or data/testB-\*\.parquet"):
        samples(tmp_path, "refcoco:testB")


@pytest.mark.parametrize("name", ["refcoco", "refcoco_plus", "refcocog"])
def test_a_mask_is_coco_s_polygons_as_its_own_library_draws_them(tmp_path: Path, name: str) -> None:
    runs = {"counts": [5, 20, 100, 30, 85], "size": [12, 20]}
    crowd = {"counts": coco.frPyObjects(runs, 12, 20)["counts"].decode(), "size": [12, 20]}
    hub(tmp_path, {}, {"segmentation": TWO[:1]}, {"segmentation": runs}, {"segmentation": crowd})
    got = [pixels(sample.target.mask) for sample in samples(tmp_path, f"{name}:val-masks")]
    parts = [coco.decode(run).astype(bool) for run in coco.frPyObjects(TWO, 12, 20)]
    by_hand = np.repeat([0, 1, 0, 1, 0], runs["counts"]).reshape(20, 12).T.astype(bool)
    for pair in zip(got, [parts[0] | parts[1], parts[0], by_hand, by_hand], strict=True):
        np.testing.assert_array_equal(*pair)
    assert parts[1].any()


# ---------------------------------------------------------------- bad rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [1, 2, 3]}, r"four finite numbers, in bbox of .*REC_refcoco_unc_val\.jsonl, row 1"),
        ({"sent_id": "7"}, "expected int in column sent_id of .*row 1"),
        ({"expression": None}, "expected str in column expression of .*row 1"),
        ({"sent_id": 7}, "'7' twice"),
    ],
)
def test_a_line_that_is_not_as_expected_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write(tmp_path, {}, {"sent_id": 8} | change)
    with pytest.raises(Exception, match=message):
        samples(tmp_path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"segmentation": []}, "neither polygons nor run lengths"),
        ({"segmentation": [[1, 1, 5, 5]]}, "no list of at least three corners"),
        ({"segmentation": [[1, 1, 5, 5, 6]]}, "no list of at least three corners"),
        ({"segmentation": [[1, 1, 5, float("nan"), 6, 6]]}, "a corner that is no number"),
        ({"segmentation": [[1, 1, 5, 1e9, 6, 6]]}, "far from the image"),
        ({"segmentation": {"counts": [5], "size": [12, 20]}}, "does not cover 240 pixels"),
        ({"segmentation": {"counts": "?!", "size": [12, 20]}}, "no compressed run-length encoding"),
        ({"segmentation": {"counts": [240]}}, "without the size"),
        ({"segmentation": {"counts": [100], "size": [10, 10]}}, "a mask of 10 x 10 pixels for an image of 20 x 12"),
    ],
)
def test_a_segmentation_that_is_none_is_named(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    hub(tmp_path, {}, change)
    with pytest.raises(DataError, match=f"raw_anns of .*row 1, got {reason}|{reason}"):
        samples(tmp_path, "refcoco:val-masks")


def test_boxes_alone_have_no_masks_to_find(tmp_path: Path) -> None:
    write(tmp_path, {})
    with pytest.raises(DataError, match=r"expected data/validation-\*\.parquet in"):
        samples(tmp_path, "refcoco:val-masks")


def test_another_hubs_form_is_told_by_its_columns(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "data").mkdir()
    pq.write_table(pa.Table.from_pylist([{"answer": ["bowl"], "bbox": [1.0, 2.0, 3.0, 4.0]}]), tmp_path / "data" / "test-0.parquet")
    with pytest.raises(DataError, match=r"expected the columns sentences, image_id, raw_anns, raw_image_info in .*got answer, bbox"):
        samples(tmp_path, "refcoco:testA")


# ---------------------------------------------------------------- rules of masks


def drawn(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (20, 12)) -> Any:
    made = np.zeros(size[::-1], dtype=bool)
    for x1, y1, x2, y2 in boxes:
        made[y1:y2, x1:x2] = True
    return made


@pytest.fixture
def bowl(tmp_path: Path) -> Sample:
    hub(tmp_path, {"segmentation": [[2, 3, 12, 3, 12, 9, 2, 9]], "bbox": [2, 3, 10, 6]})
    return samples(tmp_path, "refcoco:val-masks")[0]


def read(rule: str, sample: Sample, *masks: Any) -> tuple[Any, Any]:
    """What a rule reads in a reply with these pixels, and its record."""
    rules = {rule.name: rule for rule in tasks.find("refcoco:val-masks").rules}
    value = rules[rule].parse(Prediction("", "", masks=tuple(map(encode_mask, masks))), sample)
    return value, rules[rule].metric.measure(None if isinstance(value, Unparsed) else value, sample)


def test_a_failure_is_a_zero_mask_that_counts(bowl: Sample) -> None:
    for rule in ("official", "strict"):
        value, record = read(rule, bowl)
        assert value == Unparsed("no mask")
        assert record == {"iou": 0.0, "inter": 0.0, "union": 60.0}


def test_where_nothing_is_to_be_found_a_failure_is_right_officially_and_counted_and_a_missing_reply_is_not(bowl: Sample) -> None:
    """UniPixel writes a zero mask where its model fails, and an empty union is 1 there."""
    nothing = replace(bowl, target=evalkit.GoldMask(encode_mask(drawn())))
    rules = [rule for rule in tasks.find("refcoco:val-masks").rules if rule.name in ("official", "strict")]
    for prediction, expected in (
        (Prediction("", None, "no mask"), [1.0, 0.0]),
        (Prediction("", None, "missing", missing=True), [0.0, 0.0]),
    ):
        made = score(rules, prediction, nothing)
        assert [scored.record["iou"] for scored in made] == expected
        assert [(scored.value, scored.failure) for scored in made] == [(None, prediction.failure)] * 2


def test_counts_have_no_epsilon_and_official_takes_the_first_mask(bowl: Sample) -> None:
    left, right = drawn((2, 3, 7, 9)), drawn((7, 3, 12, 9))
    assert read("official", bowl, left, right)[1] == {"iou": 0.5, "inter": 30.0, "union": 60.0}
    assert read("strict", bowl, left, right)[1] == {"iou": 1.0, "inter": 60.0, "union": 60.0}
    assert isinstance(read("official", bowl, left.T)[0], Unparsed)


def test_the_tight_box_ends_on_the_last_pixel(bowl: Sample) -> None:
    value, record = read("tight_box", bowl, drawn((2, 3, 12, 9)))
    assert (value, record) == (Box(2, 3, 11, 8), {"hit": 1.0})
    assert iou(value, bowl.regions[0]) == 45 / 60


@pytest.mark.parametrize(
    ("masks", "expected"),
    [
        ([(2, 3, 12, 9), (18, 0, 20, 4)], Box(2, 3, 11, 8)),  # 8 pixels apart are noise
        ([(2, 3, 12, 9), (18, 0, 20, 5)], Box(2, 0, 19, 8)),  # 10 are not
        ([(2, 3, 5, 6), (5, 6, 6, 7)], Box(2, 3, 5, 6)),  # nine and one that touch by a corner are ten
        ([(2, 3, 5, 6), (6, 6, 7, 7)], None),
        ([(0, 0, 20, 1)], Box(0, 0, 19, 0)),
        ([], None),
    ],
)
def test_parts_of_fewer_than_ten_pixels_are_dropped(bowl: Sample, masks: Any, expected: Box | None) -> None:
    value, record = read("tight_box", bowl, drawn(*masks))
    assert value == (expected or Unparsed("a mask without a part of 10 pixels"))
    assert record["hit"] == float(expected is not None and iou(expected, bowl.regions[0]) >= 0.5)


def test_the_oracle_s_masks_are_perfect_and_hit_the_box(tmp_path: Path) -> None:
    hub(tmp_path, {"segmentation": [[2, 3, 12, 3, 12, 9, 2, 9]], "bbox": [2, 3, 10, 6]}, {"segmentation": TWO[:1], "bbox": [2, 3, 6.5, 6]})
    summary = evalkit.run("oracle", "refcoco:val-masks", data=str(tmp_path), out=tmp_path / "out")
    got = {(row["rule"], row["metric"]): row["value"] for row in summary.numbers}
    assert got == dict.fromkeys([(rule, name) for rule in ("official", "strict") for name in ("ciou", "giou")], 1.0) | {
        ("tight_box", "accuracy_at_0.5"): 1.0
    }


# ---------------------------------------------------------------- the real files


@pytest.mark.parametrize(("name", "rows"), REAL)
def test_the_real_files_have_as_many_expressions_as_published(name: str, rows: int, shared: Callable[[str], Path]) -> None:
    task = tasks.find(name, shared("annotations/refcoco"))
    found = list(tasks.checked(task.samples(), task.name))
    assert len(found) == task.published["rows"] == rows
    assert all(sample.regions[0].area > 0 for sample in found)


@pytest.mark.parametrize("frame", list(Frame))
@pytest.mark.parametrize(("shift", "expected"), [(0.0, 1.0), (0.33, 1.0), (0.34, 0.0), (1.0, 0.0)])
def test_a_perfect_and_a_shifted_prediction_score_alike_in_every_frame(
    frame: Frame, shift: float, expected: float, shared: Callable[[str], Path]
) -> None:
    """A box moved across by a share s of its width has an IoU of (1 - s) / (1 + s): 0.5 at a third."""
    task = tasks.find("refcocog:val", shared("annotations/refcoco"))
    asked = {f"{task.name}/{sample.id}": sample for sample in _some(task.samples())}
    shown = Size(448, 616)

    def reply(request: Request) -> Response:
        sample = asked[request.sample]
        x1, y1, x2, y2 = sample.regions[0]
        size, step = sample.images[0].size, shift * (x2 - x1)
        assert size
        return Response(json.dumps(list(from_original(Box(x1 + step, y1, x2 + step, y2), frame, size, shown))), seen=(shown,))

    tally = Tally(task)
    engine = Scripted(reply, ModelInfo("shifted", "shifted", frame, reads_images=False))
    jobs = [runner.Job(task.name, iter(asked.values()), protocols.find("direct"))]
    runner.run(jobs, {"model": engine}, lambda *_: None, lambda done: tally.add(done.sample, done.prediction) and None)  # type: ignore[arg-type]
    got = {row["rule"]: (row["value"], row["n"], row["unparsed"]) for row in tally.numbers() if row["metric"] == "accuracy_at_0.5"}
    assert got == dict.fromkeys(("official", "strict"), (expected, 98, 0))


def _some(found: Iterator[Sample]) -> Iterator[Sample]:
    yield from (replace(sample) for number, sample in enumerate(found) if number % 50 == 0)
