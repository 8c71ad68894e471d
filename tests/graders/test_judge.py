"""GRIT's judge: its prompt to the byte, the official parse of its replies, and when it is asked again or not at all."""

import asyncio
from dataclasses import replace

import pytest

from evalkit import protocols, runner
from evalkit.graders.judge import JUDGED, Judge, JudgeScore, clamped, official, score_of, unparsed
from evalkit.metrics.shares import Share
from evalkit.types import Columns, Generate, Image, Message, ModelInfo, Prediction, Request, Response, Sample, Unparsed, Wants

SAMPLE = Sample("1", "Is it red?", "Is it red? Yes or no.", (), Wants("yes_no"), target="yes")
ASKED = Generate((Message("system", ("Be brief.",)), Message("user", (Image(b"", digest="d"), "\nQuestion: Is it red? First, think.\n"))))
REPLY = Prediction("<think> a </think> <answer> Yes, it is", "Yes, it is", asked=ASKED)
PROMPT = (
    "You are responsible for proofreading the answers, you need to give a score to the model\u2019s answer by referring to the standard"
    " answer, based on the given question. The full score is 1 point and the minimum score is 0 points. Please output the score in the"
    ' json form "{score: <score>}". The evaluation criteria require that the closer the model\u2019s answer is to the standard answer, the'
    " higher the score.\nQuestion: \nQuestion: Is it red? First, think.\n \nStandard answer: Yes \nModel\u2019s answer:  Yes, it is"
)


def grade(prediction: Prediction, replies: list[str], grader: Judge | None = None) -> tuple[list[Request], tuple[str, ...]]:
    """What the judge is asked, reply by reply, and the verdict; a reply that is lacking is missing."""
    conversation = (grader or Judge()).grade(SAMPLE, prediction)
    asked: list[Request] = []
    try:
        asked.append(next(conversation))
        while True:
            asked.append(conversation.send(Response(replies[len(asked) - 1]) if len(asked) <= len(replies) else Response(missing=True)))
    except StopIteration as end:
        return asked, end.value


def test_the_prompt_is_the_authors_to_the_byte() -> None:
    """With all that the model was asked, the gold answer as the row has it, and the blanks around what stands between the tags."""
    [request], _ = grade(REPLY, ["{score: 1}"], Judge(lambda sample: "Yes"))
    assert request.kind == Generate((Message("user", (PROMPT,)),))
    assert (request.to, request.draw) == ("judge", 0)


def test_without_a_known_request_the_benchmarks_wording_stands_for_it() -> None:
    [request], _ = grade(replace(REPLY, asked=None), ["1"])
    assert "\nQuestion: Is it red? Yes or no. \nStandard answer: yes \n" in request.kind.messages[0].content[0]  # type: ignore[union-attr,operator]


@pytest.mark.parametrize(
    ("text", "answer", "shown"),
    [
        (" It is red. ", " It is red. ", "It is red."),
        ("<answer>\nyes\n</answer> more", "yes", "\nyes\n"),
        ("say <answer> or so", "say <answer> or so", "say <answer> or so"),
        ("so \\boxed{yes}", "yes", "yes"),
        ("<answer>", "", ""),
    ],
)
def test_the_judge_sees_what_the_protocol_took_for_the_answer(text: str, answer: str, shown: str) -> None:
    [request], _ = grade(Prediction(text, answer), ["1"])
    assert request.kind.messages[0].content[0].endswith(f"\nModel\u2019s answer: {shown}")  # type: ignore[union-attr]


@pytest.mark.parametrize("prediction", [Prediction("Yes", None, "no <answer>"), Prediction("", ""), Prediction("", None, "missing")])
def test_where_there_is_no_answer_nobody_is_asked(prediction: Prediction) -> None:
    assert grade(prediction, []) == ([], ())
    judged = replace(prediction, verdicts={"grit": ()})
    assert isinstance(official(judged, SAMPLE), Unparsed)
    assert not unparsed(judged, SAMPLE)


def test_it_is_asked_three_times_at_most_each_a_draw_of_its_own() -> None:
    asked, verdict = grade(REPLY, ["?", "none", "no"])
    assert [request.draw for request in asked] == [0, 1, 2]
    assert len({request.key("judge") for request in asked}) == 3
    assert verdict == ("?", "none", "no")
    assert grade(REPLY, ["?", "{score: 0.5}", "{score: 1}"])[1] == ("?", "{score: 0.5}")


def test_a_missing_reply_of_the_judge_is_no_reply() -> None:
    assert grade(REPLY, ["?"])[1] == ("?",)
    assert grade(REPLY, [])[1] == ()


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("{score: 1}", 1.0),
        ('{"score": 0.5}', 0.5),
        ("```json\n{score: 0.75}\n```", 0.75),
        ("score 1.", 1.0),
        ("{score: 0.8} because", 0.8),
        ("Score: 1/1", 11.0),
        ("I do not know.", None),
        ("", None),
        ("0.3", 0.3),
        ("score: 0.123456", 0.12),
        ("score: 0.1, no: score: 0.9", 0.9),
        ("{score: -1}", 1.0),
        ("score: ten", None),
        ("1.2.3", None),
    ],
)
def test_a_score_is_read_as_the_authors_read_it(reply: str, score: float | None) -> None:
    assert score_of(reply) == score


def test_clamped_differs_where_the_parse_reads_more_than_1() -> None:
    for reply, raw, bound in (("Score: 1/1", 11.0, 1.0), ("{score: 0.4}", 0.4, 0.4)):
        judged = replace(REPLY, verdicts={"grit": ("?", reply)})
        assert (official(judged, SAMPLE), clamped(judged, SAMPLE), unparsed(judged, SAMPLE)) == (raw, bound, False)


def test_three_replies_without_a_score_are_a_zero_and_counted() -> None:
    judged = replace(REPLY, verdicts={"grit": ("?", "?", "?")})
    for rule in JUDGED[:2]:
        assert rule.parse(judged, SAMPLE) == Unparsed("no score in the judge's replies")
        assert rule.metric.measure(None, SAMPLE) == {"score": 0.0, "above": 0.0}
    assert JUDGED[2].metric == Share("judge_unparsed")
    assert JUDGED[2].parse(judged, SAMPLE) is True


def test_the_number_is_the_mean_of_the_raw_scores_and_beside_it_the_share_above_one_half() -> None:
    import numpy as np

    records = [JudgeScore().measure(value, SAMPLE) for value in (1.0, 0.5, None, 11.0)]
    columns = Columns({key: np.array([record[key] for record in records]) for key in records[0]}, np.arange(4))
    made = JudgeScore().summarise(columns)
    assert (made["judge_score"].value, made["judge_accuracy"].value) == (12.5 / 4, 0.5)
    assert (made["judge_score"].n, made["judge_accuracy"].n) == (4, 4)
    empty = JudgeScore().summarise(Columns({}, np.zeros(0, dtype=int)))
    assert empty["judge_score"].value is None


class Model:
    """Answers the first sample at once, and the second when the judge was asked about the first."""

    info = ModelInfo("m", "m", reads_images=False)

    def __init__(self, judged: asyncio.Event) -> None:
        self.judged = judged

    async def answer(self, request: Request) -> Response:
        if request.sample == "a/2":
            await asyncio.wait_for(self.judged.wait(), 60)
        return Response("<answer> yes")


class Asked:
    """A judge that says when it was asked."""

    info = Model.info

    def __init__(self, judged: asyncio.Event) -> None:
        self.judged = judged

    async def answer(self, request: Request) -> Response:
        self.judged.set()
        return Response("{score: 1}")


def test_the_judge_is_asked_while_the_model_still_answers() -> None:
    judged, ended = asyncio.Event(), list[runner.Outcome]()
    samples = iter([SAMPLE, replace(SAMPLE, id="2")])
    job = runner.Job("a", samples, protocols.find("grit"), graders=(Judge(),))
    runner.run([job], {"model": Model(judged), "judge": Asked(judged)}, lambda *_: None, ended.append)
    assert [official(outcome.prediction, SAMPLE) for outcome in ended if outcome.prediction] == [1.0, 1.0]
