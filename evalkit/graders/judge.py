"""`grit`: a judge scores an answer from 0 to 1 against the gold one; GRIT's prompt, its parse of the score, and its metric.

Source: `grpo-gr/rewards.py` of eric-ai-lab/GRIT at 44699c9, `gpt_score_reward` and, for a whole reply, `gpt_score_reward_1`; the paper's
judge is GPT-4o. The prompt descends from Visual-CoT's.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .. import stats
from ..interfaces import Rule
from ..metrics.shares import Share
from ..types import Columns, Conversation, Estimate, Generate, Message, Prediction, Record, Request, Sample, Sampling, Unparsed

NAME = "grit"
TRIES = 3
PROMPT = (
    "You are responsible for proofreading the answers, you need to give a score to the model’s answer by referring to the standard"
    " answer, based on the given question. The full score is 1 point and the minimum score is 0 points. Please output the score in the"
    ' json form "{{score: <score>}}". The evaluation criteria require that the closer the model’s answer is to the standard answer, the'
    " higher the score.\nQuestion: {question} \nStandard answer: {standard} \nModel’s answer: {predicted}"
)


@dataclass(frozen=True, slots=True)
class Judge:
    """The judge's replies as its verdict, one to three, the last of which counts; none where there is no answer to be judged.

    It is asked again, as another draw, for as long as its reply holds no score. It is shown what the model was asked, to the letter,
    without the image; and the answer as it stands between the tags, or the whole reply where the protocol takes that.

    >>> from evalkit.types import Prediction, Response, Sample, Wants
    >>> sample = Sample("1", "What?", "What?", (), Wants("text"), target="cat")
    >>> conversation = Judge().grade(sample, Prediction("A cat.", "A cat."))
    >>> next(conversation).kind.messages[0].content[0].splitlines()[1:3]
    ['Question: What? ', 'Standard answer: cat ']
    >>> try:
    ...     conversation.send(Response("{score: 0.9}"))
    ... except StopIteration as end:
    ...     end.value
    ('{score: 0.9}',)
    """

    standard: Callable[[Sample], str] = lambda sample: str(sample.target)
    """The gold answer as the judge is shown it."""
    sampling: Sampling = Sampling()
    name: str = NAME
    to: str = "judge"

    def grade(self, sample: Sample, prediction: Prediction) -> Conversation[tuple[str, ...]]:
        """Asks for the score, up to three times."""
        if prediction.answer is None or not prediction.text:
            return ()
        text = PROMPT.format(question=_asked(sample, prediction), standard=self.standard(sample), predicted=_predicted(prediction))
        replies: list[str] = []
        while len(replies) < TRIES and not (replies and score_of(replies[-1]) is not None):
            response = yield Request(Generate((Message("user", (text,)),), self.sampling), to=self.to, draw=len(replies))
            if response.missing:
                break
            replies.append(response.text)
        return tuple(replies)


def score_of(reply: str) -> float | None:
    """The score in a judge's reply, at least 0 and not bound to 1; None where the official parse finds no number.

    All but letters, digits, blanks and full stops is dropped, and of the first five characters behind the last "score" (of the
    whole where there is none) what is no digit or full stop.

    >>> score_of("{score: 0.8} because"), score_of("1"), score_of("Score: 1/1"), score_of("I do not know.")
    (0.8, 1.0, 11.0, None)
    """
    kept = re.sub(r"[^\w\s.]", "", reply.strip().lower())
    try:
        return float(re.sub(r"[^\d.]", "", kept.rpartition("score")[2][:5]))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class JudgeScore:
    """`judge_score`, the mean of the judge's scores, and `judge_accuracy`, the share of scores above 0.5.

    A reply without an answer, or one of which the judge gave no score, has a 0. Scores are mostly in [0, 1], but the official parse
    may read a larger one.

    >>> from evalkit.types import Wants
    >>> sample = Sample("1", "What?", "What?", (), Wants("text"), target="cat")
    >>> JudgeScore().measure(0.5, sample), JudgeScore().measure(11.0, sample), JudgeScore().measure(None, sample)
    ({'score': 0.5, 'above': 0.0}, {'score': 11.0, 'above': 1.0}, {'score': 0.0, 'above': 0.0})
    """

    @property
    def name(self) -> str:
        return "judge_score"

    def measure(self, value: float | None, sample: Sample) -> Record:
        """`score`, and in `above` whether it is above 0.5."""
        score = value or 0.0
        return {"score": score, "above": float(score > 0.5)}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """The mean with a clustered bootstrap interval, the share with Wilson's."""
        score, group = stats.column(records, "score"), records.group
        within = bool(len(score)) and score.max() <= 1
        return {
            "judge_score": stats.mean(score, group, bounded=within),
            "judge_accuracy": stats.share(stats.column(records, "above"), group),
        }


def official(prediction: Prediction, sample: Sample) -> float | Unparsed:
    """The score as the authors take it, not bound to 1."""
    replies = prediction.verdicts.get(NAME)
    if replies is None:
        return Unparsed("not judged")
    if not replies:
        return Unparsed(prediction.failure or "nothing to judge, or the judge's reply is missing")
    score = score_of(replies[-1])
    return Unparsed("no score in the judge's replies") if score is None else score


def clamped(prediction: Prediction, sample: Sample) -> float | Unparsed:
    """The score, at most 1."""
    score = official(prediction, sample)
    return score if isinstance(score, Unparsed) else min(score, 1.0)


def unparsed(prediction: Prediction, sample: Sample) -> bool:
    """Whether the judge was asked and gave no score in any of its replies."""
    replies = prediction.verdicts.get(NAME) or ("0",)
    return score_of(replies[-1]) is None


JUDGED = (
    Rule("official", official, JudgeScore()),
    Rule("clamped", clamped, JudgeScore()),
    Rule("official", unparsed, Share("judge_unparsed")),
)
"""The rules that read its verdict, the published number's first."""


def _asked(sample: Sample, prediction: Prediction) -> str:
    """The text of the model's last user turn; the benchmark's own wording where it is not known."""
    said = [message for message in prediction.asked.messages if message.role == "user"] if prediction.asked else []
    return "".join(part for part in said[-1].content if isinstance(part, str)) if said else sample.prompt


def _predicted(prediction: Prediction) -> str:
    """The answer with the blanks around it where it stands behind the first `<answer>`, else without."""
    answer, span = prediction.answer or "", prediction.text.partition("<answer>")[2].partition("</answer>")[0]
    return span if span.strip() == answer else answer.strip()
