"""The attention that a reply's tokens pay to the images before them, read while the whole row goes through the model once.

A token is generated at the position before it, so that is whose query counts: a continuation of n tokens has n queries, the first
at the last token before it, and the last token's own is not among them. The mean is over those queries, the heads and the layers:
the language model's, of those that attend to all of the row. A vision tower, a layer with a sliding window and one without
attention do not count.

No attention matrix is kept. For the time of one forward the language model's attention goes by a name of ours in the tables of
transformers: the output is still that of `sdpa` (`eager` where the model has or was given that), and beside it the architecture's
own eager function gives the probabilities of the counted queries alone, a few at a time and in float32. They are added up at once:
one number per token of a row stays, for all layers together.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..errors import Refused

if TYPE_CHECKING:
    from torch import Tensor

Grid = tuple[int, int]
"""Rows and columns of an image's visual tokens."""
QUERIES = 16
"""Taken at once: their probabilities are the only tensor of the size heads x queries x tokens."""


class Collector:
    """Adds up the attention of the last tokens of each row, layer by layer.

    Args:
        tokens: the attention mask, (rows, tokens), 0 where padded; on the left only.
        counts: how many tokens each row's continuation has, which ends the row.
        modules: the modules of the language model.
    """

    def __init__(self, tokens: "Tensor", counts: list[int], modules: frozenset[int]) -> None:
        import torch

        self.tokens, self.modules, self.layers = tokens.bool(), modules, 0
        self.first = tokens.shape[1] - 1 - max(counts)
        self.parts = torch.zeros(tokens.shape, device=tokens.device)  # of each query in its row's mean
        for row, count in zip(self.parts, counts, strict=True):
            row[-1 - count : -1] = 1 / count
        self.total = torch.zeros(tokens.shape, device=tokens.device)

    def mean(self) -> "Tensor":
        """The share of the attention that each token gets, (rows, tokens), over all tokens 1.

        Raises:
            Refused: no layer counted.
        """
        if not self.layers:
            raise Refused(
                "expected layers that attend to the whole row through the attention interface of transformers, got none: "
                "choose a checkpoint of an architecture inside transformers"
            )
        return self.total / self.layers

    def add(self, module: Any, query: "Tensor", key: "Tensor", value: "Tensor", options: dict[str, Any]) -> None:
        """One layer, if it counts: query (rows, heads, tokens, width), key and value (rows, key heads, tokens, width)."""
        import torch

        length = self.tokens.shape[1]
        if id(module) not in self.modules or {query.shape[2], key.shape[2]} != {length} or options.get("sliding_window") is not None:
            return
        tokens, parts = self.tokens.to(key.device), self.parts.to(key.device)
        keys, values = key.float(), value[..., :1].float()  # only the probabilities are wanted
        places = torch.arange(length, device=key.device)
        for start in range(self.first, length - 1, QUERIES):
            chosen = slice(start, min(start + QUERIES, length - 1))
            seen = (places <= places[chosen, None]) & tokens[:, None, None]
            mask = torch.zeros(seen.shape, device=key.device).masked_fill(~seen, torch.finfo(torch.float32).min)
            weights = _eager(module)(module, query[:, :, chosen].float(), keys, values, mask, **options)[1]
            self.total += (weights.mean(1) * parts[:, chosen, None]).sum(1).to(self.total.device)
        self.layers += 1


_collecting: ContextVar[Collector | None] = ContextVar("collecting", default=None)


@contextmanager
def collecting(model: Any, tokens: "Tensor", counts: list[int]) -> Iterator[Collector]:
    """What the forward inside adds up. Afterwards the model's attention is what it was."""
    decoder = model.get_decoder()
    modules = list(decoder.modules())
    configs = {id(module.config): module.config for module in modules if hasattr(getattr(module, "config", None), "_attn_implementation")}
    before = [(config, config._attn_implementation) for config in configs.values()]
    plain = decoder.config._attn_implementation == "eager" or not getattr(decoder, "_supports_sdpa", False)
    name = _register("eager" if plain else "sdpa")
    collector = Collector(tokens, counts, frozenset(map(id, modules)))
    token = _collecting.set(collector)
    try:
        for config, _ in before:
            config._attn_implementation_internal = name  # the public name would change the configs below it too
        yield collector
    finally:
        for config, own in before:
            config._attn_implementation_internal = own
        _collecting.reset(token)


def grids(processor: Any, config: Any, inputs: Any, counts: list[int]) -> list[list[Grid]]:
    """The grids of the visual tokens of each row's images, of which there are `counts`; an image's tokens are row after row of it.

    Known of processors that tell the patches of an image and how many sides of them are merged (Qwen2-VL and after), and of models
    with one token per patch of an image (LLaVA 1.5).

    Raises:
        Refused: the processor cuts images up, or the model makes something else of them.
    """
    if not any(counts):
        return [[] for _ in counts]
    reader, patch = processor.image_processor, getattr(getattr(config, "vision_config", None), "patch_size", None)
    found: list[Grid] = []
    if "image_grid_thw" in inputs and hasattr(reader, "merge_size"):
        found = [(int(height) // reader.merge_size, int(width) // reader.merge_size) for _, height, width in inputs["image_grid_thw"]]
    elif isinstance(patch, int) and getattr(inputs.get("pixel_values"), "ndim", 0) == 4:
        found = [(pixels.shape[-2] // patch, pixels.shape[-1] // patch) for pixels in inputs["pixel_values"]]
    places = iter(found)
    by_row = [list(islice(places, count)) for count in counts]
    tokens = visual(config, inputs).sum(1).tolist()
    if len(found) != sum(counts) or tokens != [sum(rows * columns for rows, columns in row) for row in by_row]:
        raise Refused(
            f"expected visual tokens that form one grid per image, got {sum(tokens)} tokens for {sum(counts)} images of "
            f"{type(reader).__name__}, whose order it does not tell: choose a checkpoint with one, such as of the Qwen-VL family"
        )
    return by_row


def visual(config: Any, inputs: Any) -> "Tensor":
    """Which tokens are an image's, (rows, tokens)."""
    token = getattr(config, "image_token_id", None)
    found: Tensor = inputs["input_ids"] == (config.image_token_index if token is None else token)
    return found


def split(shares: list[float], grids: list[Grid]) -> tuple[tuple[tuple[float, ...], ...], ...]:
    """The shares of a row's visual tokens, in their order, as the grid of each image.

    >>> split([0.5, 0.25, 0.125], [(1, 2), (1, 1)])
    (((0.5, 0.25),), ((0.125,),))
    """
    places = iter(shares)
    return tuple(tuple(tuple(islice(places, columns)) for _ in range(rows)) for rows, columns in grids)


def _register(usual: str) -> str:
    """A name under which attention is collected beside the output of the usual one; masks are those of the usual one."""
    from transformers import AttentionInterface, AttentionMaskInterface

    name = f"attending_{usual}"
    AttentionInterface.register(name, partial(_attend, usual))
    AttentionMaskInterface.register(name, AttentionMaskInterface()[usual])
    return name


def _attend(usual: str, module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **options: Any) -> Any:
    from transformers import AttentionInterface

    if collector := _collecting.get():
        collector.add(module, query, key, value, options)
    answer = _eager(module) if usual == "eager" else AttentionInterface()[usual]
    return answer(module, query, key, value, attention_mask, **options)


def _eager(module: Any) -> Callable[..., Any]:
    """The function that gives an architecture's attention with its probabilities, as transformers names it in the file of each."""
    found: Callable[..., Any] | None = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    if not found:
        raise Refused(
            f"expected an eager_attention_forward beside {type(module).__name__}, got none, so its attention cannot be read: "
            "choose a checkpoint of an architecture inside transformers"
        )
    return found
