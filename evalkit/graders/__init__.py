"""Second conversations about a finished prediction: judges, answer extraction, probes.

A task brings the graders that its own numbers need. A probe can be sent after any task's predictions: a file here that holds
`probe() -> Probe` is one, found by its name (`--probe`), `_` written as `-`.
"""

from importlib import import_module
from pathlib import Path

from ..errors import UserError, did_you_mean
from ..interfaces import Probe


def probes() -> list[str]:
    """Every probe's name, sorted."""
    files = [path for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_")]
    return sorted(path.stem.replace("_", "-") for path in files if "\ndef probe(" in path.read_text("utf-8"))


def find(name: str) -> Probe:
    """The probe called `name`.

    Raises:
        UserError: no such probe.
    """
    if name not in probes():
        raise UserError(f"no probe '{name}'. {did_you_mean(name, probes())}")
    made: Probe = import_module(f"{__name__}.{name.replace('-', '_')}").probe()
    return made
