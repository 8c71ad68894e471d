"""What was said about a sample: every request and response that the store holds of it, put back in order. Nothing is written.

The store knows requests by the hash of what they say. A request whose messages begin with those of another and its reply is a later
turn of the same conversation, so that only the longest of each is shown, and the shorter ones tell of its replies.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...store import held
from ...types import ATTEMPTS

LEFT_OUT = ("masks", "attention", "boxes")
"""What a response holds that the prediction and the verdicts hold too."""

Form = dict[str, Any]


def conversations(store: Path, sample: str, draw: int) -> tuple[list[Form], list[Form]]:
    """The conversations about a sample (`task/id`) in one of its draws, and the digest and size of each of its images.

    Each holds whom it is `to`, its `kind`, `messages` with the `replies` before the last (by the place of their message), and the
    last `response`. Both are empty where there is no store, as of a replay.
    """
    told, images = held(store, sample)
    asked = [
        form | {"response": {name: value for name, value in response.items() if name not in LEFT_OUT}}
        for form, response in told
        if form["draw"] // ATTEMPTS == draw
    ]
    return _threads(asked), [{"digest": digest, "size": [size.width, size.height]} for digest, size in images]


def _threads(asked: Sequence[Form]) -> list[Form]:
    """The longest request of each conversation, the model's first, with what is known of its earlier replies."""
    order = sorted(asked, key=lambda form: (form["to"] != "model", form["to"], -len(form.get("messages", ())), _rank(form), form["draw"]))
    found: list[Form] = []
    for form in order:
        whole = next((other for other in found if _begins(form, other)), None)
        if whole is None:
            found.append(form | {"replies": {}})
        else:
            whole["replies"][len(form["messages"])] = form["response"]
    return sorted(found, key=lambda form: (form["to"] != "model", form["to"], _rank(form), len(form.get("messages", ())), form["draw"]))


def _rank(form: Mapping[str, Any]) -> tuple[Any, ...]:
    return ("generate", "likelihood", "segment", "attend").index(form["kind"]), len(form.get("prefill", ""))


def _begins(form: Form, other: Form) -> bool:
    """Whether a request is an earlier turn of another."""
    if form["kind"] != "generate" or other["kind"] != "generate" or form["to"] != other["to"]:
        return False
    mine, longer = form["messages"], other["messages"]
    return len(mine) < len(longer) and longer[: len(mine)] == mine and longer[len(mine)]["role"] == "assistant"
