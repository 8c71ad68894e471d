"""LISA's own rasteriser on ten annotations: every mask, count and IoU, and the two totals, through `evalkit.run`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import evalkit
from evalkit import task as tasks

CASES = "replay/reasonseg_golden"


@pytest.fixture
def golden(shared: Callable[[str], Path], tmp_path: Path) -> dict[str, Any]:
    """What LISA's functions make of the cases; the data folder, with images drawn at their sizes, and the replay are in tmp_path."""
    pytest.importorskip("cv2", reason="the extra segmentation is not installed")
    told: dict[str, Any] = json.loads(shared(f"{CASES}/golden.json").read_text())
    folder = tmp_path / "data" / "ReasonSeg" / "val"
    folder.mkdir(parents=True)
    for row in told["rows"]:
        Image.new("RGB", (row["width"], row["height"])).save(folder / f"{row['name']}.jpg")
        (folder / f"{row['name']}.json").symlink_to(shared(f"{CASES}/{row['name']}.json").resolve())
    replies = [{"sample": f"val/{row['name']}", "text": "[SEG]", "masks": [row["pred_rle"]]} for row in told["rows"]]
    (tmp_path / "replies.jsonl").write_text("\n".join(map(json.dumps, replies)))
    return told


def test_target_and_ignore_masks_are_those_of_the_authors(golden: dict[str, Any], tmp_path: Path) -> None:
    samples = {sample.id: sample for sample in tasks.find("reasonseg:val", tmp_path / "data").samples()}
    assert len(samples) == len(golden["rows"]) == 10
    for row in golden["rows"]:
        sample = samples[f"val/{row['name']}"]
        ignored = sample.target.ignore
        assert sample.question == row["query"]
        assert sample.target.mask.counts == row["gt_target_rle"]["counts"]
        assert (ignored.counts if ignored else None) == (row["gt_ignore_rle"]["counts"] if row["ignore_area"] else None)


def test_counts_and_totals_are_those_of_the_authors(golden: dict[str, Any], tmp_path: Path) -> None:
    summary = evalkit.run(f"replay:{tmp_path / 'replies.jsonl'}", "reasonseg:val", data=str(tmp_path / "data"), out=tmp_path / "out")
    records = [json.loads(line) for line in (summary.folder / "records.jsonl").read_text().splitlines()]
    got = {row["sample"]: (row["inter"], row["union"], row["iou"]) for row in records if row["rule"] == "official"}
    assert got == {f"val/{row['name']}": (row["intersection"], row["union"], row["iou"]) for row in golden["rows"]}
    giou, ciou = (summary.value("reasonseg:val", name) for name in ("giou", "ciou"))
    assert (giou, ciou) == (pytest.approx(golden["summary"]["gIoU"], abs=1e-15), golden["summary"]["cIoU"])
    assert (f"{giou:.7f}", f"{ciou:.7f}") == ("0.6254887", "0.7114940")


def test_short_and_long_are_told_apart(golden: dict[str, Any], tmp_path: Path) -> None:
    summary = evalkit.run(f"replay:{tmp_path / 'replies.jsonl'}", "reasonseg:val", data=str(tmp_path / "data"), out=tmp_path / "out")
    for subset, sentence in (("short", False), ("long", True)):
        part = [row for row in golden["rows"] if row["is_sentence"] is sentence]
        expected = sum(row["intersection"] for row in part) / sum(row["union"] for row in part)
        assert summary.value("reasonseg:val", "ciou", subset=subset) == pytest.approx(expected, abs=1e-12)
        assert summary.value("reasonseg:val", "giou", subset=subset) == pytest.approx(sum(row["iou"] for row in part) / len(part), abs=1e-4)
