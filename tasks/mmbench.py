"""MMBench: multiple choice over twenty abilities, each question asked once for every rotation of its options.

Paper: Liu et al.: MMBench: Is Your Multi-modal Model an All-around Player? ECCV 2024, arXiv 2307.06281.

Data: the development set in English, in one of three forms: the authors' `MMBench_DEV_EN.tsv` (also `mmbench_dev_en_20231003.tsv`, or
`mmbench_dev_20230712.tsv` of July 2023 with 4377 rows), `HuggingFaceM4/MMBench` on the hub (`data/validation-*.parquet`, images in
base64), or `lmms-lab/MMBench_EN` (`data/dev-*.parquet`, images as bytes, July 2023). 4329 rows. The answers of the test set are on
a server. Licence: none read in a source.

Row (`image` in base64, or in a TSV the index of the row that has it; empty cells are empty, null or "nan"):
    {"index": 21, "question": "Which one is the correct caption of this image?", "hint": "", "A": "A man rides a surfboard on a large
     wave.", "B": "a young boy barefoot holding an umbrella touching the horn of a cow", "C": "A giraffe standing by a stall in a
     field.", "D": "A stop sign that has been vandalized with graffiti.", "answer": "B", "category": "action_recognition", "source":
     ..., "l2-category": "finegrained_perception (cross-instance)", "comment": ..., "split": "dev", "image": ...}

Metric: a rotation's index is that of its question plus a multiple of 1,000,000. CircularEval: a question is right if all its rotations
are (`vlmeval/dataset/utils/multiple_choice.py: mcq_circular_eval`). `official` reads a reply as VLMEvalKit does without an LLM
(`_vlmevalkit.py`); `vanilla` counts only the first of the rotations, read alike; `strict` is circular with evalkit's parser. n is the
number of questions. Also by `category` and `l2-category`.

Headline: accuracy, `official`, overall.

Departures: with an LLM VLMEvalKit asks it what a reply means that it cannot read itself, so that published numbers can be higher. A
rotation that has no reply is wrong; there, a question is judged by the rotations that have one.
"""

import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit import (
    Columns,
    Data,
    DataError,
    Estimate,
    Image,
    Prediction,
    Record,
    Rule,
    Sample,
    Task,
    Unparsed,
    Wants,
    parsers,
    read_parquet,
    read_tsv,
    require,
    sibling,
    stats,
)

VARIANTS: tuple[str, ...] = ()

FILES = (
    "MMBench_DEV_EN.tsv",
    "mmbench_dev_en_20231003.tsv",
    "mmbench_dev_20230712.tsv",
    "data/validation-*.parquet",
    "data/dev-*.parquet",
)
DATA = Data(
    hub=("HuggingFaceM4/MMBench", "lmms-lab/MMBench_EN"),
    files=("|".join(FILES),),
    licence="none read in a source",
    layout="MMBench_DEV_EN.tsv (or one of the older names), or data/validation-*.parquet, or data/dev-*.parquet",
    fetched=("data/validation-*", "data/dev-*", "README.md"),
)

PUBLISHED = {"rows": 4329}

ROTATION = 1_000_000
COLUMNS = ("index", "question", "hint", "A", "B", "C", "D", "answer", "category")
IMAGE = ("image",)
SECOND = ("l2-category", "L2-category")

vlmevalkit = sibling(__file__, "_vlmevalkit")


@dataclass(frozen=True, slots=True)
class Circular:
    """`accuracy`: the share of questions all of whose rotations are right, in [0, 1]; with `first`, whose unrotated form is.

    The cluster of a standard error is the question itself.
    """

    first: bool = False

    @property
    def name(self) -> str:
        return "vanilla" if self.first else "circular"

    def measure(self, value: str | None, sample: Sample) -> Record:
        """`right`: whether this rotation is; nothing where it does not count."""
        return {} if self.first and sample.id != sample.group else {"right": float(value == sample.target)}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """`accuracy`, over questions, with Wilson's interval."""
        import numpy as np

        questions, place = np.unique(records.group, return_inverse=True)
        right = np.ones(len(questions))
        np.minimum.at(right, place, stats.column(records, "right"))
        return {"accuracy": stats.share(right, questions)}


def task(variant: str, data: Path | None) -> Task:
    """MMBench's development set in English; there are no variants."""
    return Task(
        name="mmbench",
        version=1,
        samples=lambda: samples(DATA.folder(data)),
        rules=(
            Rule("official", vlmevalkit.exact_matching, Circular()),
            Rule("vanilla", vlmevalkit.exact_matching, Circular(first=True)),
            Rule("strict", strict, Circular()),
        ),
        headline="accuracy",
        kinds=("choice",),
        data=DATA,
        published=PUBLISHED,
        floors={"accuracy": 0.0},
    )


def samples(folder: Path) -> Iterator[Sample]:
    """The rows of the files, in their order."""
    shown: dict[str, Image] = {}
    for path in DATA.annotations(folder):
        for number, row in enumerate(rows(path), 1):
            where = f"{path}, row {number}"
            require(row, (*COLUMNS, *IMAGE), where)
            options, index = vlmevalkit.options(row, where), str(row["index"])
            if not index.isdecimal():
                raise DataError(f"expected a whole number as index in {where}, got {index!r}")
            if row["answer"] not in list(string.ascii_uppercase[: len(options)]):
                expected = f"an answer among {len(options)} options"
                raise DataError(f"expected {expected} in {where}, got {row['answer']!r}: of the test set they are not public, take dev")
            hint = vlmevalkit.cell(row, "hint")
            yield Sample(
                id=index,
                question=f"{hint}\n{row['question']}" if hint else row["question"],
                prompt=vlmevalkit.prompt(row["question"], options, hint),
                images=(image(row, shown, where),),
                wants=Wants("choice"),
                target=row["answer"],
                options=options,
                tags=frozenset({f"category={row['category']}", *(f"l2-category={row[name]}" for name in SECOND if row.get(name))}),
                group=str(int(index) % ROTATION),
            )


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of one file, the image as text or lazily."""
    if path.suffix == ".tsv":
        yield from read_tsv(path)
        return
    kinds = columns(path)
    second = tuple(name for name in SECOND if name in kinds)
    in_base64 = "string" in kinds.get(IMAGE[0], "")
    yield from read_parquet(path, (*COLUMNS, *second, *(IMAGE if in_base64 else ())), () if in_base64 else IMAGE)


def columns(path: Path) -> dict[str, str]:
    """What kind each column of a Parquet file is of; none where the file cannot be read, as its reader then tells."""
    import pyarrow
    import pyarrow.parquet

    try:
        schema = pyarrow.parquet.read_schema(path)
    except (OSError, pyarrow.ArrowException):
        return {}
    return {field.name: str(field.type) for field in schema}


def image(row: Mapping[str, Any], shown: dict[str, Image], where: str) -> Image:
    """The image of a row; a text of up to 64 characters is the index of an earlier row. Those of unrotated rows are kept in `shown`."""
    given, index = row["image"], str(row["index"])
    if not isinstance(given, str):
        return Image(given)
    if len(given) > 64:
        made = vlmevalkit.image(given, where)
        if int(index) < ROTATION:
            shown[index] = made
        return made
    if given not in shown:
        raise DataError(f"expected an image in base64, or the index of an earlier row that has one, in {where}, got {given!r}")
    return shown[given]


def strict(prediction: Prediction, sample: Sample) -> str | Unparsed:
    """The letter that the answer gives."""
    return Unparsed(prediction.failure) if prediction.answer is None else parsers.letter(prediction.answer, sample.options)
