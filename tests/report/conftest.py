"""Run folders for what draws and compares runs, written as a run writes them, without a model."""

import dataclasses
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from evalkit import task
from evalkit.config import RunConfig
from evalkit.folder import FORMAT, Rows, RunFolder
from evalkit.geometry import Box, Frame
from evalkit.graders import box_erasure
from evalkit.protocols import find
from evalkit.scoring import Tally
from evalkit.types import Evidence, Operation, Prediction, Sample

Answer = Callable[[Sample, random.Random], Prediction]


def erring(wrong: float = 0.3, shake: float = 10, boxes: bool = True) -> Answer:
    """Replies of which a share is wrong, with boxes some pixels beside the gold ones, one of them left out now and then."""

    def answer(sample: Sample, rng: random.Random) -> Prediction:
        if sample.wants.kind == "boxes":
            said = ""
        elif sample.wants.kind == "count":
            said = str(max(0, sample.target + (rng.choice([-2, -1, 1, 2, 3]) if rng.random() < wrong else 0)))
        else:
            said = str(sample.target) if rng.random() >= wrong else "no answer"
        moved = [Box(*(side + rng.uniform(-shake, shake) for side in box)) for box in sample.regions if rng.random() < 0.9]
        evidence = tuple(Evidence(tuple(box), Frame.ORIGINAL, box) for box in moved if boxes)
        return Prediction(f"<think> </think> <rethink> </rethink> <answer> {said}", said, evidence=evidence)

    return answer


def with_tools(sample: Sample, rng: random.Random) -> Prediction:
    """Replies that ask for 0 to 3 crops, the better the more, some of which fail."""
    asked = rng.choice([0, 0, 1, 1, 1, 2, 3])
    operations = tuple(Operation("crop_image", "{}", error="too small" if rng.random() < 0.2 else "") for _ in range(asked))
    return dataclasses.replace(erring(0.6 - 0.15 * asked)(sample, rng), operations=operations)


def erased(sample: Sample, rng: random.Random) -> Prediction:
    """Replies with what the box-erasure probe found of them: with boxes twice the attention, give or take."""

    def context(whole: float) -> dict[str, Any]:
        cells = [[rng.random() ** 4 for _ in range(5)] for _ in range(4)]
        total = sum(map(sum, cells))
        grid = [[whole * cell / total for cell in row] for row in cells]
        return {"continuation": " so", "attention": whole, "per_token": whole / 20, "grids": [grid]}

    verdict = {"with_boxes": context(rng.uniform(0.2, 0.4)), "without_boxes": context(rng.uniform(0.1, 0.2))}
    return dataclasses.replace(erring()(sample, rng), verdicts={"box_erasure": verdict})


@pytest.fixture
def run_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes the folder of a run of the task `shapes`."""

    def write(
        name: str = "mine",
        answer: Answer | None = None,
        samples: int = 48,
        gaps: int = 0,
        protocol: str = "grit",
        label: Sequence[str] = (),
        tasks: Sequence[str] = ("shapes",),
        probe: bool = False,
        version: int = 1,
    ) -> Path:
        answer = answer or erring()
        folder = RunFolder(tmp_path / name)
        folder.path.mkdir(parents=True)
        config = RunConfig(model=name, tasks=tuple(tasks), label=tuple(label), protocol=protocol, limit=samples)
        rules = (*find(protocol).rules, *(box_erasure.probe().rules if probe else ()))
        rows, entries, numbers = Rows(folder), [], []
        for named in tasks:
            made = task.find(named)
            made = dataclasses.replace(made, rules=(*made.rules, *rules))
            tally = Tally(made)
            for place, sample in enumerate(sample for _, sample in zip(range(samples), made.samples(), strict=False)):
                tally.count(sample)
                if place < gaps:
                    tally.gap(sample, 0, "time-out")
                    continue
                prediction = answer(sample, random.Random(f"{name}/{sample.id}"))
                rows.add(named, sample, 0, prediction, tally.add(sample, prediction))
            gone = [{"sample": sample, "draw": draw, "reason": reason} for sample, draw, reason in tally.gaps]
            said = {"task": named, "version": version, "headline": made.headline, "composites": [], "samples": samples, "published": 960}
            entries.append(said | {"limit": samples if samples < 960 else None, "gaps": gone, "notes": []})
            numbers += [{"model": name, "protocol": protocol, "task": named, **row} for row in tally.numbers()]
        rows.keep()
        folder.write("summary.json", {"format": FORMAT, "model": name, "protocol": protocol, "tasks": entries, "numbers": numbers})
        said = {"format": FORMAT, "name": name, "protocol": protocol, "options": dataclasses.asdict(config), "roles": {}}
        folder.write("manifest.json", said | {"tasks": [{"name": named, "version": version, "data": None} for named in tasks]})
        return folder.path

    return write


@pytest.fixture
def replies() -> dict[str, Any]:
    """Ways of answering, for `run_folder`."""
    return {"erring": erring, "with_tools": with_tools, "erased": erased}
