"""What a record says of a sample in one number, whatever its rule."""

from collections.abc import Mapping
from typing import Any

SHARES = ("correct", "hit", "above", "iou", "share", "anls", "caption", "accuracy", "score", "value")
"""The fields of a record that say, in [0, 1], how right it is; the first that is there counts."""


def mark(record: Mapping[str, Any]) -> float | None:
    """How right a record is, in [0, 1]; None where it says nothing of the kind.

    Of boxes matched it is F1, of several things the mean.

    >>> mark({"correct": 1.0}), mark({"matched": 1.0, "predicted": 1.0, "gold": 3.0}), mark({"right": [1.0, 0.0]}), mark({"rad": 3.2})
    (1.0, 0.5, 0.5, None)
    """
    if "matched" in record and "gold" in record:
        return 2 * record["matched"] / both if (both := record["predicted"] + record["gold"]) else 1.0
    if isinstance(record.get("right"), list) and record["right"]:
        return float(sum(record["right"]) / len(record["right"]))
    if "j" in record and record.get("objects"):
        return float(record["j"] / record["objects"])
    for name in SHARES:
        value = record.get(name)
        if isinstance(value, int | float):
            return float(value) if 0 <= value <= 1 else None
    return None


def overlap(record: Mapping[str, Any]) -> float | None:
    """The IoU that a record holds, of boxes, masks or a video's masks; None where it holds none."""
    value = record.get("iou")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return mark(record) if "j" in record and record.get("objects") else None
