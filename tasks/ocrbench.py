"""OCRBench: 1000 questions about text in images, of ten kinds, answered in free words.

Paper: Liu et al.: OCRBench: On the Hidden Mystery of OCR in Large Multimodal Models. 2023, arXiv 2305.07895.

Data: `echo840/OCRBench` on the hub (`data/test-*.parquet`, images in the rows), or the authors' `OCRBench.json` with the images below
`OCRBench_Images/`, or VLMEvalKit's `OCRBench.tsv` (images in base64, answers as a list in Python's form). 1000 rows. MIT.

Row (`OCRBench.json`; on the hub `dataset`, `question_type`, `answer` as a list and the image in place of its path):
    {"dataset_name": "IIIT5K", "id": 2843, "image_path": "IIIT5K/test/918_1.png", "question": "what is written in the image?",
     "answers": "CENTRE", "type": "Regular Text Recognition"}

Metric: a reply is right if it contains one of the answers, both in lower case, stripped, line breaks as spaces; of handwritten
mathematics in their own case and without spaces (`OCRBench/scripts/`, and VLMEvalKit's `OCRBench.evaluate`). `points` is the number of
right replies, of 1000 overall, `accuracy` their share. `strict` asks that the answer proper be one of the answers, read alike but
whole. By the authors' five groups, and by type.

Headline: points, `official`, overall.

Departures: none in `official`. An empty reply is unparsed, and as wrong as there. The prompt is the question alone, as the authors'. A
sample's id is its zero-based row. SATORI-R1 was shown these images in at least 10 x 10 x 28 x 28 pixels: `--min-pixels 78400`.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evalkit import (
    Columns,
    Data,
    DataError,
    Estimate,
    GoldText,
    Image,
    Prediction,
    Record,
    Rule,
    Sample,
    Task,
    Unparsed,
    Wants,
    parsers,
    read_json,
    read_parquet,
    read_tsv,
    require,
    sibling,
    stats,
)

VARIANTS: tuple[str, ...] = ()

DATA = Data(
    hub=("echo840/OCRBench",),
    files=("OCRBench.json|OCRBench/OCRBench.json|OCRBench.tsv|data/test-*.parquet",),
    licence="MIT (code)",
    layout="data/test-*.parquet, or OCRBench.json with OCRBench_Images/, or OCRBench.tsv",
)

RECOGNITION = "Text Recognition"
MATHEMATICS = "Handwritten Mathematical Expression Recognition"
OF_RECOGNITION = (
    "Regular Text Recognition",
    "Irregular Text Recognition",
    "Artistic Text Recognition",
    "Handwriting Recognition",
    "Digit String Recognition",
    "Non-Semantic Text Recognition",
)
GROUPS = {RECOGNITION: 300, "Scene Text-centric VQA": 200, "Doc-oriented VQA": 200, "Key Information Extraction": 200, MATHEMATICS: 100}
PUBLISHED = {"rows": 1000, **GROUPS, **dict.fromkeys(OF_RECOGNITION, 50)}

NAMES = {
    ".json": ("answers", "type", "image_path"),
    ".parquet": ("answer", "question_type", "image"),
    ".tsv": ("answer", "category", "image"),
}
"""What each form calls the answers, the type and the image."""

vlmevalkit = sibling(__file__, "_vlmevalkit")


@dataclass(frozen=True, slots=True)
class Points:
    """`points`, the number of right replies, and `accuracy`, their share in [0, 1]; what is right, the rule's reading has decided."""

    @property
    def name(self) -> str:
        return "points"

    def measure(self, value: bool | None, sample: Sample) -> Record:
        """`correct`: 1 where the reply is right, else 0."""
        return {"correct": float(bool(value))}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """Both, with Wilson's interval on the effective n."""
        share = stats.share(stats.column(records, "correct"), records.group)
        numbers = {name: getattr(share, name) for name in ("value", "stderr", "low", "high")}
        points = replace(share, **{name: None if number is None else number * len(records) for name, number in numbers.items()})
        return {"points": points, "accuracy": share}


def task(variant: str, data: Path | None) -> Task:
    """OCRBench; there are no variants."""
    return Task(
        name="ocrbench",
        version=1,
        samples=lambda: samples(DATA.folder(data)),
        rules=(Rule("official", official, Points()), Rule("strict", strict, Points())),
        headline="points",
        kinds=("text",),
        data=DATA,
        published=PUBLISHED,
    )


def samples(folder: Path) -> Iterator[Sample]:
    """The rows of the files, in their order."""
    place = 0
    for path in DATA.annotations(folder):
        answer_in, type_in, image_in = NAMES[path.suffix]
        for number, row in enumerate(rows(path), 1):
            where = f"{path}, row {number}"
            require(row, ("question", answer_in, type_in, image_in), where)
            kind, image = row[type_in], row[image_in]
            if kind not in PUBLISHED or kind == RECOGNITION:
                raise DataError(f"expected one of the ten types in column {type_in} of {where}, got {kind!r:.60}")
            if path.suffix == ".tsv":
                shown = vlmevalkit.image(image, where)
            else:
                shown = Image(image_path(folder, path, image) if path.suffix == ".json" else image)
            yield Sample(
                id=str(place),
                question=row["question"],
                prompt=row["question"],
                images=(shown,),
                wants=Wants("text"),
                target=GoldText(answers(row[answer_in], path.suffix == ".tsv", f"column {answer_in} of {where}")),
                tags=frozenset({kind, RECOGNITION if kind in OF_RECOGNITION else kind}),
                group=image if path.suffix == ".json" else "",
            )
            place += 1


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of one file, the image as a text or lazily."""
    if path.suffix == ".parquet":
        return read_parquet(path, ("question", "answer", "question_type"), images=("image",))
    held = read_tsv(path) if path.suffix == ".tsv" else read_json(path)
    if isinstance(held, dict):
        raise DataError(f"expected a list of rows in {path}, got an object: fetch the file again")
    return iter(held)


def answers(value: Any, written: bool, where: str) -> tuple[str, ...]:
    """The answers of a cell, which holds a text or a list of texts, or is one `written` in Python's form."""
    if written:
        try:
            value = ast.literal_eval(value)
        except (SyntaxError, ValueError) as error:
            raise DataError(f"expected a list of answers in {where}, got {value!r:.60}") from error
    found = value if isinstance(value, list) else [value]
    if not found or not all(isinstance(answer, str) and answer.strip() for answer in found):
        raise DataError(f"expected a text or a list of texts in {where}, got {value!r:.60}")
    return tuple(found)


def image_path(folder: Path, path: Path, name: str) -> Path:
    """Where the image of a name is: below `OCRBench_Images/`, there or beside the rows, else beside the rows."""
    homes = [home / images for home in (folder, path.parent) for images in ("OCRBench_Images", "")]
    return next((home / name for home in homes if (home / name).is_file()), homes[0] / name)


def plain(text: str, sample: Sample) -> str:
    """A text as the authors compare it."""
    line = text.strip().replace("\n", " ")
    return line.replace(" ", "") if MATHEMATICS in sample.tags else line.lower()


def official(prediction: Prediction, sample: Sample) -> bool | Unparsed:
    """Whether the reply contains an answer."""
    said = plain(prediction.answer or "", sample)
    if not said:
        return Unparsed(prediction.failure or "empty answer")
    return any(plain(answer, sample) in said for answer in sample.target.answers)


def strict(prediction: Prediction, sample: Sample) -> bool | Unparsed:
    """Whether the answer that the reply gives is one of the answers."""
    said = plain(parsers.final_answer(prediction.answer or ""), sample)
    if not said:
        return Unparsed(prediction.failure or "empty answer")
    return said in {plain(answer, sample) for answer in sample.target.answers}
