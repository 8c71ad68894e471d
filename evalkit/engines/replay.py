"""`replay:FILE`: replies that were recorded elsewhere, scored as if they had just been given.

evalkit's form is JSON lines: `{"sample": ID, "text": REPLY}`, optionally `turns` (the replies of a conversation in order, in place
of `text`), `role` (`model` where absent), `boxes` ([x1, y1, x2, y2] in original pixels) and `masks` (COCO RLE). Other keys are
ignored. A task that knows its benchmark's own results format reads that too (`Task.replies`). No image is needed on disk, nothing
is stored, and a sample without a reply is missing: scored wrong and counted.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data import read_jsonl
from ..errors import DataError, UserError
from ..geometry import Box, Frame, Mask, Size
from ..task import Task
from ..types import ModelInfo, Request, Response


@dataclass(frozen=True, slots=True)
class _Turns:
    texts: tuple[str, ...]
    boxes: tuple[Box, ...] = ()
    masks: tuple[Mask, ...] = ()


class Replay:
    """Answers by (sample, role, turn)."""

    def __init__(self, path: Path, tasks: list[Task], frame: Frame | None = None) -> None:
        """Reads the whole file. Raises `DataError` on a row that is not a reply, and on a sample that comes twice."""
        if not path.exists():
            raise UserError(f"no replay file {path}: expected JSON lines of {{'sample': ID, 'text': REPLY}}")
        self._turns: dict[tuple[str, str], _Turns] = {}
        own = next((task for task in tasks if task.replies and path.suffix != ".jsonl"), None)
        for place, sample, role, turns in _own(own, path) if own else _rows(path):
            if (sample, role) in self._turns:
                raise DataError(f"expected one reply for each sample in {path}, got two for '{sample}' (the second in {place})")
            self._turns[sample, role] = turns
        digest = hashlib.sha256(path.read_bytes() if path.is_file() else path.name.encode()).hexdigest()
        self.info = ModelInfo(
            name=path.stem,
            fingerprint=f"replay {digest}",
            frame=frame or Frame.ORIGINAL,
            answers=frozenset({"generate"}),
            reads_images=False,
            stored=False,
            details={"engine": "replay", "file": str(path), "sha256": digest},
        )
        self.asked: set[str] = set()

    async def answer(self, request: Request) -> Response:
        """The recorded reply of this turn; `missing` where there is none."""
        sample = request.sample.partition("/")[2]
        self.asked.add(sample)
        turns = self._turns.get((sample, request.to))
        if turns is None or request.turn >= len(turns.texts):
            return Response(missing=True)
        last = request.turn == len(turns.texts) - 1
        return Response(turns.texts[request.turn], boxes=turns.boxes if last else (), masks=turns.masks if last else ())

    def unknown(self) -> list[str]:
        """The samples of the file that no task asked for, sorted."""
        return sorted({sample for sample, _ in self._turns} - self.asked)


def _own(task: Task, path: Path) -> Iterator[tuple[str, str, str, _Turns]]:
    assert task.replies
    for number, reply in enumerate(task.replies(path)):
        yield f"reply {number}", reply.sample, reply.role, _Turns((reply.text,))


def _rows(path: Path) -> Iterator[tuple[str, str, str, _Turns]]:
    for number, row in enumerate(read_jsonl(path), start=1):
        place = f"line {number}"
        texts = row.get("turns", [row.get("text")])
        if "sample" not in row or not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise DataError(f"expected {{'sample': ID, 'text': REPLY}} in {path}, {place}, got {json.dumps(row)[:200]}")
        yield place, str(row["sample"]), str(row.get("role", "model")), _Turns(tuple(texts), _boxes(row, path, place), _masks(row))


def _boxes(row: dict[str, Any], path: Path, place: str) -> tuple[Box, ...]:
    try:
        return tuple(Box(*map(float, box)) for box in row.get("boxes", ()))
    except (TypeError, ValueError) as error:
        raise DataError(f"expected boxes as lists of four numbers [x1, y1, x2, y2] in {path}, {place}, got {row['boxes']}") from error


def _masks(row: dict[str, Any]) -> tuple[Mask, ...]:
    return tuple(Mask(mask["counts"], Size(mask["size"][1], mask["size"][0])) for mask in row.get("masks", ()))
