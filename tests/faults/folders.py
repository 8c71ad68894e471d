"""Run folders that another hand changed: a value of a manifest, a summary or a row replaced or left out, as each command reads it."""

import json
import random
import shutil
from collections.abc import Iterator
from copy import deepcopy
from itertools import islice
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

from evalkit.cli import group
from evalkit.errors import EvalkitError
from tests.faults.runs import Run
from tests.faults.tally import Fault, Tally

ODD = (None, 7, -1, 1e308, True, "", "x\u202e\x1b[2J", [], [7], [None, None], {}, {"x": 7}, "/dev/null", float("nan"), 10**400)
NAMES = ("manifest.json", "summary.json", "predictions.jsonl", "records.jsonl")
COMMANDS = (
    "table {run} --numbers all",
    "table {run} {whole} --baseline {whole}",
    "gate {whole} {run}",
    "gate {run} {whole} --across pixels,judge",
    "show {run}",
    "plot {run} --kind accuracy-by --by count --out {out}.svg",
    "view {run} --no-open --out {out}",
    "push {run} --to hub --repo some/one --dry-run",
    "score {run} --check",
    "score {run}",
)


def changes(value: Any, rng: random.Random) -> Iterator[Any]:
    """Copies of a value of JSON, in each of which one value at a time is left out, then replaced by something odd."""
    for path in _paths(value):
        for odd in ("left out", *rng.sample(ODD, 3)):
            changed = deepcopy(value)
            *above, last = path
            inner = changed
            for key in above:
                inner = inner[key]
            if odd == "left out":
                del inner[last]
            else:
                inner[last] = odd
            yield changed


def _paths(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to all values in a value of JSON; of a list only to its first item."""
    items = value.items() if isinstance(value, dict) else list(enumerate(value))[:1] if isinstance(value, list) else ()
    for key, inner in items:
        yield (*above, key)
        yield from _paths(inner, (*above, key))


def _texts(whole: Path, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Names and contents of changed files, the four in turn for as long as they last."""

    def of(name: str) -> Iterator[tuple[str, str]]:
        first, *others = (whole / name).read_text("utf-8").splitlines(keepends=True)
        if name.endswith(".json"):
            first, others = first + "".join(others), []
        for changed in changes(json.loads(first), rng):
            yield name, json.dumps(changed, default=str) + "\n" + "".join(others)

    left = [of(name) for name in NAMES]
    while left:
        for one in tuple(left):
            if (text := next(one, None)) is None:
                left.remove(one)
            else:
                yield text


def changed(place: Path, times: int) -> Tally:
    """Each command shows what it can, or says one error of evalkit's own; no file of the whole run beside it is touched."""
    told, run = Tally(), Run(place / "whole", rows=6, variant="judged")
    run.completes(told)
    whole = next(run.out.iterdir())
    before = {path.name: path.read_bytes() for path in whole.iterdir()}
    texts = sorted(_texts(whole, random.Random(0)), key=lambda text: text[0] not in NAMES[:2])
    for number, (name, text) in enumerate(islice(random.Random(1).sample(texts, len(texts)), times)):
        trial = place / "trial"
        shutil.rmtree(trial, ignore_errors=True)
        shutil.copytree(whole, trial)
        (trial / name).write_text(text, "utf-8")
        for line in COMMANDS:
            words = line.format(run=trial, whole=whole, out=trial / "out").split()
            said = CliRunner().invoke(group, words, standalone_mode=False, catch_exceptions=True)
            if said.exception is not None and not isinstance(said.exception, EvalkitError | click.ClickException | SystemExit):
                told.crashed(f"{number}, {name}, {words[0]}: {said.exception!r:.300}")
        told.tried += 1
    if before != {path.name: path.read_bytes() for path in whole.iterdir()}:
        told.crashed("a file of the whole run was touched")
    return told


FAULTS = (Fault("a run's manifest, summary, rows with a value changed or left out", changed, 400, 10),)
