"""evalkit measures vision-language models that point at what they talk about.

These are the public names: all that a task file may import. Each is imported on use, so `import evalkit` is instant.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "types": (
        "Columns",
        "Estimate",
        "Evidence",
        "Generate",
        "Image",
        "Lazy",
        "Message",
        "Prediction",
        "Record",
        "Request",
        "Response",
        "Sample",
        "Sampling",
        "Still",
        "Unparsed",
        "Wants",
    ),
    "interfaces": ("Rule",),
    "geometry": ("Box", "Frame", "Mask", "Point", "Size", "iou"),
    "rle": ("coco_mask", "decode_mask", "encode_mask", "fitted_mask", "mask_box", "union_mask"),
    "errors": ("DataError", "UserError"),
    "data": ("Data", "read_boxes", "read_json", "read_jsonl", "read_parquet", "read_tsv", "require", "resolve"),
    "images": ("image_in",),
    "video": ("frame_numbers", "frames"),
    "task": ("Composite", "Reply", "Task", "sibling"),
    "graders.extraction": ("Extraction", "nearest"),
    "graders.judge": ("JUDGED", "Judge"),
    "metrics.anls": ("ANLS",),
    "metrics.choice": ("Accuracy",),
    "metrics.counts": ("Counts",),
    "metrics.boxes": ("AccuracyAt", "BoxMatch", "GroundingIoU"),
    "metrics.shares": ("Mean", "Share"),
    "metrics.detection": ("AveragePrecision", "Detection", "GoldBox", "NMSAveragePrecision"),
    "metrics.masks": ("GoldAnswer", "GoldMask", "MaskIoU", "PixelF1"),
    "metrics.text": ("Caption", "GoldText", "PossibleAnswers", "bleu"),
    "metrics.video": ("GoldVideo", "JAndF", "Robustness", "VideoMasks", "region_and_boundary"),
    "api": ("Summary", "run"),
    "training": ("evaluation_callback",),
}
_WHERE = {name: module for module, names in _HOME.items() for name in names}
_MODULES = ("parsers", "stats")
__all__ = sorted([*_WHERE, *_MODULES])


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"evalkit.{name}")
    if name in _WHERE:
        return getattr(import_module(f"evalkit.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'evalkit' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
