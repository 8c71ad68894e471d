"""V* Bench: small things in large photographs, asked as multiple choice.

Paper: Wu, Xie: V*: Guided Visual Search as a Core Mechanism in Multimodal LLMs. CVPR 2024, arXiv 2312.14135.

Data: `craigwu/vstar_bench` on the hub; a folder in its layout: `test_questions.jsonl` and, in `direct_attributes/` and
`relative_position/`, photographs (1690 x 1500 to 5759 x 1440), each with a JSON of the same stem that holds the target boxes.
191 rows, 115 and 76. Code: MIT.

Row (`test_questions.jsonl`; in the JSON beside the image, `bbox` is [[x, y, w, h], ...] in pixels, one per target object):
    {"image": "direct_attributes/sa_4690.jpg", "text": "What is the material of the glove?\\n(A) rubber\\n(B) cotton\\n(C) kevlar\\n
     (D) leather\\nAnswer with the option's letter from the given choices directly.", "category": "direct_attributes",
     "question_id": "0", "label": "A"}

Metric: the share of right options over 115, 76 and all 191 rows; `overall` is the mean over rows, not over the two categories.
The authors generate no text: `likelihood` (with `--protocol likelihood`) is their own rule, by which the option with the highest
mean token log-probability as the reply to the bare question is taken (`vstar_bench_eval.py`). The options compared are the full
sentences of the JSON beside the image, the short ones of the letters where that file is absent. For models that reply in text,
`official` is the rule of the published runs (rekey-vstar, `scripts/compute_tables.py`): the letter of the last "answer: X" line,
else the last letter A to D that stands alone, in either case, so that an article "a" counts. `strict` is evalkit's parser, which
reads no article.

Headline: accuracy, `official`, overall.

Departures: the published rule looks for the answer line only in runs asked to reason step by step. A reply does not say how
it was asked, so it is looked for in all; every published run read so far scores the same either way. In the JSON the right option
comes first; here it takes the place of its letter, which changes no likelihood.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from evalkit import (
    Accuracy,
    Box,
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
    read_boxes,
    read_json,
    read_jsonl,
    require,
)

VARIANTS: tuple[str, ...] = ()

DATA = Data(
    hub=("craigwu/vstar_bench",),
    files=("test_questions.jsonl",),
    licence="MIT (code)",
    layout="test_questions.jsonl, direct_attributes/*.jpg and *.json, relative_position/*.jpg and *.json",
)

PUBLISHED = {
    "rows": 191,
    "direct_attributes": 115,
    "relative_position": 76,
    "answer=A": 71,
    "answer=B": 70,
    "answer=C": 27,
    "answer=D": 23,
}

OPTION = re.compile(r"\(([A-Z])\) ?(.*)")
ANSWER_LINE = re.compile(r"answer\s*[:：]\s*\(?([A-D])", re.IGNORECASE)
LONE_LETTER = re.compile(r"(?<![a-zA-Z])[A-Da-d](?![a-zA-Z])")


def task(variant: str, data: Path | None) -> Task:
    """V* Bench; there are no variants."""
    return Task(
        name="vstar",
        version=1,
        samples=lambda: samples(DATA.folder(data)),
        rules=(
            Rule("official", official, Accuracy()),
            Rule("strict", strict, Accuracy()),
            Rule("likelihood", likeliest, Accuracy(), reads="likelihoods"),
        ),
        headline="accuracy",
        kinds=("choice",),
        data=DATA,
        published=PUBLISHED,
    )


def samples(folder: Path) -> Iterator[Sample]:
    """The rows of `test_questions.jsonl`, in its order."""
    path = folder / "test_questions.jsonl"
    for number, row in enumerate(read_jsonl(path), 1):
        where = f"{path}, row {number}"
        require(row, {"image": str, "text": str, "category": str, "question_id": (str, int), "label": str}, where)
        question, options = _parts(row["text"], where)
        if row["label"] not in list("ABCDEFGH"[: len(options)]):
            raise DataError(f"expected a label among {len(options)} options in {where}, got {row['label']!r}")
        regions, statements = _beside((folder / row["image"]).with_suffix(".json"), "ABCDEFGH".index(row["label"]), len(options), where)
        yield Sample(
            id=str(row["question_id"]),
            question=question,
            prompt=row["text"],
            images=(Image(folder / row["image"]),),
            wants=Wants("choice"),
            target=row["label"],
            options=options,
            regions=regions,
            statements=statements,
            tags=frozenset({row["category"]}),
            group=row["image"],
        )


def official(prediction: Prediction, sample: Sample) -> str | Unparsed:
    """The letter, in upper case, as the published runs read it."""
    if prediction.answer is None:
        return Unparsed(prediction.failure)
    letters = ANSWER_LINE.findall(prediction.answer) or LONE_LETTER.findall(prediction.answer)
    return letters[-1].upper() if letters else Unparsed("no letter that stands alone")


def strict(prediction: Prediction, sample: Sample) -> str | Unparsed:
    """The letter that the answer gives."""
    return Unparsed(prediction.failure) if prediction.answer is None else parsers.letter(prediction.answer, sample.options)


def likeliest(prediction: Prediction, sample: Sample) -> str | Unparsed:
    """The letter of the likeliest option."""
    return Unparsed(prediction.failure) if prediction.answer is None else prediction.answer


def _parts(text: str, where: str) -> tuple[str, tuple[str, ...]]:
    """The bare question and the option texts of the full wording."""
    lines = text.split("\n")
    found = [(at, match) for at, line in enumerate(lines) if (match := OPTION.fullmatch(line))]
    if not found or "".join(match[1] for _, match in found) != "ABCDEFGH"[: len(found)]:
        raise DataError(f"expected options (A), (B), ... on lines of their own in the text of {where}, got {text!r:.80}")
    return "\n".join(lines[: found[0][0]]), tuple(match[2] for _, match in found)


def _beside(path: Path, right: int, options: int, where: str) -> tuple[tuple[Box, ...], tuple[str, ...]]:
    """The target boxes and the option sentences that lie beside the image, the right one moved to place `right`.

    Both are empty where that file is absent, as it is in copies without boxes.
    """
    if not path.is_file():
        return (), ()
    row = read_json(path)
    require(row, ("bbox",), f"{path} of {where}")
    boxes, sentences = read_boxes(row["bbox"], f"bbox of {path} of {where}", "xywh"), row.get("options")
    if sentences is None:
        return boxes, ()
    if not isinstance(sentences, list) or len(sentences) != options or not all(isinstance(text, str) for text in sentences):
        raise DataError(f"expected {options} option sentences in {path}, as in {where}, got {sentences!r:.80}")
    first, *others = sentences
    return boxes, (*others[:right], first, *others[right:])
