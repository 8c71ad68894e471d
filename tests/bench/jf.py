"""J and F of a video of COUNT frames of 854 x 480 on one core, against TrackEval's J and F where it is installed.

python -m tests.bench.jf COUNT

Both sides hold the encoded masks and find one J and one F a frame. `seconds` is ours; `ratio` is TrackEval's seconds over it.
"""

import json
import math
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from evalkit.geometry import Size
from evalkit.metrics.video import GoldVideo, JAndF, VideoMasks
from evalkit.rle import FittedMask, encode_mask
from evalkit.types import Sample, Wants
from tests.bench.masks import timed

SIZE = Size(854, 480)


def main(count: int) -> None:
    gold, predicted = zip(*(drawn(seed) for seed in range(count)), strict=True)
    sample = Sample("", "", "", (), Wants("mask", form="video"), GoldVideo(count, (gold,), SIZE))

    def ours() -> tuple[float, float]:
        record: Any = JAndF().measure(VideoMasks(predicted), sample)
        return record["j"], record["f"]

    runs: list[Callable[[], tuple[float, float]]] = [ours]
    if find_spec("trackeval"):
        runs.append(lambda: trackeval(gold, predicted))
    results, seconds = timed(*runs)
    assert all(np.allclose(result, results[0], rtol=0, atol=1e-12) for result in results), results
    told = {"seconds": seconds[0]}
    if len(seconds) > 1:
        told["ratio"] = seconds[1] / seconds[0]
    print(json.dumps(told))


def trackeval(gold: tuple[FittedMask, ...], predicted: tuple[FittedMask, ...]) -> tuple[float, float]:
    """The means of its J and F."""
    from trackeval.metrics.j_and_f import JAndF as Reference

    targets, found = ([[{"size": [SIZE.height, SIZE.width], "counts": mask.counts}] for mask in masks] for masks in (gold, predicted))
    j = Reference._compute_j(targets, found, 1, 1, len(gold))
    return float(np.mean(j)), float(Reference._compute_f(targets, found, 0, 0, 0.008).mean())


def drawn(seed: int) -> tuple[FittedMask, FittedMask]:
    """A gold mask of a few ragged shapes, and the same moved a little."""
    rng = np.random.default_rng(seed)
    image = Image.new("1", SIZE)
    for _ in range(rng.integers(1, 4)):
        angles = np.sort(rng.uniform(0, 2 * math.pi, 40))
        radii, (x, y) = rng.uniform(0.6, 1, 40) * rng.uniform(50, 240), rng.uniform((0, 0), SIZE)
        ImageDraw.Draw(image).polygon([*zip(x + radii * np.cos(angles), y + radii * np.sin(angles), strict=True)], fill=1)
    pixels = np.asarray(image)
    return encode_mask(pixels), encode_mask(np.roll(pixels, rng.integers(-15, 15, 2), (0, 1)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
