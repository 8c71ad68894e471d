"""PixelQA: an object that a point or a box marks in one frame of a video is to be masked in all, and a question about it answered.

Paper: Liu et al.: UniPixel: Unified Object Referring and Segmentation for Pixel-Level Visual Reasoning. 2025, arXiv 2509.18094.

Data: VideoRefer-Bench-Q (`DAMO-NLP-SG/VideoRefer-Bench` on the hub, Apache-2.0), 1000 rows; see `videorefer.py` for its layout.

Row (`VideoRefer-Bench-Q.json`):
    {"id": 0, "video": "DAVIS/JPEGImages/480p/aerobatics", "Question": "What is <object3><region> not wearing?", "type": "Basic Questions",
     "options": ["(A) A helmet", "(B) A hat", "(C) Sunglasses", "(D) A watch"], "Answer": "(A) A helmet", "frame_idx": "57",
     "annotation": [{"0": {"segmentation": {"size": [480, 854], "counts": "..."}}, "3": {"segmentation": {...}}, ...}]}

What is shown: 16 of the frames that are annotated, as in VideoRefer-Bench. `given` holds object by object its frames, on that of
`frame_idx` a point (`point`) or a box (`box`), on the others None: of the object's mask there the pixel that lies deepest inside, or the
first and the last pixel across and down. A model that takes regions as values gets them so (docs/masks.md), any other is told. A reply is
an option's letter, and a mask for each frame shown, object by object in the order of the question.

Metric (PolyU-ChenLab/UniPixel, `infer_pixelqa.py`): `accuracy` of the letter, `official` by its `check_ans`, `strict` by evalkit's parser;
and for each object, its frames taken as one volume, `j`, the IoU, `pixel_f1`, the F1 score of pixels, which UniPixel's tables call F,
and `j_and_pixel_f1`, their mean, under `volume`. `davis` has of the same masks what F and J are elsewhere: `f`, of boundaries,
`j` and `j_and_f`, frame by frame, means over the frames of each object. Not as many masks as objects times frames, or one of another
size, are none.

Headline: accuracy, `official`, overall.

Ids: the row's place in the file, from 0. Clusters: the video.

Departures: UniPixel takes two turns: asked "QUESTION. Please localize the relevant objects with IDs." it makes the masks, and with
those in its memory is asked the question. Here both are asked for in one, as the protocol `segment` words it; the sentence that says
which frame is marked is ours, and objects are numbered from 0. Points and boxes are found at the masks' own size, by UniPixel after
a resize to that of its segmenter. Its third way, `mix`, draws without a seed which object has which, and is left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit import (
    Accuracy,
    Box,
    Columns,
    DataError,
    Estimate,
    GoldAnswer,
    Mask,
    PixelF1,
    Point,
    Prediction,
    Record,
    Rule,
    Sample,
    Task,
    Unparsed,
    UserError,
    Wants,
    decode_mask,
    fitted_mask,
    mask_box,
    region_and_boundary,
    sibling,
    stats,
)

shared = sibling(__file__, "_videorefer")

VARIANTS = ("point", "box")
DATA = shared.DATA["Q"]


def task(variant: str, data: Path | None) -> Task:
    """PixelQA, its objects marked by points or by boxes."""
    return Task(
        name=f"pixelqa:{variant}",
        version=1,
        samples=lambda: samples(DATA.folder(data), variant == "point"),
        rules=(
            Rule("official", shared.first_word, Accuracy()),
            Rule("strict", shared.strict, Accuracy()),
            Rule("volume", volumes, PixelF1(), reads="masks"),
            Rule("davis", volumes, FrameByFrame(), reads="masks"),
        ),
        headline="accuracy",
        kinds=("choice", "mask"),
        data=DATA,
        published={"rows": 1000},
    )


def samples(folder: Path, pointed: bool) -> Iterator[Sample]:
    """The rows, with what marks their objects."""
    for row in shared.rows("Q", folder, {"Question": str, "type": str, "options": list, "Answer": str}):
        asked = shared.asked(row, renumbered=True)
        masks = [volume[row.prompted] for volume in row.volumes]
        marks = [_point(mask, row.where) if pointed else _box(mask, row.where) for mask in masks]
        names = ", ".join(f"[{number}]" for number in asked.numbers)
        listed = f"Marked in frame <{row.prompted + 1}> of {len(row.frames)}: {names}.\n{asked.listed}"
        yield Sample(
            id=str(row.number),
            question=asked.question,
            prompt=listed + shared.ASK,
            images=row.frames,
            wants=Wants("choice", also=("mask",), form="video", phrase=listed, phrasing="question"),
            target=GoldAnswer(asked.answer, row.volumes),
            options=asked.options,
            given=tuple(mark if place == row.prompted else None for mark in marks for place in range(len(row.frames))),
            tags=frozenset({shared.tag(row)}),
            group=row.values["video"],
        )


def volumes(prediction: Prediction, sample: Sample) -> list[list[Mask]] | Unparsed:
    """The masks of each object on the frames, as many of each as the gold has."""
    gold = sample.target.volumes
    expected = sum(len(volume) for volume in gold)
    if not prediction.masks:
        return Unparsed(prediction.failure or "no mask")
    if len(prediction.masks) != expected:
        return Unparsed(f"{len(prediction.masks)} masks for {len(gold)} objects on {len(gold[0])} frames")
    fitted = [fitted_mask(mask, gold[0][0].size) for mask in prediction.masks]
    if unfit := [mask for mask in fitted if isinstance(mask, Unparsed)]:
        return unfit[0]
    return [fitted[place : place + len(gold[0])] for place in range(0, expected, len(gold[0]))]


@dataclass(frozen=True, slots=True)
class FrameByFrame:
    """`j_and_f`, `j` and `f`: DAVIS' measures of region and boundary, means over the frames of each object, then over all objects."""

    @property
    def name(self) -> str:
        return "frame_by_frame"

    def measure(self, value: Sequence[Sequence[Mask]] | None, sample: Sample) -> Record:
        """The sums of `j` and `f` over the sample's `objects`, and their number; no masks (None) score 0."""
        gold = sample.target.volumes
        sums = {"j": 0.0, "f": 0.0}
        for pair in zip(value, gold, strict=True) if value is not None else ():
            frames = [region_and_boundary(mask, like) for mask, like in zip(*pair, strict=True)]
            for name, column in zip(sums, zip(*frames, strict=True), strict=True):
                sums[name] += float(sum(column)) / len(frames)
        return {**sums, "objects": float(len(gold))}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """The three means, with clustered bootstrap intervals."""
        j, f, objects = (stats.column(records, name) for name in ("j", "f", "objects"))
        pairs = {"j_and_f": (j + f) / 2, "j": j, "f": f}
        return {name: stats.ratio(sums, objects, records.group, bounded=True) for name, sums in pairs.items()}


def _point(mask: Any, where: str) -> Point:
    """The pixel of the mask that is farthest from all that is outside, the image's border included; of several the first."""
    try:
        import cv2
    except ImportError as error:
        raise UserError("PixelQA's points are found by OpenCV, which is not installed: pip install 'evalkit[segmentation]'") from error
    import numpy as np

    pixels = np.pad(decode_mask(mask).astype(np.uint8), 1)
    if not pixels.any():
        raise DataError(f"expected a mask on the frame of frame_idx in {where}, got an empty one")
    y, x = divmod(int(cv2.distanceTransform(pixels, cv2.DIST_L2, 0)[1:-1, 1:-1].argmax()), mask.size.width)
    return Point(x, y)


def _box(mask: Any, where: str) -> Box:
    box = mask_box(mask)
    if box is None:
        raise DataError(f"expected a mask on the frame of frame_idx in {where}, got an empty one")
    return Box(box.x1, box.y1, box.x2 - 1, box.y2 - 1)
