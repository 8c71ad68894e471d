"""Conversations without an engine: a sample of a few fields, the requests of a protocol, and what the replies end in."""

from pathlib import Path
from typing import Any

from evalkit.engines.encoding import smart_resize
from evalkit.geometry import Frame, Size
from evalkit.interfaces import AnswerProtocol
from evalkit.types import Budget, Image, ModelInfo, Prediction, Request, Response, Sample, Wants, images_of

QWEN = ModelInfo("m", "p", Frame.SEEN)


def picture(size: list[int] | None, name: str = "a") -> Image:
    return Image(Path(f"{name}.jpg"), size=Size(*size) if size else None, digest=name)


def sample(row: dict[str, Any]) -> Sample:
    images = tuple(picture(size, str(place)) for place, size in enumerate(row["images"]))
    wants = Wants(row.get("kind", "count"), form=row.get("form", "image"))
    return Sample("1", row["question"], row.get("prompt", "not asked"), images, wants, 2, options=tuple(row.get("options", ())))


def converse(asked: Sample, replies: list[Any], protocol: AnswerProtocol, model: ModelInfo = QWEN) -> tuple[list[Request], Prediction]:
    """The requests of a conversation and how it ended; every reply must be used."""
    conversation = protocol.converse(asked, model)
    requests = [next(conversation)]
    for place, reply in enumerate(replies, start=1):
        said = {"text": reply} if isinstance(reply, str) else reply
        try:
            requests.append(conversation.send(Response(**said, seen=seen(requests[-1]))))
        except StopIteration as end:
            assert place == len(replies), "the conversation ended early"
            return requests, end.value
    raise AssertionError("the conversation goes on")


def seen(request: Request) -> tuple[Size, ...]:
    """What the processor of Qwen2.5-VL makes of the images that have a budget; the others as they are."""
    return tuple(_resized(image.size, image.budget) for image in images_of(request) if image.size)


def _resized(size: Size, budget: Budget | None) -> Size:
    if budget is None or budget.min_pixels is None or budget.max_pixels is None:
        return size
    return smart_resize(size, 28, budget.min_pixels, budget.max_pixels)


def written(request: Request) -> list[Any]:
    """The messages as the golden files have them, images by their size, and their budget where they have one."""
    return [
        [message.role, [part if isinstance(part, str) else _numbers(part) for part in message.content]]
        for message in request.kind.messages  # type: ignore[union-attr]
    ]


def _numbers(image: Image) -> list[int | None]:
    return [*(image.size or ()), *((image.budget.min_pixels, image.budget.max_pixels) if image.budget else ())]
