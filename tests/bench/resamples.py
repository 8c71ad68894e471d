"""How long 10,000 clustered resamples of a benchmark of GQA's shape take: 12,578 questions about 398 images.

`seconds` is the slowest of what a report asks for: the interval of a mean, that of a paired difference, and the weights with
which a statistic is computed anew.
"""

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

QUESTIONS, IMAGES, RESAMPLES = 12_578, 398, 10_000


def main() -> None:
    import numpy as np

    from evalkit import stats

    rng = np.random.default_rng(0)
    group = rng.integers(IMAGES, size=QUESTIONS)
    first, second = (rng.random(QUESTIONS) < chance for chance in (0.60, 0.62))
    times = {
        "mean": _median(lambda: stats.mean(first, group, resamples=RESAMPLES)),
        "paired difference": _median(lambda: stats.paired_difference(first, second, group, resamples=RESAMPLES)),
        "weights": _median(lambda: stats.resample_weights(group, first, resamples=RESAMPLES)),
    }
    print(json.dumps({"seconds": max(times.values()), **times}))


def _median(once: Callable[[], Any]) -> float:
    """The median seconds of five."""
    taken = []
    for _ in range(5):
        begun = time.perf_counter()
        once()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
