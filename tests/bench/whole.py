"""What rows have in common that set the whole run (protocol, store, scoring) against something bare."""

import json
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from evalkit import runner
from evalkit import task as tasks
from evalkit.data import resolve
from evalkit.engines.stored import Stored
from evalkit.interfaces import AnswerProtocol, Engine
from evalkit.scoring import Tally
from evalkit.store import Store
from evalkit.types import Image, Sample

DEMO = Path(__file__).parents[2] / "evalkit" / "demo" / "checkpoints" / "demo"


def shapes(count: int) -> list[Sample]:
    """The first samples of the task, their pictures' bytes in memory."""
    return [_held(sample) for sample in islice(tasks.find(f"shapes:{count}").samples(), count)]


def _held(sample: Sample) -> Sample:
    source: Any = sample.images[0].source
    return replace(sample, images=(resolve(Image(source.read())),))


def evaluate(engine: Engine, asked: AnswerProtocol, samples: Sequence[Sample]) -> dict[str, str]:
    """Every sample's reply, after a run with a store of its own that is scored as replies come."""
    tally, replies = Tally(tasks.find("shapes")), dict[str, str]()

    def ended(outcome: runner.Outcome) -> None:
        assert outcome.prediction is not None, outcome.gap
        tally.add(outcome.sample, outcome.prediction)
        replies[outcome.sample.id] = outcome.prediction.text

    with tempfile.TemporaryDirectory() as place:
        store = Store(Path(place) / "answers.sqlite")
        jobs = [runner.Job("shapes", iter(samples), asked)]
        runner.run(jobs, {"model": Stored(engine, store)}, lambda _, sample: tally.count(sample), ended)
        store.close()
    return replies


def tell(pairs: Sequence[tuple[float, float]], **more: Any) -> None:
    """Prints what passes of (bare, ours) seconds came to; `ratio` is the median of bare over ours."""
    ratios = [bare / ours for bare, ours in pairs]
    told = {"ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios), "pairs": pairs}
    print(json.dumps(told | more))
