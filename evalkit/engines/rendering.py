"""How a checkpoint's own processor writes a chat as a prompt and resizes its images; what transformers and vLLM have in common."""

import re
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ..errors import ImageError, Refused
from ..geometry import Size
from ..types import Attend, Budget, Generate, Image, Likelihood, Request, images_of
from .common import chat
from .encoding import smart_resize

SIDE = 28
"""Pixels on each side of what most processors make one token of."""
WORDS = re.compile(r"\w{1,8}|[^\w\s]")


def prompt(processor: Any, kind: Generate | Likelihood | Attend) -> str:
    """The chat in the checkpoint's own template, with what is given of the reply.

    That is its forced beginning; the one continuation and its end token; or the forced beginning and the continuation after it.
    """
    text = str(processor.apply_chat_template(chat(kind), add_generation_prompt=True, tokenize=False))
    if isinstance(kind, Likelihood):
        return text + tail(processor, kind)
    return text + kind.prefill + (kind.continuation if isinstance(kind, Attend) else "")


def tail(processor: Any, kind: Likelihood) -> str:
    """The one continuation, and the token that ends a reply."""
    return kind.continuations[0] + (processor.tokenizer.eos_token or "")


def continued(processor: Any, kind: Attend) -> int:
    """How many tokens at the end of the prompt are the continuation's; one that begins in the text before it is among them.

    Raises:
        Refused: none are.
    """
    texts = [prompt(processor, kind), prompt(processor, replace(kind, continuation=""))]
    whole, before = processor.tokenizer(texts, add_special_tokens=False).input_ids
    same = next((place for place, (one, other) in enumerate(zip(whole, before, strict=False)) if one != other), len(before))
    if len(whole) <= same:
        raise Refused(f"expected a continuation that attends, got {kind.continuation!r}, which has no tokens: leave the request out")
    return len(whole) - same


def starts_itself(processor: Any, text: str) -> bool:
    """Whether the prompt has its beginning-of-text token already: most chat templates write it."""
    start = processor.tokenizer.bos_token
    return bool(start and text.startswith(start))


def edges(processor: Any, images: list[Image], name: str) -> tuple[int, int] | None:
    """The least and the most pixels that the processor shall make of an image; None: its own.

    Raises:
        Refused: a budget is asked for that this processor has no way to honour.
    """
    budgets = {image.budget or Budget() for image in images} - {Budget()}
    if not budgets:
        return None
    reader = processor.image_processor
    if not by_number(reader):
        raise Refused(f"{type(reader).__name__} of {name} resizes by no number of pixels, so no budget can be kept: leave it out")
    if len({image.budget for image in images}) > 1:
        raise Refused(
            f"expected one budget for all images of a request to {name}, got {len({image.budget for image in images})} different ones"
        )
    budget = budgets.pop()
    highest = budget.max_pixels or max(reader.size.longest_edge, budget.min_pixels or 0)
    return budget.min_pixels or min(reader.size.shortest_edge, highest), highest


def by_number(reader: Any) -> bool:
    """Whether an image processor resizes to a number of pixels within two bounds, as those of the Qwen-VL family do."""
    bounds = (getattr(reader.size, "shortest_edge", None), getattr(reader.size, "longest_edge", None))
    return all(bounds) and hasattr(reader, "merge_size") and hasattr(reader, "patch_size")


def pixels(processor: Any) -> list[int] | None:
    """The least and the most pixels that the processor by itself makes of an image; None where it does not resize by their number."""
    reader = processor.image_processor
    return [reader.size.shortest_edge, reader.size.longest_edge] if by_number(reader) else None


def length(processor: Any, request: Request) -> int:
    """About how many tokens the request's prompt has; only for putting like to like.

    A word is one, for every eight letters of it, and so is a mark between words; an image as many as its pixels make, after the resize
    by number where the processor does one.
    """
    reader = processor.image_processor
    texts = (part for message in getattr(request.kind, "messages", ()) for part in message.content if isinstance(part, str))
    return sum(len(WORDS.findall(text)) for text in texts) + sum(_tokens(reader, image) for image in images_of(request))


def _tokens(reader: Any, image: Image) -> int:
    size = image.size or Size(0, 0)
    if not by_number(reader):
        return size.width * size.height // SIDE**2
    side: int = reader.patch_size * reader.merge_size
    budget = image.budget or Budget()
    with suppress(ImageError, ZeroDivisionError):
        size = smart_resize(size, side, budget.min_pixels or reader.size.shortest_edge, budget.max_pixels or reader.size.longest_edge)
    return size.width * size.height // side**2


def of_edges(limits: tuple[int, int]) -> dict[str, int]:
    """The least and the most pixels in the words of the common image processors."""
    return {"shortest_edge": limits[0], "longest_edge": limits[1]}
