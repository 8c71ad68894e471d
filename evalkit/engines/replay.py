"""`replay:FILE`: replies that were recorded elsewhere, scored as if they had just been given.

evalkit's form is JSON lines: `{"sample": ID, "text": REPLY}`, optionally `turns` (the replies of a conversation in order, in
place of `text`), `role` (`model` where absent), `task` (needed where several are replayed at once), `boxes` ([x1, y1, x2, y2]
in original pixels; with them `labels` and `scores`) and `masks` (COCO RLE). Other keys are ignored. Boxes in a reply's text are
in the frame that `--frame` says. A task that knows its benchmark's own results format reads that too (`Task.replies`). No image
is needed on disk, but where that frame needs its size; nothing is stored, and a sample without a reply is missing: scored wrong
and counted.
"""

import hashlib
import json
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

from ..errors import DataError, UserError
from ..geometry import Box, Frame, Mask, Size, is_finite
from ..images import MAX_PIXELS
from ..task import Reply, Task
from ..types import ModelInfo, Request, Response
from .common import admit

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Turns:
    """The replies of one role about one sample, in order, and what the last one brought beside its text."""

    texts: tuple[str, ...]
    boxes: tuple[Box, ...] = ()
    masks: tuple[Mask, ...] = ()
    labels: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()


class _Source(Protocol):
    gives_boxes: bool
    roles: frozenset[str]

    def get(self, task: str, sample: str, role: str) -> Turns | None: ...

    def unknown(self) -> list[str]: ...

    def close(self) -> None: ...


class Replay:
    """Answers by (sample, role, turn)."""

    def __init__(self, path: Path, tasks: list[Task], frame: Frame | None = None) -> None:
        """Reads the whole file once. Raises `DataError` on a row that is not a reply, and on a sample that comes twice."""
        if not path.exists():
            raise UserError(f"no replay file {path}: expected JSON lines of {{'sample': ID, 'text': REPLY}}")
        with _readable(path):
            own = next((found for task in tasks if task.replies and (found := task.replies(path)) is not None), None)
        if own is None and path.is_dir():
            raise UserError(f"expected a file of replies, got the folder {path}, which is in no results format of {_names(tasks)}")
        if own is not None and len(tasks) > 1:
            raise UserError(f"{path} holds the replies of one benchmark: run it with that task alone")
        self._source: _Source = _Indexed(path, len(tasks) > 1) if own is None else _Listed(own, path)
        self.roles = self._source.roles
        digest = _digest(path)
        self.info = ModelInfo(
            name=name_of(path),
            fingerprint=f"replay {digest}",
            frame=frame or (Frame.ORIGINAL if self._source.gives_boxes else None),
            reads_images=False,
            stored=False,
            details={"engine": "replay", "file": str(path), "sha256": digest},
        )

    async def answer(self, request: Request) -> Response:
        """The recorded reply of this turn; `missing` where there is none."""
        admit(self.info, request)
        task, _, sample = request.sample.partition("/")
        turns = self._source.get(task, sample, request.to)
        if turns is None or request.turn >= len(turns.texts):
            return Response(missing=True)
        last = request.turn == len(turns.texts) - 1
        text = turns.texts[request.turn]
        return Response(text, boxes=turns.boxes, masks=turns.masks, labels=turns.labels, scores=turns.scores) if last else Response(text)

    def unknown(self) -> list[str]:
        """The samples of the file of which no role was asked anything, sorted."""
        return self._source.unknown()

    def close(self) -> None:
        """Closes the file."""
        self._source.close()


class _Listed:
    """Replies in a benchmark's own format, held in memory."""

    def __init__(self, replies: Iterable[Reply], path: Path) -> None:
        self._turns: dict[tuple[str, str], Turns] = {}
        self._asked: set[tuple[str, str]] = set()
        with _readable(path):
            for reply in replies:
                if (reply.sample, reply.role) in self._turns:
                    raise _twice(reply.sample, path)
                self._turns[reply.sample, reply.role] = Turns((reply.text,), reply.boxes, reply.masks, reply.labels, reply.scores)
        if not self._turns:
            raise _empty(path)
        self.gives_boxes = True  # a benchmark's own results are in its own frame
        self.roles = frozenset(role for _, role in self._turns)

    def get(self, task: str, sample: str, role: str) -> Turns | None:
        self._asked.add((sample, role))
        return self._turns.get((sample, role))

    def unknown(self) -> list[str]:
        return sorted({sample for sample, _ in self._turns} - {sample for sample, _ in self._asked})

    def close(self) -> None:
        """Nothing is open."""


class _Indexed:
    """Replies in evalkit's own form, left in their file: 17 bytes of memory a row, however long the replies are."""

    def __init__(self, path: Path, by_task: bool) -> None:
        import numpy as np

        self._path, self._by_task, self.gives_boxes = path, by_task, False
        roles: set[str] = set()
        codes, places, at = array("q"), array("q"), 0
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    row = self._read(line.removeprefix(BOM) if number == 1 else line, number)
                    codes.append(_code(row["task"] if by_task else "", row["sample"], row["role"]))
                    places.append(at)
                    roles.add(row["role"])
                    self.gives_boxes = self.gives_boxes or bool(row["turns"].boxes)
                at += len(line)
        if not codes:
            raise _empty(path)
        self.roles = frozenset(roles)
        order = np.argsort(np.frombuffer(codes, dtype=np.int64), kind="stable")
        sorted_codes = np.frombuffer(codes, dtype=np.int64)[order]
        self._codes, self._places = array("q", sorted_codes.tobytes()), array("q", np.frombuffer(places, dtype=np.int64)[order].tobytes())
        self._asked = bytearray(len(order))
        self._file = path.open("rb")
        for first in np.flatnonzero(np.diff(sorted_codes) == 0)[:1]:
            twice = self._at(int(first))["sample"]
            self.close()
            raise _twice(twice, path)

    def get(self, task: str, sample: str, role: str) -> Turns | None:
        code = _code(task if self._by_task else "", sample, role)
        index = self._index(code)
        if index is None:
            return None
        self._asked[index] = 1
        row: Turns = self._at(index)["turns"]
        return row

    def unknown(self) -> list[str]:
        rows = [self._at(index) for index, asked in enumerate(self._asked) if not asked]
        return sorted({row["sample"] for row in rows if not any(self._was_asked(row, role) for role in self.roles)})

    def _was_asked(self, row: dict[str, Any], role: str) -> bool:
        index = self._index(_code(row["task"] if self._by_task else "", row["sample"], role))
        return index is not None and bool(self._asked[index])

    def _index(self, code: int) -> int | None:
        index = bisect_left(self._codes, code)
        return index if index < len(self._codes) and self._codes[index] == code else None

    def close(self) -> None:
        self._file.close()

    def _at(self, index: int) -> dict[str, Any]:
        self._file.seek(self._places[index])
        return self._read(self._file.readline().removeprefix(BOM), None)

    def _read(self, line: bytes, number: int | None) -> dict[str, Any]:
        place = f"{self._path}, line {number}"
        try:
            row = json.loads(line.decode("utf-8", "surrogatepass"))
            texts = row["turns"] if "turns" in row else (row.get("text"),)
            if self._by_task and "task" not in row:
                raise ValueError("a replay for several tasks names the 'task' in each row; or run one task at a time")
            if "sample" not in row or not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
                raise ValueError("not a reply")
            boxes = tuple(Box(*map(float, box)) for box in row["boxes"]) if "boxes" in row else ()
            if not all(map(is_finite, boxes)):
                raise ValueError("a box that is not finite")
            masks = tuple(map(_mask, row["masks"])) if "masks" in row else ()
            labels, scores = tuple(map(str, row.get("labels", ()))), tuple(map(float, row.get("scores", ())))
            if any(values and len(values) != len(boxes) for values in (labels, scores)) or not all(map(isfinite, scores)):
                raise ValueError("labels or scores that are not as many as the boxes, or not finite")
        except (ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError) as error:
            raise DataError(
                f"expected {{'sample': ID, 'text': REPLY}}, boxes as [x1, y1, x2, y2] and masks as COCO RLE in {place}, "
                f"got {line[:200].decode('utf-8', 'replace').strip()} ({error})"
            ) from error
        turns = Turns(tuple(texts), boxes, masks, labels, scores)
        return {"task": row.get("task"), "sample": str(row["sample"]), "role": str(row.get("role", "model")), "turns": turns}


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raises `DataError` where a task's reader stumbles over a row."""
    try:
        yield
    except (TypeError, AttributeError, ValueError, LookupError, OverflowError, RecursionError) as error:
        raise DataError(
            f"expected a benchmark's results in {path}, got rows that cannot be read: {type(error).__name__}: {error}"
        ) from error


def name_of(path: Path) -> str:
    """What a replay is called: a file's name without its ending, a folder's name."""
    return path.name if path.is_dir() else path.stem


def _names(tasks: list[Task]) -> str:
    return ", ".join(task.name for task in tasks)


def _digest(path: Path) -> str:
    """The sha256 of a file's bytes, or of the names and bytes of a folder's files."""
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file()):
        digest.update(b"" if file == path else f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _code(task: str, sample: str, role: str) -> int:
    """A 63-bit code of a task, a sample and a role."""
    name = f"{role} {task}/{sample}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big") >> 1


def _empty(path: Path) -> DataError:
    return DataError(f"expected replies in {path}, got none: is it the right file?")


def _mask(given: dict[str, Any]) -> Mask:
    """A mask of COCO's run lengths, compressed to a string or a plain list."""
    height, width = given["size"]
    counts = given["counts"]
    if not all(type(side) is int and side > 0 for side in (height, width)) or height * width > MAX_PIXELS:
        raise ValueError(f"a mask of the size {given['size']!r:.40}")
    if isinstance(counts, list):
        if not all(type(run) is int and 0 <= run <= height * width for run in counts):
            raise ValueError("a mask whose runs are no whole numbers of pixels")
        from pycocotools import mask

        counts = mask.frPyObjects({"counts": counts, "size": [height, width]}, height, width)["counts"].decode()
    if not isinstance(counts, str):
        raise TypeError("a mask whose counts are neither a string nor a list")
    return Mask(counts, Size(width, height))


def _twice(sample: str, path: Path) -> DataError:
    return DataError(f"expected one reply for each sample in {path}, got two for '{sample}'")
