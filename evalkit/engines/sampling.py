"""How a batch's tokens are chosen, ended and read, each row by itself: no answer depends on the rows beside it.

The classes are called by `generate` of transformers, as a logits processor and a stopping criterion.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from ..types import Finish, Sampling
from .common import cut

if TYPE_CHECKING:
    from torch import Tensor


class Sampler:
    """Scores whose largest entry is the token to take: the greedy one, or one drawn from the filtered distribution.

    The draw is the Gumbel-max trick: softmax(scores) is sampled by the argmax of scores - log(noise), the noise standard
    exponential. A row's noise comes from its own generator, seeded by its request's key.

    Args:
        sampling: temperature, top-k, top-p (in this order) and repetition penalty.
        prompt: the attention mask of the prompts, (rows, tokens), 0 where padded. Padding is no token that was said before.
        keys: the requests' keys, hexadecimal.
    """

    def __init__(self, sampling: Sampling, prompt: "Tensor", keys: Sequence[str]) -> None:
        import torch

        self.sampling, self.padding = sampling, prompt == 0
        # On Apple's GPUs there are no 64-bit floats, and 32-bit noise reaches 0, which would pick a token that is next to impossible.
        device = prompt.device if prompt.device.type == "cuda" else torch.device("cpu")
        self.generators = [torch.Generator(device).manual_seed(int(key[:15], 16)) for key in keys] if sampling.temperature > 0 else []

    def __call__(self, tokens: "Tensor", scores: "Tensor") -> "Tensor":
        """`tokens` (rows, tokens so far) and `scores` (rows, vocabulary) to scores of the same shape."""
        sampling = self.sampling
        if sampling.repetition_penalty != 1.0:
            scores = self._penalised(tokens, scores)
        if sampling.temperature <= 0:
            return scores
        scores = scores / sampling.temperature
        if 0 < sampling.top_k < scores.shape[-1]:
            scores = scores.masked_fill(scores < scores.topk(sampling.top_k).values[:, -1:], float("-inf"))
        if sampling.top_p < 1.0:
            ordered, order = scores.sort(descending=True, stable=True)
            shares = ordered.softmax(-1)
            beyond = shares.cumsum(-1) - shares >= sampling.top_p
            beyond[:, 0] = False
            scores = scores.masked_fill(beyond.scatter(-1, order, beyond), float("-inf"))
        return scores - self._noise(scores)

    def _penalised(self, tokens: "Tensor", scores: "Tensor") -> "Tensor":
        """Scores of tokens in the prompt or the reply pushed down (Keskar et al. 2019, arXiv 1909.05858)."""
        import torch

        vocabulary = scores.shape[-1]
        said = tokens.clamp(max=vocabulary)
        said[:, : self.padding.shape[1]].masked_fill_(self.padding, vocabulary)
        known = torch.zeros(len(tokens), vocabulary + 1, dtype=torch.bool, device=scores.device).scatter_(1, said, True)[:, :-1]
        penalty = self.sampling.repetition_penalty
        return torch.where(known, torch.where(scores < 0, scores * penalty, scores / penalty), scores)

    def _noise(self, scores: "Tensor") -> "Tensor":
        import torch

        rows = [
            torch.empty(scores.shape[-1], dtype=torch.float64, device=generator.device).exponential_(generator=generator).log_()
            for generator in self.generators
        ]
        return torch.stack(rows).to(scores.device, scores.dtype)


class Ending:
    """Which rows are at their end: a stop string is in the reply, or the model's context is full.

    Args:
        decode: lists of token ids to texts.
        stop: the stop strings.
        start: where the replies start in the rows.
        rooms: how many tokens each row may have.
        over: whether all shall end at once, whatever they say.
    """

    def __init__(
        self,
        decode: Callable[[list[list[int]]], list[str]],
        stop: tuple[str, ...],
        start: int,
        rooms: Sequence[int],
        over: Callable[[], bool] = lambda: False,
    ) -> None:
        self.over = over
        self.decode, self.stop, self.start, self.rooms = decode, tuple(word for word in stop if word), start, rooms
        # A token is a byte at least; the rest is for special tokens in between and for characters cut at the tail's beginning.
        self.tail = max((len(word.encode()) for word in self.stop), default=0) + 8

    def __call__(self, tokens: "Tensor", scores: Any, **_: Any) -> "Tensor":
        """`tokens` (rows, tokens so far) to booleans (rows,)."""
        import torch

        length = tokens.shape[1]
        ended = [length - self.start >= room or self.over() for room in self.rooms]
        if self.stop:
            tails = self.decode(tokens[:, max(self.start, length - self.tail) :].tolist())
            ended = [end or cut(tail, self.stop)[1] for end, tail in zip(ended, tails, strict=True)]
        return torch.tensor(ended, device=tokens.device)


def read(
    row: Sequence[int], room: int, ends: Collection[int], stop: tuple[str, ...], decode: Callable[[list[list[int]]], list[str]]
) -> tuple[str, Finish, int]:
    """A row's text, why it ended, and how many tokens it took, the one that ended it included.

    Args:
        row: the token ids after the prompt, with whatever follows the end.
        room: how many tokens the row was allowed.
        ends: the ids of end-of-turn tokens.
        stop: the stop strings; the text ends before the first.

    >>> words = {1: "one ", 2: "two ", 0: ""}
    >>> decode = lambda rows: ["".join(words[token] for token in row) for row in rows]
    >>> read([1, 2, 0, 0], 4, {0}, (), decode)
    ('one two ', 'stop', 3)
    >>> read([1, 2, 1], 2, {0}, (), decode)
    ('one two ', 'length', 2)
    >>> read([1, 2, 1], 3, {0}, ("tw",), decode)
    ('one ', 'stop', 2)
    """
    tokens = list(row[:room])
    end = next((place for place, token in enumerate(tokens) if token in ends), None)
    tokens = tokens if end is None else tokens[: end + 1]
    text, stopped = cut(decode([tokens])[0], stop)
    if not stopped:
        return text, "length" if end is None else "stop", len(tokens)
    count = bisect_left(range(len(tokens)), True, key=lambda n: cut(decode([tokens[:n]])[0], stop)[1])
    return text, "stop", count
