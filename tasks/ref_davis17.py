"""Ref-DAVIS17: masks of an object that an expression names, over every frame of a video.

Paper: Khoreva, Rohrbach, Schiele: Video Object Segmentation with Language Referring Expressions. ACCV 2018, arXiv 1803.08006, on the
videos of DAVIS 2017 (Pont-Tuset et al., arXiv 1704.00675).

Data: the 30 validation videos in the form that ReferFormer makes of the authors' files (wjn922/ReferFormer, `docs/data.md` and
`tools/data/convert_davis_to_ytvos.py`): `meta_expressions/valid/meta_expressions.json`, `valid/JPEGImages/VIDEO/FRAME.jpg` and
`valid/Annotations/VIDEO/FRAME.png`, label images of the objects. Each object has four expressions, from two annotators who saw the first
frame and then the whole video.

Row (`meta_expressions.json`, cut; the texts are made up):
    {"videos": {"goldfish": {"expressions": {"0": {"exp": "a fish on the left", "obj_id": "1"}, ..., "4": {"exp": "a fish below", "obj_id":
     "2"}, ...}, "frames": ["00000", "00001", ...]}}}

Metric: J, F and J&F of each expression alone, means over its frames, over objects and over the four sets of expressions, which are the
subsets `anno_0` (first annotator, first frame), `anno_1` (the same, whole video), `anno_2` and `anno_3` (second annotator); as VISA's
`tools/eval_davis17.py` and those after it have it, hence the rule's name `per-expression`. It and `strict` are told apart in `_rvos.py`.
Ids: VIDEO/EXPRESSION.

Headline: j_and_f, `per-expression`, overall. `evalkit export` writes VIDEO/EXPRESSION/FRAME.png, which those scripts read.

Departures: ReferFormer lays the objects of one set over each other by how sure its model is, matches them to the gold by their score
(`eval_davis.py`) and takes the mean of four such numbers; masks alone do not say what lies on top, so that its number is not given.
"""

from collections.abc import Iterator
from pathlib import Path

from evalkit import Data, DataError, GoldVideo, Sample, Size, Task, require, sibling

VARIANTS: tuple[str, ...] = ()

DATA = Data(
    hub=(),
    files=("meta_expressions/valid/meta_expressions.json",),
    licence="not stated",
    layout="meta_expressions/valid/meta_expressions.json, valid/JPEGImages and valid/Annotations, as docs/data.md of "
    "github.com/wjn922/ReferFormer makes them",
)
SETS = 4


def task(variant: str, data: Path | None) -> Task:
    """Ref-DAVIS17's validation set; there are no variants."""
    rvos = sibling(__file__, "_rvos")
    return Task(
        name="ref_davis17",
        version=1,
        samples=lambda: samples(DATA.folder(data)),
        rules=rvos.rules("per-expression"),
        headline="j_and_f",
        kinds=("mask",),
        data=DATA,
        export=rvos.folders,
    )


def samples(folder: Path) -> Iterator[Sample]:
    """The expressions, in the order of the file: those of one object after each other."""
    rvos, valid = sibling(__file__, "_rvos"), folder / "valid"
    for expression in rvos.expressions(folder / DATA.files[0]):
        require(expression.row, {"obj_id": (str, int)}, expression.where)
        label = str(expression.row["obj_id"])
        if not label.isdecimal():
            raise DataError(f"expected an object's number as obj_id in {expression.where}, got {label!r:.60}")
        paths = [valid / "Annotations" / expression.video / f"{frame}.png" for frame in expression.frames]
        if lacking := [path for path in paths if not path.is_file()]:
            expected = f"expected an image of labels for each frame of {expression.video}"
            raise DataError(f"{expected}, found none at {lacking[0]}: {expression.where}")
        height, width = rvos.labels(paths[0]).shape
        gold = GoldVideo(len(paths), (rvos.Drawn(paths, int(label)),), Size(width, height), name=expression.name)
        place = list(expression.about["expressions"]).index(expression.id)
        yield rvos.sample(expression, rvos.jpegs(expression, valid / "JPEGImages"), gold, tags=[f"anno_{place % SETS}"])
