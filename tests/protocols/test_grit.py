"""GRIT's protocol: its whole dialogues to the byte, in each variant and frame, and its own readings of a reply."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.errors import UserError
from evalkit.geometry import Box, Frame, Size
from evalkit.protocols import find
from evalkit.protocols.grit import bleu_1, boxes_before, keeps_answer, keeps_boxes, keeps_thoughts
from evalkit.types import Budget, Generate, Image, Message, ModelInfo, Prediction, Request, Response, Sample, Sampling, Unparsed, Wants

PICTURE = Image(Path("a.jpg"), size=Size(640, 480), digest="d")
QWEN, INTERNVL = ModelInfo("q", "q", Frame.SEEN), ModelInfo("i", "i", Frame.THOUSAND)
SAMPLE = Sample("1", "How many dogs?", "How many dogs?\nOne number.", (PICTURE,), Wants("count"), 2)

SUFFIX = (
    " First, think between <think> and </think> while output necessary coordinates needed to answer the question in JSON with key"
    " 'bbox_2d'. Then, based on the thinking contents and coordinates, rethink between <rethink> </rethink> and then answer the question"
    " after <answer>.\n"
)
ONE_SHOT = """ First, think between <think> and </think> while output necessary coordinates needed to answer the question in JSON with \
key 'bbox_2d'. Then, based on the thinking contents and coordinates, rethink between <rethink> </rethink> and then answer the question \
after <answer>.

Example: Question: How many chairs are there?
<think> Let me check them out\x20
{
  "bbox_2d": [142, 314, 299, 447],
  "label": "chair",
  "bbox_2d": [0, 439, 58, 531],
  "label": "chair",
  "bbox_2d": [222, 260, 299, 324],
  "label": "chair",
  "bbox_2d": [285, 325, 336, 430],
  "label": "chair",
  "bbox_2d": [316, 329, 336, 387],
  "label": "chair"
}
\x20
</think>
<rethink>
Based on the bounding box coordinates, there are 5 chairs in the picture.\x20
</rethink>
<answer>
5
</answer>"""
ONE_SHOT_INTERNVL = """ First, think between <think> and </think> while output necessary coordinates needed to answer the question between \
<box> and </box>. Then, based on the thinking contents and coordinates, rethink between <rethink> </rethink> and then answer the question \
after <answer>.

Example: Question: How many chairs are there?
<think> Let me check them out <ref>chair</ref> <box>[[142, 314, 299, 447], [0, 439, 58, 531], [222, 260, 299, 324], [285, 325, 336, 430], \
[316, 329, 336, 387]]</box> </think>
<rethink>
Based on the bounding box coordinates, there are 5 chairs in the picture.\x20
</rethink>
<answer>
5
</answer>"""
SFT = (
    "\nFirst, output a lists of all necessary coordinates (bbox_2d) needed to answer the question, then answer the question after"
    " <answer>.\n"
)
DIALOGUES = [
    ("grit", QWEN, SUFFIX),
    ("grit", INTERNVL, SUFFIX),
    ("grit:one_shot", QWEN, ONE_SHOT),
    ("grit:one_shot", INTERNVL, ONE_SHOT_INTERNVL),
    ("grit:cot", QWEN, SUFFIX),
    ("grit:direct", QWEN, ""),
    ("grit:sft", QWEN, SFT),
]


def converse(name: str, response: Response, model: ModelInfo = QWEN, sample: Sample = SAMPLE, **given: Any) -> tuple[Request, Prediction]:
    conversation = find(name, **given).converse(sample, model)
    request = next(conversation)
    with pytest.raises(StopIteration) as end:
        conversation.send(response)
    return request, end.value.value


@pytest.mark.parametrize(("name", "model", "suffix"), DIALOGUES)
def test_the_whole_dialogue_is_the_authors_to_the_byte(name: str, model: ModelInfo, suffix: str) -> None:
    request, _ = converse(name, Response("<answer> 2"), model)
    picture = replace(PICTURE, budget=Budget(3136, 200704)) if model is QWEN else PICTURE
    message = Message("user", (picture, "\nQuestion: How many dogs?" + suffix))
    assert request == Request(Generate((message,), Sampling(max_tokens=1000, stop=("</answer>",))))
    assert request.kind.sampling.temperature == 0  # type: ignore[union-attr]


@pytest.mark.parametrize("name", [name for name, *_ in DIALOGUES])
def test_a_variant_bears_its_name(name: str) -> None:
    assert find(name).name == name


def test_a_variant_that_is_none_names_its_neighbour() -> None:
    with pytest.raises(UserError, match=r"no variant 'oneshot' of protocol 'grit'\. Did you mean 'one_shot'"):
        find("grit:oneshot")


def test_a_budget_that_is_given_replaces_its_own_in_every_frame() -> None:
    for model in (QWEN, INTERNVL):
        request, _ = converse("grit", Response(""), model, budget=Budget(None, 50_000))
        assert request.kind.messages[0].content[0].budget == Budget(None, 50_000)  # type: ignore[union-attr]


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


@pytest.mark.parametrize(
    ("answer", "gold", "reward"), [("yes", "yes", 0.1), ("it is 4", "4", 0.0333), ("", "yes", 0.0), ("no", "yes", 0.0)]
)
def test_a_tenth_of_bleu_1_is_the_authors_reward(answer: str, gold: str, reward: float) -> None:
    assert round(0.1 * bleu_1(answer, gold), 4) == reward


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


def test_only_counts_are_asked_for_consistency_and_only_words_for_bleu() -> None:
    yes_no = replace(SAMPLE, wants=Wants("yes_no"), target="yes")
    choice = replace(SAMPLE, wants=Wants("choice"), target="A", options=("one", "two"))
    assert read("count_consistency", "<answer> 2", yes_no) == {}
    assert read("bleu_1", "<answer> Yes!", yes_no) == {"value": 1.0}
    assert read("bleu_1", "<answer> A", choice) == {}
    assert read("bleu_1", "2") == Unparsed("no <answer>")
    assert read("count_consistency", "2") == Unparsed("no <answer>")


def test_the_form_is_measured_where_it_is_asked_for() -> None:
    whole = "<think> two dogs at [1, 2, 3, 4] </think> <rethink> so </rethink> <answer> 2"
    for name in ("format", "format_think", "format_answer", "format_boxes"):
        assert read(name, whole) == {"share": 1.0}
        assert read(name, "two") == {"share": 0.0}
    assert read("format", whole.replace("</think>", "")) == {"share": 0.0}
    assert [rule.metric.name for rule in find("grit:sft").rules] == ["count_consistency", "bleu_1"]
    assert find("grit:direct").rules == ()
    assert all(rule.optional for rule in find("grit").rules)
