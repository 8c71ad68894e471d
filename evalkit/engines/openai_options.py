"""The options of the openai engine: what is declared of a server and its model, and how it is asked."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ..errors import UserError, did_you_mean
from .completions import LONG, SAMPLED, SHORT

OPENAI = "https://api.openai.com/v1"
EXAMPLE = '{"reasoning_effort": "low"}'


@dataclass(frozen=True, slots=True)
class OpenAIOptions:
    """How a server is asked. The first group changes answers and is part of the fingerprint; the second changes none."""

    base_url: str = OPENAI
    """Where `/chat/completions` follows, mostly ending in `/v1`. Of it, the host is part of the fingerprint."""
    server: str = "openai"
    """`vllm` (also for SGLang): every field of the sampling is sent, so that the checkpoint's generation config changes nothing, and
    a prefill can be. `openai`: no field is sent that OpenAI does not know, unless it asks for something."""
    revision: str = ""
    """Which weights are behind the model's name, where the name does not say: two runs are told apart by it."""
    system: str = ""
    """A system message before all others."""
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """For the server's chat template, such as {"enable_thinking": false}: a mapping, or its text as JSON."""
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    """More fields of the request, as they are, such as {"reasoning_effort": "low"}: a mapping, or its text as JSON."""
    prefill: bool = False
    """Whether the server, not a `vllm` one, goes on from a last message of role `assistant`."""
    factor: int = 0
    """What the sides of an image are multiples of after the processor's resize. With it and both bounds evalkit resizes, the server
    has nothing left to, and the sizes the model sees are known; without, they are not."""
    min_pixels: int = 0
    max_pixels: int = 0

    token_limit: str = "auto"
    """The field for the limit of tokens, `max_tokens` or `max_completion_tokens`; `auto`: the first, until the server asks for the
    second."""
    concurrency: int = 256
    """The most requests under way at once."""
    timeout: float = 600.0
    """Seconds for one attempt, from sending it to the last byte."""
    deadline: float = 1800.0
    """Seconds for one request, over all attempts and the pauses between."""
    attempts: int = 8
    first_pause: float = 0.5
    """Seconds that the pause after a first attempt lasts at most; the bound doubles with every further one, up to 30."""
    patience: float = 30.0
    """Seconds of nothing but failures after which the server is taken for dead, and nothing more is asked of it."""
    image_cache: int = 256
    """Megabytes of encoded images that are kept for the next question about them."""
    price_in: float = 0.0
    """What a million tokens of prompts cost; the currency is whatever `max_cost` is in."""
    price_out: float = 0.0
    """What a million tokens of replies, thoughts included, cost."""
    max_cost: float | None = None
    """What may be spent before nothing more is asked. Requests under way by then are still paid for."""
    max_seconds: float | None = None
    """Seconds after the first request from which nothing more is asked."""

    def __post_init__(self) -> None:
        """Raises `UserError` where an option is out of its range or two do not go together."""
        for name in ("chat_template_kwargs", "extra_body"):
            object.__setattr__(self, name, _mapping(name, getattr(self, name)))
        try:
            place = urlsplit(self.base_url)
            whole = place.scheme in ("http", "https") and bool(place.hostname) and place.port != 0
        except ValueError:  # a port that is none
            whole = False
        if not whole:
            raise UserError(f"expected a base URL such as http://localhost:8000/v1, got '{self.base_url}'")
        for name, known in (("server", ("openai", "vllm")), ("token_limit", ("auto", LONG, SHORT))):
            if getattr(self, name) not in known:
                raise UserError(f"no {name} '{getattr(self, name)}'. {did_you_mean(str(getattr(self, name)), known)}")
        for name in ("concurrency", "timeout", "deadline", "attempts"):
            if not getattr(self, name) > 0:
                raise UserError(f"expected {name} above 0, got {getattr(self, name)}")
        bounds = (self.factor, self.min_pixels, self.max_pixels)
        if any(bounds) and not (min(bounds) > 0 and self.min_pixels <= self.max_pixels):
            raise UserError(f"expected factor, min_pixels and max_pixels together, the bounds in order, got {bounds}")
        if self.max_cost is not None and not (self.price_in or self.price_out):
            raise UserError(
                "expected prices with --max-cost, found none: give --engine-args price_in=A --engine-args price_out=B, per million tokens "
                "and in the currency of --max-cost"
            )
        taken = sorted(self.extra_body.keys() & {*SAMPLED, "model", "messages", "stream", "n", "chat_template_kwargs"})
        if taken:
            raise UserError(f"expected fields in extra_body that evalkit does not set itself, got {', '.join(taken)}")


def _mapping(name: str, value: Mapping[str, Any] | str) -> Mapping[str, Any]:
    """The mapping, read from its text where it comes from a command line. An error does not repeat it: it may hold a key."""
    try:
        found = json.loads(value or "{}") if isinstance(value, str) else value
    except ValueError as error:
        raise UserError(f"expected {name} as JSON, such as {EXAMPLE}, got what is none: {error}") from None
    if not isinstance(found, Mapping):
        raise UserError(f"expected {name} as an object of JSON, such as {EXAMPLE}, got a value of type {type(found).__name__}")
    return found
