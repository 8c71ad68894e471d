"""OVDEval: its subsets and labels, results in COCO's form in and out, and what is wrong with a file said by name."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import evalkit
from evalkit import task as tasks
from evalkit.errors import DataError
from evalkit.export import export
from evalkit.geometry import Box
from evalkit.metrics.detection import GoldBox
from evalkit.types import Sample

NINE = ("coco", "color", "material", "landmark", "logo", "celebrity", "relationship", "position", "negation")


def content(**changes: Any) -> dict[str, Any]:
    """A small annotation file: two images, two labels of which each image has both, and a third that none has."""
    made = {
        "images": [
            {"id": 3, "file_name": "a.jpg", "width": 90, "height": 60, "text": ["red cup", "blue cup"], "neg_text": ["green cup"]},
            {"id": 1, "file_name": "b.jpg", "width": 90, "height": 60, "text": ["red cup"], "neg_text": ["red cup", "blue cup"]},
        ],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 5, "bbox": [0, 0, 30, 30], "area": 600, "iscrowd": 0},
            {"id": 2, "image_id": 3, "category_id": 6, "bbox": [40.5, 0, 30, 30.25], "area": 907.5},
            {"id": 3, "image_id": 1, "category_id": 5, "bbox": [0, 30, 30, 30], "area": 900, "iscrowd": 1},
            {"id": 4, "image_id": 1, "category_id": 6, "bbox": [40, 30, 30, 30]},
        ],
        "categories": [{"id": 5, "name": "red cup"}, {"id": 6, "name": "blue cup"}, {"id": 9, "name": "green cup"}],
    }
    return made | changes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ovdeval"


def write(folder: Path, *names: str, **changes: Any) -> None:
    """The upstream layout: an annotation file for each subset, and its images."""
    for name in names:
        (folder / "annotations").mkdir(parents=True, exist_ok=True)
        (folder / "images" / name).mkdir(parents=True, exist_ok=True)
        (folder / "annotations" / f"{name}.json").write_text(json.dumps(content(**changes)), encoding="utf-8")
        for image in ("a.jpg", "b.jpg"):
            Image.new("RGB", (90, 60), "gray").save(folder / "images" / name / image)


def samples(folder: Path, name: str = "ovdeval") -> dict[str, Sample]:
    return {sample.id: sample for sample in tasks.find(name, folder).samples()}


def result(image: int, category: int, box: list[float], score: float = 0.5) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


RIGHT = [result(3, 5, [0, 0, 30, 30], 0.9), result(3, 6, [40.5, 0, 30, 30.25], 0.8), result(1, 6, [40, 30, 30, 30], 0.7)]


def replayed(rows: Any, folder: Path, name: str = "ovdeval:color") -> evalkit.Summary:
    path = folder / "results.json"
    path.write_text(json.dumps(rows))
    return evalkit.run(f"replay:{path}", name, data=str(folder), out=folder / "out")


def test_an_image_becomes_a_sample_with_all_its_labels_and_gold(folder: Path) -> None:
    write(folder, "color")
    first, second = samples(folder, "ovdeval:color").values()
    assert (first.id, second.id, first.group) == ("color/3", "color/1", "color/3")
    assert first.tags == {"color"}
    assert first.wants.kind == "boxes"
    assert first.options == ("red cup", "blue cup", "green cup")
    assert second.options == ("red cup", "blue cup")
    assert first.target == (GoldBox(Box(0, 0, 30, 30), "red cup", 600), GoldBox(Box(40.5, 0, 70.5, 30.25), "blue cup", 907.5))
    assert second.target == (GoldBox(Box(0, 30, 30, 60), "red cup", 900, crowd=True), GoldBox(Box(40, 30, 70, 60), "blue cup"))
    assert first.images[0].source == folder / "images" / "color" / "a.jpg"


def test_the_prompt_is_ours_names_each_label_once_and_asks_for_json(folder: Path) -> None:
    write(folder, "color")
    assert samples(folder, "ovdeval:color")["color/1"].prompt == (
        "Find everything in the image that one of these labels describes:\n- red cup\n- blue cup\nSome of the labels may describe nothing "
        "in it. Reply with a JSON list alone, one entry for each thing found, the surest first, with its box and its label exactly as it "
        'is written above: [{"bbox_2d": [x1, y1, x2, y2], "label": "..."}]. If there is nothing, reply [].'
    )


@pytest.mark.parametrize("name", NINE)
def test_a_closed_subset_is_searched_for_every_category_another_for_the_images_own_labels(folder: Path, name: str) -> None:
    write(folder, name)
    closed = name in ("coco", "celebrity", "logo", "landmark")
    labels = samples(folder)[f"{name}/1"].options
    assert labels == (("red cup", "blue cup", "green cup") if closed else ("red cup", "blue cup"))


def test_images_without_labels_of_their_own_are_searched_for_every_category(folder: Path) -> None:
    write(folder, "color", images=[{"id": 3, "file_name": "a.jpg"}])
    assert samples(folder)["color/3"].options == ("red cup", "blue cup", "green cup")


def test_of_two_categories_of_one_name_the_last_bears_it(folder: Path) -> None:
    write(folder, "logo", categories=[{"id": 5, "name": "cup"}, {"id": 6, "name": "cup"}])
    assert [box.label for box in samples(folder)["logo/3"].target] == ["cup (category 5)", "cup"]


def test_the_default_reads_the_subsets_that_are_there_in_the_authors_order_and_says_what_is_missing(folder: Path) -> None:
    write(folder, "position", "color")
    (folder / "annotations" / "notes.json").write_text("[]")
    assert list(samples(folder)) == ["color/3", "color/1", "position/3", "position/1"]
    summary = evalkit.run("oracle", "ovdeval", data=str(folder), out=folder / "out")
    assert "expected 1858 rows tagged negation in ovdeval, got 0" in summary.tasks[0]["notes"]
    assert {row["subset"] for row in summary.numbers} == {"color", "position", "average"}
    assert {row["value"] for row in summary.numbers if row["subset"] == "average"} == {None}


def test_the_average_is_the_plain_mean_of_the_nine(folder: Path) -> None:
    write(folder, *NINE)
    (folder / "results").mkdir()
    for place, name in enumerate(NINE):
        (folder / "results" / f"{name}.json").write_text(json.dumps(RIGHT[: place % 4]))
    summary = evalkit.run(f"replay:{folder / 'results'}", "ovdeval", data=str(folder), out=folder / "out")
    for metric in ("nms_ap", "ap"):
        values = [summary.value("ovdeval", metric, subset=name) for name in NINE]
        assert values == pytest.approx([(0, 0.5, (1 + 51 / 101) / 2, 1)[place % 4] for place in range(9)])
        assert summary.value("ovdeval", metric, subset="average") == pytest.approx(sum(values) / 9)
    assert summary.value("ovdeval", "ap", "strict", "average") == pytest.approx(summary.value("ovdeval", "ap", subset="average"))
    assert not [row for row in summary.numbers if row["missing"] or row["unparsed"]]


def test_a_run_of_one_subset_has_rows_of_that_subset_alone(folder: Path) -> None:
    write(folder, "color", "logo")
    numbers = evalkit.run("oracle", "ovdeval:color", data=str(folder), out=folder / "out").numbers
    assert {row["subset"] for row in numbers} == {"color"}
    assert {(row["metric"], row["rule"]) for row in numbers} >= {("nms_ap", "official"), ("ap", "official"), ("ap", "strict")}


@pytest.mark.parametrize(
    ("rows", "value"),
    [
        (RIGHT, 1.0),
        ([*RIGHT, result(1, 5, [0, 30, 10, 10], 0.99)], 1.0),
        ([*RIGHT, result(3, 9, [0, 0, 30, 30], 0.1)], 1.0),
        ([*RIGHT, result(3, 9, [0, 0, 30, 30], 0.95)], 0.5),
        (RIGHT[:1], 0.5),
        ([{**row, "bbox": [*row["bbox"][:2], 0, 0]} for row in RIGHT], 0.0),
        ([{**row, "extra": "ignored"} for row in RIGHT], 1.0),
    ],
    ids=["all right", "on a crowd", "a wrong label, less sure", "a wrong label, surer", "one of two labels", "no area", "more keys"],
)
def test_results_in_cocos_form_are_read_and_images_without_a_row_have_no_detections(folder: Path, rows: Any, value: float) -> None:
    write(folder, "color")
    summary = replayed(rows, folder)
    assert summary.value("ovdeval:color", "nms_ap", subset="color") == pytest.approx(value)
    assert [row for row in summary.numbers if row["missing"] or row["unparsed"]] == []
    assert summary.value("ovdeval:color", "unknown_labels", subset="color") == 0.0


def test_a_results_file_needs_no_subset_where_only_one_is_there(folder: Path) -> None:
    write(folder, "color")
    assert replayed(RIGHT, folder, "ovdeval").value("ovdeval", "nms_ap", subset="color") == 1.0


def test_one_results_file_for_several_subsets_is_refused_with_the_way_to_say_which(folder: Path) -> None:
    write(folder, "color", "logo")
    with pytest.raises(DataError, match=r"folder with results of color\.json, logo\.json.*ovdeval:coco"):
        replayed(RIGHT, folder, "ovdeval")


def test_a_folder_without_results_of_a_subset_leaves_its_images_missing(folder: Path) -> None:
    write(folder, "color", "logo")
    (folder / "results").mkdir()
    (folder / "results" / "logo.json").write_text(json.dumps(RIGHT))
    summary = evalkit.run(f"replay:{folder / 'results'}", "ovdeval", data=str(folder), out=folder / "out")
    told = {
        (row["subset"], row["missing"], row["value"]) for row in summary.numbers if row["metric"] == "nms_ap" and row["subset"] != "average"
    }
    assert told == {("color", 2, 0.0), ("logo", 0, 1.0)}


def test_evalkits_own_form_is_read_too(folder: Path) -> None:
    write(folder, "color")
    path = folder / "replies.jsonl"
    boxes = [[0, 0, 30, 30], [40, 0, 70, 30]]
    path.write_text(
        json.dumps({"sample": "color/3", "text": "", "boxes": boxes, "labels": ["red cup", "mug"], "scores": [0.5, 0.4]})
        + "\n"
        + json.dumps({"sample": "color/1", "text": '[{"bbox_2d": [40, 30, 70, 60], "label": "blue cup"}]'})
    )
    summary = evalkit.run(f"replay:{path}", "ovdeval:color", data=str(folder), out=folder / "out")
    assert summary.value("ovdeval:color", "ar100", subset="color") == pytest.approx(0.75)
    assert summary.value("ovdeval:color", "unknown_labels", subset="color") == 0.5


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (result(3, 5, [0, 0, -30, 30]), r"width and a height of at least 0 .*result 1.*x1, y1, x2, y2"),
        (result(3, 5, [0, 0, 30, float("nan")]), r"four finite numbers, in bbox of .*result 1"),
        (result(3, 5, [0, 0, 30]), r"four finite numbers"),
        ({"image_id": 3, "category_id": 5, "bbox": "0 0 30 30", "score": 0.5}, r"expected list in column bbox"),
        (result(3, 7, [0, 0, 30, 30]), r"category of .*color\.json in .*result 1, got category_id 7"),
        (result(4, 5, [0, 0, 30, 30]), r"image of .*color\.json in .*result 1, got image_id 4"),
        (result(3, 5, [0, 0, 30, 30], float("inf")), r"finite score"),
        ({"image_id": 3, "category_id": 5, "bbox": [0, 0, 30, 30]}, r"columns score"),
        ({"image_id": 3, "category_id": 5, "segmentation": {}, "score": 0.5}, r"columns image_id, category_id, bbox"),
        ([3, 5], r"columns image_id, category_id, bbox"),
    ],
)
def test_a_result_that_is_not_as_expected_is_named(folder: Path, row: Any, said: str) -> None:
    write(folder, "color")
    with pytest.raises(DataError, match=said):
        replayed([RIGHT[0], row], folder)


def test_boxes_that_leave_the_image_are_read_as_they_are(folder: Path) -> None:
    write(folder, "color")
    assert replayed([result(3, 5, [-3, -3, 33, 33], 0.9), *RIGHT[1:]], folder).value("ovdeval:color", "ap50", subset="color") == 1.0


@pytest.mark.parametrize("end", [-1, -30, 200])
def test_a_file_that_is_cut_in_the_middle_is_said_so(folder: Path, end: int) -> None:
    write(folder, "color")
    path = folder / "annotations" / "color.json"
    whole = path.read_text()
    path.write_text(whole[:end])
    with pytest.raises(DataError, match=r"color\.json, got.*cut off"):
        list(tasks.find("ovdeval:color", folder).samples())
    path.write_text(whole)
    (folder / "results.json").write_text(json.dumps(RIGHT)[:end])
    with pytest.raises(DataError, match=r"results\.json, got.*cut off"):
        evalkit.run(f"replay:{folder / 'results.json'}", "ovdeval:color", data=str(folder), out=folder / "out")


ANNOTATION = {"id": 1, "image_id": 3, "category_id": 5, "bbox": [0, 0, 30, 30], "area": 600}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"annotations": [ANNOTATION | {"category_id": 8}]}, "annotation 0, got category_id 8"),
        ({"annotations": [ANNOTATION | {"bbox": [0, 0, 30, -1]}]}, "annotation 0, got .0, 0, 30, -1."),
        ({"annotations": [ANNOTATION | {"area": "large"}]}, "annotation 0, got 'large'"),
        ({"annotations": {}}, "expected list in column annotations"),
        ({"images": [{"id": "3", "file_name": "a.jpg"}]}, "expected int in column id of .*image 0"),
        ({"images": [{"id": 3, "file_name": "a.jpg", "text": "red cup"}]}, "list of labels in text of .*image 0"),
        ({"images": [{"id": 3, "file_name": "a.jpg", "text": [], "neg_text": [3]}]}, "list of labels in neg_text of .*image 0"),
        ({"categories": [{"id": 5}]}, "category 0, got id"),
    ],
)
def test_an_annotation_that_is_not_as_expected_is_named(folder: Path, changes: Any, said: str) -> None:
    write(folder, "color", **changes)
    with pytest.raises(DataError, match=said):
        list(tasks.find("ovdeval:color", folder).samples())


def test_a_folder_without_any_of_the_nine_is_an_error_that_names_them(folder: Path) -> None:
    write(folder, "colour")
    with pytest.raises(DataError, match=r"expected one of coco\.json, color\.json, .* found none"):
        list(tasks.find("ovdeval", folder).samples())


def test_what_a_run_exports_is_what_it_read(folder: Path) -> None:
    write(folder, "color", "logo")
    rows = [result(3, 6, [40.51, 0.1, 30.07, 30.3], 0.8), result(3, 5, [-0.25, 0, 30, 30], 0.9), result(1, 9, [7, 8, 9, 10.1], 1e-9)]
    (folder / "in").mkdir()
    (folder / "in" / "color.json").write_text(json.dumps(rows))
    (folder / "in" / "logo.json").write_text("[]")
    summary = evalkit.run(f"replay:{folder / 'in'}", "ovdeval", data=str(folder), out=folder / "out")
    paths = export(summary.folder, out=folder / "exported")
    assert paths == [folder / "exported" / "color.json", folder / "exported" / "logo.json"]
    assert [json.loads(path.read_text()) for path in paths] == [rows, []]


def test_of_a_reply_in_words_known_labels_are_exported_with_score_1(folder: Path) -> None:
    write(folder, "color")
    boxes = [{"bbox_2d": [9, 9, 0, 0], "label": "red cup"}, {"bbox_2d": [0, 0, 9, 9], "label": "mug"}, {"bbox_2d": [0, 0, 9, 9]}]
    (folder / "replies.jsonl").write_text(json.dumps({"sample": "color/3", "text": json.dumps(boxes)}))
    summary = evalkit.run(f"replay:{folder / 'replies.jsonl'}", "ovdeval:color", frame="original", data=str(folder), out=folder / "out")
    [path] = export(summary.folder)
    assert json.loads(path.read_text()) == [result(3, 5, [0, 0, 9, 9], 1.0)]


def test_no_image_is_needed_to_replay(folder: Path) -> None:
    write(folder, "color")
    for path in (folder / "images" / "color").iterdir():
        path.unlink()
    assert replayed(RIGHT, folder).value("ovdeval:color", "nms_ap", subset="color") == 1.0
