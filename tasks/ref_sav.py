"""Ref-SAV: masks of an object that a long description tells of, over frames of the videos of SA-V.

Paper: Yuan, Li, Zhang, Huang, Xu, Ji, Tong, Qi, Feng, Yang: Sa2VA: Marrying SAM2 with LLaVA for Dense Grounded Understanding of Images
and Videos. 2025, arXiv 2501.04001.

Data: the authors' evaluation folder (bytedance/Sa2VA): `meta_expressions_valid.json`, `mask_dict.json` and `videos/sav_055/
sav_055123.mp4`, a folder for each thousand videos. A frame's name is its number in the video behind one more digit, as the authors'
reader has it (`projects/sa2va/evaluation/dataset/ref_sav.py`). How many rows there are is not read in a source.

Row (`meta_expressions_valid.json` and `mask_dict.json`, cut; the text is made up):
    {"videos": {"sav_055123": {"expressions": {"0": {"exp": "The object is a red ball that ...", "type_id": 0, "anno_id": ["12"]}, ...},
     "frames": ["00000", "00004", ...], "height": 848, "width": 480}}}     {"12": [{"size": [848, 480], "counts": "..."}, null, ...], ...}

Metric: J, F and J&F, means over expressions of means over frames, apart for `long` (`type_id` 0) and `short` (1), and `overall` the plain
mean of these two numbers (`tools/eval/eval_ref_sav.py`). `official`, `strict` and `coverage` are told apart in `_rvos.py`. Ids:
VIDEO/EXPRESSION.

Headline: j_and_f, `official`, overall. `evalkit export` writes results.json, which the authors' script reads.

Departures: the authors round each expression's percent to two digits. Their pixel accuracy A is left out.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from evalkit import Data, DataError, Image, Sample, Still, Task, encode_mask, read_json, require, sibling

VARIANTS: tuple[str, ...] = ()

DATA = Data(
    hub=(),
    files=("meta_expressions_valid.json", "mask_dict.json"),
    licence="not stated",
    layout="meta_expressions_valid.json, mask_dict.json and videos/sav_055/sav_055123.mp4, what github.com/bytedance/Sa2VA has as "
    "data/ref_sav_eval",
)
GROUPS = {0: "long", 1: "short"}
FOLDER = len("sav_055")


def task(variant: str, data: Path | None) -> Task:
    """Ref-SAV's evaluation set; there are no variants."""
    rvos = sibling(__file__, "_rvos")
    return Task(
        name="ref_sav",
        version=1,
        samples=lambda: samples(DATA.folder(data)),
        rules=rvos.rules(),
        headline="j_and_f",
        kinds=("mask",),
        data=DATA,
        export=export,
        composites=rvos.means(tuple(GROUPS.values()), "j_and_f", "j", "f"),
    )


def samples(folder: Path) -> Iterator[Sample]:
    """The expressions of both groups, in the order of the file."""
    rvos, place = sibling(__file__, "_rvos"), folder / "mask_dict.json"
    masks = read_json(place)
    for expression in rvos.expressions(folder / "meta_expressions_valid.json"):
        require(expression.about, {"height": int, "width": int}, expression.where)
        require(expression.row, {"type_id": int}, expression.where)
        if expression.row["type_id"] not in GROUPS:
            raise DataError(f"expected a type_id of 0 or 1 in {expression.where}, got {expression.row['type_id']}")
        if unclear := [frame for frame in expression.frames if not frame[1:].isdecimal()]:
            raise DataError(f"expected a digit and a frame's number as its name in {expression.where}, got {unclear[0]!r:.60}")
        video = Image(folder / "videos" / expression.video[:FOLDER] / f"{expression.video}.mp4")
        yield rvos.sample(
            expression,
            [video.derive(Still(int(frame[1:]))) for frame in expression.frames],
            rvos.annotated(expression, masks, str(place)),
            f"Please segment the object according to the description: {expression.text}",
            [GROUPS[expression.row["type_id"]]],
            "description",
        )


def export(pairs: Iterable[tuple[Sample, Mapping[str, Any]]], folder: Path) -> list[Path]:
    """results.json: the masks of every video's expressions, empty ones where the reply has none."""
    import numpy as np

    rvos, results = sibling(__file__, "_rvos"), dict[str, Any]()
    for sample, row in pairs:
        video, _, expression = sample.id.rpartition("/")
        size = sample.target.size
        empty = encode_mask(np.zeros((size.height, size.width)))
        masks = [{"size": [size.height, size.width], "counts": (mask or empty).counts} for mask in rvos.of_row(sample, row)]
        results.setdefault(video, {})[expression] = {"exp": sample.question, "prediction_masks": masks}
    path = folder / "results.json"
    path.write_text(json.dumps(results), encoding="utf-8")
    return [path]
