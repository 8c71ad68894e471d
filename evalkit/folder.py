"""A run's folder: what is in it, and how it is written so that a kill at any moment leaves it readable.

    manifest.json      what was run: tasks, data, model, sampling, versions, command line; times live only here and in the log
    summary.json       the numbers; byte-identical for the same answers
    predictions.jsonl  one row a sample and draw: the reply, the answer read, boxes and masks, predicted and gold
    records.jsonl      one row a sample, draw and rule under which it counts: what was read, and the record
    answers.sqlite     every request and response (store.py)
    run.log            what happened, with times
    SHA256SUMS         of the first four as they were written: `sha256sum -c SHA256SUMS` says whether they still are

`pandas.read_json("records.jsonl", lines=True)` reads the rows. A row of predictions.jsonl has, where the sample has them, `masks` and
`gold` ({"boxes": [[x1, y1, x2, y2], ...], "points": [[x, y], ...], "masks": [...]}), in pixels of the original image, and `images`
([{"path": ..., "size": [width, height]}, ...], either null where it is not known). A mask is {"size": [height, width], "counts": "..."},
as COCO has it; of a video there is a list of them for each object, one a frame, and empty masks where gold is not seen.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from time import monotonic
from typing import IO, Any, Self

from .errors import UserError
from .geometry import Box, Mask, Point
from .scoring import Scored
from .types import Evidence, Prediction, Sample, sha256

FORMAT = 1
FILES = ("manifest.json", "summary.json", "predictions.jsonl", "records.jsonl")
FLUSH = 1.0
"""Seconds for which rows may lie in memory while more come; then they are in the files, which the viewer follows."""


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

    def own_manifest(self) -> dict[str, Any]:
        """The manifest, for what is to follow from it. Raises `UserError` where it is not as it was written."""
        for name in self.changed(("manifest.json",)):
            raise UserError(f"{self.path / name} is not as it was written: the same `evalkit run` writes it again, and asks nothing twice")
        return self.manifest()

    def summary(self) -> dict[str, Any]:
        """The summary. Raises `UserError` where the run never got so far."""
        if not (self.path / "summary.json").is_file():
            raise UserError(f"the run at {self.path} has no summary.json: it was stopped before its end. The same `evalkit run` goes on")
        return self._read("summary.json")

    def write(self, name: str, value: Any) -> None:
        """Writes a JSON file whole or not at all. Raises `UserError` where that is not possible."""
        data = (json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n").encode("utf-8", "backslashreplace")
        with _writing(self.path):
            self._put(name, data)
            self.noted({name: hashlib.sha256(data).hexdigest()})

    def noted(self, sums: Mapping[str, str]) -> None:
        """Keeps the sha256 of files, by their names, as they were written."""
        lines = "".join(f"{digest}  {name}\n" for name, digest in sorted({**self._sums(), **sums}.items()))
        self._put("SHA256SUMS", lines.encode())

    def changed(self, among: Sequence[str] = FILES) -> list[str]:
        """The names of the files, of these, that are not, or no longer, as they were written."""
        return [name for name, digest in self._sums().items() if name in among and digest != _sha256(self.path / name)]

    def _sums(self) -> dict[str, str]:
        try:
            lines = (self.path / "SHA256SUMS").read_text("utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return {}
        return {name: digest for digest, _, name in (line.partition("  ") for line in lines) if name in FILES}

    def _put(self, name: str, data: bytes) -> None:
        part = self.path / f"{name}.part"
        part.write_bytes(data)
        part.replace(self.path / name)

    def _read(self, name: str) -> dict[str, Any]:
        try:
            value: dict[str, Any] = json.loads((self.path / name).read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"cannot read {self.path / name}: {error}. The same `evalkit run` writes it again") from error
        if not isinstance(value, dict) or not isinstance(value.get("format"), int):
            raise UserError(f"expected {self.path / name} as `evalkit run` writes it, got something else")
        if value["format"] > FORMAT:
            raise UserError(f"{self.path / name} is of format {value['format']}, this evalkit reads up to {FORMAT}: update evalkit")
        return value


class Rows:
    """Writes predictions.jsonl and records.jsonl beside the old ones and swaps them in at the end."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._files: dict[str, IO[bytes]] = {}
        self._digests = {name: hashlib.sha256() for name in FILES[2:]}
        with _writing(folder.path):
            for name in self._digests:
                self._files[name] = (folder.path / f"{name}.part").open("wb", buffering=1 << 20)
        self._flushed = monotonic()

    def add(self, task: str, sample: Sample, draw: int, prediction: Prediction, scored: Iterable[Scored]) -> None:
        """Adds one prediction and its records. Raises `UserError` where they cannot be written."""
        gold = _gold(sample)
        row = {
            "task": task,
            "sample": sample.id,
            "draw": draw,
            "question": sample.question,
            "target": None if hasattr(sample.target, "volumes") and not isinstance(sample.target, str) else sample.target,
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
        if prediction.masks:
            row["masks"] = _masks(prediction.masks, len(sample.images) if sample.wants.form == "video" else 0)
        if gold:
            row["gold"] = gold
        paths = [image.source if isinstance(image.source, Path) else None for image in sample.images]
        if any(paths):
            sizes = (image.size for image in sample.images)
            row["images"] = [{"path": path and str(path), "size": size} for path, size in zip(paths, sizes, strict=True)]
        for name in ("likelihoods", "verdicts"):
            if getattr(prediction, name):
                row[name] = getattr(prediction, name)
        records = (
            {
                "task": task,
                "sample": sample.id,
                "draw": draw,
                "rule": item.rule.name,
                "metric": item.rule.metric.name,
                "value": item.value.as_coco() if isinstance(item.value, Mask) else item.value,
                "failure": item.failure,
                **item.record,
            }
            for item in scored
            if item.record
        )
        with _writing(self._folder.path):
            self._write("predictions.jsonl", row)
            for record in records:
                self._write("records.jsonl", record)
            if monotonic() - self._flushed >= FLUSH:
                for file in self._files.values():
                    file.flush()
                self._flushed = monotonic()

    def close(self) -> None:
        """Closes the files; unless they are kept, the rows of the last whole run stay."""
        for file in self._files.values():
            with suppress(OSError):  # what could not be written was said when it was to be kept
                file.close()

    def keep(self) -> None:
        """Closes the files and puts them in place. Raises `UserError` where that is not possible."""
        with _writing(self._folder.path):
            for file in self._files.values():
                file.flush()
            self.close()
            for name in self._files:
                (self._folder.path / f"{name}.part").replace(self._folder.path / name)
            self._folder.noted({name: digest.hexdigest() for name, digest in self._digests.items()})

    def _write(self, name: str, row: Mapping[str, Any]) -> None:
        line = (_encode(row) + "\n").encode("utf-8", "backslashreplace")
        self._digests[name].update(line)
        self._files[name].write(line)


@contextmanager
def as_written(*paths: Path) -> Iterator[None]:
    """Raises `UserError` where the block stumbles, and in one of these folders (of runs, or of one) is a file that another hand changed."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RecursionError, StopIteration, TypeError, ValueError) as error:
        with suppress(OSError):
            for file in chain.from_iterable(map(_changed_below, paths)):
                raise UserError(
                    f"{file} is not as evalkit wrote it, and cannot be read ({type(error).__name__}: {error}): "
                    f"`evalkit score {file.parent} --check` says what is whole, and mends what can be"
                ) from error
        raise


def _changed_below(path: Path) -> Iterator[Path]:
    """The files that are not as they were written, of a run's folder or of all runs in a folder."""
    for found in [path / "manifest.json"] if (path / "manifest.json").is_file() else sorted(path.rglob("manifest.json")):
        yield from (found.parent / name for name in RunFolder(found.parent).changed())


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Says in words what hinders the writing into a folder."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write into {path}: {error.strerror}. Every answer that is stored is kept: mend that, and the same command goes on"
        ) from error


def _sha256(path: Path) -> str:
    """The sha256 of a file; empty where there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=repr).encode


def _gold(sample: Sample) -> dict[str, Any]:
    """The gold boxes, points and masks of a sample, those that it has."""
    kind, volumes = sample.wants.kind, getattr(sample.target, "volumes", ())
    if not volumes and not sample.regions and kind not in ("boxes", "points"):
        return {}
    listed = sample.target if kind in ("boxes", "points") and isinstance(sample.target, list | tuple) else ()
    things = [getattr(item, "box", item) for item in listed]
    video = sample.wants.form == "video"
    masks: list[Any] = [[mask.as_coco() for mask in volume] if video else volume[0].as_coco() for volume in volumes]
    found = {
        "boxes": [item for item in things if isinstance(item, Box)] or sample.regions,
        "points": [item for item in things if isinstance(item, Point)],
        "masks": masks or [item.mask.as_coco() for item in listed if getattr(item, "mask", None)],
    }
    return {name: regions for name, regions in found.items() if regions}


def _masks(masks: Sequence[Mask], frames: int) -> list[Any]:
    """The masks as plain values; of so many frames of a video, if any, those of each object together."""
    plain = [mask.as_coco() for mask in masks]
    return [plain[place : place + frames] for place in range(0, len(plain), frames)] if frames else plain


def _evidence(item: Evidence) -> dict[str, Any]:
    told: dict[str, Any] = {"written": item.written, "frame": item.frame, "box": item.box}
    return told | ({"label": item.label} if item.label else {}) | ({"score": item.score} if item.score is not None else {})
