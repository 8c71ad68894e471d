"""A run's folder: what is in it, and how it is written so that a kill at any moment leaves it readable.

    manifest.json      what was run: tasks, data, model, sampling, versions, command line; times live only here and in the log
    summary.json       the numbers; byte-identical for the same answers
    predictions.jsonl  one row a sample and draw: the reply, the answer read, the boxes
    records.jsonl      one row a sample, draw and rule under which it counts: what was read, and the record
    answers.sqlite     every request and response (store.py)
    run.log            what happened, with times

`pandas.read_json("records.jsonl", lines=True)` reads the rows.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Self

from .errors import UserError
from .scoring import Scored
from .types import Evidence, Prediction, Sample, sha256

FORMAT = 1


class RunFolder:
    """Paths and files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = path / "answers.sqlite"
        self.log = path / "run.log"

    @classmethod
    def of(cls, out: Path, name: str, resolved: dict[str, Any]) -> Self:
        """The folder of a run: the model's name and a hash of what is run, so that the same command finds the same folder."""
        text = json.dumps(resolved, sort_keys=True, separators=(",", ":"), default=str)
        safe = re.sub(r"[^\w.+-]+", "--", name).lstrip(".") or "model"
        return cls(out / f"{safe}-{sha256(text)[:12]}")

    @classmethod
    def at(cls, path: Path) -> Self:
        """The folder of an earlier run. Raises `UserError` where there is none."""
        if not (path / "manifest.json").is_file():
            raise UserError(f"expected a run's folder (with manifest.json) at {path}, found none. `evalkit run` prints the folder it wrote")
        return cls(path)

    def manifest(self) -> dict[str, Any]:
        """The manifest. Raises `UserError` where it is not readable."""
        return self._read("manifest.json")

    def summary(self) -> dict[str, Any]:
        """The summary. Raises `UserError` where the run never got so far."""
        if not (self.path / "summary.json").is_file():
            raise UserError(f"the run at {self.path} has no summary.json: it was stopped before its end. The same `evalkit run` goes on")
        return self._read("summary.json")

    def write(self, name: str, value: Any) -> None:
        """Writes a JSON file whole or not at all."""
        part = self.path / f"{name}.part"
        part.write_text(json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n", "utf-8", errors="backslashreplace")
        part.replace(self.path / name)

    def _read(self, name: str) -> dict[str, Any]:
        try:
            value: dict[str, Any] = json.loads((self.path / name).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read {self.path / name}: {error}") from error
        if not isinstance(value, dict) or not isinstance(value.get("format"), int):
            raise UserError(f"expected {self.path / name} as `evalkit run` writes it, got something else")
        if value["format"] > FORMAT:
            raise UserError(f"{self.path / name} is of format {value['format']}, this evalkit reads up to {FORMAT}: update evalkit")
        return value


class Rows:
    """Writes predictions.jsonl and records.jsonl beside the old ones and swaps them in at the end."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._files: dict[str, IO[str]] = {}
        for name in ("predictions.jsonl", "records.jsonl"):
            self._files[name] = (folder.path / f"{name}.part").open("w", encoding="utf-8", errors="backslashreplace", buffering=1 << 20)

    def add(self, task: str, sample: Sample, draw: int, prediction: Prediction, scored: Iterable[Scored]) -> None:
        """Adds one prediction and its records."""
        row = {
            "task": task,
            "sample": sample.id,
            "draw": draw,
            "question": sample.question,
            "target": sample.target,
            "text": prediction.text,
            "answer": prediction.answer,
            "failure": prediction.failure,
            "finish": prediction.finish,
            "missing": prediction.missing,
            "tags": sorted(sample.tags | prediction.tags),
            "group": sample.group,
        }
        if prediction.evidence:
            row["evidence"] = [_evidence(item) for item in prediction.evidence]
        if prediction.operations:
            row["operations"] = [asdict(operation) for operation in prediction.operations]
        for name in ("masks", "likelihoods", "verdicts"):
            if getattr(prediction, name):
                row[name] = getattr(prediction, name)
        self._files["predictions.jsonl"].write(_encode(row) + "\n")
        for item in (item for item in scored if item.record):
            record = {
                "task": task,
                "sample": sample.id,
                "draw": draw,
                "rule": item.rule.name,
                "metric": item.rule.metric.name,
                "value": item.value,
                "failure": item.failure,
                **item.record,
            }
            self._files["records.jsonl"].write(_encode(record) + "\n")

    def close(self) -> None:
        """Closes the files; unless they are kept, the rows of the last whole run stay."""
        for file in self._files.values():
            file.close()

    def keep(self) -> None:
        """Closes the files and puts them in place."""
        self.close()
        for name in self._files:
            (self._folder.path / f"{name}.part").replace(self._folder.path / name)


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=repr).encode


def _evidence(item: Evidence) -> dict[str, Any]:
    told: dict[str, Any] = {"written": item.written, "frame": item.frame, "box": item.box}
    return told | ({"label": item.label} if item.label else {}) | ({"score": item.score} if item.score is not None else {})
