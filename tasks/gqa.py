"""GQA: compositional questions about real scenes, made from scene graphs, answered in a word or two.

Paper: Hudson, Manning: GQA: A New Dataset for Real-World Visual Reasoning and Compositional Question Answering. CVPR 2019,
arXiv 1902.09506. The slices `ood_head` and `ood_tail`: Kervadec et al.: Roses Are Red, Violets Are Blue ... But Should VQA Expect
Them To? CVPR 2021, arXiv 2006.05121.

Data: the authors' `testdev_balanced_questions.json` (12,578 questions about 398 images) or `testdev_all_questions.json`, in a folder
or one below it, and `images/<imageId>.jpg`; or `lmms-lab-encoder/GQA` on the hub, Parquet, questions and images apart. CC BY 4.0.

Row (value of the dict at its question id; `annotations` left out):
    {"semantic": [{"operation": "select", "dependencies": [], "argument": "scene"}, {"operation": "verify weather", ...}],
     "entailed": [], "equivalent": ["201307251"], "question": "Is it overcast?", "imageId": "n161313", "isBalanced": true,
     "groups": {"global": null, "local": "01-weather_overcast"}, "answer": "no", "semanticStr": "select: scene->...",
     "types": {"detailed": "weatherVerifyC", "semantic": "global", "structural": "verify"}, "fullAnswer": "No, it is clear."}

Metric: all over balanced questions (`eval.py`). Accuracy, also of open questions (structural type query) and binary ones (all
others), by structural and semantic type, by steps and by words. `distribution`: how far, by chi-square over each global group's gold
answers, the predicted answers are from the gold ones; lower is better. `consistency`: over questions answered right, the
mean accuracy on the others that they entail. `validity` and `plausibility`: the share of answers that are in the question's
lists in `testdev_choices.json`, beside the questions. `official` compares the reply as it is, case and full stop included;
`llava` does after LLaVA's `rstrip('.').lower()`, which is how most models are reported. `strict` takes the answer out of the reply
and forgives only case, spacing, and quotes, emphasis and punctuation around it: no article, synonym or plural.

Headline: accuracy; papers give `llava`.

Departures: a missing reply is wrong, not an error. Consistency is null, not a number over what is there, unless every question
entailed by a balanced one has a reply that can be read: take `testdev_all` for it. Validity and plausibility are null without their
file, as the authors ship none for testdev, where theirs are 0. No grounding: it needs attention maps. Samples come image by image.
The prompt's last line is LLaVA's.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit import (
    Accuracy,
    Columns,
    Data,
    DataError,
    Estimate,
    Image,
    Prediction,
    Record,
    Reply,
    Rule,
    Sample,
    Task,
    Unparsed,
    Wants,
    parsers,
    read_json,
    read_jsonl,
    read_parquet,
    require,
    stats,
)

if TYPE_CHECKING:
    import numpy as np

FILES = {
    "testdev_balanced": "testdev_balanced_questions.json",
    "testdev_all": "testdev_all_questions.json",
    "ood_head": "ood_testdev_head.json",
    "ood_tail": "ood_testdev_tail.json",
}
VARIANTS = tuple(FILES)

SPLITS = {
    variant: Data(
        hub=("lmms-lab-encoder/GQA", "lmms-lab/GQA") if variant.startswith("testdev") else (),
        files=(f"{name}|*/{name}|{variant}_instructions/*.parquet",),
        licence="CC BY 4.0",
        layout=f"{name} (or in a folder of its own) and images/<imageId>.jpg, or the hub's {variant}_instructions/ and {variant}_images/",
        fetched=(f"{variant}_instructions/*", f"{variant}_images/*"),
    )
    for variant, name in FILES.items()
}
DATA = SPLITS["testdev_balanced"]

BALANCED = {
    "binary": 5773,
    "open": 6805,
    "structural=query": 6805,
    "structural=verify": 2252,
    "structural=logical": 1803,
    "structural=choose": 1129,
    "structural=compare": 589,
    "semantic=rel": 5308,
    "semantic=attr": 5186,
    "semantic=cat": 1149,
    "semantic=obj": 778,
    "semantic=global": 157,
}
PUBLISHED = {
    "testdev_balanced": {"rows": 12_578, **BALANCED},
    "testdev_all": BALANCED,
    "ood_head": {"rows": 1_733},
    "ood_tail": {"rows": 1_063},
}

COLUMNS = {
    "question": str,
    "imageId": str,
    "answer": str,
    "isBalanced": bool,
    "groups": dict,
    "types": dict,
    "semantic": list,
    "entailed": (list, str, type(None)),
}
NO_STEP = ("exist", "query: name", "choose name")
COMMON = ("color", "material", "shape")
AROUND = " .,;:!?\"'`*_“”‘’"


class Row(NamedTuple):
    """A question, and what of it only the metrics need."""

    sample: Sample
    """Without tags where it is not balanced."""
    family: float | None
    """The code of its global group."""
    entailed: tuple[float, ...]
    """The codes of the ids of the other questions that its answer settles."""
    common: bool
    """Whether it asks what two things have in common, whatever its lists of choices say."""


Rows = Callable[[], Mapping[str, Row]]


def task(variant: str, data: Path | None) -> Task:
    """GQA's `testdev_balanced`; `testdev_all`, which adds what consistency needs; or GQA-OOD's `ood_head` and `ood_tail`."""
    source = SPLITS[variant]
    rows = cache(lambda: {row.sample.id: row for row in read(source, source.folder(data), variant)})
    choices = cache(lambda: read_choices(source.annotations(source.folder(data))[0].with_name("testdev_choices.json")))
    return Task(
        name="gqa" if variant == VARIANTS[0] else f"gqa:{variant}",
        version=1,
        samples=lambda: (row.sample for row in rows().values()),
        rules=tuple(
            Rule(parse.__name__, parse, metric, subsets=subsets)
            for parse in (official, llava, strict)
            for metric, subsets in (
                (BalancedAccuracy(), None),
                (Distribution(rows), ("overall",)),
                (Consistency(rows), ("overall",)),
                (Choices(rows, choices), ("overall",)),
            )
        ),
        headline="accuracy",
        kinds=("text",),
        data=source,
        published=PUBLISHED[variant],
        replies=replies,
        export=partial(export, FILES[variant].removesuffix(".json").removesuffix("_questions")),
    )


# ---------------------------------------------------------------- rows


def read(source: Data, folder: Path, variant: str) -> list[Row]:
    """The rows of the questions file, those of one image together."""
    paths = source.annotations(folder)
    if paths[0].suffix == ".parquet":
        return sorted(_of_hub(paths, variant), key=lambda row: row.sample.group)
    [path] = paths
    rows = read_json(path)
    if not isinstance(rows, dict):
        raise DataError(f"expected an object of questions by id in {path}, got {type(rows).__name__}")
    images = folder / "images" if (folder / "images").is_dir() else path.parent
    made = (_row(name, row, f"{path}, question {name}", lambda image: images / f"{image}.jpg") for name, row in rows.items())
    return sorted(made, key=lambda row: row.sample.group)


def read_choices(path: Path) -> Mapping[str, Mapping[str, list[str]]] | None:
    """The valid and the plausible answers by question id; None where there is no such file."""
    if not path.is_file():
        return None
    found = read_json(path)
    if not isinstance(found, dict):
        raise DataError(f"expected an object of lists of choices by question id in {path}, got {type(found).__name__}")
    for name, lists in found.items():
        require(lists, {"valid": list, "plausible": list}, f"{path}, question {name}")
    return found


def _of_hub(paths: list[Path], variant: str) -> Iterator[Row]:
    """Its rows hold the questions; the images are in a folder of their own, by id."""
    home = paths[0].parent.parent / f"{variant}_images"
    images = {row["id"]: row["image"] for path in sorted(home.glob("*.parquet")) for row in read_parquet(path, ("id",), images=("image",))}
    for path in paths:
        for number, row in enumerate(read_parquet(path, ("id", *COLUMNS))):
            where = f"{path}, row {number}"
            if row["imageId"] not in images:
                raise DataError(f"expected image {row['imageId']} of {where} in {home}/*.parquet, got {len(images)} others")
            yield _row(str(row["id"]), row, where, images.__getitem__)


def _row(name: str, row: Any, where: str, image: Callable[[str], Any]) -> Row:
    require(row, COLUMNS, where)
    require(row["types"], {"structural": str, "semantic": str, "detailed": str}, f"types of {where}")
    require(row["groups"], ("global",), f"groups of {where}")
    tags = {
        "open" if row["types"]["structural"] == "query" else "binary",
        f"structural={row['types']['structural']}",
        f"semantic={row['types']['semantic']}",
        f"steps={_steps(row['semantic'], where)}",
        f"words={len(row['question'].split())}",
    }
    sample = Sample(
        id=name,
        question=row["question"],
        prompt=f"{row['question']}\nAnswer the question using a single word or phrase.",
        images=(Image(image(row["imageId"])),),
        wants=Wants("text"),
        target=row["answer"],
        tags=frozenset(tags if row["isBalanced"] else ()),
        group=row["imageId"],
    )
    family, entailed = row["groups"]["global"], row["entailed"]
    others = entailed if isinstance(entailed, list) else re.findall(r"\d+", entailed or "")
    return Row(
        sample,
        None if family is None else code(family),
        tuple(code(str(other)) for other in others if other != name),
        "Common" in row["types"]["detailed"],
    )


def _steps(semantic: list[Any], where: str) -> int:
    """How many operations are steps, as the authors count them."""
    for operation in semantic:
        require(operation, ("operation", "argument"), f"semantic of {where}")
    written = (f"{operation['operation']}: {operation['argument']}" for operation in semantic)
    return sum(not any(part in operation for part in NO_STEP) for operation in written)


# ---------------------------------------------------------------- rules


def official(prediction: Prediction, sample: Sample) -> str | Unparsed:
    """The reply as it is."""
    return Unparsed(prediction.failure) if prediction.answer is None else prediction.answer


def llava(prediction: Prediction, sample: Sample) -> str | Unparsed:
    """The reply without its final full stops, in lower case."""
    return Unparsed(prediction.failure) if prediction.answer is None else prediction.answer.rstrip(".").lower()


def strict(prediction: Prediction, sample: Sample) -> str | Unparsed:
    """The words of the answer that the reply gives, in lower case."""
    if prediction.answer is None:
        return Unparsed(prediction.failure)
    return " ".join(parsers.final_answer(prediction.answer).lower().split()).strip(AROUND) or Unparsed("empty answer")


# ---------------------------------------------------------------- metrics


@dataclass(frozen=True, slots=True)
class BalancedAccuracy(Accuracy):
    """`accuracy` of the balanced questions."""

    def measure(self, value: Any | None, sample: Sample) -> Record:
        """`correct`; nothing for a question that is not balanced."""
        return Accuracy.measure(self, value, sample) if sample.tags else {}


@dataclass(frozen=True, slots=True)
class Distribution:
    """`distribution`, at least 0: the mean chi-square of predicted against gold counts of a group's gold answers, by size, over 100."""

    rows: Rows

    @property
    def name(self) -> str:
        return "distribution"

    def measure(self, value: Any | None, sample: Sample) -> Record:
        """Codes of the question, the group, the gold answer and the predicted one; -1 for none."""
        family = self.rows()[sample.id].family
        if not sample.tags or family is None:
            return {}
        predicted = -1.0 if value is None else code(value)
        return {"question": code(sample.id), "family": family, "gold": code(sample.target), "predicted": predicted}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """`distribution`, of repeats with each question counted once, split among its draws.

        Images drawn twice raise it by themselves, so its resamples are centred on it.
        """
        import numpy as np

        if not len(records):
            return {"distribution": Estimate(None, None, None, None, 0)}
        order = np.argsort(records.values["question"], kind="stable")  # so that no sum of parts depends on the records' order
        columns = [records.values[name][order] for name in ("family", "gold", "predicted")]
        _, place, draws = np.unique(records.values["question"][order], return_inverse=True, return_counts=True)
        part, group = 1 / draws[place], records.group[order]
        family, gold, predicted = (column.tolist() for column in columns)
        cells = sorted(set(zip(family, gold, strict=True)))
        number = {cell: at for at, cell in enumerate(cells)}
        names = sorted({name for name, _ in cells})
        member = np.array([[name == other for other in names] for name, _ in cells], dtype=float)
        images, image = np.unique(group, return_inverse=True)

        def counts(answers: list[float]) -> "np.ndarray[Any, Any]":
            """How often each image has each cell; what is no cell comes last and is cut off."""
            found = [number.get(cell, len(cells)) for cell in zip(family, answers, strict=True)]
            table = np.bincount(image * (len(cells) + 1) + found, part, len(images) * (len(cells) + 1))
            return table.reshape(len(images), -1)[:, :-1]

        golds, guesses = counts(gold), counts(predicted)

        def distance(weights: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
            expected, seen = weights @ golds, weights @ guesses
            gap = (seen - expected) ** 2 / np.where(expected > 0, expected, np.inf)
            sizes = expected @ member
            mean: np.ndarray[Any, Any] = ((gap @ member) * sizes).sum(axis=1) / sizes.sum(axis=1)
            return mean / 100

        value = float(distance(np.ones((1, len(images))))[0])
        if len(images) == 1:
            return {"distribution": Estimate(value, None, None, None, len(records))}
        drawn = distance(stats.resample_weights(group, *columns, part).astype(float))
        return {"distribution": stats.from_resamples(value, np.maximum(drawn - drawn.mean() + value, 0), len(records))}


@dataclass(frozen=True, slots=True)
class Consistency:
    """`consistency` in [0, 1]: over questions answered right, the mean accuracy on the questions each entails."""

    rows: Rows

    @property
    def name(self) -> str:
        return "consistency"

    def measure(self, value: Any | None, sample: Sample) -> Record:
        """`right`, and codes: of the question, -1 where it has no answer, and of those that a balanced question entails."""
        entailed = self.rows()[sample.id].entailed if sample.tags else ()
        return {"question": -1.0 if value is None else code(sample.id), "right": float(value == sample.target), "entailed": entailed}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """`consistency`; None unless every question that a balanced one entails has an answer."""
        import numpy as np

        question, right, entailed = (stats.column(records, name) for name in ("question", "right", "entailed"))
        known, place = np.unique(question[question >= 0], return_inverse=True)
        accuracy = np.bincount(place, right[question >= 0]) / np.bincount(place)
        needed = np.concatenate([np.zeros(0), *entailed])
        asked = [number for number, others in enumerate(entailed) if right[number] and len(others)]
        if not np.isin(needed, known).all():
            asked = []
        values = [float(accuracy[np.searchsorted(known, entailed[number])].mean()) for number in asked]
        return {"consistency": stats.mean(values, records.group[asked], bounded=True)}


@dataclass(frozen=True, slots=True)
class Choices:
    """`validity` and `plausibility` in [0, 1]: the shares of answers that fit the question, and that make sense in the world."""

    rows: Rows
    choices: Callable[[], Mapping[str, Mapping[str, list[str]]] | None]

    @property
    def name(self) -> str:
        return "choices"

    def measure(self, value: Any | None, sample: Sample) -> Record:
        """`valid` and `plausible`; nothing where there are no lists of choices."""
        choices = self.choices()
        if choices is None or not sample.tags:
            return {}
        if sample.id not in choices:
            raise DataError(f"expected question {sample.id} in testdev_choices.json, as in the questions: fetch both anew")
        lists = {"valid": COMMON, "plausible": COMMON} if self.rows()[sample.id].common else choices[sample.id]
        return {name: float(value in lists[name]) for name in ("valid", "plausible")}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """Both shares, None without records."""
        return {
            name: stats.share(stats.column(records, column), records.group)
            for name, column in (("validity", "valid"), ("plausibility", "plausible"))
        }


def code(text: str) -> float:
    """A number that stands for a text, the same in every process: 53 bits of its hash."""
    return float(int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 11)


# ---------------------------------------------------------------- results files


def replies(path: Path) -> Iterator[Reply] | None:
    """The replies of GQA's predictions file (a JSON list) or of LLaVA's answers file (JSON lines); None for anything else.

    Raises:
        DataError: a row of such a file is none, or the file is cut off.
    """
    if not path.is_file():
        return None
    with path.open("rb") as file:
        opening = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if opening == b"[":
        return _rows_of(path, read_json(path), "questionId", "prediction")
    first: dict[str, Any] = next(read_jsonl(path), {}) if opening == b"{" else {}
    return _rows_of(path, read_jsonl(path), "question_id", "text") if "question_id" in first and "sample" not in first else None


def _rows_of(path: Path, rows: Iterable[Any], name: str, text: str) -> Iterator[Reply]:
    for number, row in enumerate(rows):
        require(row, {name: (str, int), text: str}, f"{path}, row {number}")
        yield Reply(str(row[name]), row[text])


def export(stem: str, answered: Iterable[tuple[Sample, Mapping[str, Any]]], folder: Path) -> list[Path]:
    """Writes `<stem>_predictions.json` for the authors' `eval.py`, normalised as by rule `llava`, and LLaVA's `answers.jsonl`, raw.

    A missing reply is left out, which `eval.py` refuses.
    """
    predictions, answers = folder / f"{stem}_predictions.json", folder / "answers.jsonl"
    given = [(sample, row["answer"] or "") for sample, row in answered if not row["missing"]]
    predictions.write_text(json.dumps([{"questionId": s.id, "prediction": text.rstrip(".").lower()} for s, text in given]), "utf-8")
    rows = ({"question_id": sample.id, "prompt": sample.prompt, "text": text} for sample, text in given)
    answers.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return [predictions, answers]
