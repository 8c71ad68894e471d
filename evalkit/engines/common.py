"""What engines do before and after their own work: admit a request, write its chat, split likelihoods, cut a reply at a stop string."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from ..errors import Refused
from ..types import Attend, Generate, Image, Likelihood, ModelInfo, Request, Response


def admit(info: ModelInfo, request: Request) -> None:
    """Lets a request of a kind that the engine serves pass.

    Raises:
        Refused: the engine does not serve it.
    """
    kind = type(request.kind).__name__.lower()
    if kind not in info.answers:
        raise Refused(
            f"expected a request of kind {' or '.join(sorted(info.answers))} for {info.name}, got {kind}: choose another engine"
            + (", a checkpoint with --engine transformers" if kind == "attend" else "")
        )


async def one_by_one(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
    """The response of an engine that takes one continuation at a time: each of a likelihood's is asked alone, all at once."""
    if not isinstance(request.kind, Likelihood):
        return await answer(request)
    alone = [replace(request.kind, continuations=(continuation,)) for continuation in request.kind.continuations]
    parts = await asyncio.gather(*(answer(replace(request, kind=kind)) for kind in alone))
    return Response(
        seen=parts[0].seen if parts else (),
        tokens_in=sum(part.tokens_in for part in parts),
        seconds=sum(part.seconds for part in parts),
        likelihoods=tuple(part.likelihoods[0] for part in parts),
    )


def chat(kind: Generate | Likelihood | Attend) -> list[dict[str, Any]]:
    """The messages as plain chat dicts, `{"type": "text", "text": ...}` and `{"type": "image"}` parts in their order.

    The prefill is not among them. The images go beside them, in the order of `evalkit.types.images_of`.

    >>> from evalkit.types import Message
    >>> chat(Generate((Message("user", ("Red?",)),)))
    [{'role': 'user', 'content': [{'type': 'text', 'text': 'Red?'}]}]
    """
    return [
        {
            "role": message.role,
            "content": [{"type": "image"} if isinstance(part, Image) else {"type": "text", "text": part} for part in message.content],
        }
        for message in kind.messages
    ]


def cut(text: str, stop: tuple[str, ...]) -> tuple[str, bool]:
    """The text before the first stop string in it, and whether there was one.

    >>> cut("one, two; three", (";", ","))
    ('one', True)
    >>> cut("one", ("two",))
    ('one', False)
    """
    places = [place for word in stop if word and (place := text.find(word)) >= 0]
    return (text[: min(places)], True) if places else (text, False)
