"""The box erasure: what is erased, from where the model goes on, what is compared."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalkit.geometry import Size
from evalkit.graders import find
from evalkit.graders._chain import chain, without_boxes
from evalkit.parsers import integer_quadruples, quadruples
from evalkit.types import Attend, Columns, Generate, Image, Message, Prediction, Request, Response, Sample, Sampling, Unparsed, Wants

PICTURE = Image(Path("a.jpg"), size=Size(64, 32), digest="d")
SAMPLE = Sample("1", "How many?", "How many?", (PICTURE,), Wants("count"), 2)
MESSAGES = (Message("user", (PICTURE, "How many?")),)
BEFORE = '<think> Two: {"bbox_2d": [1, 2, 3, 4]} and (5, 6, 7, 8). </think>'
REPLY = f"{BEFORE}\n<rethink> So [1, 2, 3, 4]. </rethink> <answer> 2"
PREDICTION = Prediction(REPLY, "2", asked=Generate(MESSAGES, Sampling(max_tokens=1000, stop=("</answer>",))))
PROBE = find("box-erasure")
(RULE,) = PROBE.rules


def graded(prediction: Prediction, replies: Sequence[Response], sample: Sample = SAMPLE) -> tuple[list[Request], Any]:
    """What was asked, and the verdict, when the engine gives these replies and is asked for no more and no fewer."""
    conversation, asked, waiting = PROBE.grader.grade(sample, prediction), [], list(replies)
    try:
        request = next(conversation)
        while True:
            asked.append(request)
            request = conversation.send(waiting.pop(0))
    except StopIteration as end:
        assert not waiting
        return asked, end.value


def replies(first: str = " <rethink> So two.", second: str = " <rethink> Hm.") -> list[Response]:
    return [
        Response(first),
        Response(attention=(((0.1, 0.2), (0.05, 0.0512345678)), ((0.5,),))),
        Response(second),
        Response(attention=(((0.1, 0.1), (0.05, 0.05)), ((0.5,),))),
    ]


# ---------------------------------------------------------------- what is erased


@pytest.mark.parametrize(
    ("text", "erased"),
    [
        ("nothing [1, 2, 3] to (1, 2) erase: [], {}", "nothing [1, 2, 3] to (1, 2) erase: [], {}"),
        ("at (10, 20, 30, 40), a dog", "at, a dog"),
        ("at 10,20,30,40 a dog", "at a dog"),
        ("at [0.1, 0.25, 0.5, 1.0] a dog", "at a dog"),
        ("at [-5 20.5 30 1e2] a dog", "at a dog"),
        ('a {"bbox_2d": [1, 2, 3, 4]} b', "a b"),
        ("{'bbox_2d': [1, 2, 3, 4], 'label': 'dog'}", "{'label': 'dog'}"),
        ('{"label": "dog", "bbox_2d": [1, 2, 3, 4]}', '{"label": "dog"}'),
        ('{"bbox_2d": [[1, 2, 3, 4], [5, 6, 7, 8]], "label": "dogs"}', '{"label": "dogs"}'),
        ('so\n```json\n[\n\t{"bbox_2d": [1, 2, 3, 4]},\n\t{"bbox_2d": [5, 6, 7, 8]}\n]\n```\nok', "so\n\nok"),
        ("<bbox>[[1, 2, 3, 4], [5, 6, 7, 8]]</bbox> ok", " ok"),
        ("<ref>chair</ref> <box>[[1, 2, 3, 4]]</box>", "<ref>chair</ref>"),
        ("1, 2,[1, 2, 3, 4] 3, 4 left", " left"),
        ("<think> a [1, 2, 3, 4] </think>\n", "<think> a </think>\n"),
    ],
)
def test_what_is_where_is_erased_and_what_is_there_stays(text: str, erased: str) -> None:
    assert without_boxes(text) == erased
    assert quadruples(erased) == integer_quadruples(erased) == ()


def test_the_chain_ends_at_the_first_answer() -> None:
    assert chain(" a <answer> b <answer> c") == "a"
    assert chain("a </answer> b") == "a </answer> b"


@pytest.mark.parametrize(
    "text", ["[1," * 20_000, "1, 2, 3," * 10_000, "{" * 50_000 + "1, 2, 3, 4", "[ ( " * 20_000 + "1, 2, 3, 4", " " * 99_999]
)
def test_long_replies_without_sense_are_read_too(text: str) -> None:
    assert not integer_quadruples(without_boxes(text))


# ---------------------------------------------------------------- what is asked


def test_the_model_goes_on_from_both_contexts_and_is_asked_for_its_attention() -> None:
    asked, _ = graded(PREDICTION, replies())
    erased = "<think> Two: and. </think>"
    assert [request.kind for request in asked] == [
        Generate(MESSAGES, Sampling(max_tokens=50), BEFORE),
        Attend(MESSAGES, " <rethink> So two.", BEFORE),
        Generate(MESSAGES, Sampling(max_tokens=50), erased),
        Attend(MESSAGES, " <rethink> Hm.", erased),
    ]
    assert {request.to for request in asked} == {"model"}


def test_a_forced_beginning_of_the_reply_stays_before_it() -> None:
    asked, _ = graded(replace(PREDICTION, asked=Generate(MESSAGES, prefill="Well, ")), replies())
    assert [request.kind.prefill[:13] for request in asked] == ["Well, <think>"] * 4  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "prediction",
    [
        replace(PREDICTION, text=f"{BEFORE} <answer> 2"),
        replace(PREDICTION, text="<think> Two. </think> <rethink> [1, 2, 3, 4] </rethink>"),
        replace(PREDICTION, asked=None),
        replace(PREDICTION, text="", missing=True),
    ],
    ids=["no <rethink>", "no box before it", "no text was asked for", "missing"],
)
def test_where_there_is_nothing_to_compare_nothing_is_asked_and_the_sample_does_not_count(prediction: Prediction) -> None:
    asked, verdict = graded(prediction, [])
    assert (asked, verdict) == ([], None)
    assert counted(verdict) == {}


def test_without_images_nothing_is_asked() -> None:
    assert graded(PREDICTION, [], replace(SAMPLE, images=())) == ([], None)


@pytest.mark.parametrize("silent", [1, 3])
def test_a_model_that_says_nothing_more_has_no_attention_to_compare(silent: int) -> None:
    said = replies(first="" if silent == 1 else "a", second="")[:silent]
    assert graded(PREDICTION, said)[1] is None


# ---------------------------------------------------------------- what is compared


def counted(verdict: Any) -> Any:
    value = RULE.parse(replace(PREDICTION, verdicts={"box_erasure": verdict}), SAMPLE)
    return RULE.metric.measure(None if isinstance(value, Unparsed) else value, SAMPLE)


def test_the_verdict_holds_both_grids_and_the_share_of_the_first_image() -> None:
    verdict = graded(PREDICTION, replies())[1]
    assert verdict["with_boxes"]["grids"] == [[[0.1, 0.2], [0.05, 0.0512346]], [[0.5]]]
    assert verdict["with_boxes"]["continuation"] == " <rethink> So two."
    assert verdict["with_boxes"]["attention"] == pytest.approx(0.4012345678)
    assert verdict["without_boxes"]["attention"] == pytest.approx(0.3)
    assert verdict["without_boxes"]["per_token"] == pytest.approx(0.075)
    assert counted(verdict) == {"with_boxes": pytest.approx(0.4012345678), "without_boxes": pytest.approx(0.3)}


def test_the_number_is_the_paired_difference_with_its_interval() -> None:
    present, erased = np.array([0.30, 0.50, 0.20, 0.42]), np.array([0.26, 0.45, 0.19, 0.36])
    numbers = RULE.metric.summarise(Columns({"with_boxes": present, "without_boxes": erased}, np.arange(4)))
    assert numbers["box_erasure"].value == pytest.approx(0.04)
    assert 0.01 <= numbers["box_erasure"].low < 0.04 < numbers["box_erasure"].high <= 0.06  # type: ignore[operator]
    assert numbers["attention_with_boxes"].value == pytest.approx(0.355)
    assert numbers["attention_without_boxes"].value == pytest.approx(0.315)
    assert {estimate.n for estimate in numbers.values()} == {4}
