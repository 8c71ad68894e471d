"""evalkit measures vision-language models that point at what they talk about.

These are the public names: all that a task file may import. Each is imported on use, so `import evalkit` is instant.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "types": ("Estimate", "Image", "Lazy", "Prediction", "Record", "Request", "Response", "Sample", "Unparsed", "Wants"),
    "interfaces": ("Rule",),
    "geometry": ("Box", "Frame", "Mask", "Point", "Size"),
    "errors": ("DataError", "UserError"),
    "data": ("Data", "read_boxes", "read_json", "read_jsonl", "read_parquet", "read_tsv", "require"),
    "task": ("Reply", "Task"),
    "metrics.choice": ("Accuracy",),
    "metrics.counts": ("Counts",),
    "metrics.boxes": ("BoxMatch", "GroundingIoU"),
    "api": ("Summary", "run"),
}
_WHERE = {name: module for module, names in _HOME.items() for name in names}
__all__ = sorted([*_WHERE, "parsers"])


def __getattr__(name: str) -> Any:
    if name == "parsers":
        return import_module("evalkit.parsers")
    if name in _WHERE:
        return getattr(import_module(f"evalkit.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'evalkit' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
