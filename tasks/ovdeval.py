"""OVDEval: open-vocabulary detection of things named by finer and finer words, with hard negatives.

Paper: Yao, Liu, Zhao, Zhang, Liao, Zhang, Zhang: How to Evaluate the Generalization of Detection? A Benchmark for Comprehensive
Open-Vocabulary Detection. AAAI 2024, arXiv 2308.13177.

Data: `omlab/OVDEval` on the hub; a folder in its layout: `annotations/SUBSET.json` and `images/SUBSET/`, for the nine subsets coco,
color, material, landmark, logo, celebrity, relationship, position and negation. 20142 images, 66k boxes. Apache-2.0. A variant
reads one subset; the default reads those of the nine that are there, and notes what is missing.

Row (COCO's form; `text` are the labels that are in the image, `neg_text` hard negatives; the file's own categories are all labels):
    {"images": [{"id": 1, "file_name": "0001.jpg", "width": 640, "height": 480, "text": ["red car"], "neg_text": ["blue car"]}],
     "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [10, 20, 30, 40], "area": 1200, "iscrowd": 0}],
     "categories": [{"id": 3, "name": "red car"}]}

Metric: `nms_ap`, the authors' `eval.py`: of the detections on one gold box (IoU > .5, whatever the label) only the one with the
highest score goes on, then COCO's average precision; and plain `ap`. Each subset is measured by itself, images without detections
included; `average` is the plain mean of the nine. Results in COCO's form (`image_id`, `category_id`, `bbox` as x, y, w, h, `score`) are
read and written: SUBSET.json in a folder, or one file where one subset is read. An image without a row there has no detection.
`official` reads the boxes of a reply that bear a label of the subset's file, letter for letter, with score 1.0 each (an engine that
gives scores has its own): then the order of the reply decides, and of the boxes on one gold box the last is kept, as in `eval.py`.
`unknown_labels` is the mean number of boxes an image that bear no such label and so count for nothing. `strict` is plain `ap` of
the same boxes without help from the gold, so that every duplicate is false, and with equal scores as one step of the curve: the
place of an image in a file is no confidence.

Headline: nms_ap, `official`, average.

Departures: the authors have no prompt for models that chat; the wording is ours. It asks for all labels of an image at once: the
categories of the file for coco, celebrity, logo and landmark, the image's `text` and `neg_text` elsewhere, as in `eval_glip.py`,
whose cutting of coordinates to whole pixels is not copied. pycocotools takes a match with an annotation of id 0 for none; here it
is one. A reply of `[]` or "none" says that nothing is there; any other reply without a box is unparsed. Of two gold boxes that
overlap by more than half the suppression keeps only one even of a perfect answer: `nms_ap` may end below 1, `ap` and `strict` not.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from evalkit import (
    AveragePrecision,
    Box,
    Columns,
    Composite,
    Data,
    DataError,
    Detection,
    Estimate,
    GoldBox,
    Image,
    NMSAveragePrecision,
    Prediction,
    Record,
    Reply,
    Rule,
    Sample,
    Task,
    Unparsed,
    Wants,
    read_boxes,
    read_json,
    require,
    stats,
)

SUBSETS = {
    "coco": 5000,
    "color": 1170,
    "material": 2124,
    "landmark": 1533,
    "logo": 1935,
    "celebrity": 2244,
    "relationship": 2169,
    "position": 2109,
    "negation": 1858,
}
VARIANTS = ("all", *SUBSETS)
CLOSED = ("coco", "celebrity", "logo", "landmark")
"""The subsets whose images are all searched for every category."""

SOURCES = {
    variant: Data(
        hub=("omlab/OVDEval",),
        files=(f"annotations/{'*' if variant == 'all' else variant}.json",),
        licence="Apache-2.0",
        layout="annotations/SUBSET.json and images/SUBSET/*.jpg",
    )
    for variant in VARIANTS
}
DATA = SOURCES["all"]

PROMPT = """Find everything in the image that one of these labels describes:
{labels}
Some of the labels may describe nothing in it. Reply with a JSON list alone, one entry for each thing found, the surest first, with \
its box and its label exactly as it is written above: [{{"bbox_2d": [x1, y1, x2, y2], "label": "..."}}]. If there is nothing, reply []."""
NOTHING = re.compile(r"\[\s*\]|\A\W*none\W*\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Subset:
    """What one subset's file holds, by image id and by category id."""

    path: Path
    images: Mapping[int, Mapping[str, Any]]
    labels: Mapping[int, str]
    gold: Mapping[int, Sequence[GoldBox]]


def task(variant: str, data: Path | None) -> Task:
    """OVDEval's subset `variant`, or all that are there."""
    names = tuple(SUBSETS) if variant == "all" else (variant,)
    found = cache(lambda: subsets(SOURCES[variant].folder(data) / "annotations", names))
    known = cache(lambda name: frozenset(found()[name].labels.values()))

    def read(prediction: Prediction, sample: Sample) -> tuple[Detection, ...] | Unparsed:
        return detections(prediction, known(subset_of(sample)))

    def unknown(prediction: Prediction, sample: Sample) -> int | Unparsed:
        kept = read(prediction, sample)
        return kept if isinstance(kept, Unparsed) else len(prediction.evidence) - len(kept)

    return Task(
        name="ovdeval" if variant == "all" else f"ovdeval:{variant}",
        version=1,
        samples=lambda: samples(found()),
        rules=(
            Rule("official", read, NMSAveragePrecision(order=image_id), "boxes", names),
            Rule("official", read, AveragePrecision(order=image_id), "boxes", names),
            Rule("official", unknown, UnknownLabels(), "boxes", names),
            Rule("strict", read, AveragePrecision(ties="together", order=image_id), "boxes", names),
        ),
        headline="nms_ap",
        kinds=("boxes",),
        data=SOURCES[variant],
        published={"rows": sum(SUBSETS[name] for name in names), **{name: SUBSETS[name] for name in names}},
        replies=lambda path: replies(path, found()),
        export=lambda pairs, folder: export(pairs, folder, found()),
        composites=tuple(Composite("average", metric, names) for metric in ("nms_ap", "ap")) if variant == "all" else (),
    )


def samples(found: Mapping[str, Subset]) -> Iterator[Sample]:
    """The images of each subset that is there, in the order of its file."""
    for name, subset in found.items():
        folder = subset.path.parents[1] / "images" / name
        for number, row in subset.images.items():
            every = name in CLOSED or "text" not in row
            labels = tuple(dict.fromkeys(subset.labels.values() if every else [*row["text"], *row.get("neg_text", ())]))
            yield Sample(
                id=f"{name}/{number}",
                question=", ".join(labels),
                prompt=PROMPT.format(labels="\n".join(f"- {label}" for label in labels)),
                images=(Image(folder / row["file_name"]),),
                wants=Wants("boxes"),
                target=tuple(subset.gold.get(number, ())),
                options=labels,
                tags=frozenset({name}),
                group=f"{name}/{number}",
            )


def subsets(folder: Path, names: Sequence[str]) -> dict[str, Subset]:
    """The subsets whose files are in the folder, in the authors' order. Raises `DataError` where none is, or one is not in COCO's form."""
    found = {name: subset_at(folder / f"{name}.json") for name in names if (folder / f"{name}.json").is_file()}
    if not found:
        raise DataError(f"expected one of {', '.join(f'{name}.json' for name in names)} in {folder}, found none")
    return found


def subset_at(path: Path) -> Subset:
    """What an annotation file in COCO's form holds. Of categories with one name the last has it, as in `eval_glip.py`."""
    held = read_json(path)
    require(held, {"images": list, "annotations": list, "categories": list}, str(path))
    named: dict[int, str] = {}
    for number, row in enumerate(held["categories"]):
        require(row, {"id": int, "name": str}, f"{path}, category {number}")
        named[row["id"]] = row["name"]
    last = {name: category for category, name in named.items()}
    labels = {category: name if last[name] == category else f"{name} (category {category})" for category, name in named.items()}
    images: dict[int, Mapping[str, Any]] = {}
    for number, row in enumerate(held["images"]):
        require(row, {"id": int, "file_name": str}, f"{path}, image {number}")
        for key in ("text", "neg_text"):
            if not isinstance(row.get(key, []), list) or not all(isinstance(label, str) for label in row.get(key, [])):
                raise DataError(f"expected a list of labels in {key} of {path}, image {number}, got {row[key]!r:.60}")
        images[row["id"]] = row
    gold: dict[int, list[GoldBox]] = {}
    for number, row in enumerate(held["annotations"]):
        box, label = labelled(row, labels, f"{path}, annotation {number}", path)
        area = row.get("area")
        if area is not None and not (isinstance(area, int | float) and math.isfinite(area)):
            raise DataError(f"expected an area in square pixels in {path}, annotation {number}, got {area!r:.60}")
        gold.setdefault(row["image_id"], []).append(GoldBox(box, label, area, bool(row.get("iscrowd"))))
    return Subset(path, images, labels, gold)


def labelled(row: Any, labels: Mapping[int, str], where: str, path: Path) -> tuple[Box, str]:
    """The box and the label of an annotation or of a result; the categories are those of `path`."""
    require(row, {"image_id": int, "category_id": int, "bbox": list}, where)
    [box] = read_boxes([row["bbox"]], f"bbox of {where}", "xywh")
    if row["bbox"][2] < 0 or row["bbox"][3] < 0:
        raise DataError(f"expected a width and a height of at least 0 in bbox of {where}, got {row['bbox']}: is it x1, y1, x2, y2?")
    if row["category_id"] not in labels:
        raise DataError(f"expected a category of {path} in {where}, got category_id {row['category_id']}: is it of another file?")
    return box, labels[row["category_id"]]


# ---------------------------------------------------------------- reading a reply


def subset_of(sample: Sample) -> str:
    """The subset that a sample is of."""
    return sample.id.partition("/")[0]


def image_id(sample: Sample) -> int:
    """The id of a sample's image in its file: COCO sorts images by it."""
    return int(sample.id.partition("/")[2])


def detections(prediction: Prediction, known: frozenset[str]) -> tuple[Detection, ...] | Unparsed:
    """The boxes that bear a known label, in the order of the reply; with score 1.0 where the engine gave none."""
    if prediction.answer is None:
        return Unparsed(prediction.failure)
    if not prediction.evidence and not NOTHING.search(prediction.answer):
        return Unparsed("no box, and not said that there is none")
    made = []
    for item in prediction.evidence:
        if item.box is None:
            return Unparsed("boxes in an unknown frame")
        if item.label in known:
            made.append(Detection(item.box.ordered(), item.label, 1.0 if item.score is None else item.score))
    return tuple(made)


class UnknownLabels:
    """`unknown_labels`: the mean number of boxes an image whose label is none of its subset's, at least 0, over parsed replies."""

    name = "unknown_labels"

    def measure(self, value: int | None, sample: Sample) -> Record:
        """`unknown`: how many there are; an unparsed reply does not count."""
        return {} if value is None else {"unknown": float(value)}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """The mean, with a clustered bootstrap interval."""
        return {"unknown_labels": stats.mean(stats.column(records, "unknown"), records.group)}


# ---------------------------------------------------------------- results in COCO's form


def replies(path: Path, found: Mapping[str, Subset]) -> Iterator[Reply] | None:
    """One reply for each image of the subsets whose results are at `path`, or None where it holds none.

    Raises:
        DataError: results of one subset where several are read, or rows that are none of it.
    """
    if path.is_dir():
        files = {name: path / f"{name}.json" for name in found if (path / f"{name}.json").is_file()}
        return (reply for name, file in files.items() for reply in results(file, name, found[name])) if files else None
    with path.open("rb") as opened:
        if not opened.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
            return None
    if len(found) > 1:
        raise DataError(
            f"expected a folder with results of {', '.join(f'{name}.json' for name in found)}, got the file {path}: "
            "name its subset, as in ovdeval:coco, or put it in a folder, called as its subset"
        )
    return (reply for name, subset in found.items() for reply in results(path, name, subset))


def results(path: Path, name: str, subset: Subset) -> Iterator[Reply]:
    """One reply for each image of a subset; an image without a row in the results says that nothing is there."""
    rows = read_json(path)
    by_image: dict[int, list[tuple[Box, str, float]]] = {number: [] for number in subset.images}
    if not isinstance(rows, list):
        raise DataError(f"expected a list of results in {path}, got {type(rows).__name__}")
    for number, row in enumerate(rows):
        where = f"{path}, result {number}"
        box, label = labelled(row, subset.labels, where, subset.path)
        if row["image_id"] not in by_image:
            raise DataError(f"expected an image of {subset.path} in {where}, got image_id {row['image_id']}: is it of another subset?")
        require(row, {"score": (int, float)}, where)
        if not math.isfinite(row["score"]):
            raise DataError(f"expected a finite score in {where}, got {row['score']}")
        by_image[row["image_id"]].append((box, label, float(row["score"])))
    for image, items in by_image.items():
        boxes, labels, scores = zip(*items, strict=True) if items else ((), (), ())
        yield Reply(f"{name}/{image}", "" if items else "[]", boxes=boxes, labels=labels, scores=scores)


def export(pairs: Iterable[tuple[Sample, Mapping[str, Any]]], folder: Path, found: Mapping[str, Subset]) -> list[Path]:
    """Writes SUBSET.json for each subset of the samples: what `official` reads of their replies."""
    categories = {name: {label: category for category, label in subset.labels.items()} for name, subset in found.items()}
    rows: dict[str, list[dict[str, Any]]] = {}
    for sample, row in pairs:
        name = subset_of(sample)
        kept = rows.setdefault(name, [])
        for item in row.get("evidence", ()):
            category = categories[name].get(item.get("label"))
            if item["box"] is not None and category is not None:
                x1, y1, x2, y2 = Box(*item["box"]).ordered()
                box = [x1, y1, round(x2 - x1, 9), round(y2 - y1, 9)]  # as written, without the rounding of x + width
                kept.append({"image_id": image_id(sample), "category_id": category, "bbox": box, "score": item.get("score", 1.0)})
    for name, kept in rows.items():
        (folder / f"{name}.json").write_text(json.dumps(kept), encoding="utf-8")
    return [folder / f"{name}.json" for name in rows]
