"""VQA-Verify: questions with every right answer, the boxes that the answer rests on and a caption, from SATORI-R1.

Paper: SATORI-R1. 2025, arXiv 2505.19094.

Data: `justairr/VQA-Verify` on the hub; a folder with JSON-lines or Parquet files of the rows, the images in the rows (Parquet) or by
path below the folder. The names of its files were read in no source: every `*.jsonl`, else every `*.parquet`, at the top, in `data/`
or in `train/` is taken. 12 thousand rows of 17 data sets, on which SATORI-R1 was trained. Licence: none stated in its repository.

Row (`bboxs` in pixels of the original image, corners):
    {"image": "images/1.jpg", "question": "What animal is it?", "possible_answers": ["cat", "Cat"], "image_caption": "A cat sits on a
     mat.", "bboxs": [[10, 20, 110, 220]], "width": 640, "height": 480}

Metric: the rewards of SATORI-R1's training (`plugin.py` at 8857b30). `official`: accuracy, whether what stands in the first
`<answer>..</answer>` is among the possible answers, letter for letter; grounding IoU, of the regions that the predicted and the gold
boxes cover in original pixels, no box counting 0; caption, the mean of BLEU-4 (smoothed) and ROUGE-L of what stands in
`<caption>..</caption>`, none counting 0. `strict` looks for the answer wherever a reply gives it, and compares alike.

Headline: accuracy, `official`, overall.

Departures: the authors add 1e-6 square pixels to the union, which changes an IoU by less than 1e-6, and part words for BLEU by nltk's
trained splitter of sentences, which knows more abbreviations. Ids are zero-based rows. A model trained on these rows has seen them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evalkit import (
    Box,
    Caption,
    Data,
    DataError,
    GoldText,
    GroundingIoU,
    Image,
    PossibleAnswers,
    Prediction,
    Rule,
    Sample,
    Size,
    Task,
    Unparsed,
    Wants,
    parsers,
    read_boxes,
    read_jsonl,
    read_parquet,
    require,
)

VARIANTS: tuple[str, ...] = ()

HOMES = ("", "data/", "train/")

DATA = Data(
    hub=("justairr/VQA-Verify",),
    files=("|".join(f"{home}*.{suffix}" for suffix in ("jsonl", "parquet") for home in HOMES),),
    licence="none stated",
    layout="*.jsonl with the images by path beside it, or *.parquet with the images in the rows",
)

COLUMNS: dict[str, Any] = {
    "question": str,
    "possible_answers": list,
    "image_caption": str,
    "bboxs": list,
    "width": int,
    "height": int,
}


def task(variant: str, data: Path | None) -> Task:
    """VQA-Verify; there are no variants."""
    return Task(
        name="vqa_verify",
        version=1,
        samples=lambda: samples(DATA.folder(data)),
        rules=(
            Rule("official", official, PossibleAnswers()),
            Rule("official", boxes, GroundingIoU(), reads="boxes"),
            Rule("official", caption, Caption()),
            Rule("strict", strict, PossibleAnswers()),
        ),
        headline="accuracy",
        kinds=("text", "boxes"),
        data=DATA,
        notes=("VQA-Verify is SATORI-R1's training data: a number of SATORI's on it is not one on unseen questions",),
    )


def samples(folder: Path) -> Iterator[Sample]:
    """The rows of the files, in their order."""
    place = 0
    for path in DATA.annotations(folder):
        rows = read_jsonl(path) if path.suffix == ".jsonl" else read_parquet(path, tuple(COLUMNS), images=("image",))
        for number, row in enumerate(rows, 1):
            where = f"{path}, row {number}"
            require(row, COLUMNS | ({"image": str} if path.suffix == ".jsonl" else {}), where)
            answers = row["possible_answers"]
            if not answers or not all(isinstance(answer, str) and answer for answer in answers):
                raise DataError(f"expected texts as possible_answers in {where}, got {answers!r:.60}")
            size = Size(row["width"], row["height"])
            yield Sample(
                id=str(place),
                question=row["question"],
                prompt=row["question"],
                images=(Image(image_path(folder, path, row["image"]), size=size) if path.suffix == ".jsonl" else Image(row["image"]),),
                wants=Wants("text", also=("boxes",)),
                target=GoldText(tuple(answers), row["image_caption"]),
                regions=read_boxes(row["bboxs"], f"bboxs of {where}"),
                group=row["image"] if path.suffix == ".jsonl" else "",
            )
            place += 1


def image_path(folder: Path, path: Path, name: str) -> Path:
    """Where the image of a name is: below the folder, or beside the rows."""
    return next((home / name for home in (folder, path.parent) if (home / name).is_file()), folder / name)


def official(prediction: Prediction, sample: Sample) -> str | Unparsed:
    """What stands in the first answer tags."""
    return inside(prediction, "answer")


def caption(prediction: Prediction, sample: Sample) -> str | Unparsed:
    """What stands in the first caption tags."""
    return inside(prediction, "caption")


def inside(prediction: Prediction, tag: str) -> str | Unparsed:
    """What stands, stripped, between the first such tag of the reply and the next that closes it."""
    content, closed, _ = prediction.text.partition(f"<{tag}>")[2].partition(f"</{tag}>")
    return content.strip() if closed else Unparsed(f"no <{tag}>")


def boxes(prediction: Prediction, sample: Sample) -> list[Box] | Unparsed:
    """The boxes in pixels of the original image."""
    found = [evidence.box for evidence in prediction.evidence if evidence.box is not None]
    if len(found) < len(prediction.evidence):
        return Unparsed("boxes in an unknown frame")
    return found or Unparsed("no box")


def strict(prediction: Prediction, sample: Sample) -> str | Unparsed:
    """The answer that the reply gives."""
    if prediction.answer is None:
        return Unparsed(prediction.failure)
    return parsers.final_answer(prediction.answer) or Unparsed("empty answer")
