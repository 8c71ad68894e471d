"""GroundMoRe: masks that answer a question about motion, and only while what is asked about happens.

Paper: Deng, Chen, Yu, Yang, Spencer, Tian, Mian, Bansal, Chen: Motion-Grounded Video Reasoning: Understanding and Perceiving Motion at
Pixel Level. CVPR 2025, arXiv 2411.09921.

Data: the test set as the authors' script reads it (dengandong/GroundMoRe, `evaluate_groundmore.py`): `groundmore_test.json` and
`groundmore_videos/VIDEO/images/`, the frames at 6 a second, with `groundmore_videos/VIDEO/masks/frame_000012.png`, label images by the
number of the frame, none where nothing is to be seen. A video's name ends in the minutes and seconds of its clip, `_0010_0025`. The files
are at `groundmore/GroundMoRe` on the hub; in what form they are packed there, and how many rows they have, is not read in a source.

Row (`groundmore_test.json`, cut; names and texts are made up):
    {"videos": {"kitchen_0010_0025": {"questions": {"0": {"question": "What is lifted before the lid falls?", "answer": "the pan", "obj_id":
     "2", "q_type": "Sequential", "action_start": "0:12", "action_end": "0:18"}, ...}}}}

Metric: J, F and J&F over 20 frames, evenly spread from the first to the last; gold masks are empty outside the action, which lasts from
(action_start - clip's start) * 6 to (action_end - clip's start) * 6 - 1. Means over questions of means over these frames (the authors'
nanmean meets no nan), and over those of each type: `causal`, `sequential`, `counterfactual`, `descriptive`. The model is shown the 20
frames. `official`, `strict` and `coverage` are told apart in `_rvos.py`. Ids: VIDEO/QUESTION.

Headline: j_and_f, `official`, overall. `evalkit export` writes VIDEO/QUESTION/FRAME.png, as UniPixel does.

Departures: the authors take frames in the order in which the file system lists them; here they are sorted. They leave out a video without
frames; here that is an error.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evalkit import Data, DataError, GoldVideo, Image, Sample, Size, Task, read_json, require, resolve, sibling

VARIANTS: tuple[str, ...] = ()

DATA = Data(
    hub=(),
    files=("groundmore_test.json",),
    licence="not stated",
    layout="groundmore_test.json and groundmore_videos/VIDEO with images and masks, as evaluate_groundmore.py of "
    "github.com/dengandong/GroundMoRe reads them",
)
FRAMES, RATE = 20, 6
IMAGES = (".jpg", ".jpeg", ".png")
CLIP = re.compile(r"(\d\d)(\d\d)_(\d\d)(\d\d)\Z")
TIME = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+)")


def task(variant: str, data: Path | None) -> Task:
    """GroundMoRe's test set; there are no variants."""
    rvos = sibling(__file__, "_rvos")
    return Task(
        name="groundmore",
        version=1,
        samples=lambda: samples(DATA.folder(data)),
        rules=rvos.rules(),
        headline="j_and_f",
        kinds=("mask",),
        data=DATA,
        export=rvos.folders,
    )


def samples(folder: Path) -> Iterator[Sample]:
    """The questions, in the order of the file."""
    rvos, path = sibling(__file__, "_rvos"), folder / "groundmore_test.json"
    content = read_json(path)
    require(content, {"videos": dict}, str(path))
    for video, about in content["videos"].items():
        require(about, {"questions": dict}, f"{path}, video {video}")
        place, clip = folder / "groundmore_videos" / video, CLIP.search(video)
        files = sorted(path for path in (place / "images").glob("*") if path.suffix.lower() in IMAGES)
        if not clip or not files:
            expected = f"expected a clip's name such as kitchen_0010_0025, and its frames in {place / 'images'}"
            raise DataError(f"{expected}, got '{video}' and {len(files)} frames")
        chosen = evenly(len(files))
        images = tuple(Image(files[number]) for number in chosen)
        size = resolve(images[0]).size
        begun = int(clip[1]) * 60 + int(clip[2])
        for name, row in about["questions"].items():
            where = f"{path}, video {video}, question {name}"
            require(row, {"question": str, "q_type": str, "obj_id": (str, int), "action_start": str, "action_end": str}, where)
            first, last = (seconds(row["action_start"], where) - begun) * RATE, (seconds(row["action_end"], where) - begun) * RATE - 1
            paths = [drawn(place / "masks", number) if first <= number <= last else None for number in chosen]
            gold = gold_of(rvos, paths, row, size, f"{video}/{name}", path)
            expression = rvos.Expression(video, name, row["question"].strip(), tuple(path.stem for path in files), row, about, where)
            prompt = f"{expression.text} Please respond with masks."
            yield rvos.sample(expression, images, gold, prompt, [row["q_type"].lower()], "question")


def gold_of(rvos: Any, paths: Sequence[Path | None], row: dict[str, Any], size: Size | None, name: str, file: Path) -> GoldVideo:
    """The gold of a question: the object's pixels in the frames in which there is something to be seen."""
    label = str(row["obj_id"])
    if not label.isdecimal():
        raise DataError(f"expected an object's number as obj_id of question {name}, got {label!r:.60} in {file}")
    return GoldVideo(len(paths), (rvos.Drawn(paths, int(label)),), size, name=name)


def drawn(folder: Path, number: int) -> Path | None:
    """The label image of a frame, where there is one."""
    path = folder / f"frame_{number:06}.png"
    return path if path.exists() else None


def evenly(count: int) -> list[int]:
    """The numbers of the 20 frames of a video of so many; where it has fewer, some come twice."""
    import numpy as np

    numbers: list[int] = np.linspace(0, count - 1, num=FRAMES, dtype=int).tolist()
    return numbers


def seconds(text: str, where: str) -> int:
    """The seconds of a time as [[hours:]minutes:]seconds."""
    match = TIME.fullmatch(text.strip())
    if not match:
        raise DataError(f"expected a time such as 0:12 in {where}, got {text!r:.60}")
    hours, minutes, rest = (int(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + rest
