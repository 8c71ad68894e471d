"""MeViS: masks of what an expression says about motion, "the bird flying away", one object, several or none.

Paper: Ding, Liu, He, Jiang, Loy: MeViS: A Large-scale Benchmark for Video Segmentation with Motion Expressions. ICCV 2023, arXiv
2308.08544; its second version: Ding, Liu, He, Ying, Jiang, Loy, Jiang: MeViS: A Multi-Modal Dataset for Referring Motion Expression
Video Segmentation. TPAMI 2025.

Data: the authors' folders (links in the README of henghuiding/MeViS), each with `JPEGImages/VIDEO/FRAME.jpg` and
`meta_expressions.json`: `valid_u`, 50 videos, with `mask_dict.json`, and `valid`, 140 videos, whose masks a server has. In the second
version they hold 907 and 2,523 expressions.

Row (`valid_u/meta_expressions.json` and `mask_dict.json`, cut):
    {"videos": {"377b1c5f365c": {"expressions": {"0": {"exp": "4 lizards moving around", "obj_id": [0, 1, 2, 3], "anno_id": [2, 3,
     4, 5]}, ...}, "frames": ["00000", "00001", ...]}}}     {"2": [{"size": [720, 1280], "counts": "..."}, null, ...], ...}

Metric: J, F and J&F, means over expressions of means over all frames (`tools/eval_mevis.py`); the masks of an expression's objects are
one. A video without any mask in the reply is 0. `official`, `strict` and `coverage` are told apart in `_rvos.py`. Ids: VIDEO/EXPRESSION.

Headline: j_and_f, `official`, overall. `valid` has no number but `coverage`: `evalkit export` writes VIDEO/EXPRESSION/FRAME.png, to be
packed from within (`zip -r ../submission.zip *`).

Departures: a reply with fewer masks than frames makes the authors' script fail; here the others are empty. Objects that lie over each
other are one region, where the authors add up bytes. What their second server counts beside J&F is not read in a source.
"""

from collections.abc import Iterator
from pathlib import Path

from evalkit import Data, GoldVideo, Sample, Task, read_json, sibling

VARIANTS = ("valid_u", "valid")
LAYOUT = "{0}/JPEGImages, {0}/meta_expressions.json{1}, from the links in the README of github.com/henghuiding/MeViS"
SPLITS = {
    "valid_u": Data(
        hub=(),
        files=("valid_u/meta_expressions.json", "valid_u/mask_dict.json"),
        licence="not stated",
        layout=LAYOUT.format("valid_u", " and valid_u/mask_dict.json"),
    ),
    "valid": Data(hub=(), files=("valid/meta_expressions.json",), licence="not stated", layout=LAYOUT.format("valid", "")),
}
DATA = SPLITS["valid_u"]


def task(variant: str, data: Path | None) -> Task:
    """MeViS' `valid_u` or `valid`."""
    source, rvos, public = SPLITS[variant], sibling(__file__, "_rvos"), variant == "valid_u"
    return Task(
        name=f"mevis:{variant}",
        version=1,
        samples=lambda: samples(source.folder(data) / variant),
        rules=rvos.rules() if public else rvos.submitted(),
        headline="j_and_f" if public else "coverage",
        kinds=("mask",),
        data=source,
        export=rvos.folders,
        notes=() if public else (rvos.HIDDEN,),
    )


def samples(folder: Path) -> Iterator[Sample]:
    """The expressions of a split's folder, with its masks where they are public."""
    rvos, place = sibling(__file__, "_rvos"), folder / "mask_dict.json"
    masks = read_json(place) if folder.name == "valid_u" else None
    for expression in rvos.expressions(folder / "meta_expressions.json"):
        hidden = GoldVideo(len(expression.frames), hidden=True, name=expression.name)
        gold = hidden if masks is None else rvos.annotated(expression, masks, str(place))
        yield rvos.sample(expression, rvos.jpegs(expression, folder / "JPEGImages"), gold)
