"""MMStar: 1500 choices, picked from six benchmarks so that none can be answered without the image.

Paper: Chen et al.: Are We on the Right Way for Evaluating Large Vision-Language Models? NeurIPS 2024, arXiv 2403.20330.

Data: `Lin-Chen/MMStar` on the hub, `mmstar.parquet` (images as bytes) or `MMStar.tsv` (images in base64), options in the question; or
VLMEvalKit's `MMStar.tsv`, options in columns A to D. 1500 rows, 250 in each of six categories, of three abilities each.
Licence: none read in a source.

Row (`mmstar.parquet`):
    {"index": 0, "question": "Which option describe the object relationship in the image correctly?\\nOptions: A: The suitcase is on the
     book., B: The suitcase is beneath the cat., C: The suitcase is beneath the bed., D: The suitcase is beneath the book.", "image":
     {"bytes": ...}, "answer": "A", "category": "coarse perception", "l2_category": ..., "meta_info": {"source": ..., "split": ...,
     "image_path": ...}}

Metric: the share of right options. `official` is the authors' (`eval/vlmeval/evaluate/mmstar.py`): the first character of the reply, or
what follows "(", "option " or "the answer is ", in either case, so that an article "a" counts. `exact-matching` is VLMEvalKit's without
an LLM, by which SATORI-R1's numbers were made. `strict` is evalkit's parser. Also by `category` and `l2_category`.

Headline: accuracy, `official`, overall.

Departures: the wording is VLMEvalKit's for all three files, with the options on lines of their own; the authors' has no one wording.
A question whose options are not found in its text is asked as it is.
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
    parsers,
    read_parquet,
    read_tsv,
    require,
    sibling,
)

VARIANTS: tuple[str, ...] = ()

DATA = Data(
    hub=("Lin-Chen/MMStar",),
    files=("mmstar.parquet|MMStar.tsv",),
    licence="none read in a source",
    layout="mmstar.parquet or MMStar.tsv",
)

CATEGORIES = ("coarse perception", "fine-grained perception", "instance reasoning", "logical reasoning", "science & technology", "math")
PUBLISHED = {"rows": 1500, **{f"category={category}": 250 for category in CATEGORIES}}

COLUMNS = ("index", "question", "answer", "category", "l2_category")
LETTERS = "ABCD"
OPTIONS = re.compile(r"\nOptions: ?A: (.*)\Z", re.DOTALL)
FIRST = re.compile(r"(?:\(|option |the answer is )?([a-d])", re.DOTALL)

vlmevalkit = sibling(__file__, "_vlmevalkit")


def task(variant: str, data: Path | None) -> Task:
    """MMStar; there are no variants."""
    return Task(
        name="mmstar",
        version=1,
        samples=lambda: samples(DATA.folder(data)),
        rules=(
            Rule("official", official, Accuracy()),
            Rule("exact-matching", vlmevalkit.exact_matching, Accuracy()),
            Rule("strict", strict, Accuracy()),
        ),
        headline="accuracy",
        kinds=("choice",),
        data=DATA,
        published=PUBLISHED,
    )


def samples(folder: Path) -> Iterator[Sample]:
    """The rows of the file, in its order."""
    [path] = DATA.annotations(folder)
    for number, row in enumerate(rows(path), 1):
        where = f"{path}, row {number}"
        require(row, (*COLUMNS, "image"), where)
        question, options = row["question"], vlmevalkit.options(row, where)
        if not options:
            question, options = parts(question)
        answer = str(row["answer"]).strip()
        if answer not in list(LETTERS[: len(options)] or LETTERS):
            raise DataError(f"expected an answer among {len(options) or len(LETTERS)} options in {where}, got {row['answer']!r}")
        yield Sample(
            id=str(row["index"]),
            question=question,
            prompt=vlmevalkit.prompt(question, options),
            images=(Image(row["image"]) if path.suffix == ".parquet" else vlmevalkit.image(row["image"], where),),
            wants=Wants("choice"),
            target=answer,
            options=options,
            tags=frozenset({f"category={row['category']}", f"l2_category={row['l2_category']}"}),
        )


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of the file, the image as text or lazily."""
    return read_parquet(path, COLUMNS, images=("image",)) if path.suffix == ".parquet" else read_tsv(path)


def parts(text: str) -> tuple[str, tuple[str, ...]]:
    """The bare question and the option texts of a question that holds them; the text and none where it does not."""
    found = OPTIONS.search(text)
    if not found:
        return text, ()
    options, rest = [], found[1]
    for letter in LETTERS[1:]:
        option, comma, after = rest.partition(f", {letter}: ")
        if not comma:
            break
        options.append(option)
        rest = after
    return text[: found.start()], (*options, rest)


def official(prediction: Prediction, sample: Sample) -> str | Unparsed:
    """The letter that the reply begins with, as the authors read it."""
    if prediction.answer is None:
        return Unparsed(prediction.failure)
    found = FIRST.match(prediction.answer.lower().strip().replace("\n", " "))
    return found[1].upper() if found else Unparsed("no letter at the beginning")


def strict(prediction: Prediction, sample: Sample) -> str | Unparsed:
    """The letter that the answer gives; of four where the options are not known."""
    if prediction.answer is None:
        return Unparsed(prediction.failure)
    return parsers.letter(prediction.answer, sample.options or ("",) * len(LETTERS))
