"""NMS-AP beside its literal restatement (plain Python for the suppression, pycocotools for the curves) at equal output.

Nine subsets of OVDEval's shapes, a fifth of each, with a detector's forty boxes an image. `ratio` is how many times the processor time
of evalkit's metric the restatement takes. evalkit's holds its intervals, from at least a hundred resamples; the restatement has none.
"""

import contextlib
import io
import json
import time
from collections.abc import Callable
from typing import Any

SUBSETS = {
    "coco": (5000, 36781, 80),
    "color": (1170, 3421, 36),
    "material": (2124, 5358, 90),
    "landmark": (1533, 1709, 9),
    "logo": (1935, 2329, 9),
    "celebrity": (2244, 2244, 10),
    "relationship": (2169, 8190, 319),
    "position": (2109, 2150, 7301),
    "negation": (1858, 3785, 2414),
}
"""Images, gold boxes and labels."""
PART = 5
DETECTIONS = 40
"""An image, as of the detector whose results for `material` the authors show."""
Rows = list[dict[str, Any]]
Scorer = Callable[[], list[float]]


def main() -> None:
    seconds = {"literal": 0.0, "evalkit": 0.0}
    for name, shape in SUBSETS.items():
        images, labels, gold, results = made(*shape)
        scorers = {"literal": literal(images, labels, gold, results), "evalkit": evalkit(images, gold, results)}
        got = {}
        for scorer, score in scorers.items():
            begun = time.process_time()
            got[scorer] = score()
            seconds[scorer] += time.process_time() - begun
        assert all(abs(a - b) < 1e-9 for a, b in zip(*got.values(), strict=True)), (name, got)
    print(json.dumps({"ratio": seconds["literal"] / seconds["evalkit"], **seconds}))


def made(images: int, boxes: int, labels: int) -> tuple[int, int, Rows, Rows]:
    """A part of a subset: how many images and labels, annotations, and results. Most gold boxes are found, each twice, mostly under
    its label."""
    import numpy as np

    rng = np.random.default_rng(0)
    images, boxes = images // PART, boxes // PART
    labels = labels if labels < 1000 else labels // PART
    gold: Rows = []
    results: Rows = []

    def found(image: int, label: int, box: list[float]) -> None:
        row = {"image_id": image, "category_id": label, "bbox": [float(side) for side in box], "score": float(rng.random())}
        results.append(row)

    def anywhere() -> list[float]:
        return [*(rng.random(2) * 400), *(rng.random(2) * 200 + 5)]

    for number in range(boxes):
        image, label, box = 1 + number % images, int(rng.integers(labels)), anywhere()
        gold.append({"id": number + 1, "image_id": image, "category_id": label, "bbox": box, "area": box[2] * box[3], "iscrowd": 0})
        for _ in range(2 if rng.random() < 0.7 else 0):
            x, y, width, height = np.array(box) + rng.normal(0, 0.04, 4) * box[2]
            found(image, label if rng.random() < 0.7 else int(rng.integers(labels)), [x, y, max(width, 1), max(height, 1)])
    for number in range(DETECTIONS * images - len(results)):
        found(1 + number % images, int(rng.integers(labels)), anywhere())
    return images, labels, gold, results


def literal(images: int, labels: int, gold: Rows, results: Rows) -> Scorer:
    """For each gold box the surest of the predictions on it is kept and the others go; then COCOeval."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    predictions, boxes = by_image(results), by_image(gold)
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": image} for image in range(1, images + 1)],
        "annotations": gold,
        "categories": [{"id": label} for label in range(labels)],
    }

    def score() -> list[float]:
        left = []
        for image, found in predictions.items():
            keep, remove = set(), set()
            for item in boxes.get(image, []):
                over = [place for place, row in enumerate(found) if iou(item["bbox"], row["bbox"]) > 0.5]
                over.sort(key=lambda place: (found[place]["score"], place), reverse=True)
                keep.update(over[:1])
                remove.update(over[1:])
            left += [row for place, row in enumerate(found) if place in keep or place not in remove]
        with contextlib.redirect_stdout(io.StringIO()):
            truth.createIndex()
            evaluation = COCOeval(truth, truth.loadRes(left), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return [float(value) for value in evaluation.stats[:3]]

    return score


def iou(a: list[float], b: list[float]) -> float:
    """The intersection over union of two boxes as x, y, width and height."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    inter = max(width, 0) * max(height, 0)
    union = a[2] * a[3] + b[2] * b[3] - inter
    return inter / union if union else 0.0


def evalkit(images: int, gold: Rows, results: Rows) -> Scorer:
    """evalkit's metric, from detections and samples to estimates."""
    import numpy as np

    from evalkit.geometry import Box
    from evalkit.metrics.detection import Detection, GoldBox, NMSAveragePrecision
    from evalkit.types import Columns, Sample, Wants

    def box(row: dict[str, Any]) -> Box:
        x, y, width, height = row["bbox"]
        return Box(x, y, x + width, y + height)

    metric = NMSAveragePrecision(order=lambda sample: int(sample.id))
    targets, found = by_image(gold), by_image(results)
    pairs = []
    for image in range(1, images + 1):
        target = tuple(GoldBox(box(row), str(row["category_id"]), row["area"]) for row in targets.get(image, []))
        detections = [Detection(box(row), str(row["category_id"]), row["score"]) for row in found.get(image, [])]
        pairs.append((detections, Sample(str(image), "", "", (), Wants("boxes"), target)))

    def score() -> list[float]:
        records = [metric.measure(detections, sample) for detections, sample in pairs]
        values = {name: np.array([record[name] for record in records], dtype=float) for name in ("recall50", "order")}
        for name in records[0].keys() - values:
            values[name] = np.empty(images, dtype=object)
            values[name][:] = [np.asarray(record[name], dtype=float) for record in records]
        estimates = metric.summarise(Columns(values, np.arange(images)))
        return [float(estimates[name].value or 0) for name in ("nms_ap", "nms_ap50", "nms_ap75")]

    return score


def by_image(rows: Rows) -> dict[int, Rows]:
    """The rows of each image."""
    found: dict[int, Rows] = {}
    for row in rows:
        found.setdefault(row["image_id"], []).append(row)
    return found


if __name__ == "__main__":
    main()
