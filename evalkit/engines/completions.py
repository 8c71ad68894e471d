"""The wire form of chat completions, read and written without a network: a request's fields, a reply, and what an error means."""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import EvalkitError
from ..types import Finish, Response, Sampling
from .common import cut

LONG, SHORT = "max_tokens", "max_completion_tokens"
SAMPLED = (
    LONG,
    SHORT,
    "seed",
    "stop",
    "top_p",
    "temperature",
    "top_k",
    "repetition_penalty",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
)
"""The fields that follow from a request's sampling, those that are missed least first."""
BUSY = frozenset({408, 429, 503, 504, 529})
REFUSES = re.compile(
    r"unsupported|not support|unrecogni[sz]ed|unknown|unexpected|not permitted|not allowed|cannot both|too long", re.IGNORECASE
)
PAGE = 4000
"""So many characters of what a server says of an error are looked at."""
MOST_TOKENS = 2**53
"""No server has read or written more; above, a count is no longer one as a float."""
MODERATED = frozenset({"content_filter", "content_policy_violation"})


class Failure(EvalkitError):
    """An attempt that brought no answer, and may be made again.

    Args:
        busy: whether the server was asked too much.
        alive: whether something that works answered.
        wait: seconds that the server asks to wait; None where it does not.
    """

    def __init__(self, reason: str, *, busy: bool = False, alive: bool = False, wait: float | None = None) -> None:
        super().__init__(reason)
        self.busy, self.alive, self.wait = busy, alive, wait


@dataclass(frozen=True, slots=True)
class Problem:
    """What a server says of a request that it does not serve."""

    words: str
    """In one line of at most 300 characters."""
    code: str = ""
    param: str = ""
    """The field of the request that it is about, where the server says so."""


def sampled(sampling: Sampling, seed: int, server: str, without: Collection[str]) -> dict[str, Any]:
    """The fields of a request body that say how to decode, but those in `without`; without `max_tokens` its later name is sent.

    For a `vllm` server every field is explicit, because it would fill those left out from the checkpoint's own generation config.
    For any other, fields that OpenAI's API does not know are sent only where they ask for something.

    >>> sampled(Sampling(max_tokens=8), 7, "openai", ())
    {'max_tokens': 8, 'temperature': 0.0, 'top_p': 1.0}
    >>> sampled(Sampling(max_tokens=8), 7, "openai", {"max_tokens", "temperature"})
    {'top_p': 1.0, 'max_completion_tokens': 8, 'seed': 7}
    """
    fields: dict[str, Any] = {LONG: sampling.max_tokens, "temperature": sampling.temperature, "top_p": sampling.top_p}
    if LONG in without:
        fields[SHORT] = sampling.max_tokens
    if sampling.temperature > 0 or "temperature" in without:
        fields["seed"] = seed
    if sampling.stop:
        fields["stop"] = list(sampling.stop)
    if server == "vllm" or sampling.top_k:
        fields["top_k"] = sampling.top_k or -1  # read as "all" by vLLM and SGLang; 0 only by vLLM
    if server == "vllm" or sampling.repetition_penalty != 1.0:
        fields["repetition_penalty"] = sampling.repetition_penalty
    if server == "vllm":
        fields |= {"min_p": 0.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
    return {name: value for name, value in fields.items() if name not in without}


def refused(problem: Problem, body: Mapping[str, Any]) -> str:
    """The sampling field of `body` that the server will not take; empty where the problem is another.

    >>> refused(Problem("Unsupported value: 'temperature' does not support 0 with this model."), {"temperature": 0.0})
    'temperature'
    >>> refused(Problem("'max_tokens' or 'max_completion_tokens' is too large: 9. The context is 4 tokens"), {"max_tokens": 9})
    ''
    """
    if not REFUSES.search(problem.words) and not problem.code.startswith("unsupported_"):
        return ""
    named = [name for name in SAMPLED if name in body and (name == problem.param or re.search(rf"\b{name}\b", problem.words))]
    if LONG in named and SHORT not in problem.words:  # such as "this model does not support more than 4096 max_tokens"
        named.remove(LONG)
    return problem.param if problem.param in named else next(iter(named), "")


def can_spare(name: str, sampling: Sampling) -> bool:
    """Whether a reply means the same where the field is left to the server: stop strings are cut again here, a seed only makes
    draws repeatable, a `top_p` of 1 is everyone's default. A temperature of 0 is spared for want of a better way, and stated."""
    spared = {
        LONG: True,
        "seed": True,
        "stop": True,
        "temperature": sampling.temperature in (0.0, 1.0),
        "top_p": sampling.top_p == 1.0,
    }
    return spared.get(name, False)


def read(reply: bytes, stop: tuple[str, ...]) -> Response:
    """The response in a body of HTTP status 200; its text ends before the first stop string.

    Raises:
        Failure: there is no reply in it, whatever the status says.
    """
    try:
        body = json.loads(reply)
    except (ValueError, RecursionError) as error:
        raise Failure(f"expected JSON, got {reply[:60]!r}") from error
    choices = body.get("choices") if isinstance(body, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise Failure(f"expected a choice with a message, got {reply[:120]!r}")
    reason = choice.get("finish_reason")
    if choice.get("error") or reason in ("error", "abort"):
        raise Failure(f"the server gave a reply up: {str(choice.get('error') or reason)[:120]}")
    reasoning = next((text for key in ("reasoning", "reasoning_content") if isinstance(text := message.get(key), str) and text), "")
    finish: Finish = "length" if reason in ("length", "max_tokens") else "stop"
    if reason == "content_filter" or message.get("refusal"):
        finish = "refused"
    text = _text(message.get("content"))
    if text is None and (reasoning or finish != "stop"):  # all of it was thought, or the filter left nothing
        text = ""
    if text is None:
        raise Failure(f"expected a message with a content, got {json.dumps(message)[:120]}")
    text, stopped = cut(text, stop)
    tokens = body.get("usage") if isinstance(body.get("usage"), dict) else {}
    return Response(
        text,
        "stop" if stopped and finish == "length" else finish,
        reasoning,
        tokens_in=_count(tokens.get("prompt_tokens")),
        tokens_out=_count(tokens.get("completion_tokens")),
    )


def problem(reply: bytes, secret: str = "") -> Problem:
    """What the body of an error says, without the key that some servers repeat and without what a terminal would obey.

    >>> problem(b'{"error": {"message": "no such\\\\n model", "code": 404, "param": null}}')
    Problem(words='no such model', code='404', param='')
    >>> problem(b"<html> <h1>Bad Gateway</h1></html>").words
    'Bad Gateway'
    """
    text = reply.decode("utf-8", "replace")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = re.sub(r"<style.*?</style>|<[^>]*>", " ", text[:PAGE], flags=re.DOTALL)
    body = body.get("error") or body if isinstance(body, dict) else body
    fields = body if isinstance(body, dict) else {}
    said = " ".join(str(fields.get("message") or fields.get("detail") or body)[:PAGE].split())
    said = "".join(sign if sign.isprintable() else "?" for sign in said)
    words = (said.replace(secret, "***") if secret else said)[:300]
    return Problem(words, str(fields.get("code") or ""), str(fields.get("param") or ""))


def _text(content: object) -> str | None:
    """The text of a message's content, a string or a list of parts; None where there is none."""
    if not isinstance(content, list):
        return content if isinstance(content, str) else None
    parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
    return "".join(part for part in parts if isinstance(part, str)) if parts else None


def _count(value: object) -> int:
    """A number of tokens; 0 where the server tells none that could be."""
    return value if type(value) is int and 0 <= value <= MOST_TOKENS else 0
