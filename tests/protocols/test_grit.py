"""GRIT's protocol beside its golden dialogues: variants, budgets, and its own readings of a reply."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.errors import UserError
from evalkit.geometry import Box, Frame, Size
from evalkit.protocols import find, shows
from evalkit.protocols.grit import boxes_before, keeps_answer, keeps_boxes, keeps_thoughts
from evalkit.types import Budget, Image, ModelInfo, Prediction, Request, Response, Sample, Sampling, Unparsed, Wants

PICTURE = Image(Path("a.jpg"), size=Size(640, 480), digest="d")
QWEN, INTERNVL = ModelInfo("q", "q", Frame.SEEN), ModelInfo("i", "i", Frame.THOUSAND)
SAMPLE = Sample("1", "How many dogs?", "How many dogs?\nOne number.", (PICTURE,), Wants("count"), 2)


def converse(name: str, response: Response, model: ModelInfo = QWEN, sample: Sample = SAMPLE, **given: Any) -> tuple[Request, Prediction]:
    conversation = find(name, **given).converse(sample, model)
    request = next(conversation)
    with pytest.raises(StopIteration) as end:
        conversation.send(response)
    return request, end.value.value


@pytest.mark.parametrize("name", ["grit", "grit:one_shot", "grit:cot", "grit:direct", "grit:sft"])
def test_a_variant_bears_its_name(name: str) -> None:
    assert find(name).name == name


def test_a_variant_that_is_none_names_its_neighbour() -> None:
    with pytest.raises(UserError, match=r"no variant 'oneshot' of protocol 'grit'\. Did you mean 'one_shot'"):
        find("grit:oneshot")


def test_a_budget_that_is_given_replaces_its_own_in_every_frame() -> None:
    for model in (QWEN, INTERNVL):
        request, _ = converse("grit", Response(""), model, budget=Budget(50_000, 60_000))
        assert request.kind.messages[0].content[0].budget == Budget(50_000, 60_000)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (Budget(None, 50_000), Budget(3136, 50_000)),
        (Budget(50_000, None), Budget(50_000, 200_704)),
        (Budget(None, 1000), Budget(1000, 1000)),
        (Budget(300_000, None), Budget(300_000, 300_000)),
    ],
)
def test_one_bound_that_is_given_leaves_the_other_as_far_as_there_is_room(given: Budget, shown: Budget) -> None:
    request, _ = converse("grit", Response(""), QWEN, budget=given)
    assert request.kind.messages[0].content[0].budget == shown  # type: ignore[union-attr]
    request, _ = converse("grit", Response(""), INTERNVL, budget=given)
    assert request.kind.messages[0].content[0].budget == given, "no bound of its own in this frame"  # type: ignore[union-attr]


PROCESSOR = Budget(65_536, 1_000_000)


@pytest.mark.parametrize(
    ("name", "model", "given", "shown"),
    [
        ("grit", QWEN, None, Budget(3136, 200_704)),
        ("grit", INTERNVL, None, PROCESSOR),
        ("grit", INTERNVL, Budget(None, 90_000), Budget(65_536, 90_000)),
        ("satori", QWEN, None, Budget(200_704, 401_408)),
        ("satori", QWEN, Budget(78_400, None), Budget(78_400, 401_408)),
        ("satori", INTERNVL, None, PROCESSOR),
        ("pixel_reasoner", QWEN, None, Budget(401_408, 1_000_000)),
        ("pixel_reasoner", QWEN, Budget(100, 200), Budget(65_536, 65_536)),
        ("direct", QWEN, None, PROCESSOR),
        ("direct", QWEN, Budget(None, 90_000), Budget(65_536, 90_000)),
    ],
)
def test_a_protocol_says_at_how_many_pixels_it_shows_an_image(name: str, model: ModelInfo, given: Budget | None, shown: Budget) -> None:
    """Pixel Reasoner's resizes are done before the processor's own, which cuts them; the others' are done by the processor."""
    assert shows(find(name, given), model, PROCESSOR) == shown


def test_a_field_of_the_sampling_that_is_given_replaces_its_own() -> None:
    request, _ = converse("grit:one_shot", Response(""), max_tokens=7)
    assert request.kind.sampling == Sampling(max_tokens=7, stop=("</answer>",))  # type: ignore[union-attr]


def test_of_a_direct_question_the_whole_reply_is_the_answer() -> None:
    _, prediction = converse("grit:direct", Response("There are 2, at 10, 20, 30, 40.", seen=(Size(640, 480),)))
    assert (prediction.answer, prediction.failure) == ("There are 2, at 10, 20, 30, 40.", "")
    assert prediction.evidence[0].box == Box(10, 20, 30, 40)


@pytest.mark.parametrize("name", ["grit", "grit:one_shot", "grit:cot", "grit:sft"])
def test_elsewhere_the_answer_stands_behind_its_tag(name: str) -> None:
    assert converse(name, Response("[1, 2, 3, 4] <answer> 2 "))[1].answer == "2"
    assert converse(name, Response("2"))[1].failure == "no <answer>"


def test_boxes_are_found_in_thoughts_rethinking_and_answer_each_as_often_as_it_is_written() -> None:
    text = "<think> (1,2,3,4) </think> <rethink> 5, 6, 7, 8 and -1.5, 2, 3, 4 </rethink> <answer> [1, 2, 3, 4]"
    _, prediction = converse("grit", Response(text, seen=(Size(640, 480),)))
    assert [evidence.written for evidence in prediction.evidence] == [(1, 2, 3, 4), (5, 6, 7, 8), (5, 2, 3, 4), (1, 2, 3, 4)]


# ---------------------------------------------------------------- its own readings


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("<think> two dogs </think> <rethink> so </rethink> <answer> 2", True),
        ("<think>[1, 2, 3, 4]</think><rethink></rethink>", True),
        ("<think>dogs</think><rethink>so</rethink>", False),
        ("<think></think><rethink>so</rethink>", False),
        ("<think> two dogs <rethink> so </rethink>", False),
        ("<think> two dogs </think> <rethink> so", False),
        ("<rethink> so </rethink> <think> two dogs </think>", False),
        ("two dogs", False),
        ("", False),
    ],
)
def test_thoughts_are_kept_by_the_condition_of_the_authors_reward(text: str, kept: bool) -> None:
    assert keeps_thoughts(text) == kept


def test_the_answers_tag_comes_once() -> None:
    assert [keeps_answer(text) for text in ("<answer> a", "<answer>a</answer>", "<answer> a <answer> b", "a")] == [True, True, False, False]


def test_the_grounded_reward_is_that_of_the_authors_code() -> None:
    """Half a point for a box before `<rethink>`, and one for as many as the gold count says: 1.5, and 0.5 where nothing is counted."""
    text = "<think> (1,2,3,4) 5,6,7,8 </think> <rethink> 2 </rethink> <answer> 2"
    assert 0.5 * keeps_boxes(text) + 1.0 * (boxes_before(text) == 2) == 1.5
    assert 0.5 * keeps_boxes(text) == 0.5
    assert not keeps_boxes("(1,2,3,4) <answer> 2")


def read(name: str, text: str, sample: Sample = SAMPLE, protocol: str = "grit") -> Any:
    """The record that the protocol's rule of this metric makes of a reply; the reason where it is unparsed."""
    prediction = converse(protocol, Response(text, seen=(Size(640, 480),)), sample=sample)[1]
    [rule] = [rule for rule in find(protocol).rules if rule.metric.name == name]
    value = rule.parse(prediction, sample)
    return value if isinstance(value, Unparsed) else rule.metric.measure(value, sample)


@pytest.mark.parametrize(
    ("text", "consistent"),
    [
        ("<think> [1, 2, 3, 4] [5, 6, 7, 8] </think> <rethink> [1, 2, 3, 4] </rethink> <answer> 2", 1.0),
        ("<think> [1, 2, 3, 4] </think> <rethink> so </rethink> <answer> two dogs", 0.0),
        ("<think> none here </think> <rethink> so </rethink> <answer> 0", 1.0),
        ("[1, 2, 3, 4] <answer> one", 1.0),
    ],
)
def test_boxes_written_agree_with_the_count_answered(text: str, consistent: float) -> None:
    assert read("count_consistency", text) == {"share": consistent}


def test_only_counts_are_asked_for_consistency() -> None:
    yes_no = replace(SAMPLE, wants=Wants("yes_no"), target="yes")
    assert read("count_consistency", "<answer> 2", yes_no) == {}
    assert read("count_consistency", "2") == Unparsed("no <answer>")


def test_the_form_is_measured_where_it_is_asked_for() -> None:
    whole = "<think> two dogs at [1, 2, 3, 4] </think> <rethink> so </rethink> <answer> 2"
    for name in ("format", "format_think", "format_answer", "format_boxes"):
        assert read(name, whole) == {"share": 1.0}
        assert read(name, "two") == {"share": 0.0}
    assert read("format", whole.replace("</think>", "")) == {"share": 0.0}
    assert [rule.metric.name for rule in find("grit:sft").rules] == ["count_consistency"]
    assert find("grit:direct").rules == ()
    assert all(rule.optional for rule in find("grit").rules)
