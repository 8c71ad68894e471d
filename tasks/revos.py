"""ReVOS: masks of what a text says outright or only implies, over every frame of a video.

Paper: Yan, Wang, Yan, Jiang, Hu, Kang, Xie, Gavves: VISA: Reasoning Video Object Segmentation via Large Language Models. ECCV 2024,
arXiv 2407.11325.

Data: the authors' folder (cilinyan/ReVOS-api): `JPEGImages/VIDEO/FRAME.jpg`, `meta_expressions_valid_.json`, `mask_dict.json` and, for
robustness, `mask_dict_foreground.json`.

Row (`meta_expressions_valid_.json`, `mask_dict.json` and `mask_dict_foreground.json`, cut; names and texts are made up):
    {"videos": {"clip_17": {"expressions": {"0": {"exp": "the dog that runs", "type_id": 0, "anno_id": [2], ...}, ...}, "frames":
     ["00000", ...], "height": 720, "width": 1280}}}     {"2": [{"size": [720, 1280], "counts": "..."}, null, ...], ...}
    {"clip_17": {"masks_rle": [{"size": [720, 1280], "counts": "..."}, ...], "foreground_ratio": [...]}}

Metric: J, F and J&F, means over expressions of means over all frames, apart for `referring` (`type_id` 0) and `reasoning` (1), and
`overall` the plain mean of these two numbers (`tools/eval_revos.py` of cilinyan/VISA). Beside them `pixel_accuracy` and `robustness`,
the authors' A and R: `official` as their code has them, which takes masks of 0 and 255 for ones of 0 and 1, so that a perfect reply's A
is the share of pixels outside the target; `strict` as they are meant. Both are read as in `_rvos.py`, except that under `official` an
expression of which any frame lacks a mask is 0 in all four, as their script has it where it fails to read a frame (UniPixel's
`eval_revos.py` too), and counted as unparsed. Ids: VIDEO/EXPRESSION.

Headline: j_and_f, `official`, overall. `evalkit export` writes VIDEO/EXPRESSION/FRAME.png, which the authors' script reads.

Departures: the authors round each expression's percent to two digits, and add up the bytes of objects that lie over each other, which
changes A and R; here those are one region. Expressions of `type_id` 2 enter none of the authors' numbers and are not asked.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from evalkit import Data, DataError, Robustness, Rule, Sample, Task, read_json, require, sibling

VARIANTS: tuple[str, ...] = ()

DATA = Data(
    hub=(),
    files=("meta_expressions_valid_.json", "mask_dict.json"),
    licence="not stated",
    layout="JPEGImages, meta_expressions_valid_.json, mask_dict.json, mask_dict_foreground.json, from github.com/cilinyan/ReVOS-api",
)
GROUPS = {0: "referring", 1: "reasoning"}
NEITHER = 2

# `UNIFIED_SHORT_QUESTION_LIST[0]` and `UNIFIED_LONG_QUESTION_LIST[0]` of VISA's `utils/utils.py`, without the frames before them
EACH = "segmentation masks for each frame and for the entire video separately."
PHRASE = f"What is {{}} in the Reference Video? Please respond with {EACH}"
QUESTION = f"{{}} Please find it in the Reference Video and respond with {EACH}"


def task(variant: str, data: Path | None) -> Task:
    """ReVOS' validation set; there are no variants."""
    rvos = sibling(__file__, "_rvos")
    robust = (
        Rule("official", rvos.whole, Robustness(coded=True), reads="masks", optional=True),
        Rule("strict", rvos.exact, Robustness(), reads="masks", optional=True),
    )
    return Task(
        name="revos",
        version=1,
        samples=lambda: samples(DATA.folder(data)),
        rules=(*rvos.rules(read=rvos.whole), *robust),
        headline="j_and_f",
        kinds=("mask",),
        data=DATA,
        export=rvos.folders,
        composites=rvos.means(tuple(GROUPS.values()), "j_and_f", "j", "f", "pixel_accuracy", "robustness"),
    )


def samples(folder: Path) -> Iterator[Sample]:
    """The expressions of both groups, in the order of the file."""
    rvos, place, beside = sibling(__file__, "_rvos"), folder / "mask_dict.json", folder / "mask_dict_foreground.json"
    masks, foregrounds = read_json(place), read_json(beside) if beside.exists() else None
    for expression in rvos.expressions(folder / "meta_expressions_valid_.json"):
        require(expression.row, {"type_id": int}, expression.where)
        if expression.row["type_id"] == NEITHER:
            continue
        if expression.row["type_id"] not in GROUPS:
            raise DataError(f"expected a type_id of 0, 1 or 2 in {expression.where}, got {expression.row['type_id']}")
        gold = rvos.annotated(expression, masks, str(place))
        if foregrounds is not None:
            require(foregrounds, [expression.video], str(beside))
            require(foregrounds[expression.video], {"masks_rle": list}, f"{beside}, video {expression.video}")
            rows = foregrounds[expression.video]["masks_rle"]
            gold = replace(gold, foreground=rvos.Annotated(rows, gold.count, f"{beside}, video {expression.video}"))
        text = expression.text.lower()
        prompt = (QUESTION if text.endswith("?") else PHRASE).format(text)
        images = rvos.jpegs(expression, folder / "JPEGImages")
        yield rvos.sample(expression, images, gold, prompt, [GROUPS[expression.row["type_id"]]])
