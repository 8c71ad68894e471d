"""The judge that extracts answers: what it is asked, when it is not, what its words become; and the edit distance beside it."""

import random
from dataclasses import replace
from typing import Any

import pytest

from evalkit.graders.extraction import Extraction, distance, nearest
from evalkit.types import Generate, Message, Prediction, Response, Sample, Sampling, Wants

SAMPLE = Sample("1", "How many?", "How many? Answer in digits.", (), Wants("number"), target="4")
GRADER = Extraction(
    wording=lambda sample, reply: f"{sample.prompt}\n{reply}\nShort:", quick=lambda sample, reply: reply if reply in ("", "4") else None
)


def verdict(prediction: Prediction, *replies: Response, grader: Extraction = GRADER) -> Any:
    """What the grader returns, when the judge gives these replies and is asked for no more and no fewer."""
    conversation, waiting = grader.grade(SAMPLE, prediction), [None, *replies]
    try:
        while True:
            conversation.send(waiting.pop(0))  # type: ignore[arg-type]
    except StopIteration as end:
        assert not waiting
        return end.value


def test_the_judge_is_asked_once_greedily_without_images() -> None:
    request = next(GRADER.grade(SAMPLE, Prediction("So it is four.", "So it is four.")))
    message = Message("user", ("How many? Answer in digits.\nSo it is four.\nShort:",))
    assert request.kind == Generate((message,), Sampling(max_tokens=1024, temperature=0.0))
    assert (request.to, GRADER.name, GRADER.to) == ("judge", "extraction", "judge")


@pytest.mark.parametrize(("said", "extracted"), [("4", "4"), (" 4\n", "4"), ("(A) four", "(A) four"), ("", ""), (" \n", "")])
def test_the_verdict_is_what_the_judge_says_stripped(said: str, extracted: str) -> None:
    assert verdict(Prediction("So it is four.", "So it is four."), Response(said)) == extracted


@pytest.mark.parametrize("reply", ["", "4"])
def test_a_reply_that_needs_no_judge_asks_nobody(reply: str) -> None:
    assert verdict(Prediction(reply, reply)) == reply


@pytest.mark.parametrize(
    "prediction", [Prediction("", None, "missing", missing=True), Prediction("four, I think", None, "no <answer> tag")]
)
def test_where_there_is_no_answer_nobody_is_asked(prediction: Prediction) -> None:
    assert verdict(prediction) is None


def test_a_replay_without_the_judges_reply_is_no_extraction_and_not_an_empty_one() -> None:
    assert verdict(Prediction("So it is four.", "So it is four."), Response(missing=True)) is None


def test_by_default_every_reply_goes_to_the_judge() -> None:
    assert next(Extraction(GRADER.wording).grade(SAMPLE, Prediction("", ""))).to == "judge"


@pytest.mark.parametrize(
    ("reply", "response", "extracted"),
    [
        ("4", Response("(B)"), "(B)"),
        ("", Response("(B)"), "(B)"),
        ("4", Response("5"), "4"),
        ("4", Response(missing=True), "4"),
        ("It is four.", Response("(B)"), "(B)"),
        ("It is four.", Response("5"), "5"),
        ("It is four.", Response(missing=True), None),
    ],
)
def test_a_stored_extraction_goes_before_the_quick_rule_where_the_judge_says_it(
    reply: str, response: Response, extracted: str | None
) -> None:
    assert verdict(Prediction(reply, reply), response, grader=replace(GRADER, stored=lambda sample: "(B)")) == extracted


def by_table(first: str, second: str) -> int:
    """Levenshtein's distance by the table of Wagner and Fischer, cell by cell."""
    row = list(range(len(second) + 1))
    for place, one in enumerate(first, 1):
        diagonal, row[0] = row[0], place
        for other in range(1, len(row)):
            least = min(row[other] + 1, row[other - 1] + 1, diagonal + (one != second[other - 1]))
            diagonal, row[other] = row[other], least
    return row[-1]


def test_the_distance_is_that_of_the_table() -> None:
    draw = random.Random(3)
    lengths = [(draw.randint(0, 9), draw.randint(0, 9)) for _ in range(2000)] + [(70, 3), (64, 64), (65, 130), (1, 200)]
    for lines in lengths:
        first, second = ("".join(draw.choices("ab海 ", k=length)) for length in lines)
        assert distance(first, second) == by_table(first, second) == distance(second, first)


def test_of_equally_near_options_the_first_is_taken() -> None:
    assert nearest("x", ["aa", "b", "c"]) == "b"
    assert nearest("I cannot tell", ["yes", "no"]) == min(["yes", "no"], key=lambda option: by_table("I cannot tell", option))
