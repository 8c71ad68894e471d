"""gIoU and cIoU of COUNT masks of 1024 x 1024, against pycocotools finding the same intersections and unions.

python -m tests.bench.masks COUNT

Both sides hold the encoded masks, and take each pair to its intersection and union and all to the two numbers; evalkit's gold masks
know their area from when they were made. pycocotools finds both by `merge` and `area`: `ratio` is against a merge for each, `one_merge`
against one for the intersection and the union as what is left of the sum. `reading` is what it costs beside to tell fit predictions
from unfit ones, in the same measure as `seconds`: pycocotools does not.
"""

import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as coco

from evalkit.geometry import Mask, Size
from evalkit.metrics.masks import GoldMask, MaskIoU
from evalkit.rle import fitted_mask
from evalkit.types import Sample, Wants

SIDE = 1024
SHAPES = 100
"""Different pairs; the rest repeat them."""
EPSILON = 1e-5


def main(count: int) -> None:
    pairs = [drawn(seed) for seed in range(SHAPES)] * (count // SHAPES)
    size = Size(SIDE, SIDE)
    written = [Mask(predicted["counts"].decode(), size) for predicted, _ in pairs]
    samples = [Sample("", "", "", (), Wants("mask"), GoldMask(Mask(gold["counts"].decode(), size))) for _, gold in pairs]
    [read], [reading] = timed(lambda: [fitted_mask(mask, size) for mask in written])

    def ours() -> tuple[float, float]:
        metric = MaskIoU()
        records = [metric.measure(mask, sample) for mask, sample in zip(read, samples, strict=True)]
        return totals([(record["inter"], record["union"]) for record in records])

    def two_merges() -> tuple[float, float]:
        return totals([(coco.area(coco.merge([*pair], intersect=True)), coco.area(coco.merge([*pair]))) for pair in pairs])

    def one_merge() -> tuple[float, float]:
        inters = [int(coco.area(coco.merge([*pair], intersect=True))) for pair in pairs]
        return totals([(inter, int(coco.area([*pair]).sum()) - inter) for inter, pair in zip(inters, pairs, strict=True)])

    results, (seconds, two, one) = timed(ours, two_merges, one_merge)
    assert len(set(results)) == 1, results
    print(json.dumps({"ratio": two / seconds, "one_merge": one / seconds, "seconds": seconds, "reading": reading}))


def totals(counts: list[Any]) -> tuple[float, float]:
    """gIoU and cIoU of intersections and unions."""
    inter, union = np.array(counts, dtype=float).T
    return float((inter / (union + EPSILON)).mean()), float(inter.sum() / union.sum())


def timed(*runs: Callable[[], Any]) -> tuple[list[Any], list[float]]:
    """What each returns, and the seconds of its quickest of three turns."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(3):
        results = []
        for run, taken in zip(runs, times, strict=True):
            begun = time.perf_counter()
            results.append(run())
            taken.append(time.perf_counter() - begun)
    return results, [min(taken) for taken in times]


def drawn(seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A prediction and a gold mask as pycocotools encodes them: a few ragged shapes, and the same moved a little."""
    rng = np.random.default_rng(seed)
    image = Image.new("1", (SIDE, SIDE))
    for _ in range(rng.integers(1, 4)):
        angles = np.sort(rng.uniform(0, 2 * math.pi, 40))
        radii, (x, y) = rng.uniform(0.6, 1, 40) * rng.uniform(80, 400), rng.uniform(200, 800, 2)
        ImageDraw.Draw(image).polygon([*zip(x + radii * np.cos(angles), y + radii * np.sin(angles), strict=True)], fill=1)
    gold = np.asarray(image, dtype=np.uint8)
    predicted = np.roll(gold, rng.integers(-20, 20, 2), (0, 1))
    return coco.encode(np.asfortranarray(predicted)), coco.encode(np.asfortranarray(gold))


if __name__ == "__main__":
    main(int(sys.argv[1]))
