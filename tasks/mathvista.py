"""MathVista: mathematical reasoning about figures, charts, tables and photographs, with free-form answers and choices.

Paper: Lu et al.: MathVista: Evaluating Mathematical Reasoning of Foundation Models in Visual Contexts. ICLR 2024, arXiv 2310.02255.

Data: `AI4Math/MathVista` on the hub (`data/testmini-*.parquet`, `data/test-*.parquet`, images in the rows), or a folder in the
layout of the authors' repository: `testmini.json`, a dict by pid, beside it or below it `query.json` (the prompts by pid; built
where absent) and `images/`, or `images.zip`, which is read as it is. testmini 1000 rows; test 5141, whose answers are hidden.
CC BY-SA 4.0. Variants: the split, each with a judge or `-by-rule`.

Row (`testmini.json`; on the hub `precision` is a float, and `decoded_image` and `query` stand beside):
    {"pid": "2", "question": "what is the total volume of the measuring cup?", "image": "images/2.jpg", "choices": null,
     "unit": "g", "precision": null, "answer": "1000", "question_type": "free_form", "answer_type": "integer", "metadata":
     {"language": "english", "source": "TextVQA", "category": "general-vqa", "task": "visual question answering", "context":
     "natural image", "grade": "not applicable", "skills": ["numeric commonsense", "arithmetic reasoning"], ...}}

Metric: a judge extracts the short answer, asked with the authors' five examples (`evaluation/extract_answer.py`), unless the reply
is one of the choices, a number of the wanted kind, or empty. The extraction is normalised to a choice, a number or a list and must
equal the answer as text (`evaluation/calculate_score.py`). Of choices the first letter in brackets counts, else a bare capital,
else the nearest by edit distance, so that silence and refusals get a choice too. `official-2023` reads an integer by `int(x)`, as
when the paper's numbers were made; `official-head` by `int(float(x))`, as the repository does today. By rule, without a judge,
`by-rule-2023` and `by-rule-head` are the same with `--quick_extract` and a judge that never answers: not the official numbers.
`strict` reads the reply's own final answer and gives no nearest choice. All also by the authors' nine properties.

Headline: accuracy, `official-head`, overall.

Departures: a row without a reply is wrong, as is one that a scored results file has no extraction of; the authors' code stops there.
For `test` accuracy is null. An empty reply of the judge is not asked for again. Rows of a results file are broken down by their own
`metadata`, as by the authors; in the paper's it is older than in the data that `export` writes (another grade in 381 rows).
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from evalkit import (
    Accuracy,
    Data,
    DataError,
    Extraction,
    Image,
    Lazy,
    Prediction,
    Record,
    Reply,
    Rule,
    Sample,
    Task,
    Unparsed,
    Wants,
    nearest,
    parsers,
    read_json,
    read_parquet,
    require,
)

VARIANTS = ("testmini", "testmini-by-rule", "test", "test-by-rule")

SPLITS = {
    split: Data(
        hub=("AI4Math/MathVista",),
        files=(f"data/{split}.json|{split}.json|data/{split}-*.parquet",),
        licence="CC BY-SA 4.0",
        layout=f"data/{split}-*.parquet, or {split}.json with images/ or images.zip and, if at hand, query.json",
    )
    for split in ("testmini", "test")
}
DATA = SPLITS["testmini"]

PUBLISHED = {
    "testmini": {
        "rows": 1000,
        "question_type=multi_choice": 540,
        "question_type=free_form": 460,
        "answer_type=text": 540,
        "answer_type=integer": 418,
        "answer_type=float": 40,
        "answer_type=list": 2,
    },
    "test": {"rows": 5141},
}

COLUMNS: dict[str, Any] = {
    **dict.fromkeys(("pid", "question", "image", "question_type", "answer_type"), str),
    **dict.fromkeys(("unit", "answer"), (str, type(None))),
    "choices": (list, type(None)),
    "precision": (int, float, type(None)),
    "metadata": dict,
}
METADATA = ("language", "source", "category", "task", "context", "grade", "skills")
KINDS = {"text": Wants("choice"), "integer": Wants("number"), "float": Wants("number"), "list": Wants("text")}

# The wordings of evaluation/build_query.py and evaluation/prompts/ext_ans.py, to the letter.
VALUE = "requiring {}, e.g., {}, at the end."
ASKED = {
    "text": "and provide the correct option letter, e.g., A, B, C, D, at the end.",
    "integer": VALUE.format("an integer answer and provide the final value", "1, 2, 3"),
    "float 1": VALUE.format("a floating-point number with one decimal place and provide the final value", "1.2, 1.3, 1.4"),
    "float 2": VALUE.format("a floating-point number with two decimal places and provide the final value", "1.23, 1.34, 1.45"),
    "list": VALUE.format("a Python list as an answer and provide the final list", "[1, 2, 3], [1.2, 1.3, 1.4]"),
}
HINTS = {kind: f"Hint: Please answer the question {asked}\nQuestion: " for kind, asked in ASKED.items()}
EXAMPLES = f"""\
Please read the following example. Then extract the answer from the model response and type it at the end of the prompt.

{HINTS["integer"]}Which number is missing?

Model response: The number missing in the sequence is 14.

Extracted answer: 14

{HINTS["float 1"]}What is the fraction of females facing the camera?

Model response: The fraction of females facing the camera is 0.6, which means that six out of ten females in the group are facing \
the camera.

Extracted answer: 0.6

{HINTS["float 2"]}How much money does Luca need to buy a sour apple candy and a butterscotch candy? (Unit: $)

Model response: Luca needs $1.45 to buy a sour apple candy and a butterscotch candy.

Extracted answer: 1.45

{HINTS["list"]}Between which two years does the line  graph saw its maximum peak?

Model response: The line graph saw its maximum peak between 2007 and 2008.

Extracted answer: [2007, 2008]

{HINTS["text"]}What fraction of the shape is blue?
Choices:
(A) 3/11
(B) 8/11
(C) 6/11
(D) 3/5

Model response: The correct answer is (B) 8/11.

Extracted answer: B"""

LETTER = re.compile(r"\(([a-zA-Z])\)")
ROWS = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*"[^"]*"\s*:\s*\{')
LIST = re.compile(r"\[\s*(-?\d+(?:\.\d+)?(?:\s*,\s*-?\d+(?:\.\d+)?)*)\s*\]")

Integer = Callable[[str], int]
GENERATIONS: dict[str, Integer] = {"head": lambda text: int(float(text)), "2023": int}


class Answered(Accuracy):
    """Accuracy over the samples whose answer is known."""

    def measure(self, value: Any | None, sample: Sample) -> Record:
        """`correct`; nothing where the answer is hidden."""
        return {} if sample.target is None else super().measure(value, sample)


def task(variant: str, data: Path | None) -> Task:
    """One split, with a judge or by rule."""
    split, _, way = variant.partition("-")
    source, stored, metadata = SPLITS[split], dict[str, str](), dict[str, dict[str, Any]]()
    parse = by_rule if way else by_judge
    grader = Extraction(wording, quick, stored=lambda sample: stored.get(sample.id))
    return Task(
        name="mathvista" if variant == VARIANTS[0] else f"mathvista:{variant}",
        version=1,
        samples=lambda: samples(split, source.folder(data), metadata),
        rules=(
            *(Rule(f"{way or 'official'}-{name}", partial(parse, integer=integer), Answered()) for name, integer in GENERATIONS.items()),
            Rule("strict", strict, Answered()),
        ),
        headline="accuracy",
        kinds=("choice", "number", "text"),
        graders=() if way else (grader,),
        data=source,
        published=PUBLISHED[split],
        replies=lambda path: replies(path, not way, stored, metadata),
        export=lambda given, folder: export(given, folder, split, dict(rows(split, source.folder(data)))),
    )


def samples(split: str, folder: Path, metadata: Mapping[str, Mapping[str, Any]]) -> Iterator[Sample]:
    """The rows of the split, in their order; `metadata` by pid is put over their own when they are drawn."""
    prompts = next((read_json(path) for path in (folder / "data" / "query.json", folder / "query.json") if path.is_file()), {})
    for pid, row in rows(split, folder):
        options = tuple(row["choices"] or ())
        answer = row["answer"] or None
        yield Sample(
            id=pid,
            question=row["question"],
            prompt=row.get("query") or prompts.get(pid) or query(row),
            images=(Image(row["decoded_image"]),),
            wants=KINDS[row["answer_type"]],
            target=letter(answer, options) if answer and options else answer,
            options=options,
            tags=frozenset(tags({**row, "metadata": {**row["metadata"], **metadata.get(pid, {})}})),
            group=row["image"],
        )


def rows(split: str, folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each pid with its row, checked; from a Parquet file with its image."""
    for path in SPLITS[split].annotations(folder):
        found: Iterable[Any]
        if path.suffix == ".parquet":
            found, image_at = read_parquet(path, (*COLUMNS, "query"), images=("decoded_image",)), None
        else:
            held, image_at = read_json(path), images(folder)
            if not isinstance(held, dict):
                raise DataError(f"expected a JSON object of rows by pid in {path}, got {type(held).__name__}: fetch the file again")
            found = ({"pid": pid} | row if isinstance(row, dict) else row for pid, row in held.items())
        for number, row in enumerate(found, 1):
            where = f"{path}, row {number}"
            require(row, COLUMNS, where)
            require(row["metadata"], METADATA, f"metadata of {where}")
            check(row, split, where)
            yield row["pid"], {**row, "decoded_image": image_at(row["image"])} if image_at else row


def check(row: Mapping[str, Any], split: str, where: str) -> None:
    """Refuses a row that the metric has no meaning for."""
    kind, options, answer = row["answer_type"], row["choices"] or [], row["answer"]
    if kind not in KINDS or (row["question_type"] == "multi_choice") != (kind == "text") or bool(options) != (kind == "text"):
        raise DataError(f"expected choices and answer_type text together, or one of {', '.join(KINDS)}, in {where}, got {kind!r}")
    if (kind == "float") != (row["precision"] is not None):
        raise DataError(f"expected a precision just where answer_type is float in {where}, got {row['precision']!r} with {kind!r}")
    if (split == "testmini" and not answer) or (answer and options and answer not in options):
        raise DataError(f"expected an answer{' among the choices' * bool(options)} in {where}, got {answer!r:.60}")


def tags(row: Mapping[str, Any]) -> Iterator[str]:
    """The authors' nine properties, and the places that a float is rounded to."""
    yield from (f"{name}={row[name]}" for name in ("question_type", "answer_type"))
    for name in METADATA:
        value = row["metadata"][name]
        yield from (f"{name}={one}" for one in (value if isinstance(value, list) else [value]))
    if row["precision"] is not None:
        yield f"precision={int(row['precision'])}"


def tag(sample: Sample, name: str) -> str:
    """The value of a property that a sample has once."""
    return next(tag.partition("=")[2] for tag in sample.tags if tag.startswith(f"{name}="))


def images(folder: Path) -> Callable[[str], Path | Lazy]:
    """Where the image of a name is: in `images/` below the folder or its `data/`, else in `images.zip` there."""
    places = [home / name for name in ("images", "images.zip") for home in (folder, folder / "data")]
    found = next((place for place in places if place.exists()), places[0])
    if found.suffix != ".zip":
        return lambda name: found.parent / name
    try:
        archive = ZipFile(found)
    except BadZipFile as error:
        raise DataError(f"expected a zip file at {found}, got: {error}; is it cut off? Fetch it again") from error

    def read(name: str) -> bytes:
        try:
            return archive.read(name)
        except (KeyError, BadZipFile) as error:
            raise DataError(f"expected {name} in {found}, got: {error}; fetch it again") from error

    return lambda name: Lazy(f"{found}, {name}", partial(read, name))


def query(row: Mapping[str, Any]) -> str:
    """The authors' prompt: hint, question with its unit, choices."""
    kind = row["answer_type"] if row["precision"] is None else f"float {int(row['precision'])}"
    if kind not in HINTS:
        raise DataError(f"expected a precision of 1 or 2 in mathvista's row {row['pid']}, which query.json lacks, got {row['precision']}")
    unit = f" (Unit: {row['unit']})" if row["unit"] else ""
    choices = [f"({chr(ord('A') + place)}) {choice}" for place, choice in enumerate(row["choices"] or ())]
    return "\n".join([HINTS[kind] + row["question"] + unit, *(["Choices:", *choices] if choices else [])]).strip()


def wording(sample: Sample, reply: str) -> str:
    """What the judge is asked."""
    return f"{EXAMPLES}\n\n{sample.prompt}\n\n{reply}\n\nExtracted answer: "


def quick(sample: Sample, reply: str) -> str | None:
    """The extraction of a reply that is one already; None for one that is not."""
    if not reply or reply in sample.options:
        return reply
    kind = tag(sample, "answer_type")
    try:
        return str(int(reply)) if kind == "integer" else str(float(reply)) if kind == "float" else None
    except ValueError:
        return None


def by_judge(prediction: Prediction, sample: Sample, integer: Integer) -> str | Unparsed:
    """What the judge extracted, normalised."""
    extraction = prediction.verdicts.get("extraction")
    return Unparsed(prediction.failure or "no extraction from the judge") if extraction is None else normalised(extraction, sample, integer)


def by_rule(prediction: Prediction, sample: Sample, integer: Integer) -> str | Unparsed:
    """What the authors' quick rules extract, "" where they find nothing, normalised."""
    if prediction.answer is None:
        return Unparsed(prediction.failure)
    found = quick(sample, prediction.answer)
    return normalised(quoted(prediction.answer) if found is None else found, sample, integer)


def quoted(answer: str) -> str:
    """What the authors' `The answer is "(.*)"\\.` finds first, "" where it finds nothing, in time that grows with the text."""
    for line in answer.split("\n"):
        _, begun, rest = line.partition('The answer is "')
        inside, ended, _ = rest.rpartition('".')
        if begun and ended:
            return inside
    return ""


def normalised(extraction: str, sample: Sample, integer: Integer) -> str | Unparsed:
    """The extraction as the authors compare it: a letter (that of the first choice with its text), a number or a list."""
    kind = tag(sample, "answer_type")
    if kind == "text":
        return letter(chosen(extraction.strip(), sample.options), sample.options)
    if kind == "list":
        return extraction
    try:
        return str(integer(extraction) if kind == "integer" else round(float(extraction), int(tag(sample, "precision"))))
    except (ValueError, OverflowError):
        return Unparsed(f"no {kind} as the whole extraction")


def chosen(extraction: str, options: tuple[str, ...]) -> str:
    """The choice of the first letter in brackets, else of the bare capital; else the nearest.

    >>> chosen("not (B) but (C)", ("red", "blue", "green")), chosen("C", ("red", "blue", "green")), chosen("", ("blue", "red", "tan"))
    ('blue', 'green', 'red')
    """
    bracketed = LETTER.search(extraction)
    said = bracketed[1].upper() if bracketed else extraction
    place = ord(said) - ord("A") if len(said) == 1 else -1
    return options[place] if 0 <= place < len(options) else nearest(said, options)


def strict(prediction: Prediction, sample: Sample) -> str | Unparsed:
    """The answer that the reply itself gives as its last: the text of a choice, to the letter, or a letter; a number, a list."""
    if prediction.answer is None:
        return Unparsed(prediction.failure)
    kind = tag(sample, "answer_type")
    if kind == "text":
        if (final := parsers.final_answer(prediction.answer).rstrip(".*")) in sample.options:
            return letter(final, sample.options)
        once = [choice if sample.options.index(choice) == place else "" for place, choice in enumerate(sample.options)]
        said = parsers.letter(prediction.answer, once)
        return said if isinstance(said, Unparsed) else letter(sample.options[ord(said) - ord("A")], sample.options)
    if kind == "list":
        return only_list(parsers.final_answer(prediction.answer))
    value = parsers.number(prediction.answer)
    if isinstance(value, Unparsed):
        return value
    if kind == "float":
        return str(round(value, int(tag(sample, "precision"))))
    return str(int(value)) if value.is_integer() else Unparsed("not a whole number")


def only_list(text: str) -> str | Unparsed:
    """The one list of numbers of a text, as Python writes it.

    >>> only_list("between [2007,2008]"), only_list("[1] or [2]")
    ('[2007, 2008]', Unparsed(reason='several lists'))
    """
    lists = {str([float(item) if "." in item else int(item) for item in found.split(",")]) for found in LIST.findall(text)}
    return lists.pop() if len(lists) == 1 else Unparsed("several lists" if lists else "no list")


def letter(choice: str, options: tuple[str, ...]) -> str:
    """The letter of the first option with this text."""
    return chr(ord("A") + options.index(choice))


def replies(path: Path, judged: bool, stored: dict[str, str], metadata: dict[str, dict[str, Any]]) -> list[Reply] | None:
    """The replies of a results file of the authors, with `judged` their extractions as the judge's; None where the path is none.

    `stored` is left with the extractions of this file alone, for the judge's is read last; `metadata` gets what it lacks.
    """
    stored.clear()
    found, rows = [], result_rows(path) if path.is_file() else {}
    for pid, row in rows.items():
        response = row.get("response") if isinstance(row, dict) else row
        if not isinstance(row, dict) or not isinstance(response, str | None):
            raise DataError(f"expected a row with text as its response in {path}, row {pid}, got {response!r:.60}")
        extraction = row.get("extraction") if judged else None
        if extraction is not None:
            stored[pid] = str(int(extraction) if isinstance(extraction, float) and extraction.is_integer() else extraction)
            found.append(Reply(pid, stored[pid], role="judge"))
        if response is not None or extraction is not None:
            found.append(Reply(pid, response or ""))
    scored = any("true_false" in row for row in rows.values())  # where it found no extraction, it left no prediction
    lacking = [reply.sample for reply in found if reply.sample not in stored and not (scored and "prediction" not in rows[reply.sample])]
    if stored and lacking:
        raise DataError(
            f"expected an extraction in all rows of {path} or in none, got none in {len(lacking)} of {len(rows)}, such as '{lacking[0]}': "
            "run the extraction for all, or delete the key in all to extract with --judge"
        )
    metadata |= {pid: row["metadata"] for pid, row in rows.items() if pid not in metadata and isinstance(row.get("metadata"), dict)}
    return found if rows else None


def result_rows(path: Path) -> dict[str, Any]:
    """The rows by pid of a results file of the authors, known by its content; none of anything else, such as JSON lines."""
    with path.open("rb") as file:
        opening = file.read(4096)
    try:
        rows = json.loads(path.read_bytes(), object_pairs_hook=partial(once, path)) if ROWS.match(opening) else {}
    except ValueError as error:
        if str(error).startswith("Extra data"):
            return {}
        raise DataError(f"expected JSON in {path}, got: {error}; is the file cut off? Write it again") from error
    return rows if any("response" in row or "extraction" in row for row in rows.values() if isinstance(row, dict)) else {}


def once(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The pairs of a JSON object as a dict, no name twice."""
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise DataError(f"expected each name once in {path}, got '{max(names, key=names.count)}' twice: keep one row a pid")
    return dict(pairs)


def export(given: Iterable[tuple[Sample, Mapping[str, Any]]], folder: Path, split: str, known: Mapping[str, Any]) -> list[Path]:
    """Writes `output_<split>.json` as the authors' scripts do, scored as `official-head`; `true_false` only where answers are known."""
    results: dict[str, Any] = {}
    for sample, said in given:
        if said["missing"]:
            continue
        row = {name: value for name, value in known[sample.id].items() if name != "decoded_image"}
        response = said["text"] if said["answer"] is None else said["answer"]
        results[sample.id] = row | {"query": sample.prompt, "response": response}
        extraction = said.get("verdicts", {}).get("extraction")
        if extraction is None:
            continue
        value = normalised(extraction, sample, GENERATIONS["head"])
        text = None if isinstance(value, Unparsed) else sample.options[ord(value) - ord("A")] if sample.options else value
        results[sample.id] |= {"extraction": extraction, "prediction": text}
        if row["answer"]:
            results[sample.id]["true_false"] = text == row["answer"]
    path = folder / f"output_{split}.json"
    path.write_text(json.dumps(results, indent=4), encoding="utf-8")
    return [path]
