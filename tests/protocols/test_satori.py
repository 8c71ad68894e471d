"""SATORI-R1's protocol beside its golden dialogues: how replies are read where they keep to the form and where they do not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.errors import UserError
from evalkit.geometry import Box, Frame, Size
from evalkit.protocols import find
from evalkit.protocols.satori import keeps_form, written_boxes
from evalkit.types import Budget, Image, ModelInfo, Prediction, Request, Response, Sample, Wants

PICTURE = Image(Path("a.jpg"), size=Size(640, 480), digest="d")
QUESTION = Sample("1", "What animal is it?", "What animal is it?", (PICTURE,), Wants("text"), "cat")
QWEN = ModelInfo("m", "p", Frame.SEEN)
SEEN = (Size(644, 476),)


def converse(
    sample: Sample = QUESTION, text: str = "", name: str = "satori", model: ModelInfo = QWEN, **fields: Any
) -> tuple[Request, Prediction]:
    """The one request, and the prediction that the reply ends it in."""
    conversation = find(name).converse(sample, model)
    request = next(conversation)
    with pytest.raises(StopIteration) as end:
        conversation.send(Response(text, **{"seen": SEEN, **fields}))
    return request, end.value.value


def test_another_budget_replaces_the_authors_and_other_frames_keep_their_processors() -> None:
    other = find("satori", Budget(78400, 401408), max_tokens=16)
    request = next(other.converse(QUESTION, QWEN))
    assert request.kind.messages[1].content[0].budget == Budget(78400, 401408)  # type: ignore[union-attr]
    assert request.kind.sampling.max_tokens == 16  # type: ignore[union-attr]
    thousandths, _ = converse(model=replace(QWEN, frame=Frame.THOUSAND))
    assert thousandths.kind.messages[1].content[0].budget is None  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("<answer>cat</answer>", "cat"),
        ("<answer> cat </answer> and more", "cat"),
        ("<answer>cat</answer> <answer>dog</answer>", "cat"),
        ("<answer></answer>", ""),
        ("<answer>a\nb</answer>", None),
        ("<answer>a\nb</answer> <answer>cat</answer>", "cat"),
        ("<answer>cat", None),
        ("cat</answer>", None),
        ("<Answer>cat</Answer>", None),
        ("cat", None),
        ("", None),
    ],
)
def test_the_answer_is_the_first_that_closes_in_its_line(reply: str, answer: str | None) -> None:
    prediction = converse(text=reply)[1]
    assert prediction.answer == answer
    assert bool(prediction.failure) == (answer is None)


def test_an_answer_over_several_lines_is_told_from_none() -> None:
    assert [converse(text=reply)[1].failure for reply in ("<answer>a\nb</answer>", "a")] == ["no <answer> in one line", "no <answer>"]


@pytest.mark.parametrize(
    ("inside", "boxes"),
    [
        ("[[1,2,3,4]]", [(1, 2, 3, 4)]),
        ("[[1, 2, 3, 4], [5.5, 6, 7, 8]]", [(1, 2, 3, 4), (5.5, 6, 7, 8)]),
        ("\n[[1,2,3,4],\n [5,6,7,8],]\n", [(1, 2, 3, 4), (5, 6, 7, 8)]),
        ("[1, 2, 3, 4]", [(1, 2, 3, 4)]),
        ("[[-1, +2, 3e1, .5]]", [(-1, 2, 30, 0.5)]),
        ("[]", []),
        ("[[]]", []),
        ("[[1,2,3]]", []),
        ("[[1,2,3,4,5]]", []),
        ("[[1,2,3,4], [5,6,7]]", []),
        ("[[1,2,3,4], 5]", []),
        ("[(1,2,3,4)]", []),
        ("[[1,2,3,'4']]", []),
        ("[[1,2,3,4]", []),
        ("[[1,2,3,4]] dog", []),
        ("1,2,3,4", []),
        ("[[1e999,2,3,4]]", []),
        ("[" * 100_000, []),
        ("[[1,2,3,4]," * 50_000, []),
    ],
)
def test_boxes_are_a_list_of_fours_or_one_four_and_nothing_else(inside: str, boxes: list[tuple[float, ...]]) -> None:
    assert written_boxes(f"<bbox>{inside}</bbox>") == tuple(boxes)


@pytest.mark.parametrize("reply", ["<bbox>[[1,2,3,4]]", "[[1,2,3,4]]</bbox>", "[[1,2,3,4]]", "<box>[[1,2,3,4]]</bbox>"])
def test_boxes_outside_their_tags_are_not_read(reply: str) -> None:
    assert written_boxes(reply) == ()


def test_of_two_lists_of_boxes_the_first_counts() -> None:
    assert written_boxes("<bbox>[[1,2,3,4]]</bbox><bbox>[[5,6,7,8]]</bbox>") == ((1, 2, 3, 4),)


def test_boxes_are_brought_back_to_the_original_image_with_their_corners_in_order() -> None:
    (evidence,) = converse(text="<bbox>[[322, 238, 0, 0]]</bbox>")[1].evidence
    assert evidence.written == (322, 238, 0, 0)
    assert evidence.box == pytest.approx(Box(0, 0, 320, 240))


def test_boxes_in_an_unknown_frame_claim_nothing() -> None:
    (evidence,) = converse(text="<bbox>[[1, 2, 3, 4]]</bbox>", model=replace(QWEN, frame=None))[1].evidence
    assert (evidence.written, evidence.box) == ((1, 2, 3, 4), None)


def test_thoughts_returned_apart_are_part_of_the_reply() -> None:
    prediction = converse(text="<answer>cat</answer>", reasoning="<bbox>[[0,0,644,476]]</bbox>")[1]
    assert (prediction.answer, prediction.evidence[0].box) == ("cat", pytest.approx(Box(0, 0, 640, 480)))


@pytest.mark.parametrize(
    ("reply", "kept"),
    [
        ("<caption>c</caption><bbox>[[1,2,3,4]]</bbox><answer>a</answer>", True),
        (" \n<caption>c\nc</caption> \n <bbox> [[1,2,3,4]] </bbox>\n<answer>a\nb</answer> ", True),
        ("<caption></caption><bbox>[[]]</bbox><answer></answer>", True),
        ("<caption>c</caption><bbox>[[no box]]</bbox><answer>a</answer>", True),
        ("<caption>c</caption><bbox>[[1,2,3,4]]</bbox><answer>a</answer>\nand more", True),
        ("<caption>c</caption><bbox>[[1,2,3,4]]</bbox><answer>a</answer> and more", False),
        ("So: <caption>c</caption><bbox>[[1,2,3,4]]</bbox><answer>a</answer>", False),
        ("<caption>c</caption>. <bbox>[[1,2,3,4]]</bbox><answer>a</answer>", False),
        ("<caption>c</caption><bbox>[1,2,3,4]</bbox><answer>a</answer>", False),
        ("<caption>c</caption><answer>a</answer><bbox>[[1,2,3,4]]</bbox>", False),
        ("<bbox>[[1,2,3,4]]</bbox><answer>a</answer>", False),
        ("<caption>c</caption><bbox>[[1,2,3,4]]</bbox><answer>a", False),
        ("", False),
    ],
)
def test_the_form_is_that_of_the_authors_reward(reply: str, kept: bool) -> None:
    """Their pattern is given beside, and must agree; it takes time without bound on long replies, ours does not."""
    import re

    pattern = r"^\s*<caption>.*?</caption>\s*<bbox>\s*\[\[.*?\]\]\s*</bbox>\s*<answer>.*?</answer>\s*$"
    assert keeps_form(reply) is kept
    assert bool(re.match(pattern, reply, re.DOTALL | re.MULTILINE)) is kept


def test_a_hostile_reply_is_read_in_time() -> None:
    """Every part begun over and over and never ended."""
    for part in ("<caption>", "</caption> <bbox> [[", "]] </bbox> <answer>", "</answer> x"):
        assert not keeps_form("<caption>" + part * 100_000)
    assert converse(text="<answer>" * 100_000)[1].answer is None


def test_the_ablation_has_no_reading_of_the_form() -> None:
    assert [rule.metric.name for rule in find("satori").rules] == ["format"]
    assert find("satori:no_caption").rules == ()
    assert [find(name).name for name in ("satori", "satori:no_caption")] == ["satori", "satori:no_caption"]


def test_an_unknown_variant_names_its_neighbour() -> None:
    with pytest.raises(UserError, match=r"no variant 'nocaption' of protocol 'satori'.*'no_caption'"):
        find("satori:nocaption")
