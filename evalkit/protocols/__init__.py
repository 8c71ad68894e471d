"""How a sample is asked and how the reply is read: one file per protocol, found by its name.

A protocol file holds `protocol(**sampling) -> AnswerProtocol`; the keywords replace fields of the protocol's own `Sampling`.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import UserError, did_you_mean
from ..interfaces import AnswerProtocol


def names() -> list[str]:
    """Every protocol's name, sorted."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def find(name: str, **sampling: Any) -> AnswerProtocol:
    """The protocol called `name`, with these fields of its sampling replaced.

    Raises:
        UserError: no such protocol.
    """
    if name not in names():
        raise UserError(f"no protocol '{name}'. {did_you_mean(name, names())}")
    made: AnswerProtocol = import_module(f"{__name__}.{name}").protocol(**sampling)
    return made
