"""MVBench: twenty kinds of questions about what moves and changes in short videos, as multiple choice.

Paper: Li, Wang, He, Li, Wang, Liu, Wang, Xu, Chen, Luo, Wang, Qiao: MVBench: A Comprehensive Multi-modal Video Understanding
Benchmark. CVPR 2024, arXiv 2311.17005.

Data: one of
- `OpenGVLab/MVBench` on the hub: `json/*.json`, one file a task, 200 rows each, 4000 in all, and the videos' archives in `video/`,
  unpacked where they lie, so that they are where `mvbench.ipynb` has them: `video/star/Charades_v1_480/ZS9XR.mp4` and so on, see
  `PLACES`. NTU's (`nturgbd`) must be asked for there. Of episodic_reasoning the frames are a folder of JPEGs at 3 a second.
- `JasperHaozhe/MVBench-EvalData-PixelReasoner`: Pixel Reasoner's rows, `*.parquet` and `images.zip`, with the frames as images.
  Its rows do not say their task, as far as its readers show; how the options stand in its questions is not read in a source.
The annotations are MIT's; the videos have the licences of their eleven sources.

Row (`json/action_sequence.json`; start and end, in seconds, only of four tasks more; episodic_reasoning has a subtitle too):
    {"video": "ZS9XR.mp4", "question": "What happened after the person took the food?", "candidates": ["Ate the medicine.",
     "Tidied up the blanket.", "Put down the cup/glass/bottle.", "Took the box."], "answer": "Ate the medicine.", "start": 1.5, "end": 17.1}

Metric: accuracy over all rows, and of each of the twenty tasks (`video_chat2/mvbench.ipynb` of OpenGVLab/Ask-Anything: the average
is the share of right rows, which is the mean of the tasks where each has as many). `official` is its `check_ans`: the first word of the
reply's first line, behind the bracket of its forced beginning, holds "(b)" or lies in it. `strict` is evalkit's parser. The
frames are 16, chosen by the authors' rule (`frames`), between start and end where a row has them.

Headline: accuracy, `official`, overall.

Departures: the authors force the reply to begin with "Best option:("; here it begins as the model likes. An empty reply, which lies
in every option and so is right with them, is unparsed, and a first word that holds several options is read as the first of
them. Frames keep their size. Ids are `task:row`, the row from 0, or `qid`.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evalkit import (
    Accuracy,
    Data,
    DataError,
    Image,
    Prediction,
    Rule,
    Sample,
    Task,
    Unparsed,
    Wants,
    frame_numbers,
    frames,
    parsers,
    read_json,
    require,
    sibling,
)

VARIANTS: tuple[str, ...] = ()

DATA = Data(
    hub=("OpenGVLab/MVBench", "JasperHaozhe/MVBench-EvalData-PixelReasoner"),
    files=("json/*.json|*.parquet|*.json",),
    licence="MIT (annotations); the videos have those of their sources",
    layout="json/*.json and video/ with its archives unpacked, or *.parquet and images.zip",
)

FRAMES = 16
LETTERS = "ABCDEFGH"
MOST = 5  # options of a question
FRAMED, RATE = "episodic_reasoning", 3  # its videos are folders of frames, so many a second

# `data_list` of mvbench.ipynb
PLACES = {
    "action_antonym": "ssv2_video",
    "action_count": "perception/videos",
    "action_localization": "sta/sta_video",
    "action_prediction": "star/Charades_v1_480",
    "action_sequence": "star/Charades_v1_480",
    "character_order": "perception/videos",
    "counterfactual_inference": "clevrer/video_validation",
    "egocentric_navigation": "vlnqa",
    "episodic_reasoning": "tvqa/frames_fps3_hq",
    "fine_grained_action": "Moments_in_Time_Raw/videos",
    "fine_grained_pose": "nturgbd",
    "moving_attribute": "clevrer/video_validation",
    "moving_count": "clevrer/video_validation",
    "moving_direction": "clevrer/video_validation",
    "object_existence": "clevrer/video_validation",
    "object_interaction": "star/Charades_v1_480",
    "object_shuffle": "perception/videos",
    "scene_transition": "scene_qa/video",
    "state_change": "perception/videos",
    "unexpected_action": "FunQA_test/test",
}
PUBLISHED = {"rows": 4000} | dict.fromkeys(PLACES, 200)

BEGINNING = (
    "Carefully watch the video and pay attention to the cause and sequence of events, the detail and movement of objects, and the "
    "action and pose of persons. Based on your observations, select the best option that accurately addresses the question.\n"
)
OPTION = re.compile(r"^\s*\(?([A-H])[).:]\s*(\S.*?)\s*$", re.MULTILINE)
LETTER = re.compile(r"\(?([A-H])\)?")


def task(variant: str, data: Path | None) -> Task:
    """MVBench; there are no variants."""
    return Task(
        name="mvbench",
        version=1,
        samples=lambda: samples(DATA.folder(data)),
        rules=(Rule("official", official, Accuracy()), Rule("strict", strict, Accuracy())),
        headline="accuracy",
        kinds=("choice",),
        data=DATA,
        published=PUBLISHED,
    )


def samples(folder: Path) -> Iterator[Sample]:
    """The rows of every annotation file, in the order of the files' names."""
    for path in DATA.annotations(folder):
        yield from _of_parquet(path) if path.suffix == ".parquet" else _of_json(path, folder / "video")


def official(prediction: Prediction, sample: Sample) -> str | Unparsed:
    """The letter of the first option that the first word holds or lies in, as the authors compare them."""
    if prediction.answer is None:
        return Unparsed(prediction.failure)
    first = prediction.answer.strip().split("\n")[0].lower().split(" ")[0]
    word, bare = f"({first}", f"({first}".replace(".", "")
    letters = LETTERS[: len(sample.options or _options(sample.question))]
    found = [letter for letter in letters if f"({letter.lower()})" in word or bare in f"({letter.lower()})"]
    return found[0] if found and bare != "(" else Unparsed("no option in the first word")


def strict(prediction: Prediction, sample: Sample) -> str | Unparsed:
    """The letter that the answer gives."""
    if prediction.answer is None:
        return Unparsed(prediction.failure)
    return parsers.letter(prediction.answer, sample.options or _options(sample.question))


def _of_json(path: Path, videos: Path) -> Iterator[Sample]:
    name, rows = path.stem, read_json(path)
    if name not in PLACES or not isinstance(rows, list):
        raise DataError(f"expected a list of rows of one of the tasks {', '.join(PLACES)}, got {path}: take the other files out")
    for number, row in enumerate(rows):
        where = f"{path}, row {number}"
        require(row, {"video": str, "question": str, "candidates": list, "answer": str}, where)
        options = tuple(row["candidates"])
        if not 1 <= len(options) <= len(LETTERS) or not all(isinstance(text, str) for text in options) or row["answer"] not in options:
            raise DataError(f"expected an answer among the candidates in {where}, got {row['answer']!r:.60} and {options!r:.80}")
        clip = _clip(row, where)
        place = videos / PLACES[name] / row["video"]
        listed = "\n".join(f"({letter}) {text}" for letter, text in zip(LETTERS, options, strict=False))
        yield Sample(
            id=f"{name}:{number}",
            question=row["question"],
            prompt=f"{BEGINNING}Question: {row['question']}\nOptions:\n{listed.rstrip()}\nOnly give the best option.",
            images=_folder(place, clip) if name == FRAMED else frames(Image(place), FRAMES, clip=clip),
            wants=Wants("choice", form="video"),
            target=LETTERS[options.index(row["answer"])],
            options=options,
            tags=frozenset({name}),
            group=f"{PLACES[name]}/{row['video']}",
        )


def _clip(row: dict[str, Any], where: str) -> tuple[float, float] | None:
    if "start" not in row:
        return None
    require(row, {"start": (int, float), "end": (int, float)}, where)
    return row["start"], row["end"]


def _folder(place: Path, clip: tuple[float, float] | None) -> tuple[Image, ...]:
    """The frames of a video that is a folder of `00001.jpg` and so on; the first of them where there is none."""
    there = sum(1 for _ in place.iterdir()) if place.is_dir() else 1
    start, end = (1, there) if clip is None else (max(round(clip[0] * RATE), 1), min(round(clip[1] * RATE), there))
    return tuple(Image(place / f"{number:05d}.jpg") for number in frame_numbers(min(start, there), max(end, 1), FRAMES))


def _of_parquet(path: Path) -> Iterator[Sample]:
    """The rows as they are: the question holds its options already, so the sample has none."""
    for row in sibling(__file__, "_pixel_reasoner").rows(path):
        answer, count = LETTER.fullmatch(row.answers[0].strip()), len(_options(row.question))
        if not answer or answer[1] not in LETTERS[:count]:
            raise DataError(f"expected the letter of one of {count} options as answer in {row.where}, got {row.answers[0]!r:.60}")
        yield Sample(
            id=row.id,
            question=row.question,
            prompt=row.question,
            images=row.images,
            wants=Wants("choice", form="video"),
            target=answer[1],
            group=row.group,
        )


def _options(question: str) -> tuple[str, ...]:
    """The options that a question lists on lines of their own; else as many without a text as a question of MVBench has at most."""
    listed = OPTION.findall(question)
    ordered = all(letter == expected for (letter, _), expected in zip(listed, LETTERS, strict=False))
    return tuple(text for _, text in listed) if listed and ordered else ("",) * MOST
