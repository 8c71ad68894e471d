"""COCO's own example detections: pycocotools' 24 numbers, and what OVDEval's eval.py makes of them, box for box."""

import json
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

import evalkit
from evalkit import task as tasks
from evalkit.export import export
from evalkit.geometry import Box, Mask, Size
from evalkit.metrics.detection import AveragePrecision, Detection, GoldBox, suppressed
from evalkit.types import Columns, Sample, Wants

NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large")
GOLD = "instances_val2014_100.json"
BOXES = "instances_val2014_fakebbox100_results.json"
SYNTHETIC = "synthetic_multilabel_dets.json"
PYCOCOTOOLS = "val2014_fake_eval_res.txt"


@pytest.fixture
def coco(shared: Callable[[str], Path]) -> Path:
    return shared("replay/coco_ap")


@pytest.fixture
def data(coco: Path, tmp_path: Path) -> Path:
    """A folder in OVDEval's layout whose subset coco is COCO's example."""
    (tmp_path / "data" / "annotations").mkdir(parents=True)
    (tmp_path / "data" / "annotations" / "coco.json").symlink_to(coco / GOLD)
    return tmp_path / "data"


def printed(path: Path, kind: str = "") -> list[str]:
    """The twelve numbers of a print of COCOeval, or of its part `kind`, as they are printed."""
    text = path.read_text()
    part = text[text.index(f"type={kind}") :] if kind else text
    return re.findall(r"= (\d\.\d{3})$", part, re.MULTILINE)[:12]


def run(results: Path, data: Path, name: str = "ovdeval:coco") -> evalkit.Summary:
    return evalkit.run(f"replay:{results}", name, data=str(data), out=data.parent / "out")


def by_image(path: Path) -> dict[int, list[Any]]:
    rows = defaultdict(list)
    for row in json.loads(path.read_text()):
        rows[row["image_id"]].append(row)
    return dict(rows)


def test_the_twelve_numbers_of_boxes_are_those_of_pycocotools_in_a_run_of_all_subsets_too(coco: Path, data: Path) -> None:
    summary = run(coco / BOXES, data, "ovdeval")
    assert [f"{summary.value('ovdeval', metric, subset='coco'):.3f}" for metric in NAMES] == printed(coco / PYCOCOTOOLS, "bbox")
    assert summary.value("ovdeval", "nms_ap", subset="average") is None


@pytest.mark.parametrize(
    ("results", "official", "suppressed", "plain"),
    [(BOXES, "fakebbox100", ["0.491", "0.679", "0.556"], "0.505"), (SYNTHETIC, "synthetic", ["0.018", "0.026", "0.020"], "0.141")],
)
def test_nms_ap_is_that_of_the_authors_eval_and_export_writes_what_was_read(
    coco: Path, data: Path, results: str, official: str, suppressed: list[str], plain: str
) -> None:
    summary = run(coco / results, data)
    got = [f"{summary.value('ovdeval:coco', metric, subset='coco'):.3f}" for metric in ("nms_ap", "nms_ap50", "nms_ap75")]
    assert got == suppressed == printed(coco / f"official_nms_eval_{official}.txt")[:3]
    assert f"{summary.value('ovdeval:coco', 'ap', subset='coco'):.3f}" == plain
    [path] = export(summary.folder)
    assert path.name == "coco.json"
    assert by_image(path) == by_image(coco / results)


@pytest.mark.parametrize(("results", "official", "count"), [(BOXES, "fakebbox100", 717), (SYNTHETIC, "synthetic", 892)])
def test_the_kept_boxes_are_those_of_the_authors_eval(coco: Path, data: Path, results: str, official: str, count: int) -> None:
    task = tasks.find("ovdeval:coco", data)
    assert task.replies is not None
    gold = {sample.id: sample.target for sample in task.samples()}
    kept: dict[int, list[Any]] = {}
    for reply in task.replies(coco / results) or ():
        found = [Detection(*item) for item in zip(reply.boxes, reply.labels, reply.scores, strict=True)]
        kept[int(reply.sample.partition("/")[2])] = [(item.label, item.box, item.score) for item in suppressed(found, gold[reply.sample])]
    names = {row["id"]: row["name"] for row in json.loads((coco / GOLD).read_text())["categories"]}
    expected: dict[int, list[Any]] = {number: [] for number in kept}
    for row in json.loads((coco / f"official_nms_output_{official}.json").read_text()):
        x, y, width, height = row["bbox"]
        expected[row["image_id"]].append((names[row["category_id"]], Box(x, y, x + width, y + height), row["score"]))
    assert kept == expected
    assert sum(map(len, kept.values())) == count


def test_the_twelve_numbers_of_masks_are_those_of_pycocotools(coco: Path) -> None:
    truth = COCO(coco / GOLD)
    gold, found = defaultdict(list), defaultdict(list)

    def mask(encoded: Any) -> Mask:
        height, width = encoded["size"]
        return Mask(encoded["counts"] if isinstance(encoded["counts"], str) else encoded["counts"].decode(), Size(width, height))

    nowhere = Box(0, 0, 0, 0)
    for row in truth.dataset["annotations"]:
        gold[row["image_id"]].append(
            GoldBox(nowhere, str(row["category_id"]), row["area"], bool(row["iscrowd"]), mask(truth.annToRLE(row)))
        )
    for row in json.loads((coco / "instances_val2014_fakesegm100_results.json").read_text()):
        found[row["image_id"]].append(Detection(nowhere, str(row["category_id"]), row["score"], mask(row["segmentation"])))
    metric = AveragePrecision("mask", order=lambda sample: float(sample.id))
    images = truth.getImgIds()
    records = [metric.measure(found[image], Sample(str(image), "", "", (), Wants("mask"), tuple(gold[image]))) for image in images]
    values = {name: np.empty(len(records), dtype=object) for name in records[0]}
    for name, column in values.items():
        column[:] = [np.array(record[name], dtype=float) if isinstance(record[name], list) else record[name] for record in records]
    estimates = metric.summarise(Columns(values, np.arange(len(records))))
    assert [f"{estimates[name].value:.3f}" for name in NAMES] == printed(coco / PYCOCOTOOLS, "segm")
