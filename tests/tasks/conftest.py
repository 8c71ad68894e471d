"""What the tests of tasks about masks share."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalkit.rle import encode_mask

Pixels = Any


@pytest.fixture
def box_pixels() -> Callable[..., Pixels]:
    """Makes an array of 6 x 8 pixels in which those from (x1, y1) to (x2, y2), both exclusive at the end, are masked."""

    def make(x1: int, y1: int, x2: int, y2: int) -> Pixels:
        made = np.zeros((6, 8), dtype=bool)
        made[y1:y2, x1:x2] = True
        return made

    return make


@pytest.fixture
def coco_rle() -> Callable[[Pixels | None], dict[str, Any] | None]:
    """Writes pixels as COCO's run lengths; None stays None."""

    def write(pixels: Pixels | None) -> dict[str, Any] | None:
        if pixels is None:
            return None
        mask = encode_mask(pixels)
        return {"size": [mask.size.height, mask.size.width], "counts": mask.counts}

    return write


@pytest.fixture
def mask_replies(tmp_path: Path, coco_rle: Callable[[Any], Any]) -> Callable[[dict[str, Sequence[Pixels]]], str]:
    """Writes replies, the masks of each sample, and returns the model that replays them."""

    def write(replies: dict[str, Sequence[Pixels]]) -> str:
        path = tmp_path / "replies.jsonl"
        rows = [{"sample": sample, "text": "[SEG]", "masks": [coco_rle(mask) for mask in masks]} for sample, masks in replies.items()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return f"replay:{path}"

    return write
