"""ReasonSeg: masks of what a text only implies, "the part that keeps the water hot".

Paper: Lai et al.: LISA: Reasoning Segmentation via Large Language Model. CVPR 2024, arXiv 2308.00692.

Data: the authors' folder (a link in the README of dvlab-research/LISA): `val/` and `test/`, with or without `ReasonSeg/` above,
each photograph `STEM.jpg` with its annotation `STEM.json` in LabelMe's form, UTF-8 or cp1252. 200 and 779 rows. Code: Apache-2.0.
The variants `val-hub` and `test-hub` read `Ricky06662/ReasonSeg_val` and `_test` from the hub.

Row (`test/STEM.json`):
    {"text": ["the part used to hold hot water"], "is_sentence": false, "shapes": [{"label": "target", "points": [[59.06, 35.0],
     [43.29, 49.63], [21.84, 56.72]], ...}, {"label": "ignore", "points": [...], ...}]}

Metric: gIoU, the mean of the samples' IoU, and cIoU, intersections over unions summed over the data set (`MaskIoU`). The gold is drawn as
in `utils/data_processing.py`: polygons at whole pixels, outline and inside, by descending area, so that the smaller one wins; labels with
"ignore" in them are left out of the count, the label "flag" is not drawn. `official` takes the first mask of a reply, as `train_ds.py`
does, no mask for an empty one (counted as unparsed), and counts 1 where there is nothing to find and nothing was marked. `strict` takes all
masks of a reply together and has no epsilons; where there is nothing to find, an empty mask is right and silence is not. Under both, a mask
that is not of the image's size is none, and a missing reply is wrong. Subsets: `short` (a phrase, `is_sentence` false) and `long` (a
sentence).

Headline: giou, `official`, overall.

Departures: `val` and `test` are the authors' evaluation: ignored pixels left out, the first text of each image. The other variants are
not, and their first rule is called `lisa`: `-background` counts ignored pixels as background, `-all` asks every text of an image (ids
`split/STEM`, `split/STEM:1`, ...), `-hub` has the ignored pixels merged into the target and does not say which texts are sentences.
`-background-all` is what UniPixel evaluates (`infer_seg.py`), and its first rule, `unipixel`, takes the first mask without epsilons.
Sums are in double precision, the authors' in single, and the 1e-5 that their meter adds to the number of samples is left out. Of
polygons with the same area the earlier lies on top, which the authors leave to their sort. There is no results format to write.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evalkit import (
    Data,
    DataError,
    GoldMask,
    Image,
    Mask,
    MaskIoU,
    Prediction,
    Rule,
    Sample,
    Task,
    Unparsed,
    UserError,
    Wants,
    encode_mask,
    fitted_mask,
    read_parquet,
    require,
    resolve,
    union_mask,
)

ROWS = {"val": 200, "test": 779}
UNIPIXEL = "-background-all"
OPTIONS = ("", "-background", "-all", UNIPIXEL, "-hub")
VARIANTS = tuple(split + options for options in OPTIONS for split in ROWS)

FOLDERS = {
    split: Data(
        hub=(),
        files=(f"{split}/*.json|ReasonSeg/{split}/*.json",),
        licence="Apache-2.0 (code)",
        layout=f"{split}/*.jpg and *.json, from the link in the README of github.com/dvlab-research/LISA",
    )
    for split in ROWS
}
HUB = {
    split: Data(
        hub=(f"Ricky06662/ReasonSeg_{split}",), files=("**/*.parquet",), licence="not stated", layout="the hub's data/test-*.parquet"
    )
    for split in ROWS
}
DATA = FOLDERS["val"]

NOTES = {
    "background": "pixels that the authors leave out of the count as ignored count as background here",
    "all": "every text of an image is asked, where the authors ask the first alone",
    "hub": "the hub's masks have the pixels that the authors ignore merged into the target, and its texts are all asked as sentences",
}

TARGET, IGNORE = 1, 255
FARTHEST = 2**31 - 1
"""The largest coordinate that OpenCV takes."""


def task(variant: str, data: Path | None) -> Task:
    """ReasonSeg's `val` or `test`, in the authors' evaluation or in another."""
    split, *options = variant.split("-")
    unipixel = variant.endswith(UNIPIXEL)
    source = (HUB if "hub" in options else FOLDERS)[split]

    def samples() -> Iterator[Sample]:
        folder = source.folder(data)
        if "hub" in options:
            return of_hub(source.annotations(folder), split)
        return of_folder(source.annotations(folder), split, "background" not in options, "all" in options)

    return Task(
        name=f"reasonseg:{variant}",
        version=1,
        samples=samples,
        rules=(
            Rule("unipixel" if unipixel else "lisa" if options else "official", first, MaskIoU(strict=unipixel), reads="masks"),
            Rule("strict", together, MaskIoU(strict=True), reads="masks"),
        ),
        headline="giou",
        kinds=("mask",),
        data=source,
        published={} if "all" in options else {"rows": ROWS[split]},
        notes=tuple(NOTES[option] for option in options),
    )


def of_folder(paths: list[Path], split: str, ignoring: bool, every: bool) -> Iterator[Sample]:
    """The first text, or every one, of each of the annotation files, which lie beside their images."""
    folder = paths[0].parent
    if alone := sorted({path.stem for path in paths} ^ {path.stem for path in folder.glob("*.jpg")}):
        raise DataError(f"expected a *.jpg and a *.json of each image in {folder}, got one of the two of {len(alone)}, such as {alone[0]}")
    for path in paths:
        row = _annotation(path)
        image = resolve(Image(path.with_suffix(".jpg"), upright=True))  # cv2.imread turns photographs upright
        labels = _drawn(row["shapes"], image, str(path))
        ignored = encode_mask(labels == IGNORE) if ignoring and (labels == IGNORE).any() else None
        gold = GoldMask(encode_mask(labels == TARGET), ignored)
        for number, text in enumerate(row["text"] if every else row["text"][:1]):
            name = f"{split}/{path.stem}" + (f":{number}" if number else "")
            prompt = text.strip() if row["is_sentence"] else f"What is {text.strip()} in this image?"
            yield _sample(name, text, prompt, image, gold, path.stem, "long" if row["is_sentence"] else "short")


def of_hub(paths: list[Path], split: str) -> Iterator[Sample]:
    """The rows of the hub's Parquet files; the wording for sentences is used for all."""
    for path in paths:
        rows = read_parquet(path, ("text", "image_id", "img_height", "img_width"), images=("image",))
        for number, (row, mask) in enumerate(zip(rows, _hub_masks(path), strict=True)):
            where = f"{path}, row {number}"
            require(row, {"text": str, "image_id": str}, where)
            if mask.shape != (row["img_height"], row["img_width"]):
                raise DataError(f"expected a mask of {row['img_height']} rows of {row['img_width']} in {where}, got {mask.shape}")
            name, gold = row["image_id"], GoldMask(encode_mask(mask))
            yield _sample(f"{split}/{name}", row["text"], row["text"].strip(), Image(row["image"]), gold, name)


def first(prediction: Prediction, sample: Sample) -> Mask | Unparsed:
    """The first mask of the reply. An empty one is scored where there is none."""
    gold: GoldMask = sample.target
    read = fitted_mask(prediction.masks[0], gold.mask.size) if prediction.masks else Unparsed(prediction.failure or "no mask")
    return Unparsed(read.reason, gold.blank) if isinstance(read, Unparsed) else read


def together(prediction: Prediction, sample: Sample) -> Mask | Unparsed:
    """All masks of the reply as one."""
    masks = []
    for mask in prediction.masks:
        fitted = fitted_mask(mask, sample.target.mask.size)
        if isinstance(fitted, Unparsed):
            return fitted
        masks.append(fitted)
    return union_mask(masks) if masks else Unparsed(prediction.failure or "no mask")


def _sample(name: str, text: str, prompt: str, image: Image, gold: GoldMask, group: str, *tags: str) -> Sample:
    return Sample(
        id=name,
        question=text.strip(),
        prompt=f"{prompt} Please output segmentation mask.",
        images=(image,),
        wants=Wants("mask", phrase=text.strip(), phrasing="sentence" if "long" in tags else "query"),
        target=gold,
        tags=frozenset(tags),
        group=group,
    )


def _annotation(path: Path) -> dict[str, Any]:
    """The value of an annotation file, its columns checked."""
    try:
        row: dict[str, Any] = json.loads(_text(path.read_bytes()))
    except ValueError as error:
        raise DataError(f"expected JSON in UTF-8 or cp1252 in {path}, got: {error}; is the file cut off? Fetch it again") from error
    require(row, {"text": list, "is_sentence": int, "shapes": list}, str(path))
    if not row["text"] or not all(isinstance(text, str) for text in row["text"]):
        raise DataError(f"expected a list of texts as text in {path}, got {row['text']!r:.60}")
    return row


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252")


def _drawn(shapes: list[Any], image: Image, where: str) -> Any:
    """TARGET, IGNORE or 0 for each pixel, uint8 (height, width)."""
    import numpy as np

    cv2 = _cv2()
    assert image.size
    kept = [shape for shape in shapes if _label(shape, where) != "flag"]
    polygons = [_points(shape, where) for shape in kept]

    def draw(onto: Any, polygon: Any, value: int) -> Any:
        cv2.polylines(onto, [polygon], True, value, 1)
        return cv2.fillPoly(onto, [polygon], value)

    blank = np.zeros((image.size.height, image.size.width), np.uint8)
    areas = [cv2.countNonZero(draw(blank.copy(), polygon, 1)) for polygon in polygons]
    # A stable sort reversed: what NumPy's default does to a handful of areas on machines without vector sorting.
    for place in np.argsort(areas, kind="stable")[::-1]:
        draw(blank, polygons[place], IGNORE if "ignore" in _label(kept[place], where) else TARGET)
    return blank


def _label(shape: Any, where: str) -> str:
    require(shape, {"label": str, "points": list}, f"a shape of {where}")
    label: str = shape["label"]
    return label.lower()


def _points(shape: dict[str, Any], where: str) -> Any:
    """The corners of a polygon, int32 (n, 2), cut to whole pixels. One is drawn as a dot, two as a line."""
    import numpy as np

    try:
        points = np.array(shape["points"], dtype=float)
    except (TypeError, ValueError):  # ragged, or no numbers
        points = np.zeros(0)
    if points.ndim != 2 or points.shape[1] != 2 or not (np.abs(points) <= FARTHEST).all():
        raise DataError(f"expected a polygon of at least one [x, y] in {where}, got {shape['points']!r:.60}")
    return points.astype(np.int32)


def _cv2() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise UserError("ReasonSeg's gold is drawn by OpenCV, which is not installed: pip install 'evalkit[segmentation]'") from error
    return cv2


def _hub_masks(path: Path) -> Iterator[Any]:
    """The masks of a Parquet file, bool (height, width) each. Taken from Arrow as they are: as Python lists they fill gigabytes."""
    import pyarrow
    import pyarrow.parquet

    file, number = pyarrow.parquet.ParquetFile(path), 0
    if "mask" not in file.schema_arrow.names:
        raise DataError(f"expected the column mask in {path}, got {', '.join(file.schema_arrow.names)}")
    try:
        for batch in file.iter_batches(batch_size=1, columns=["mask"]):
            lines = batch.column(0)[0].values
            yield lines.flatten().to_numpy(zero_copy_only=False).astype(bool).reshape(len(lines), -1)
            number += 1
    except (AttributeError, ValueError, OSError, pyarrow.ArrowException) as error:
        raise DataError(f"expected a mask as rows of booleans in {path}, row {number}, got: {error}") from error
