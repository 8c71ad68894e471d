"""Run folders for the viewer's tests, every value of which the test says."""

import asyncio
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from PIL import Image

from evalkit.folder import FORMAT
from evalkit.store import Store
from evalkit.types import Request, Response

Row = dict[str, Any]


def row(sample: str, task: str = "toy", draw: int = 0, **given: Any) -> Row:
    """A row of predictions.jsonl."""
    told = {"question": f"What is {sample}?", "target": "A", "text": "It is A.", "answer": "A", "failure": "", "finish": "stop"}
    return {"task": task, "sample": sample, "draw": draw, **told, "missing": False, "tags": [], "group": "", **given}


def record(sample: str, task: str = "toy", draw: int = 0, rule: str = "official", metric: str = "accuracy", **given: Any) -> Row:
    """A row of records.jsonl, right where nothing else is given."""
    numbers = given or {"correct": 1.0}
    return {"task": task, "sample": sample, "draw": draw, "rule": rule, "metric": metric, "value": "A", "failure": "", **numbers}


def box(*sides: float, written: Sequence[float] | None = None, **given: Any) -> Row:
    """An item of a row's evidence, written in pixels of the image where nothing else is given."""
    return {"written": list(written or sides), "frame": "original", "box": list(sides), **given}


def picture(path: Path, width: int, height: int, colour: str = "#808080") -> Row:
    """Makes an image of one colour, and is what a row says of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), colour).save(path)
    return {"path": str(path), "size": [width, height]}


def manifest(path: Path, tasks: Sequence[str] = ("toy",), model: str = "mine", rules: Sequence[str] = ()) -> None:
    """Writes the manifest alone, as a run does when it begins."""
    path.mkdir(parents=True, exist_ok=True)
    options = {"model": model, "tasks": list(tasks), "blind": False, "limit": None, "data": []}
    said = {"format": FORMAT, "name": model, "protocol": "direct", "options": options, "roles": {}, "command": ["run", "--model", model]}
    listed = [{"name": task, "version": 1, "rules": list(rules), "data": None} for task in tasks]
    (path / "manifest.json").write_text(json.dumps(said | {"tasks": listed}), "utf-8")


def written(path: Path, predictions: Sequence[Row], records: Sequence[Row], ending: str = "") -> None:
    """Writes the two row files."""
    for name, lines in (("predictions", predictions), ("records", records)):
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (path / f"{name}.jsonl{ending}").write_text(text, "utf-8", errors="backslashreplace")


def ended(
    path: Path,
    predictions: Sequence[Row],
    records: Sequence[Row],
    gaps: Sequence[Row] = (),
    model: str = "mine",
    rules: Sequence[str] = (),
) -> Path:
    """Writes a run that has ended."""
    tasks = list(dict.fromkeys(line["task"] for line in predictions)) or ["toy"]
    manifest(path, tasks, model, rules)
    written(path, predictions, records)
    entries = [
        {
            "task": task,
            "version": 1,
            "headline": "accuracy",
            "composites": [],
            "samples": len(predictions),
            "published": None,
            "limit": None,
        }
        | {"gaps": [gap for gap in gaps if task == tasks[0]], "notes": []}
        for task in tasks
    ]
    estimate = {"value": 0.5, "stderr": 0.1, "low": 0.3, "high": 0.7, "n": len(predictions)}
    counts = dict.fromkeys(("unparsed", "truncated", "refused", "missing", "gaps"), 0)
    named = {"model": model, "protocol": "direct", "metric": "accuracy", "rule": "official", "subset": "overall"}
    numbers = [{"task": task, **named, **estimate, **counts} for task in tasks]
    said = {"format": FORMAT, "model": model, "protocol": "direct", "tasks": entries, "numbers": numbers}
    (path / "summary.json").write_text(json.dumps(said), "utf-8")
    return path


def answers(path: Path, asked: Sequence[tuple[Request, Response]]) -> None:
    """Writes the store of a run."""
    store = Store(path / "answers.sqlite")

    async def put() -> None:
        for request, response in asked:
            await store.put(request.key("mine"), request, response)

    with ThreadPoolExecutor(1) as pool:  # the browser's driver has a loop running in this thread
        pool.submit(asyncio.run, put()).result()
    store.close()
