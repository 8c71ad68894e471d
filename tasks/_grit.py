"""What GRIT's six evaluation sets share: the rows, how boxes and answers are read, and the authors' saved outputs.

Source: `extract_eval_results.py` of Marcliyc/GRIT at b0cd62c, by GRIT's first author; `grpo-gr/` of eric-ai-lab/GRIT at 44699c9.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from evalkit import (
    JUDGED,
    Accuracy,
    Box,
    BoxMatch,
    Columns,
    Data,
    DataError,
    Estimate,
    GroundingIoU,
    Image,
    Judge,
    Mean,
    Prediction,
    Record,
    Reply,
    Rule,
    Sample,
    Share,
    Size,
    Task,
    Unparsed,
    Wants,
    bleu,
    iou,
    parsers,
    read_boxes,
    read_json,
    read_jsonl,
    require,
    stats,
)

VARIANTS = ("judged", "unjudged")
SPRAY = 16
"""More boxes than this are a spray: the largest count that a TallyQA answer has is 15."""
SPRAYED = (
    f"sprayed is the share of replies with more than {SPRAY} boxes; grounding_iou takes them for one region, box_f1 counts each that "
    "meets no gold box as false"
)
STEP = 0.5 + 0.05 - 0.5
THRESHOLDS = tuple(0.5 + STEP * number for number in range(10))
"""0.5 to 0.95, with the rounding errors of numpy's `arange`, as in the authors' script."""
GOLD = re.compile(r"\[\b\d+,\s*\d+,\s*\d+,\s*\d+\b\]")
SAVED = re.compile(rb'\s*\[\s*(?:\]|\{\s*"(?:input_output_conv|conversation_images|reward_name|reward_list)")')
QUESTION = "Question: "


@dataclass(frozen=True, slots=True)
class Set:
    """One evaluation set."""

    name: str
    data: Data
    rows: int
    dataset: str
    """What its rows call it; the others among them are subsets."""
    boxes: bool = True
    """Whether its rows have gold boxes."""
    numbers: Any = None
    """The kind of answer, `count` or `number`, that its numerals are."""
    located: bool = False
    """Whether the answer is a box."""

    def task(self, variant: str, data: Path | None) -> Task:
        """The set with the authors' judge, or by rules alone."""
        rows = cache(lambda: tuple(_rows(self, self.data.folder(data))))
        judged = variant == VARIANTS[0]

        def standard(sample: Sample) -> str:
            return str(rows()[int(sample.id)][1]["answer"])

        return Task(
            name=self.name if judged or self.located else f"{self.name}:{variant}",
            version=1,
            samples=lambda: (_sample(self, *row) for row in rows()),
            rules=(
                *(JUDGED if judged else ()),
                *(LOCATED if self.located else STRICT),
                *(GROUNDED if self.boxes else ()),
                *(() if self.located else (_worded(standard),)),
            ),
            headline="threshold_score" if self.located else "judge_score" if judged else "grounding_iou" if self.boxes else "accuracy",
            kinds=self._kinds(),
            graders=(Judge(standard),) if judged else (),
            data=self.data,
            published={"rows": self.rows},
            replies=lambda path: replies(path, [row for _, row, _ in rows()], judged),
            notes=(SPRAYED,) if self.boxes else (),
        )

    def _kinds(self) -> tuple[Any, ...]:
        words = () if self.located else ("text", "yes_no", *([self.numbers] if self.numbers else []))
        return (*words, *(["boxes"] if self.boxes else []))


def source(stem: str) -> Data:
    """Where the rows called `stem` are."""
    return Data(
        hub=("yfan1997/GRIT_data",),
        files=(f"{stem}.jsonl|*.jsonl",),
        licence="none stated",
        layout=f"{stem}.jsonl (or one other *.jsonl) and the images by their names in it, beside it or in a subfolder",
    )


def _rows(made: Set, folder: Path) -> Iterator[tuple[str, dict[str, Any], Path]]:
    """The rows of the one annotation file, in its order, each with where it stands and its image's path."""
    paths = made.data.annotations(folder)
    if len(paths) > 1:
        wanted = made.data.files[0].replace("|", " or one ")
        raise DataError(f"expected {wanted} in {folder}, got {', '.join(path.name for path in paths)}")
    below = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: (path.name != made.dataset, path.name))
    keys: dict[str, Any] = {"question": str, "answer": (str, int, float), "image": str, "dataset": str}
    if made.boxes:
        keys |= {"width": int, "height": int} | ({} if made.located else {"bboxs": list})
    for number, row in enumerate(read_jsonl(paths[0])):
        where = f"{paths[0]}, row {number}"
        require(row, keys, where)
        if not row["dataset"].startswith(made.dataset):
            raise DataError(
                f"expected a row of {made.dataset} in {where}, got one of {row['dataset']}: name the folder of this set with --data"
            )
        image = next((home / row["image"] for home in (folder, *below) if (home / row["image"]).is_file()), folder / row["image"])
        yield where, row | {"number": number}, image


def _sample(made: Set, where: str, row: Mapping[str, Any], image: Path) -> Sample:
    said = str(row["answer"])
    if made.located:
        gold = [json.loads(box) for box in GOLD.findall(said)]
        if not gold:
            raise DataError(f"expected a box such as [1, 2, 3, 4] as answer in {where}, got {said!r:.60}")
        regions = read_boxes(gold, f"answer of {where}")
        kind, target = "boxes", regions
    else:
        regions = read_boxes(row["bboxs"], f"bboxs of {where}") if made.boxes else ()
        kind, target = _target(said, made.numbers)
    size = Size(row["width"], row["height"]) if made.boxes else None
    return Sample(
        id=str(row["number"]),
        question=row["question"],
        prompt=row["question"],
        images=(Image(image, size=size),),
        wants=Wants(kind, also=("boxes",) if made.boxes and not made.located else ()),
        target=target,
        regions=regions,
        tags=frozenset({row["dataset"]} - {made.dataset}),
        group=row["image"],
    )


def _target(said: str, numbers: Any) -> tuple[Any, Any]:
    """The kind of an answer, and the answer in the form that a strict reading gives."""
    plain = _plain(said)
    if plain in ("yes", "no"):
        return "yes_no", plain
    if numbers and re.fullmatch(r"\s*[-+]?\d+\s*", said):
        return numbers, int(said)
    if numbers == "number" and re.fullmatch(r"\s*[-+]?(?:\d+\.\d*|\.\d+)\s*", said):
        return numbers, float(said)
    return "text", plain


def _plain(text: str) -> str:
    """The words in lower case, without articles and punctuation."""
    return " ".join(word for word in re.findall(r"\w+", text.lower()) if word not in ("a", "an", "the"))


# ---------------------------------------------------------------- readings


def official(prediction: Prediction, sample: Sample) -> list[Box] | Unparsed:
    """The boxes as the authors' script reads them: no conversion, but for thousandths, which are cut to whole pixels."""
    size = sample.images[0].size
    boxes = []
    for evidence in prediction.evidence:
        x1, y1, x2, y2 = evidence.written
        if evidence.frame == "thousand" and size:
            x1, x2 = int(x1 / 1000 * size.width), int(x2 / 1000 * size.width)
            y1, y2 = int(y1 / 1000 * size.height), int(y2 / 1000 * size.height)
        boxes.append(Box(x1, y1, x2, y2))
    return boxes or Unparsed("no box")


def written(prediction: Prediction, sample: Sample) -> list[Box] | Unparsed:
    """The boxes as they are written, whatever the frame: the authors' script scores a located answer before it converts thousandths."""
    return [Box(*evidence.written) for evidence in prediction.evidence] or Unparsed("no box")


def rescaled(prediction: Prediction, sample: Sample) -> list[Box] | Unparsed:
    """The boxes in pixels of the original image."""
    boxes = [evidence.box for evidence in prediction.evidence if evidence.box is not None]
    if len(boxes) < len(prediction.evidence):
        return Unparsed("boxes in an unknown frame")
    return boxes or Unparsed("no box")


def sprayed(prediction: Prediction, sample: Sample) -> bool | Unparsed:
    """Whether there are more boxes than any answer asks for."""
    return len(prediction.evidence) > SPRAY if prediction.evidence else Unparsed("no box")


def strict(prediction: Prediction, sample: Sample) -> Any:
    """The answer as the parser of the sample's kind reads it, a text in its plain form."""
    if prediction.answer is None:
        return Unparsed(prediction.failure)
    read: dict[str, Any] = {"yes_no": parsers.yes_no, "count": parsers.count, "number": parsers.number}
    if sample.wants.kind in read:
        return read[sample.wants.kind](prediction.answer)
    return _plain(prediction.answer) or Unparsed("no word")


def bleu_1(answer: str, gold: str) -> float:
    """BLEU-1 of the answer's words against the gold answer's, in [0, 1]; case and punctuation count for nothing.

    Ten times the authors' `bleu_score_reward` (`grpo-gr/rewards.py`) of a reply that ends with its answer, as `</answer>` is a stop
    string. The gold answer is the row's own, articles included.

    >>> bleu_1("Yes.", "yes"), round(bleu_1("it is 4", "4"), 4), round(bleu_1("dog", "The dog"), 4), bleu_1("", "yes")
    (1.0, 0.3333, 0.3679, 0.0)
    """
    said, known = (re.sub(r"[^a-zA-Z0-9\s]", " ", text).lower().split() for text in (answer, gold))
    return bleu(said, known, order=1, smoothing="none")


def _worded(standard: Callable[[Sample], str]) -> Rule:
    """The rule of `bleu_1`, against the answer that `standard` says the row has."""

    def read(prediction: Prediction, sample: Sample) -> float | Unparsed:
        return Unparsed(prediction.failure) if prediction.answer is None else bleu_1(prediction.answer, standard(sample))

    return Rule("official", read, Mean("bleu_1"), subsets=("overall",), optional=True)


@dataclass(frozen=True, slots=True)
class ThresholdScore:
    """`threshold_score`, in [0, 1]: the mean over ten IoU thresholds of 1 / (number of boxes), 0 where none of them meets the gold box.

    The authors' `map_single_gt_set`. Corners in the wrong order make a box without area.
    """

    @property
    def name(self) -> str:
        return "threshold_score"

    def measure(self, value: Sequence[Box] | None, sample: Sample) -> Record:
        """`score`, of the boxes with the first gold box."""
        best = max((iou(box, sample.regions[0]) for box in value or ()), default=0.0)
        return {"score": sum(best >= threshold for threshold in THRESHOLDS) / 10 / max(len(value or ()), 1)}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """The mean, with a clustered bootstrap interval."""
        return {"threshold_score": stats.mean(stats.column(records, "score"), records.group, bounded=True)}


STRICT = (Rule("strict", strict, Accuracy()),)
LOCATED = (
    Rule("official", written, ThresholdScore(), reads="boxes"),
    Rule("rescaled", rescaled, ThresholdScore(), reads="boxes"),
)
GROUNDED = (
    Rule("official", official, GroundingIoU(), reads="boxes"),
    Rule("rescaled", rescaled, GroundingIoU(), reads="boxes"),
    Rule("rescaled", rescaled, BoxMatch(0.5), reads="boxes"),
    Rule("official", sprayed, Share("sprayed")),
)


# ---------------------------------------------------------------- the authors' saved outputs


def replies(path: Path, rows: Sequence[Mapping[str, Any]], judged: bool) -> list[Reply] | None:
    """The replies to `rows`, and with `judged` the saved scores as the judge's, of `evaluation_results_<rank>.json` files.

    `path` is a `local_log_step_<N>` folder or one of its files; None where it is neither. What the authors' sampler asked twice
    counts once, as in their script; entries of other sets are passed over, rows that are equal have one reply.
    """
    files = sorted(path.glob("evaluation_results_*.json")) if path.is_dir() else [path]
    if not files or not all(SAVED.match(_opening(file)) for file in files):
        return None
    asked: defaultdict[tuple[str, str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        asked[_key(row["dataset"], row["image"], row["answer"])].append(row)
    own = {row["dataset"] for row in rows}
    found: dict[str, list[Reply]] = {}
    for entry in _once(files):
        if entry["dataset"] in own:
            for name in _asked(asked, entry) or [f"{entry['image']}: {entry['prompt']}"]:
                given = [Reply(name, entry["text"])]
                given += [Reply(name, repr(score), role="judge") for score in entry["scores"] if judged]
                found.setdefault(name, given)
    return [reply for given in found.values() for reply in given]


def _opening(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(4096)


def _key(dataset: str, image: str, answer: Any) -> tuple[str, str, str]:
    return dataset, PurePosixPath(image).name, str(answer)


def _asked(rows: Mapping[tuple[str, str, str], Sequence[Mapping[str, Any]]], entry: Mapping[str, Any]) -> list[str]:
    """The ids of the rows that an entry is about: those whose question its prompt begins with, of several the longest."""
    said = entry["prompt"].partition(QUESTION)[2]
    known = [row for row in rows.get(_key(entry["dataset"], entry["image"], entry["gt_answer"]), ()) if said.startswith(row["question"])]
    longest = max((len(row["question"]) for row in known), default=0)
    return [str(row["number"]) for row in known if len(row["question"]) == longest]


def _once(files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """The entries of the files, each conversation once."""
    seen = set()
    for file in files:
        for number, entry in enumerate(read_json(file)):
            try:
                held = entry["input_output_conv"]
                turns = [turn["content"][-1]["text"] for turn in held["message"]]
                told = {"dataset": held["dataset"], "prompt": turns[0], "image": held["image"], "gt_answer": str(held["gt_answer"])}
                scored = zip(entry.get("reward_name", ()), json.loads(entry.get("reward_list", "[]")), strict=False)
                scores = [score for name, score in scored if "gpt_score_reward" in name][:1]
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise DataError(f"expected a saved conversation in {file}, entry {number}, got {type(error).__name__}: {error}") from error
            if tuple(told.values()) not in seen:
                seen.add(tuple(told.values()))
                yield told | {"text": turns[1] if len(turns) > 1 else "", "scores": scores}
