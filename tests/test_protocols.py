"""Protocols are generators: each is tested with a list of replies, no engine in sight."""

from dataclasses import replace
from pathlib import Path

import pytest

from evalkit.errors import Refused, UserError
from evalkit.geometry import Box, Frame, Size, from_original
from evalkit.protocols import find, names
from evalkit.types import Image, Likelihood, Message, ModelInfo, Prediction, Request, Response, Sample, Wants

PICTURE = Image(Path("a.jpg"), size=Size(640, 480), digest="d")
COUNT = Sample("1", "How many dogs?", "How many dogs?\nOne number.", (PICTURE,), Wants("count"), 2)
CHOICE = Sample("2", "Which colour?", "Which colour? A or B", (PICTURE,), Wants("choice"), "A", options=("red", "blue"))
WHERE = Sample("3", "Where is it?", "Where is it? As a box.", (PICTURE,), Wants("boxes"), ())
QWEN = ModelInfo("m", "p", Frame.SEEN)
GRIT_SUFFIX = (
    " First, think between <think> and </think> while output necessary coordinates needed to answer the question in JSON with key"
    " 'bbox_2d'. Then, based on the thinking contents and coordinates, rethink between <rethink> </rethink> and then answer the"
    " question after <answer>.\n"
)


def converse(name: str, sample: Sample, response: Response, model: ModelInfo = QWEN) -> tuple[Request, Prediction]:
    """The one request of a single-turn protocol and the prediction it ends in."""
    conversation = find(name).converse(sample, model)
    request = next(conversation)
    with pytest.raises(StopIteration) as end:
        conversation.send(response)
    return request, end.value.value


def test_direct_asks_in_the_benchmarks_own_words_image_first() -> None:
    request, prediction = converse("direct", COUNT, Response("2"))
    (message,) = request.kind.messages  # type: ignore[union-attr]
    assert (message.role, message.content) == ("user", (PICTURE, "How many dogs?\nOne number."))
    assert prediction.answer == "2"
    assert prediction.evidence == ()


def test_direct_reads_boxes_only_where_they_are_asked_for() -> None:
    reply = Response("[10, 20, 30, 40]", seen=(Size(320, 240),))
    assert converse("direct", COUNT, reply)[1].evidence == ()
    assert converse("direct", WHERE, reply)[1].evidence[0].box == Box(20, 40, 60, 80)


def test_grit_asks_the_bare_question_with_the_authors_suffix() -> None:
    request, _ = converse("grit", COUNT, Response(""))
    (message,) = request.kind.messages  # type: ignore[union-attr]
    assert message.content[1:] == ("\nQuestion: How many dogs?" + GRIT_SUFFIX,)
    sampling = request.kind.sampling  # type: ignore[union-attr]
    assert (sampling.temperature, sampling.max_tokens, sampling.stop) == (0.0, 1000, ("</answer>",))


def test_grit_gives_the_options_with_the_question() -> None:
    request, _ = converse("grit", CHOICE, Response(""))
    assert request.kind.messages[0].content[1] == "\nQuestion: Which colour?\n(A) red\n(B) blue" + GRIT_SUFFIX  # type: ignore[union-attr]


@pytest.mark.parametrize("frame", list(Frame))
def test_a_box_written_in_the_declared_frame_lands_where_it_was_meant(frame: Frame) -> None:
    """Only integer frames fit GRIT's pattern; unit coordinates it does not find, as its authors' does not."""
    seen, meant = Size(320, 480), Box(64, 120, 320, 360)
    numbers = from_original(meant, frame, Size(640, 480), seen)
    text = f"<think> {{'bbox_2d': [{', '.join(f'{n:g}' for n in numbers)}]}} </think> <rethink> so </rethink> <answer> 2"
    _, prediction = converse("grit", COUNT, Response(text, seen=(seen,)), replace(QWEN, frame=frame))
    if frame is Frame.UNIT:
        assert prediction.evidence == ()
    else:
        assert prediction.evidence[0].box == pytest.approx(meant)
        assert prediction.evidence[0].written == pytest.approx(numbers)


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("<think> a </think> <answer> yes", "yes"),
        ("<answer>yes</answer> and more", "yes"),
        ("<answer>no <answer>yes", "no <answer>yes"),
        ("<answer>", ""),
        ("yes", None),
    ],
)
def test_grit_takes_what_follows_the_first_answer_tag(reply: str, answer: str | None) -> None:
    prediction = converse("grit", COUNT, Response(reply))[1]
    assert prediction.answer == answer
    assert bool(prediction.failure) == (answer is None)


def test_boxes_without_a_known_frame_keep_what_was_written_and_claim_nothing() -> None:
    evidence = converse("grit", COUNT, Response("[1, 2, 3, 4] <answer> 2"), replace(QWEN, frame=None))[1].evidence
    assert evidence[0].written == (1, 2, 3, 4)
    assert evidence[0].box is None


def test_thoughts_returned_apart_are_part_of_the_reply() -> None:
    prediction = converse("grit", COUNT, Response("<answer> 2", reasoning="<think>[0, 0, 320, 240]</think>", seen=(Size(320, 240),)))[1]
    assert prediction.evidence[0].box == Box(0, 0, 640, 480)


def test_a_missing_reply_is_missing_whatever_the_protocol() -> None:
    for name in names():
        prediction = converse(name, CHOICE, Response(missing=True))[1]
        assert prediction.missing
        assert prediction.answer is None


def test_an_unknown_protocol_names_its_neighbour() -> None:
    with pytest.raises(UserError, match="Did you mean 'grit'"):
        find("gritt")


def test_boxes_given_as_values_are_original_pixels_whatever_the_model_writes_in() -> None:
    given = Response("<answer> 2", boxes=(Box(1, 2, 3, 4),), seen=(Size(1, 1),))
    for name in (name for name in names() if "boxes" in find(name).gives):
        (evidence,) = converse(name, WHERE, given, replace(QWEN, frame=Frame.THOUSAND))[1].evidence
        assert (evidence.frame, evidence.box, evidence.written) == (Frame.ORIGINAL, Box(1, 2, 3, 4), (1, 2, 3, 4))


def test_likelihood_takes_the_likeliest_option_and_asks_the_bare_question() -> None:
    request, prediction = converse("likelihood", CHOICE, Response(likelihoods=(-2.0, -1.5)))
    assert request.kind == Likelihood((Message("user", (PICTURE, "Which colour?")),), ("red", "blue"))
    assert (prediction.answer, prediction.likelihoods) == ("B", (-2.0, -1.5))
    assert converse("likelihood", CHOICE, Response(likelihoods=(-1.5, -1.5)))[1].answer == "A"


def test_likelihood_compares_statements_where_there_are_some() -> None:
    request, _ = converse("likelihood", replace(CHOICE, statements=("It is red.", "It is blue.")), Response(likelihoods=(-1.0, -2.0)))
    assert request.kind.continuations == ("It is red.", "It is blue.")  # type: ignore[union-attr]


def test_likelihood_needs_options() -> None:
    with pytest.raises(Refused, match="'1' has none: choose another --protocol"):
        next(find("likelihood").converse(COUNT, QWEN))
    with pytest.raises(Refused, match="samples nothing: leave out temperature"):
        find("likelihood", temperature=1.0)
