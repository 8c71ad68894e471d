"""Whole dialogues: what is sent, to the byte, and images by their size; and what comes of it (tests/golden/conversations)."""

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.geometry import Box, Frame, Size
from evalkit.protocols import find, names
from evalkit.protocols.pixel_reasoner import VARIANTS
from evalkit.types import Budget, Image, ModelInfo, Prediction, Request, Response, Sample, Wants

ROWS = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "golden" / "conversations" / "pixel_reasoner.jsonl").read_text(encoding="utf-8").splitlines()
]
SYSTEMS, DIALOGUES = ROWS[0]["systems"], ROWS[1:]
QWEN = ModelInfo("m", "p", Frame.SEEN)
CLOSER = '<tool_call>{"name": "crop_image_normalized", "arguments": {"bbox_2d": [0.5, 0.5, 0.6, 0.6], "target_image": 1}}</tool_call>'


def picture(size: list[int] | None, name: str = "a") -> Image:
    return Image(Path(f"{name}.jpg"), size=Size(*size) if size else None, digest=name)


def sample(row: dict[str, Any]) -> Sample:
    images = tuple(picture(size, str(place)) for place, size in enumerate(row["images"]))
    wants = Wants(row.get("kind", "count"), form=row.get("form", "image"))
    return Sample("1", row["question"], "not asked", images, wants, 2, options=tuple(row.get("options", ())))


def converse(asked: Sample, replies: list[Any], protocol: Any, model: ModelInfo = QWEN) -> tuple[list[Request], Prediction]:
    """The requests of a conversation and how it ended; every reply must be used."""
    conversation = protocol.converse(asked, model)
    requests = [next(conversation)]
    for place, reply in enumerate(replies, start=1):
        said = {"text": reply} if isinstance(reply, str) else reply
        try:
            requests.append(conversation.send(Response(**said, seen=tuple(sizes(requests[-1])))))
        except StopIteration as end:
            assert place == len(replies), "the conversation ended early"
            return requests, end.value
    raise AssertionError("the conversation goes on")


def sizes(request: Request) -> list[Size]:
    return [part.size for message in request.kind.messages for part in message.content if isinstance(part, Image) and part.size]  # type: ignore[union-attr]


def written(request: Request) -> list[Any]:
    """The messages as the golden file has them, images by their size."""
    return [
        [message.role, [part if isinstance(part, str) else list(part.size or ()) for part in message.content]]
        for message in request.kind.messages  # type: ignore[union-attr]
    ]


@pytest.mark.parametrize("row", DIALOGUES, ids=[row["name"] for row in DIALOGUES])
def test_a_dialogue_goes_as_the_authors_code_has_it(row: dict[str, Any]) -> None:
    requests, prediction = converse(sample(row), row["replies"], find(row["protocol"]))
    texts = [reply if isinstance(reply, str) else reply["text"] for reply in row["replies"]]
    turns: list[Any] = [["system", [SYSTEMS[row["protocol"]]]], ["user", row["asked"][0]]]
    assert written(requests[0]) == turns
    for request, text, asked in zip(requests[1:], texts, row["asked"][1:], strict=False):
        turns += [["assistant", [text]], ["user", asked]]
        assert written(request) == turns
    assert len(requests) == len(row["asked"])
    assert prediction.text == texts[-1]
    assert (prediction.answer, prediction.failure) == (row["answer"], row["failure"])
    assert prediction.tags == {"with_tools" if row["operations"] else "without_tools"}
    found = [[operation.name, operation.error, operation.box] for operation in prediction.operations]
    assert [item[:2] for item in found] == [item[:2] for item in row["operations"]]
    assert [item[2] for item in found] == [close(item[2]) for item in row["operations"]]
    assert [list(item.written) for item in prediction.evidence] == [item[0] for item in row["evidence"]]
    assert [item.frame for item in prediction.evidence] == [item[1] for item in row["evidence"]]
    assert [item.box for item in prediction.evidence] == [close(item[2]) for item in row["evidence"]]


def close(box: list[float] | None) -> Any:
    return None if box is None else pytest.approx(Box(*box), abs=1e-9)


ASKED = {"question": "How many?", "images": [[640, 480]]}


def test_every_turn_is_decoded_greedily_with_2048_tokens_and_these_can_be_replaced() -> None:
    for request in converse(sample(ASKED), [CLOSER, "\\boxed{2}"], find("pixel_reasoner"))[0]:
        assert (request.kind.sampling.temperature, request.kind.sampling.max_tokens) == (0.0, 2048)  # type: ignore[union-attr]
    (request,), _ = converse(sample(ASKED), ["\\boxed{2}"], find("pixel_reasoner", max_tokens=64))
    assert request.kind.sampling.max_tokens == 64  # type: ignore[union-attr]


def test_a_budget_replaces_that_of_the_questions_images_alone() -> None:
    requests, _ = converse(sample(ASKED), [CLOSER, "\\boxed{2}"], find("pixel_reasoner", Budget(max_pixels=100 * 28 * 28)))
    assert sizes(requests[1]) == [Size(308, 224), Size(756, 560)]
    assert written(requests[1])[-1][1][0] == "\nHere is the cropped image (Image Size: 532x392):"


@pytest.mark.parametrize(
    ("budget", "shown"),
    [(Budget(28 * 28, 28 * 28), (28, 28)), (Budget(max_pixels=3136), (56, 28)), (Budget(min_pixels=8000 * 28 * 28), (2912, 2184))],
)
def test_a_budget_may_have_one_bound_beyond_the_protocols_other(budget: Budget, shown: tuple[int, int]) -> None:
    (request,), _ = converse(sample(ASKED), ["\\boxed{2}"], find("pixel_reasoner", budget))
    assert sizes(request) == [Size(*shown)]


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
