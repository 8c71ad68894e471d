"""A run's replies as a benchmark's own results files, ready for its authors' scorer or test server."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import manifest
from .api import tasks_of
from .data import read_jsonl
from .errors import Refused, UserError, did_you_mean
from .folder import RunFolder
from .task import Task
from .types import Sample

log = logging.getLogger("evalkit")


def export(run: Path, task: str | None = None, out: Path | None = None, draw: int = 0) -> list[Path]:
    """Writes the results files of one task of a run into the folder `out` (RUN/export/TASK) and returns their paths.

    Raises:
        UserError: the folder is no finished run, it has no such task or draw, or the task has no results format.
        Refused: some samples have no answer, or the data no longer has a sample.
    """
    folder = RunFolder.at(run)
    summary, config = folder.summary(), manifest.options(folder.own_manifest())
    chosen = {made.name: made for made in tasks_of(config)}
    if task is None and len(chosen) > 1:
        raise UserError(f"the run at {run} has several tasks: name one with --task ({', '.join(chosen)})")
    name = task or next(iter(chosen))
    if name not in chosen:
        raise UserError(f"no task '{name}' in the run at {run}. {did_you_mean(name, list(chosen))}")
    made = chosen[name]
    if made.export is None:
        raise UserError(f"task '{name}' has no results format of its own: its replies are in {folder.path / 'predictions.jsonl'}")
    if not 0 <= draw < config.repeats:
        raise UserError(f"expected --draw from 0 to {config.repeats - 1}, got {draw}")
    [entry] = [entry for entry in summary["tasks"] if entry["task"] == name]
    if entry["gaps"]:
        raise Refused(f"{len(entry['gaps'])} answers of {name} did not come: the same `evalkit run` asks just these again")
    if entry["limit"] is not None:
        log.warning("partial: these files hold only the %d samples that --limit drew", entry["samples"])
    target = out or folder.path / "export" / name.replace(":", "-")
    target.mkdir(parents=True, exist_ok=True)
    return made.export(_pairs(made, folder, draw), target)


def _pairs(made: Task, folder: RunFolder, draw: int) -> Iterator[tuple[Sample, dict[str, Any]]]:
    """Each sample that was asked, in the task's order, with its row of predictions.jsonl. No other row is in memory meanwhile."""
    path = folder.path / "predictions.jsonl"
    rows = zip(read_jsonl(path), _begins(path), strict=True)
    begins = {row["sample"]: begin for row, begin in rows if row["task"] == made.name and row["draw"] == draw}
    with path.open("rb") as file:
        for sample in made.samples():
            if sample.id in begins:
                file.seek(begins.pop(sample.id))
                yield sample, json.loads(file.readline())
    if begins:
        raise Refused(f"{len(begins)} samples of {path}, such as '{next(iter(begins))}', are no longer in the data of {made.name}")


def _begins(path: Path) -> Iterator[int]:
    """At which byte each line begins that is not empty."""
    begin = 0
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                yield begin
            begin += len(line)
