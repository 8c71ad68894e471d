"""Refer-YouTube-VOS: masks of an object that an expression names, over a video's frames; a server has the gold.

Paper: Seo, Lee, Han: URVOS: Unified Referring Video Object Segmentation Network with a Large-Scale Benchmark. ECCV 2020.

Data: the competition's folder (link in `docs/data.md` of wjn922/ReferFormer): `meta_expressions/valid/meta_expressions.json` and
`meta_expressions/test/meta_expressions.json`, `valid/JPEGImages/VIDEO/FRAME.jpg`. The file of the validation set holds the videos of the
test set too, which the other file tells: 202 are left. Every fifth frame is there.

Row (`meta_expressions/valid/meta_expressions.json`, cut; the text is made up):
    {"videos": {"0062f687f1": {"expressions": {"0": {"exp": "a fish on the left"}, ...}, "frames": ["00000", "00005", ...]}}}

Metric: J, F and J&F, which the server gives. Here is only `coverage`, the share of frames for which a reply has a mask (`_rvos.py`).
Ids: VIDEO/EXPRESSION.

Headline: coverage, `official`, overall; it says whether there is something to submit, not how good it is. `evalkit export` writes
Annotations/VIDEO/EXPRESSION/FRAME.png, to be packed as it is (`zip -q -r submission.zip Annotations`).

Departures: none in what is submitted; a frame without a mask is black.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from evalkit import Data, GoldVideo, Sample, Task, read_json, require, sibling

VARIANTS: tuple[str, ...] = ()

DATA = Data(
    hub=(),
    files=("meta_expressions/valid/meta_expressions.json", "meta_expressions/test/meta_expressions.json"),
    licence="not stated",
    layout="meta_expressions/valid and /test with meta_expressions.json each, and valid/JPEGImages, as docs/data.md of "
    "github.com/wjn922/ReferFormer has them",
)


def task(variant: str, data: Path | None) -> Task:
    """Refer-YouTube-VOS' validation set; there are no variants."""
    rvos = sibling(__file__, "_rvos")
    return Task(
        name="ref_youtube_vos",
        version=1,
        samples=lambda: samples(DATA.folder(data)),
        rules=rvos.submitted(),
        headline="coverage",
        kinds=("mask",),
        data=DATA,
        export=export,
        notes=(rvos.HIDDEN,),
    )


def samples(folder: Path) -> Iterator[Sample]:
    """The expressions about the videos of the validation set alone, sorted by video as the authors of its readers have them."""
    rvos = sibling(__file__, "_rvos")
    valid, test = (folder / place for place in DATA.files)
    others = read_json(test)
    require(others, {"videos": dict}, str(test))
    for expression in sorted(rvos.expressions(valid), key=lambda expression: str(expression.video)):
        if expression.video not in others["videos"]:
            gold = GoldVideo(len(expression.frames), hidden=True, name=expression.name)
            yield rvos.sample(expression, rvos.jpegs(expression, folder / "valid" / "JPEGImages"), gold)


def export(pairs: Iterable[tuple[Sample, Mapping[str, Any]]], folder: Path) -> list[Path]:
    """The folder `Annotations` of a submission."""
    sibling(__file__, "_rvos").folders(pairs, folder / "Annotations")
    return [folder / "Annotations"]
