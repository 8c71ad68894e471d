"""What RefCOCO, RefCOCO+ and RefCOCOg share: both forms of their rows, boxes and masks to find, and how replies are read."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from evalkit import (
    AccuracyAt,
    Box,
    Data,
    DataError,
    GoldMask,
    Image,
    MaskIoU,
    Prediction,
    Rule,
    Sample,
    Size,
    Task,
    Unparsed,
    Wants,
    coco_mask,
    mask_box,
    read_boxes,
    read_jsonl,
    read_parquet,
    require,
    sibling,
)

MASKS = "-masks"
THRESHOLD, LEAST = 0.5, 10
HUB_SPLITS = {"val": ("validation",), "test": ("test",), "testA": ("testA", "test"), "testB": ("testB",)}
PLACES = ("train2014", "images/train2014", "images/mscoco/images/train2014", "images", "")

masks = sibling(__file__, "reasonseg")


class Row(NamedTuple):
    """One expression."""

    where: str
    id: int
    expression: str
    image: str
    size: Size
    group: str
    box: Box
    segmentation: Any = None
    """COCO's polygons or run lengths; None in a file of boxes."""


@dataclass(frozen=True, slots=True)
class Set:
    """One of the three sets."""

    name: str
    stem: str
    """What a file of boxes is called, between `REC_` and the split."""
    hub: str
    rows: Mapping[str, int]
    """The splits, the default first, with the number of their expressions."""

    @property
    def variants(self) -> tuple[str, ...]:
        """Every split with boxes to find, then every split with masks."""
        return tuple(split + form for form in ("", MASKS) for split in self.rows)

    def data(self, variant: str) -> Data:
        """Where the rows of a variant are."""
        split = variant.removesuffix(MASKS)
        files = [f"data/{name}-*.parquet" for name in HUB_SPLITS[split]]
        listed = [] if variant.endswith(MASKS) else [f"REC_{self.stem}_{split}.jsonl"]
        return Data(
            hub=(self.hub,),
            files=("|".join([*listed, *files]),),
            licence="Apache-2.0 (REFER's); the photographs have those of Flickr",
            layout=f"{' or '.join([*listed, *files])}, and COCO's train2014/*.jpg beside it",
        )

    def task(self, variant: str, data: Path | None) -> Task:
        """A split, with boxes or masks to find."""
        split, masked, source = variant.removesuffix(MASKS), variant.endswith(MASKS), self.data(variant)

        def samples() -> Iterator[Sample]:
            folder = source.folder(data)
            for path in source.annotations(folder):
                for row in _of_jsonl(path) if path.suffix == ".jsonl" else _of_parquet(path):
                    yield _masked(row, folder) if masked else _boxed(row, folder)

        return Task(
            name=f"{self.name}:{variant}",
            version=1,
            samples=samples,
            rules=MASK_RULES if masked else BOX_RULES,
            headline="ciou" if masked else AccuracyAt(THRESHOLD).name,
            kinds=("mask",) if masked else ("boxes",),
            data=source,
            published={"rows": self.rows[split]},
        )


def _of_jsonl(path: Path) -> Iterator[Row]:
    for number, row in enumerate(read_jsonl(path)):
        where = f"{path}, row {number}"
        texts, numbers = dict.fromkeys(("img_path", "expression"), str), dict.fromkeys(("image_id", "sent_id", "width", "height"), int)
        require(row, {**texts, **numbers, "bbox": list}, where)
        [box] = read_boxes([row["bbox"]], f"bbox of {where}")
        yield Row(where, row["sent_id"], row["expression"], row["img_path"], Size(row["width"], row["height"]), str(row["image_id"]), box)


def _of_parquet(path: Path) -> Iterator[Row]:
    """Every sentence of every row; box, segmentation and size are COCO's own, as `raw_anns` and `raw_image_info` have them."""
    for number, row in enumerate(read_parquet(path, ("sentences", "image_id", "raw_anns", "raw_image_info"))):
        where = f"{path}, row {number}"
        require(row, {"sentences": list, "image_id": int}, where)
        thing, image = (_unpacked(row, key, where) for key in ("raw_anns", "raw_image_info"))
        require(thing, {"bbox": list, "segmentation": (list, dict)}, f"raw_anns of {where}")
        require(image, {"file_name": str, "width": int, "height": int}, f"raw_image_info of {where}")
        [box] = read_boxes([thing["bbox"]], f"raw_anns of {where}", "xywh")
        for sentence in row["sentences"]:
            require(sentence, {"sent": str, "sent_id": int}, f"sentences of {where}")
            size, group = Size(image["width"], image["height"]), str(row["image_id"])
            yield Row(where, sentence["sent_id"], sentence["sent"], image["file_name"], size, group, box, thing["segmentation"])


def _unpacked(row: Mapping[str, Any], key: str, where: str) -> Any:
    try:
        return json.loads(row[key])
    except (TypeError, ValueError) as error:
        raise DataError(f"expected JSON in column {key} of {where}, got {row[key]!r:.60}") from error


def _boxed(row: Row, folder: Path) -> Sample:
    ask = f"Find what this phrase describes in the image: {row.expression}\nAnswer with its bounding box as [x1, y1, x2, y2]."
    return Sample(
        id=str(row.id),
        question=row.expression,
        prompt=ask,
        images=(_image(row, folder),),
        wants=Wants("boxes"),
        target=(row.box,),
        regions=(row.box,),
        group=row.group,
    )


def _masked(row: Row, folder: Path) -> Sample:
    gold = coco_mask(row.segmentation, row.size)
    if isinstance(gold, Unparsed):
        raise DataError(f"expected a mask as COCO's segmentation in raw_anns of {row.where}, got {gold.reason}")
    return Sample(
        id=str(row.id),
        question=row.expression,
        prompt=f"Please segment what this phrase describes in the image: {row.expression}",
        images=(_image(row, folder),),
        wants=Wants("mask", phrase=row.expression),
        target=GoldMask(gold),
        regions=(row.box,),
        group=row.group,
    )


def _image(row: Row, folder: Path) -> Image:
    name = Path(row.image).name
    homes = [folder / place for place in PLACES]
    return Image(next((home / name for home in homes if (home / name).exists()), homes[0] / name), size=row.size)


# ---------------------------------------------------------------- readings


def first(prediction: Prediction, sample: Sample) -> Box | Unparsed:
    """The first box of the reply, in pixels of the original image."""
    if not prediction.evidence:
        return Unparsed(prediction.failure or "no box")
    return prediction.evidence[0].box or Unparsed("a box in an unknown frame")


def only(prediction: Prediction, sample: Sample) -> Box | Unparsed:
    """The one box of the reply."""
    if len(prediction.evidence) > 1:
        return Unparsed(f"{len(prediction.evidence)} boxes where there is one to find")
    return first(prediction, sample)


def tight(prediction: Prediction, sample: Sample) -> Box | Unparsed:
    """The box around the first mask's parts of at least ten pixels, its far corner the last pixel, as UniPixel's `get_min_box` has it."""
    mask = masks.first(prediction, sample)
    if isinstance(mask, Unparsed):
        return Unparsed(mask.reason)
    box = mask_box(mask, LEAST)
    return Box(box.x1, box.y1, box.x2 - 1, box.y2 - 1) if box else Unparsed(f"a mask without a part of {LEAST} pixels")


BOX_RULES = (
    Rule("official", first, AccuracyAt(THRESHOLD), reads="boxes"),
    Rule("strict", only, AccuracyAt(THRESHOLD), reads="boxes"),
)
MASK_RULES = (
    Rule("official", masks.first, MaskIoU(strict=True), reads="masks"),
    Rule("strict", masks.together, MaskIoU(strict=True), reads="masks"),
    Rule("tight_box", tight, AccuracyAt(THRESHOLD), reads="masks"),
)
