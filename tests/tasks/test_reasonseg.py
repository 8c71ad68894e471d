"""ReasonSeg: how the gold is drawn, what each variant asks, both forms of the data, and a run from folder to numbers."""

import json
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

import evalkit
from evalkit import encode_mask
from evalkit import task as tasks
from evalkit.errors import DataError, UserError
from evalkit.geometry import Mask, Size
from evalkit.types import Prediction, Sample, Unparsed

pytest.importorskip("cv2", reason="the extra segmentation is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' decode under NumPy 2

SQUARE = [[2, 1], [5, 1], [5, 4], [2, 4]]
NAMES = [f"{split}{options}" for options in ("", "-background", "-all", "-background-all", "-hub") for split in ("val", "test")]


def shape(label: str, points: Any) -> dict[str, Any]:
    return {"label": label, "labels": [label], "shape_type": "polygon", "points": points, "group_id": None, "flags": {}}


def write(folder: Path, stem: str = "a", size: tuple[int, int] = (8, 6), split: str = "val", **change: Any) -> Path:
    """An image and its annotation; returns the annotation's path."""
    home = folder / split
    home.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(home / f"{stem}.jpg")
    row = {"shapes": [shape("target", SQUARE)], "text": ["the lid"], "is_sentence": False, **change}
    (home / f"{stem}.json").write_text(json.dumps(row), encoding="utf-8")
    return home / f"{stem}.json"


def samples(folder: Path, variant: str = "val") -> list[Sample]:
    task = tasks.find(f"reasonseg:{variant}", folder)
    return list(tasks.checked(task.samples(), task.name))


def drawn(folder: Path, *shapes: dict[str, Any], variant: str = "val", size: tuple[int, int] = (8, 6)) -> list[str]:
    """The gold of one image as lines of `T` (target), `i` (ignored) and `.`."""
    write(folder, size=size, shapes=list(shapes))
    [sample] = samples(folder, variant)
    picture = np.full((size[1], size[0]), ".")
    for mask, letter in ((sample.target.mask, "T"), (sample.target.ignore, "i")):
        if mask is not None:
            picture[pixels(mask)] = letter
    return ["".join(line) for line in picture]


def pixels(mask: Mask) -> Any:
    return coco.decode({"size": [mask.size.height, mask.size.width], "counts": mask.counts}).astype(bool)


# ---------------------------------------------------------------- how the gold is drawn


def test_points_are_cut_to_whole_pixels_and_the_outline_counts(tmp_path: Path) -> None:
    polygon = shape("target", [[2.9, 1.9], [5.9, 1.2], [5.1, 4.9], [2.0, 4.0]])
    assert drawn(tmp_path, polygon) == ["........", *["..TTTT.."] * 4, "........"]


def test_the_smaller_polygon_lies_on_top_whatever_it_is(tmp_path: Path) -> None:
    large, small = [[0, 0], [7, 0], [7, 5], [0, 5]], [[3, 2], [4, 2], [4, 3], [3, 3]]
    assert drawn(tmp_path, shape("ignore", small), shape("target", large))[1:3] == ["TTTTTTTT", "TTTiiTTT"]
    assert drawn(tmp_path, shape("target", small), shape("ignore", large))[1:3] == ["iiiiiiii", "iiiTTiii"]


def test_of_two_of_one_area_the_earlier_lies_on_top(tmp_path: Path) -> None:
    assert drawn(tmp_path, shape("target", SQUARE), shape("ignore", SQUARE))[1] == "..TTTT.."
    assert drawn(tmp_path, shape("ignore", SQUARE), shape("target", SQUARE))[1] == "..iiii.."


def test_a_label_with_ignore_in_it_is_ignored_and_only_flag_itself_is_dropped(tmp_path: Path) -> None:
    for label, letter in [("Ignore1", "i"), ("to be IGNORED", "i"), ("FLAG", "."), ("flag2", "T"), ("target 2", "T"), ("", "T")]:
        assert drawn(tmp_path, shape(label, SQUARE))[1] == f"..{letter * 4}.."


def test_what_lies_outside_the_image_is_cut_off(tmp_path: Path) -> None:
    assert drawn(tmp_path, shape("target", [[-9, -9], [3, -9], [3, 90], [-9, 90]])) == ["TTTT...."] * 6


def test_no_shape_leaves_nothing_to_find(tmp_path: Path) -> None:
    assert drawn(tmp_path) == ["........"] * 6


def test_fewer_than_three_points_are_a_dot_or_a_line(tmp_path: Path) -> None:
    assert drawn(tmp_path, shape("target", [[3.5, 2.5]]))[1:4] == ["........", "...T....", "........"]
    assert drawn(tmp_path, shape("target", [[1, 2], [6, 2]]))[1:4] == ["........", ".TTTTTT.", "........"]


@pytest.mark.parametrize(
    "points", [[], [[]], [3, 4], [[1, 2, 3]], [[1, 2], [3]], [["a", "b"]], [[1, None]], [[1, float("nan")]], [[1, 1e12]]]
)
def test_points_that_cannot_be_drawn_are_named(tmp_path: Path, points: Any) -> None:
    write(tmp_path, shapes=[shape("target", points)])
    with pytest.raises(DataError, match=r"expected a polygon of at least one \[x, y\] in .*a\.json"):
        samples(tmp_path)


def test_in_the_background_variant_ignored_pixels_are_background(tmp_path: Path) -> None:
    shapes = [shape("target", [[0, 0], [7, 0], [7, 5], [0, 5]]), shape("ignore", SQUARE)]
    assert drawn(tmp_path, *shapes)[1] == "TTiiiiTT"
    assert drawn(tmp_path, *shapes, variant="val-background")[1] == "TT....TT"


def test_a_photograph_on_its_side_is_annotated_upright(tmp_path: Path) -> None:
    path = write(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6  # the sides are exchanged
    Image.new("RGB", (8, 6)).save(path.with_suffix(".jpg"), exif=exif)
    [sample] = samples(tmp_path)
    assert sample.target.mask.size == sample.images[0].size == Size(6, 8)


def test_without_opencv_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match=r"pip install 'evalkit\[segmentation\]'"):
        samples(tmp_path)


# ---------------------------------------------------------------- what is asked


def test_a_phrase_and_a_sentence_are_asked_as_the_authors_ask_them(tmp_path: Path) -> None:
    write(tmp_path, "a", text=[" the lid "])
    write(tmp_path, "b", text=["What keeps the heat in?"], is_sentence=True)
    short, long = samples(tmp_path)
    assert short.prompt == "What is the lid in this image? Please output segmentation mask."
    assert long.prompt == "What keeps the heat in? Please output segmentation mask."
    assert (short.tags, long.tags) == ({"short"}, {"long"})
    assert (short.id, short.group, short.question, short.wants.kind, short.wants.phrase) == ("val/a", "a", "the lid", "mask", "the lid")


def test_only_the_first_text_is_asked_unless_all_are(tmp_path: Path) -> None:
    write(tmp_path, text=["the lid", "the cover", "the top"])
    assert [sample.id for sample in samples(tmp_path)] == ["val/a"]
    every = samples(tmp_path, "val-all")
    assert [(sample.id, sample.question) for sample in every] == [("val/a", "the lid"), ("val/a:1", "the cover"), ("val/a:2", "the top")]
    assert {sample.group for sample in every} == {"a"}


def test_each_variant_says_in_its_rule_whether_it_is_the_authors() -> None:
    assert list(tasks.variants("reasonseg")) == NAMES
    made = {name: tasks.find(f"reasonseg:{name}") for name in NAMES}
    assert all(task.name == f"reasonseg:{name}" for name, task in made.items())
    assert {name for name, task in made.items() if task.rules[0].name == "official"} == {"val", "test"}
    unipixel = {name for name, task in made.items() if task.rules[0].name == "unipixel"}
    assert unipixel == {name for name, task in made.items() if task.rules[0].metric == evalkit.MaskIoU(strict=True)}
    assert unipixel == {"val-background-all", "test-background-all"}
    assert {task.rules[0].name for name, task in made.items() if "-" in name} == {"lisa", "unipixel"}
    assert [made[name].published.get("rows") for name in ("val", "test", "val-hub", "test-background", "val-all")] == [
        200,
        779,
        200,
        779,
        None,
    ]


def test_each_variant_says_how_it_differs_from_the_authors_evaluation() -> None:
    told = {name: tasks.find(f"reasonseg:{name}").notes for name in NAMES}
    assert [name for name, notes in told.items() if not notes] == ["val", "test"]
    assert [len(told[name]) for name in ("val-background", "val-all", "val-background-all", "test-hub")] == [1, 1, 2, 1]
    assert told["val-background-all"] == told["val-background"] + told["val-all"]
    assert "merged into the target" in told["test-hub"][0]


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("above", ["", "ReasonSeg"])
def test_the_authors_folder_is_read_with_and_without_its_parent(tmp_path: Path, above: str) -> None:
    for stem in "ba":
        write(tmp_path / above, stem, split="test")
    assert [sample.id for sample in samples(tmp_path, "test")] == ["test/a", "test/b"]


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_annotations_are_utf8_or_cp1252(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path)
    row = {"shapes": [], "text": ["the café’s sign"], "is_sentence": False}
    path.write_bytes(json.dumps(row, ensure_ascii=False).encode(encoding))
    assert samples(tmp_path)[0].question == "the café’s sign"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"text": ["a"], "is_sentence": tr', r"expected JSON in UTF-8 or cp1252 in .*a\.json.*cut off"),
        ("", r"expected JSON .*a\.json"),
        ("[]", r"expected the columns text, is_sentence, shapes in .*a\.json"),
        ('{"text": ["a"], "shapes": []}', r"expected the columns .* got text, shapes"),
        ('{"text": [], "shapes": [], "is_sentence": true}', r"expected a list of texts as text in .*a\.json"),
        ('{"text": [3], "shapes": [], "is_sentence": true}', r"expected a list of texts as text in .*a\.json"),
        ('{"text": "the lid", "shapes": [], "is_sentence": true}', r"expected list in column text of .*a\.json"),
        ('{"text": ["a"], "shapes": [{"points": []}], "is_sentence": true}', r"expected the columns label, points in a shape of .*a\.json"),
        ('{"text": ["a"], "shapes": [7], "is_sentence": true}', r"expected the columns label, points in a shape of .*a\.json, got 7"),
    ],
)
def test_an_annotation_that_is_not_as_expected_is_named(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path).write_text(text)
    with pytest.raises(DataError, match=message):
        samples(tmp_path)


def test_an_annotation_cut_inside_a_character_is_named(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_bytes('{"text": ["the café'.encode()[:-1])
    with pytest.raises(DataError, match=r"expected JSON in UTF-8 or cp1252 in .*a\.json"):
        samples(tmp_path)


@pytest.mark.parametrize("ending", [".jpg", ".json"])
def test_an_image_and_its_annotation_come_together(tmp_path: Path, ending: str) -> None:
    for stem in "ab":
        write(tmp_path, stem)
    (tmp_path / "val" / f"b{ending}").unlink()
    with pytest.raises(DataError, match=r"expected a \*\.jpg and a \*\.json of each image .* such as b"):
        samples(tmp_path)


def test_an_image_that_is_none_is_named(tmp_path: Path) -> None:
    write(tmp_path).with_suffix(".jpg").write_bytes(b"gone")
    with pytest.raises(DataError, match=r"a\.jpg is not an image"):
        samples(tmp_path)


def test_a_folder_without_the_split_says_what_belongs_there(tmp_path: Path) -> None:
    write(tmp_path, split="train")
    with pytest.raises(DataError, match=r"expected val/\*\.json or ReasonSeg/val/\*\.json in .*dvlab-research/LISA"):
        samples(tmp_path)


# ---------------------------------------------------------------- the hub's form


def hub(folder: Path, *changes: dict[str, Any]) -> None:
    """The hub's Parquet file, one row for each change of the plain one."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    drawing = BytesIO()
    Image.new("RGB", (8, 6)).save(drawing, "JPEG")
    rows = [
        {
            "image": {"bytes": drawing.getvalue(), "path": None},
            "text": "the lid",
            "mask": [[2 <= x <= 5 and 1 <= y <= 4 for x in range(8)] for y in range(6)],
            "image_id": str(number),
            "ann_id": "0",
            "img_height": 6,
            "img_width": 8,
        }
        | change
        for number, change in enumerate(changes)
    ]
    (folder / "data").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "data" / "test-00000-of-00001.parquet", row_group_size=2)


def test_the_hubs_rows_are_read_without_an_ignore_mask(tmp_path: Path) -> None:
    hub(tmp_path, {}, {"text": "the yeti", "mask": [[False] * 8] * 6}, {})
    write(tmp_path / "folder")
    read, [same] = samples(tmp_path, "val-hub"), samples(tmp_path / "folder")
    assert [(sample.id, sample.group, sample.question) for sample in read] == [
        ("val/0", "0", "the lid"),
        ("val/1", "1", "the yeti"),
        ("val/2", "2", "the lid"),
    ]
    assert read[0].target == read[2].target == same.target
    assert (read[1].target.area, read[1].target.ignore, read[1].tags) == (0, None, frozenset())
    assert evalkit.resolve(read[0].images[0]).size == (8, 6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"img_height": 7}, r"expected a mask of 7 rows of 8 in .*row 1, got \(6, 8\)"),
        ({"mask": [[True] * 8, [True] * 7]}, "expected a mask as rows of booleans in .*row 1"),
        ({"mask": None}, "expected a mask as rows of booleans in .*row 1"),
        ({"mask": []}, "expected a mask as rows of booleans in .*row 1"),
        ({"text": None}, "expected str in column text of .*row 1"),
    ],
)
def test_a_hub_row_that_is_not_as_expected_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    hub(tmp_path, {}, change)
    with pytest.raises(DataError, match=message):
        samples(tmp_path, "val-hub")


def test_a_hub_file_without_masks_is_named(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    hub(tmp_path, {})
    [path] = (tmp_path / "data").iterdir()
    pq.write_table(pq.read_table(path).drop_columns(["mask"]), path)
    with pytest.raises(DataError, match=r"expected the column mask in .*parquet, got image, text, image_id"):
        samples(tmp_path, "val-hub")


# ---------------------------------------------------------------- whole runs


def replay(path: Path, **masks: Any) -> str:
    """Replies with the pixels given by stem, as a model's name."""
    told = {stem: encode_mask(np.array(made)) for stem, made in masks.items()}
    rows = [
        {"sample": f"val/{stem}", "text": "[SEG]", "masks": [{"counts": mask.counts, "size": [mask.size.height, mask.size.width]}]}
        for stem, mask in told.items()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"replay:{path}"


def test_a_run_gives_both_rules_over_all_short_and_long(tmp_path: Path) -> None:
    write(tmp_path / "data", "a")  # 16 pixels
    write(tmp_path / "data", "b", is_sentence=True, shapes=[])
    write(tmp_path / "data", "c", is_sentence=True)
    half, none = np.zeros((6, 8)), np.zeros((6, 8))
    half[1:3, 2:6] = 1
    model = replay(tmp_path / "replies.jsonl", a=half, b=none, d=none)
    summary = evalkit.run(model, "reasonseg:val", data=str(tmp_path / "data"), out=tmp_path / "out")
    for rule in ("official", "strict"):
        got = {(row["metric"], row["subset"]): (row["value"], row["n"], row["missing"]) for row in summary.numbers if row["rule"] == rule}
        assert got == {
            ("giou", "overall"): (pytest.approx(0.5, abs=1e-6), 3, 1),
            ("ciou", "overall"): (pytest.approx(0.25, abs=1e-9), 3, 1),
            ("giou", "short"): (pytest.approx(0.5, abs=1e-6), 1, 0),
            ("ciou", "short"): (pytest.approx(0.5, abs=1e-9), 1, 0),
            ("giou", "long"): (pytest.approx(0.5, abs=1e-6), 2, 1),
            ("ciou", "long"): (0.0, 2, 1),
        }
    assert [note for note in summary.tasks[0]["notes"] if "'val/d'" in note], "a reply for an unknown image is said"


@pytest.mark.parametrize(("model", "official", "strict"), [("oracle", 1.0, 1.0), ("mute", 0.5, 0.0)])
def test_an_oracle_finds_everything_and_strictly_a_mute_nothing(tmp_path: Path, model: str, official: float, strict: float) -> None:
    write(tmp_path / "data", "a")
    write(tmp_path / "data", "b", shapes=[])
    summary = evalkit.run(model, "reasonseg:val", data=str(tmp_path / "data"), out=tmp_path / "out")
    assert summary.value("reasonseg:val", "giou") == pytest.approx(official, abs=1e-6)
    assert summary.value("reasonseg:val", "giou", "strict") == strict
    unparsed = {row["unparsed"] for row in summary.numbers if row["subset"] == "overall"}
    assert unparsed == {2 if model == "mute" else 0}


def test_a_mask_of_another_size_is_the_replys_fault_and_counted(tmp_path: Path) -> None:
    write(tmp_path / "data", "a")
    model = replay(tmp_path / "replies.jsonl", a=np.ones((60, 80)))
    summary = evalkit.run(model, "reasonseg:val", data=str(tmp_path / "data"), out=tmp_path / "out")
    assert [(row["value"], row["unparsed"]) for row in summary.numbers if row["subset"] == "overall"] == [(0.0, 1)] * 4


def test_official_takes_the_first_mask_and_strict_all_of_them(tmp_path: Path) -> None:
    write(tmp_path)
    [sample], [official, strict] = samples(tmp_path), tasks.find("reasonseg:val", tmp_path).rules
    left, right = np.zeros((6, 8)), np.zeros((6, 8))
    left[:, :4], right[:, 4:] = 1, 1
    both = Prediction("", "", masks=(encode_mask(left), encode_mask(right)))
    assert official.parse(both, sample) == encode_mask(left)
    assert strict.parse(both, sample) == encode_mask(left + right)
    unfit = Prediction("", "", masks=(encode_mask(left), encode_mask(right.T)))
    assert official.parse(unfit, sample) == encode_mask(left)
    assert strict.parse(unfit, sample) == Unparsed("a mask of 6 x 8 pixels for an image of 8 x 6")
