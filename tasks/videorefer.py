"""VideoRefer-Bench: an object that is masked in a video is to be described (D) or asked about (Q).

Paper: Yuan et al.: VideoRefer Suite: Advancing Spatial-Temporal Object Understanding with Video LLM. CVPR 2025, arXiv 2501.00599.

Data: `DAMO-NLP-SG/VideoRefer-Bench` on the hub, Apache-2.0: `VideoRefer-Bench-Q.json`, 1000 rows, and `VideoRefer-Bench-D.json`, 400. The
videos of D are in `Panda-70M-part.zip` there, to be unpacked; those of Q are frames of MeViS (`valid_u`) and DAVIS 2017, at the places
that the rows name. Either may lie below `videos/`.

Row (`VideoRefer-Bench-Q.json`; D has `caption` in place of question, type, options and answer):
    {"id": 0, "video": "DAVIS/JPEGImages/480p/aerobatics", "Question": "What is <object3><region> not wearing?", "type": "Basic Questions",
     "options": ["(A) A helmet", "(B) A hat", "(C) Sunglasses", "(D) A watch"], "Answer": "(A) A helmet", "frame_idx": "57",
     "annotation": [{"0": {"segmentation": {"size": [480, 854], "counts": "..."}}, "3": {"segmentation": {...}}, ...}]}

What is shown: 16 of the frames that are annotated (32), evenly spread, the one nearest to `frame_idx` replaced by it. `given` holds
for each object in turn one mask for each frame shown; `q` and `d` give that of `frame_idx` and None else, `-multi` all.

Metric of Q: accuracy, overall and by type. `official` is the authors' `eval_videorefer_bench_q.py`: the first capital in brackets, else
before a closing bracket, else the first character. `first_word` is UniPixel's `check_ans`, `strict` evalkit's parser.
Metric of D: a judge's scores from 0 to 5 for `subject_correspondence`, `appearance_description`, `temporal_description` and
`hallucination_detection`, each the mean over rows, and `judge_score`, the mean of the four. The judge (GPT-4o; UniPixel has GPT-4o
mini) is told `SYSTEM` word for word and draws at temperature 0.7, as `1.eval_gpt_new.py` has it. `official` reads its scores as
`2.extract_re.py` does, and leaves out what it finds none of; `strict` takes four scores in the range or counts 0. `judge_unparsed` is
the share of replies judged without four scores.

Headline: accuracy, `official`, overall; of D judge_score.

Ids: the row's place in the file, from 0. Clusters: the video.

Departures: the questions are UniPixel's wording, `<|mem|>` standing where its regions do; it makes a reply to Q begin with "The best option
is (", here it does so with `--protocol segment`, else as the model likes. That protocol hands `given` to a plug-in that takes regions as
values (docs/masks.md); any other model is told of objects that it cannot see. The authors leave out of D what was not answered; here it
counts 0.
"""

import math
import re
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit import (
    Accuracy,
    Columns,
    Estimate,
    Generate,
    Message,
    Prediction,
    Record,
    Request,
    Response,
    Rule,
    Sample,
    Sampling,
    Share,
    Task,
    Unparsed,
    Wants,
    sibling,
    stats,
)

shared = sibling(__file__, "_videorefer")

MULTI = "-multi"
VARIANTS = ("q", "d", "q-multi", "d-multi")
DATA = shared.DATA["Q"]
PUBLISHED = {"Q": 1000, "D": 400}
BLIND = "what is asked about is given as masks: a model that takes no regions is asked about objects that it is not shown"

JUDGE = "videorefer"
NUMBERED, SCORED = re.compile(r"(?<!\d)\d+\.\s+"), re.compile(r"(.*?):\s+([\d.]+)")
DIMENSIONS = ("Subject Correspondence", "Appearance Description", "Temporal Description", "Hallucination Detection")
NAMES = tuple(dimension.lower().replace(" ", "_") for dimension in DIMENSIONS)
BEST = 5
SYSTEM = (
    "You are an advanced intelligent chatbot specialized in evaluating the factual accuracy of generative outputs "
    "related to object-based video descriptions.\n"
    "Your primary task is to meticulously compare the predicted answer with the correct answer and assess their "
    "factual consistency. To accomplish this, you will evaluate the descriptions across four key dimensions:\n"
    "1. Subject Correspondence: Assess whether the subject of the input description accurately matches the subject "
    "indicated in the ground truth description.\n"
    "2. Appearance Description: Evaluate the accuracy of the appearance details, including color, shape, size, "
    "texture, and any other relevant visual attributes.\n"
    "3. Temporal Description: Analyze whether the depiction of the object's motion aligns with the actual "
    "movements described in the correct answer.\n"
    "4. Hallucination Detection: Identify any discrepancies by determining if the description includes facts, "
    "actions, or elements that do not exist in reality, such as imaginative interpretations or incorrect "
    "inferences.\n"
    "Please assign a score for each of these four dimensions, using an integer from 0 to 5, where 5 indicates a "
    "perfect match and 0 signifies no relevance at all. Accompany your assessments with brief explanations to "
    "clarify your scoring rationale.\n"
    "### OUTPUT FORMAT(EXAMPLE)\n"
    "1. Subject Correspondence: 5\\nExplanation: xxx\n"
    "2. Appearance Description: 4\\nExplanation: xxx\n"
    "3. Temporal Description: 5\\nExplanation: xxx\n"
    "4. Hallucination Detection: 3\\nExplanation: xxx"
)


def task(variant: str, data: Path | None) -> Task:
    """Questions or descriptions, with the masks of one frame or of all."""
    letter, multi = variant[0].upper(), variant.endswith(MULTI)
    asked, source = letter == "Q", shared.DATA[letter]
    samples = questions if asked else descriptions
    return Task(
        name=f"videorefer:{variant}",
        version=1,
        samples=lambda: samples(source.folder(data), multi),
        rules=Q_RULES if asked else D_RULES,
        headline="accuracy" if asked else "judge_score",
        kinds=("choice",) if asked else ("text",),
        graders=() if asked else (Judge(),),
        data=source,
        published={"rows": PUBLISHED[letter]},
        notes=(BLIND,),
    )


def questions(folder: Path, multi: bool) -> Iterator[Sample]:
    """The rows of Q."""
    for row in shared.rows("Q", folder, {"Question": str, "type": str, "options": list, "Answer": str}):
        asked, given = shared.asked(row), row.given(multi)
        yield Sample(
            id=str(row.number),
            question=asked.question,
            prompt=shared.highlighted(asked.numbers, given) + asked.listed + shared.ASK,
            images=row.frames,
            wants=Wants("choice", form="video"),
            target=asked.answer,
            options=asked.options,
            given=given,
            tags=frozenset({shared.tag(row)}),
            group=row.values["video"],
        )


def descriptions(folder: Path, multi: bool) -> Iterator[Sample]:
    """The rows of D, each of one object."""
    question = "Please give a detailed description of the highlighted object [0] in the video."
    for row in shared.rows("D", folder, {"caption": str}):
        given = row.given(multi)
        yield Sample(
            id=str(row.number),
            question=question,
            prompt=shared.highlighted(["0"] * len(row.volumes), given) + question,
            images=row.frames,
            wants=Wants("text", form="video"),
            target=row.values["caption"],
            given=given,
            group=row.values["video"],
        )


def official(prediction: Prediction, sample: Sample) -> str | Unparsed:
    """The letter as the authors read it."""
    if not prediction.answer:
        return Unparsed(prediction.failure or "an empty reply")
    match = re.search(r"\(([A-Z])\)", prediction.answer) or re.search(r"([A-Z])\)", prediction.answer)
    found = match[1] if match else prediction.answer.replace(".", "")[:1].upper()
    return found if found and found in shared.LETTERS[: len(sample.options)] else Unparsed("no option's letter")


# ---------------------------------------------------------------- the judge of D


@dataclass(frozen=True, slots=True)
class Judge:
    """The judge's reply as its verdict; none where there is nothing to be judged, or the reply is missing."""

    name: str = JUDGE
    to: str = "judge"

    def grade(self, sample: Sample, prediction: Prediction) -> Generator[Request, Response, str | None]:
        """Asks for the four scores, once."""
        if not prediction.answer:
            return None
        told = f"##Correct answer: {sample.target}\n##Predicted answer: {prediction.answer}\n"
        messages = (Message("system", (SYSTEM,)), Message("user", (told,)))
        response = yield Request(Generate(messages, Sampling(max_tokens=800, temperature=0.7, top_p=0.95)), to=self.to)
        return None if response.missing else response.text


def scores_of(reply: str) -> dict[str, float]:
    """The scores in a judge's reply by dimension; none at all where one of them is no number.

    >>> scores_of("1. Subject Correspondence: 5\\n2. Temporal Description: 3.5, 4. Hallucination Detection: 1")
    {'subject_correspondence': 5.0, 'temporal_description': 3.5, 'hallucination_detection': 1.0}
    """
    try:
        found = {name: float(score) for name, score in _scored(reply)}
    except ValueError:
        return {}
    if not all(map(math.isfinite, found.values())):
        return {}
    return {name: found[dimension] for name, dimension in zip(NAMES, DIMENSIONS, strict=True) if dimension in found}


def _scored(reply: str) -> Iterator[tuple[str, str]]:
    """What the authors' `\\d+\\.\\s+(.*?):\\s+([\\d.]+)` finds one after the other, in time that grows with the reply.

    A point without a score after it in its line is the last of that line: what follows it there has none either.
    """
    place = 0
    while point := NUMBERED.search(reply, place):
        found = SCORED.match(reply, point.end())
        if found:
            yield found[1], found[2]
            place = found.end()
        else:
            end = reply.find("\n", point.end())
            place = len(reply) if end < 0 else end


def scores(prediction: Prediction, sample: Sample) -> dict[str, float] | Unparsed:
    """The scores that the judge gave, of as many dimensions as there are."""
    reply = prediction.verdicts.get(JUDGE)
    return Unparsed(prediction.failure or "nothing to judge, or the judge's reply is missing") if reply is None else scores_of(reply)


def all_scores(prediction: Prediction, sample: Sample) -> dict[str, float] | Unparsed:
    """The four scores, none above 5."""
    found = scores(prediction, sample)
    if isinstance(found, Unparsed):
        return found
    return found if len(found) == len(NAMES) and max(found.values()) <= BEST else Unparsed("not four scores from 0 to 5")


def unscored(prediction: Prediction, sample: Sample) -> bool:
    """Whether the judge replied, and not with four scores."""
    reply = prediction.verdicts.get(JUDGE)
    return reply is not None and len(scores_of(reply)) < len(NAMES)


@dataclass(frozen=True, slots=True)
class Dimensions:
    """`judge_score` and its four parts: the mean of each over the samples that have it, and the mean of the four, mostly in [0, 5]."""

    @property
    def name(self) -> str:
        return "dimensions"

    def measure(self, value: Mapping[str, float] | None, sample: Sample) -> Record:
        """Of each dimension its score and, as `NAME_n`, whether it has one; no value (None) is a 0 for each."""
        found = dict.fromkeys(NAMES, 0.0) if value is None else value
        return {name: found.get(name, 0.0) for name in NAMES} | {f"{name}_n": float(name in found) for name in NAMES}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """The five means, with clustered bootstrap intervals; None where no sample has a score."""
        columns = [stats.column(records, name + ending) for ending in ("", "_n") for name in NAMES]
        sums, count = stats.cluster_sums(records.group, *columns), len(NAMES)
        parts = {name: stats.ratio(columns[place], columns[place + count], records.group) for place, name in enumerate(NAMES)}

        def average(*totals: Any) -> Any:
            return sum(totals[place] / totals[place + count] for place in range(count)) / count

        return {"judge_score": stats.bootstrap(average, sums, len(records)), **parts}


Q_RULES = (
    Rule("official", official, Accuracy()),
    Rule("first_word", shared.first_word, Accuracy()),
    Rule("strict", shared.strict, Accuracy()),
)
D_RULES = (
    Rule("official", scores, Dimensions()),
    Rule("strict", all_scores, Dimensions()),
    Rule("official", unscored, Share("judge_unparsed")),
)
