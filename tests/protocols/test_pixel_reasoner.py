"""Pixel Reasoner's protocol beside its golden dialogues: budgets, nonsense in calls, replies that are cut off or missing."""

import json
from dataclasses import replace
from typing import Any

import pytest

from evalkit.geometry import Size
from evalkit.interfaces import Rule
from evalkit.metrics.choice import Accuracy
from evalkit.protocols import find, names
from evalkit.protocols.pixel_reasoner import VARIANTS
from evalkit.scoring import Tally
from evalkit.task import Task
from evalkit.types import Budget, Image

from .dialogues import converse, sample, seen, written

CLOSER = '<tool_call>{"name": "crop_image_normalized", "arguments": {"bbox_2d": [0.5, 0.5, 0.6, 0.6], "target_image": 1}}</tool_call>'
ASKED = {"question": "How many?", "images": [[640, 480]]}


def test_every_turn_is_decoded_greedily_with_2048_tokens_and_these_can_be_replaced() -> None:
    for request in converse(sample(ASKED), [CLOSER, "\\boxed{2}"], find("pixel_reasoner"))[0]:
        assert (request.kind.sampling.temperature, request.kind.sampling.max_tokens) == (0.0, 2048)  # type: ignore[union-attr]
    (request,), _ = converse(sample(ASKED), ["\\boxed{2}"], find("pixel_reasoner", max_tokens=64))
    assert request.kind.sampling.max_tokens == 64  # type: ignore[union-attr]


def test_a_budget_replaces_that_of_the_questions_images_alone() -> None:
    requests, _ = converse(sample(ASKED), [CLOSER, "\\boxed{2}"], find("pixel_reasoner", Budget(max_pixels=100 * 28 * 28)))
    assert seen(requests[1]) == (Size(308, 224), Size(756, 560))
    assert written(requests[1])[-1][1][0] == "\nHere is the cropped image (Image Size: 532x392):"


@pytest.mark.parametrize(
    ("budget", "shown"),
    [(Budget(28 * 28, 28 * 28), (28, 28)), (Budget(max_pixels=3136), (56, 28)), (Budget(min_pixels=8000 * 28 * 28), (2912, 2184))],
)
def test_a_budget_may_have_one_bound_beyond_the_protocols_other(budget: Budget, shown: tuple[int, int]) -> None:
    (request,), _ = converse(sample(ASKED), ["\\boxed{2}"], find("pixel_reasoner", budget))
    assert seen(request) == (Size(*shown),)


def test_the_image_that_is_shown_and_those_cut_from_it_are_made_of_the_samples_own() -> None:
    """So the store and the engines know them by the original's digest, and no image carries a budget that an engine might refuse."""
    requests, _ = converse(sample(ASKED), [CLOSER, "\\boxed{2}"], find("pixel_reasoner"))
    for image in [part for message in requests[1].kind.messages for part in message.content if isinstance(part, Image)]:  # type: ignore[union-attr]
        assert image.budget is None
        while isinstance(image.source, Image):
            image = image.source  # noqa: PLW2901
        assert image.digest == "0"


def test_without_images_nothing_can_be_looked_at() -> None:
    """As in a blind run."""
    requests, prediction = converse(sample(ASKED | {"images": []}), [CLOSER, "\\boxed{2}"], find("pixel_reasoner"))
    assert written(requests[1])[-1][1][0].endswith("You can only pick an image within [1,0]\n")
    assert prediction.answer == "2"


def test_in_a_replay_without_images_a_call_fails_and_the_answer_stands() -> None:
    requests, prediction = converse(sample(ASKED | {"images": [None]}), [CLOSER, "\\boxed{2}"], find("pixel_reasoner"))
    assert written(requests[0])[1][1][0] == []
    assert [operation.error for operation in prediction.operations] == ["the size of the image is not known"]
    assert prediction.answer == "2"


def test_a_crop_too_long_for_the_models_processor_is_told_to_the_model() -> None:
    """34 pixels wide and 25,032 high, of an image that is itself short enough."""
    long = {"question": "How many?", "images": [[560, 56_000]]}
    call = CLOSER.replace("[0.5, 0.5, 0.6, 0.6]", "[0.0, 0.0, 0.05, 0.99]")
    requests, _ = converse(sample(long), [call, "\\boxed{2}"], find("pixel_reasoner"))
    said = f"absolute aspect ratio must be smaller than 200, got {25_032 / 34}"
    assert written(requests[1])[-1] == ["user", [f"\nExecution error:\n{said}\n"]]


@pytest.mark.parametrize(
    "arguments",
    [
        {"bbox_2d": [0.5, 0.5, 0.6], "target_image": 1},
        {"bbox_2d": "0.5, 0.5, 0.6, 0.6", "target_image": 1},
        {"bbox_2d": 3, "target_image": 1},
        {"bbox_2d": ["a", 0, 0, 0], "target_image": 1},
        {"bbox_2d": [None] * 4, "target_image": 1},
        {"bbox_2d": [0, 0, 10**400, 5], "target_image": 1},
        {"bbox_2d": [0.5, 0.5, 0.6, 0.6], "target_image": "1"},
        {"bbox_2d": [0.5, 0.5, 0.6, 0.6], "target_image": None},
        {"bbox_2d": [0.5, 0.5, 0.6, 0.6], "target_image": -5},
        {"bbox_2d": [0.5, 0.5, 0.6, 0.6], "target_image": 1e300},
        "crop it",
        ["crop it"],
        None,
        7,
    ],
)
@pytest.mark.parametrize("form", ["image", "video"])
def test_nonsense_as_arguments_is_an_error_turn_and_the_conversation_goes_on(arguments: Any, form: str) -> None:
    for name in ("crop_image_normalized", "select_frames"):
        call = f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"
        requests, prediction = converse(sample(ASKED | {"form": form}), [call, "\\boxed{2}"], find("pixel_reasoner"))
        (operation,) = prediction.operations
        assert operation.error
        assert written(requests[1])[-1] == ["user", [f"\nExecution error:\n{operation.error}\n"]]
        assert prediction.answer == "2"


@pytest.mark.parametrize("json_text", ["[" * 100_000, "9" * 5000, "[1]", '"zoom"', "3", '{"name": ["a"], "arguments": {}}', "{}"])
def test_nonsense_as_a_call_is_an_error_turn_too(json_text: str) -> None:
    _, prediction = converse(sample(ASKED), [f"<tool_call>{json_text}</tool_call>", "\\boxed{2}"], find("pixel_reasoner"))
    assert prediction.operations[0].error
    assert prediction.answer == "2"


def test_the_token_that_ends_a_turn_is_not_part_of_it() -> None:
    requests, _ = converse(sample(ASKED), [CLOSER + "<|im_end|>", "\\boxed{2}"], find("pixel_reasoner"))
    assert len(requests) == 2


def test_accuracy_with_tools_and_without_stands_beside_the_whole() -> None:
    """Two that look closer, one of them right; one that does not, and is right."""
    rule = Rule("official", lambda prediction, _: prediction.answer, Accuracy())
    tally = Tally(Task("t", 1, lambda: iter(()), (rule,), "accuracy", ("count",)))
    for number, replies in enumerate([[CLOSER, "\\boxed{2}"], [CLOSER, "\\boxed{3}"], ["\\boxed{2}"]]):
        asked = replace(sample(ASKED), id=str(number), target="2")
        tally.add(asked, converse(asked, replies, find("pixel_reasoner"))[1])
    found = {row["subset"]: (row["value"], row["n"]) for row in tally.numbers() if row["rule"] == "official"}
    assert found == {"overall": (pytest.approx(2 / 3), 3), "with_tools": (0.5, 2), "without_tools": (1.0, 1)}


def test_a_truncated_reply_is_the_last_and_says_so() -> None:
    _, prediction = converse(sample(ASKED), [{"text": CLOSER[:-5], "finish": "length"}], find("pixel_reasoner"))
    assert (prediction.finish, prediction.answer, prediction.operations) == ("length", None, ())


def test_a_reply_that_is_missing_in_a_later_turn_makes_all_of_it_missing() -> None:
    _, prediction = converse(sample(ASKED), [CLOSER, {"missing": True}], find("pixel_reasoner"))
    assert prediction.missing
    assert prediction.answer is None


def test_the_variants_are_named_and_the_first_is_the_plain_name() -> None:
    assert "pixel_reasoner" in names()
    assert [find(f"pixel_reasoner:{variant}").name for variant in VARIANTS] == [
        "pixel_reasoner",
        "pixel_reasoner:crop_image",
        "pixel_reasoner:zoom_in",
        "pixel_reasoner:no_tools",
    ]
