"""How a checkpoint's own processor writes a chat as a prompt and resizes its images; what transformers and vLLM have in common."""

from dataclasses import replace
from typing import Any

from ..errors import Refused
from ..types import Attend, Budget, Generate, Image, Likelihood
from .common import chat

PIXELS_PER_TOKEN = 28 * 28
"""About what the common processors make of an image; only for sorting and bounding."""


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
    least, most = (getattr(reader.size, "shortest_edge", None), getattr(reader.size, "longest_edge", None))
    if not (least and most and hasattr(reader, "merge_size") and hasattr(reader, "patch_size")):
        raise Refused(f"{type(reader).__name__} of {name} resizes by no number of pixels, so no budget can be kept: leave it out")
    if len({image.budget for image in images}) > 1:
        raise Refused(
            f"expected one budget for all images of a request to {name}, got {len({image.budget for image in images})} different ones"
        )
    budget = budgets.pop()
    highest = budget.max_pixels or max(most, budget.min_pixels or 0)
    return budget.min_pixels or min(least, highest), highest


def of_edges(limits: tuple[int, int]) -> dict[str, int]:
    """The least and the most pixels in the words of the common image processors."""
    return {"shortest_edge": limits[0], "longest_edge": limits[1]}
