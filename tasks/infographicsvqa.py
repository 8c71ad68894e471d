"""InfographicsVQA: questions about posters full of text, figures and charts, answered by a few words.

Paper: Mathew, Bagal, Tito, Karatzas, Valveny, Jawahar: InfographicVQA. WACV 2022, arXiv 2104.12756.

Data: one of
- the competition's folder (https://rrc.cvc.uab.es/?ch=17): `infographicsVQA_val_v1.0_withQT.json` or `infographicsVQA_val_v1.0.json`
  and the images in `images/`, else beside it. The test split's answers stay on its server.
- `JasperHaozhe/InfoVQA-EvalData-PixelReasoner` on the hub: Pixel Reasoner's rows, `infographics.parquet` and `images.zip`, which is
  read as it is. How many, and of which split, is not said.
The images' licences are their makers'.

Row (`data` of the competition's file; the three lists of kinds only in `_withQT`):
    {"questionId": 98313, "question": "What is the second option under Privacy?", "image_local_name": "20471.jpeg", "image_url": "...",
     "ocr_output_file": "20471.json", "answers": ["blocking"], "answer_type": ["single span"], "evidence": ["Text"],
     "operation/reasoning": [], "data_split": "val"}

Metric: `official` is ANLS (`infographicsvqa_eval.py` of the competition, as in Qwen-VL): the similarity by edit distance to the
nearest answer, 0 where it is below 0.5, averaged; also by `answer_type=`, `evidence=` and `operation=`, where the file has them.
It reads the whole answer; `strict` reads what the reply sets apart as its answer. `exact` is what Pixel Reasoner's code counts:
math-verify finds the reply to say one of the answers. It needs the extra `math`.

Headline: anls, `official`, overall. Pixel Reasoner's table has it, though its code prints the exact rule's.

Departures: the prompt's last line is ours. An empty reply is unparsed, and 0 as with the authors.
"""

from collections.abc import Iterator
from pathlib import Path

from evalkit import (
    ANLS,
    Data,
    DataError,
    GoldText,
    Image,
    Prediction,
    Rule,
    Sample,
    Share,
    Task,
    Unparsed,
    Wants,
    parsers,
    read_json,
    require,
    sibling,
)

VARIANTS: tuple[str, ...] = ()

DATA = Data(
    hub=("JasperHaozhe/InfoVQA-EvalData-PixelReasoner",),
    files=("infographicsVQA_val_v1.0_withQT.json|infographicsVQA_val_v1.0.json|*.parquet",),
    licence="the images are their makers'",
    layout="infographicsVQA_val_v1.0_withQT.json and images/, or infographics.parquet and images.zip",
)

KINDS = {"answer_type": "answer_type", "evidence": "evidence", "operation/reasoning": "operation"}


def task(variant: str, data: Path | None) -> Task:
    """InfographicsVQA's validation split, or Pixel Reasoner's rows; there are no variants."""
    return Task(
        name="infographicsvqa",
        version=1,
        samples=lambda: samples(DATA.folder(data)),
        rules=(Rule("official", official, ANLS()), Rule("strict", strict, ANLS()), Rule("exact", parsers.verified, Share("accuracy"))),
        headline="anls",
        kinds=("text",),
        data=DATA,
    )


def samples(folder: Path) -> Iterator[Sample]:
    """The rows of the annotation file, in its order. Ids are the question's number, or `qid`."""
    for path in DATA.annotations(folder):
        yield from _of_parquet(path) if path.suffix == ".parquet" else _of_competition(path)


def official(prediction: Prediction, sample: Sample) -> str | Unparsed:
    """The whole answer."""
    if prediction.answer is None:
        return Unparsed(prediction.failure)
    return prediction.answer if prediction.answer.strip() else Unparsed("empty answer")


def strict(prediction: Prediction, sample: Sample) -> str | Unparsed:
    """What the reply sets apart as its answer."""
    if prediction.answer is None:
        return Unparsed(prediction.failure)
    return parsers.final_answer(prediction.answer) or Unparsed("empty answer")


def _of_competition(path: Path) -> Iterator[Sample]:
    held = read_json(path)
    require(held, {"data": list}, str(path))
    folder = path.parent / "images" if (path.parent / "images").is_dir() else path.parent
    for number, row in enumerate(held["data"]):
        where = f"{path}, row {number}"
        require(row, {"questionId": (int, str), "question": str, "image_local_name": str, "answers": list}, where)
        if not row["answers"] or not all(isinstance(answer, str) for answer in row["answers"]):
            raise DataError(f"expected texts as answers in {where}, got {row['answers']!r:.60}: the test split has none")
        tags = frozenset(f"{short}={kind}" for long, short in KINDS.items() for kind in row.get(long) or ())
        name = row["image_local_name"]
        yield _sample(str(row["questionId"]), row["question"], (Image(folder / name),), name, row["answers"], tags)


def _of_parquet(path: Path) -> Iterator[Sample]:
    for row in sibling(__file__, "_pixel_reasoner").rows(path):
        yield _sample(row.id, row.question, row.images, row.group, row.answers)


def _sample(
    name: str,
    question: str,
    images: tuple[Image, ...],
    group: str,
    answers: list[str] | tuple[str, ...],
    tags: frozenset[str] = frozenset(),
) -> Sample:
    return Sample(
        id=name,
        question=question,
        prompt=f"{question}\nAnswer the question using a single word or phrase.",
        images=images,
        wants=Wants("text"),
        target=GoldText(tuple(answers)),
        tags=tags,
        group=group,
    )
