"""TallyQA: how many are there? Simple counts, and complex ones that ask for relations and attributes.

Paper: Acharya, Kafle, Kanan: TallyQA: Answering Complex Counting Questions. AAAI 2019, arXiv 1810.12440.

Data: the authors' folder (`manoja328/TallyQA_dataset`): `test.json`, or any JSON lists in its row format, with Visual Genome's
photographs below by relative path (`VG_100K/`, `VG_100K_2/`); or `vikhyatk/tallyqa-test` on the hub, Parquet with the images inside,
where `qa` is [{"question": ..., "answer": ..., "is_simple": ...}] per image; or `JasperHaozhe/TallyQA-EvalData-PixelReasoner`, Pixel
Reasoner's selection of complex questions: `tallyqa_mini3200.parquet`, by its name 3,200 rows, and `images.zip`. Test split, 38,589
rows: 22,991 simple, 15,598 complex; answers 0 to 15, of which 4,972 are 0. Apache-2.0.

Row (`test.json`):
    {"image": "VG_100K_2/2410408.jpg", "answer": 1, "data_source": "imported_genome", "question": "How many ...?",
     "image_id": 92410408, "question_id": 30151610, "issimple": true}

Metric: accuracy and root mean squared error, simple and complex apart (`tallyqacode/eval_extra.py`, `utils.py`). Complex are the
rows with `data_source` "amt", simple those of the others with `issimple`; a row that is neither counts only in `overall`. The
authors pool nothing; `pooled` is simple and complex together. They score classifiers, and of other systems' text only what is all
digits: so does `official`. `strict` is evalkit's number parser. An unparsed reply is wrong; the errors are given with such
replies left out (`rmse`) and, as the authors do, taken for 0 (`rmse_unparsed_zero`).

Headline: accuracy, `official`, overall.

Departures: the authors' code takes an unreadable answer for 0 in accuracy too; here it is wrong, since 28% of the complex answers
are 0 and silence would score. The prompt's last line is VLMEvalKit's. The hub's form flags only simple or not, so its complex rows are
those that are not simple, and its ids are `image row:question index`. Pixel Reasoner's ids are its `qid`s.
"""

from collections.abc import Iterator
from pathlib import Path

from evalkit import (
    Counts,
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
    read_json,
    read_parquet,
    require,
    sibling,
)

VARIANTS: tuple[str, ...] = ()

MINI = "tallyqa_mini*.parquet"

DATA = Data(
    hub=("vikhyatk/tallyqa-test", "JasperHaozhe/TallyQA-EvalData-PixelReasoner"),
    files=(f"test.json|{MINI}|**/*.parquet|*.json",),
    licence="Apache-2.0",
    layout="test.json in the authors' format with VG_100K/ and VG_100K_2/ beside it; or *.parquet, Pixel Reasoner's with images.zip",
)

PUBLISHED = {"rows": 38_589, "simple": 22_991, "complex": 15_598, "answer=0": 4_972}

TWO_WAY = "the hub's rows flag only simple or not: its complex questions are all that are not simple, of whatever source"
SELECTED = "the rows are Pixel Reasoner's selection of complex questions, not the benchmark's"

LONGEST = 18
"""Digits of the longest answer read by `official`: the authors' 64-bit integers hold no more."""


def task(variant: str, data: Path | None) -> Task:
    """TallyQA's test split; there are no variants."""
    return Task(
        name="tallyqa",
        version=1,
        samples=lambda: samples(DATA.folder(data)),
        rules=(Rule("official", official, Counts()), Rule("strict", strict, Counts())),
        headline="accuracy",
        kinds=("count",),
        data=DATA,
        published=PUBLISHED,
        notes=_notes(data),
    )


def samples(folder: Path) -> Iterator[Sample]:
    """The rows of every annotation file, in the order of the files' names."""
    paths = DATA.annotations(folder)
    if paths[0].match(MINI):
        yield from _selected(paths)
        return
    if paths[0].suffix == ".parquet":
        yield from _of_hub(paths)
        return
    for path in paths:
        rows = read_json(path)
        if not isinstance(rows, list):
            raise DataError(f"expected a list of rows in {path}, got {type(rows).__name__}")
        for number, row in enumerate(rows):
            where = f"{path}, row {number}"
            require(row, {"image": str, "question": str, "answer": int, "data_source": str, "question_id": (int, str)}, where)
            kind = "complex" if row["data_source"] == "amt" else "simple" if row.get("issimple") else ""
            image = Image(folder / row["image"])
            yield _sample(str(row["question_id"]), image, row["image"], row["question"], row["answer"], kind)


def official(prediction: Prediction, sample: Sample) -> int | Unparsed:
    """The count, where the answer is nothing but ASCII digits."""
    if prediction.answer is None:
        return Unparsed(prediction.failure)
    said = prediction.answer.strip()
    return int(said) if said.isascii() and said.isdigit() and len(said) <= LONGEST else Unparsed("not all digits")


def strict(prediction: Prediction, sample: Sample) -> int | Unparsed:
    """The count that the answer gives."""
    return Unparsed(prediction.failure) if prediction.answer is None else parsers.count(prediction.answer)


def _notes(data: Path | None) -> tuple[str, ...]:
    if data and any(data.glob("*.json")):
        return ()
    return (SELECTED,) if data and any(data.glob(MINI)) else (TWO_WAY,)


def _selected(paths: list[Path]) -> Iterator[Sample]:
    for path in paths:
        for row in sibling(__file__, "_pixel_reasoner").rows(path):
            if not row.answers[0].isdecimal():
                raise DataError(f"expected a count as answer in {row.where}, got {row.answers[0]!r:.60}")
            yield _sample(row.id, row.images[0], row.group, row.question, int(row.answers[0]), "complex")


def _of_hub(paths: list[Path]) -> Iterator[Sample]:
    number = 0
    for path in paths:
        for row in read_parquet(path, ("qa",), images=("image",)):
            require(row, {"qa": list}, f"{path}, image row {number}")
            for index, pair in enumerate(row["qa"]):
                where = f"{path}, image row {number}, question {index}"
                require(pair, {"question": str, "answer": (int, str), "is_simple": bool}, where)
                if not str(pair["answer"]).isdecimal():
                    raise DataError(f"expected a count as answer in {where}, got {pair['answer']!r}")
                kind = "simple" if pair["is_simple"] else "complex"
                yield _sample(f"{number}:{index}", Image(row["image"]), str(number), pair["question"], int(pair["answer"]), kind)
            number += 1


def _sample(name: str, image: Image, group: str, question: str, answer: int, kind: str) -> Sample:
    return Sample(
        id=name,
        question=question,
        prompt=f"{question}\nAnswer the question using a single number.",
        images=(image,),
        wants=Wants("count"),
        target=answer,
        tags=frozenset({kind, "pooled"} if kind else ()),
        group=group,
    )
