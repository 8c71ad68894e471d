"""How a sample is asked and how the reply is read: one file per protocol, found by its name.

A protocol file holds `protocol(**sampling) -> AnswerProtocol`, a frozen dataclass with a field `budget`; the keywords replace fields of
the protocol's own `Sampling`. Where there are variants of one way of asking, `VARIANTS` names them and `protocol(variant, **sampling)`
makes them: `grit` is the first, `grit:direct` another. A protocol that resizes images has `shows(model, own) -> Budget`: at how many
pixels an image of the question is shown where the model's processor by itself does `own`.
"""

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import UserError, did_you_mean
from ..interfaces import AnswerProtocol
from ..types import Budget, ModelInfo
from ._reading import whole


def names() -> list[str]:
    """Every protocol's name, without variants, sorted."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def shows(asked: AnswerProtocol, model: ModelInfo, own: Budget) -> Budget:
    """At how many pixels a protocol shows an image to a model whose processor by itself does `own`; None for a bound that is not known."""
    said = getattr(asked, "shows", None)
    found: Budget = said(model, own) if said else whole(getattr(asked, "budget", None), own)
    return found


def find(name: str, budget: Budget | None = None, **sampling: Any) -> AnswerProtocol:
    """The protocol called `name`, with another pixel budget for its images where one is given and these fields of its sampling replaced.

    Raises:
        UserError: no such protocol or variant.
    """
    stem, _, variant = name.partition(":")
    if stem not in names():
        raise UserError(f"no protocol '{stem}'. {did_you_mean(stem, names())}")
    file = import_module(f"{__name__}.{stem}")
    known = getattr(file, "VARIANTS", ())
    if variant and variant not in known:
        said = did_you_mean(variant, known) if known else "It has no variants."
        raise UserError(f"no variant '{variant}' of protocol '{stem}'. {said}")
    made: AnswerProtocol = file.protocol(variant or known[0], **sampling) if known else file.protocol(**sampling)
    return replace(made, budget=budget) if budget else made  # type: ignore[type-var]
