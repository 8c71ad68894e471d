"""The rows of a run as an index that a browser can hold: of each sample what lists, filters and searches need.

The two row files are read side by side, once, a block at a time, as far as they are written. Until a run has ended they are
`*.part` files; what is indexed of those is forgotten when the whole files replace them.
"""

import json
import threading
import time
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import UserError
from ...folder import RunFolder
from ...types import sha256
from .marks import mark, overlap

VERSION = 1
BLOCK = 1 << 20
AHEAD = 10_000
"""So many rows of one file are held while those of the other that go with them have not come."""
FILES = ("predictions.jsonl", "records.jsonl")
HEAD_OF_PREDICTION, HEAD_OF_RECORD = b',"question":', b',"rule":'
"""What follows task, sample and draw in a line as evalkit writes it; neither can stand inside a text, whose quotes are escaped."""
UNPARSED, TRUNCATED, REFUSED, MISSING, GAP = 1, 2, 4, 8, 16
FINISHES = {"length": TRUNCATED, "refused": REFUSED}
QUESTION, ANSWER = 160, 60
"""So many characters of a question, and of an answer or target, are in the index."""

Row = dict[str, Any]
Key = tuple[Any, ...]


class Names:
    """Texts as numbers, in the order in which they came."""

    def __init__(self, texts: Sequence[str] = ()) -> None:
        self.texts = list(texts)
        self._codes = {text: code for code, text in enumerate(self.texts)}

    def code(self, text: str) -> int:
        """The number of a text, a new one where it is new."""
        if text not in self._codes:
            self._codes[text] = len(self.texts)
            self.texts.append(text)
        return self._codes[text]


class Lines:
    """The whole lines of a JSON Lines file that may still grow, each with the place where it begins."""

    def __init__(self, path: Path) -> None:
        self.path, self.place = path, 0

    def block(self) -> list[tuple[int, bytes]]:
        """The next lines, about a mebibyte; none at the end of what is written."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.place)
                data = file.read(BLOCK)
                if b"\n" not in data:
                    data += file.readline()
        except FileNotFoundError:
            return []
        found = []
        for line in data.split(b"\n")[:-1]:
            found.append((self.place, line))
            self.place += len(line) + 1
        return found

    def cut(self) -> bool:
        """Whether the file is shorter than what was read of it: it was begun anew."""
        return self.path.is_file() and self.path.stat().st_size < self.place

    def parsed(self, lines: Sequence[bytes]) -> list[Row]:
        """Lines of the file as values.

        Raises:
            UserError: one is no JSON object.
        """
        try:
            rows: list[Row] = json.loads(b"[" + b",".join(lines) + b"]") if lines else []
            if len(rows) == len(lines) and all(isinstance(row, dict) for row in rows):
                return rows
        except ValueError:
            pass
        raise UserError(
            f"{self.path} is no JSON Lines file of evalkit, somewhere before byte {self.place:,}: write it anew with "
            f"`evalkit score {self.path.parent}`"
        )


class Fact(NamedTuple):
    """What the index keeps of a record: the number of its rule, how right it is, its IoU, whether nothing was read."""

    code: int
    mark: float | None
    iou: float | None
    unread: bool


@dataclass(slots=True)
class Part:
    """A prediction whose records may not all be read yet."""

    place: int
    row: Row
    head: bytes
    """Its line as far as it says which prediction it is; its records' lines begin alike."""
    records_at: int = -1
    records: list[bytes] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)


class Index:
    """The rows of one run folder. `read` takes in what is new; everything else may be called from any thread."""

    def __init__(self, folder: RunFolder, cache: Path | None = None, keys: Sequence[str] = ()) -> None:
        """`cache` is a folder of the user's, in which the index of a run that has ended is kept; `keys` are rules known beforehand."""
        self.folder, self._cache, self._known = folder, cache, tuple(dict.fromkeys(keys))
        self.lock = threading.Lock()
        self.version = time.time_ns() // 1_000  # browsers keep pictures by it, and those of another viewer on this port are not these
        self._start()

    def _start(self) -> None:
        self.version += 1
        self.state = "reading"
        self.trouble = ""
        self.tasks, self.tags, self.keys = Names(), Names(), Names(self._known)
        self.rows: list[str] = []
        self.places, self.records_at = array("q"), array("q")
        self.gaps: list[Row] = []
        self._waiting: deque[Part] = deque()
        self._records: deque[tuple[int, bytes]] = deque()
        self._facts: dict[bytes, Fact] = {}
        self._ended = (self.folder.path / FILES[0]).is_file()
        ending = "" if self._ended else ".part"
        self._predictions, self._scored = (Lines(self.folder.path / f"{name}{ending}") for name in FILES)
        self._stamp = self._stamped()

    def read(self) -> bool:
        """Takes in what was written since, and says whether there may be more to come: False at the end of a run that has ended."""
        if self._stamped() != self._stamp or self._predictions.cut():
            with self.lock:
                self._start()
        if self.state in ("whole", "broken"):
            return False
        try:
            if self._ended and self._recalled():
                return False
            while self._step():
                pass
            self._finish()
        except (UserError, KeyError, TypeError) as error:
            with self.lock:
                self.state, self.trouble = "broken", f"{error}"
        return self.state == "growing"

    def segment(self, first: int, most: int) -> tuple[list[str], int]:
        """Up to so many rows from number `first` on, each as JSON, and how many of all rows are settled: the rest may still change."""
        with self.lock:
            rows, settled = self.rows[first : first + most], len(self.rows)
            if self.state != "reading" and len(rows) < most and first + len(rows) >= settled:
                rows += [self._encoded(part) for part in list(self._waiting)[: most - len(rows)]]
            return rows, settled

    def told(self, number: int) -> tuple[Row, list[Row]]:
        """The prediction's row of that number and its records; of a gap its reason alone.

        Raises:
            UserError: there is no such row.
        """
        with self.lock:
            settled, answered = len(self.rows), len(self.places)
            waiting = list(self._waiting)
        if answered <= number < settled:
            return self.gaps[number - answered], []
        if settled <= number < settled + len(waiting):
            part = waiting[number - settled]
            return part.row, self._scored.parsed(part.records)
        if not 0 <= number < settled:
            raise UserError(f"expected a row from 0 to {settled - 1} of {self.folder.path}, got {number}")
        row = _line(self._predictions.path, self.places[number])
        return row, list(_records_of(_key(row), self._scored.path, self.records_at[number]))

    def __len__(self) -> int:
        return len(self.rows) + len(self._waiting)

    def _stamped(self) -> list[Any]:
        """What changes when a run ends, or has been scored again."""
        found: list[Any] = []
        for name in (*FILES, "summary.json"):
            try:
                stat = (self.folder.path / name).stat()
                found.append([name, stat.st_size, stat.st_mtime_ns])
            except FileNotFoundError:
                continue
        return found

    def _step(self) -> bool:
        """Reads a block of the predictions, or of the records where they lag behind, and settles what is whole; False at the end."""
        more = self._predictions.block() if len(self._waiting) < AHEAD else []
        scored = self._scored.block() if len(self._records) < AHEAD else []
        parsed = self._predictions.parsed([line for _, line in more])
        with self.lock:
            for (place, line), row in zip(more, parsed, strict=True):
                self._waiting.append(Part(place, row, line[: line.find(HEAD_OF_PREDICTION)]))
            self._records += scored
            moved = self._settle(ended=self._ended and not self._records)
        return bool(more or scored or moved)

    def _settle(self, ended: bool) -> bool:
        moved = False
        while self._waiting:
            part = self._waiting[0]
            after = self._waiting[1].head if len(self._waiting) > 1 else None
            while self._records:
                place, line = self._records[0]
                cut = line.find(HEAD_OF_RECORD)
                if not self._goes_with(part, after, line, cut):
                    break
                self._records.popleft()
                part.records_at = place if part.records_at < 0 else part.records_at
                part.records.append(line)
                part.facts.append(self._fact(line[max(cut, 0) :]))
            if not self._records and not ended:
                break
            begun = part.records_at if part.records else self._records[0][0] if self._records else self._scored.place
            self.rows.append(self._encoded(part))
            self.places.append(part.place)
            self.records_at.append(begun)
            self._waiting.popleft()
            moved = True
        return moved

    def _goes_with(self, part: Part, after: bytes | None, line: bytes, cut: int) -> bool:
        """Whether a record is of a prediction and not of the one after it: their lines begin alike, or else say the same."""
        head = line[:cut] if cut > 0 else b""
        if head and head in (part.head, after):
            return head == part.head
        return _key(self._scored.parsed([head + b"}" if head else line])[0]) == _key(part.row)

    def _fact(self, tail: bytes) -> Fact:
        """What is kept of a record, of which this is the line without what says whose it is; most lines end like one before."""
        found = self._facts.get(tail)
        if found is None:
            record = self._scored.parsed([b"{" + tail[1:]])[0]
            value = mark(record)
            code = self.keys.code(f"{record['rule']}\n{record['metric']}")
            found = Fact(code, None if value is None else round(value, 4), overlap(record), bool(record.get("failure")))
            if len(self._facts) > AHEAD:
                self._facts.clear()
            self._facts[tail] = found
        return found

    def _finish(self) -> None:
        """Ends a run whose files are whole: its last rows, its gaps, the cache."""
        if not self._ended:
            self.state = "growing"
            return
        with self.lock:
            self._settle(ended=True)
            if self._records:
                alone = self._scored.parsed([self._records[0][1]])[0].get("sample")
                raise UserError(
                    f"records.jsonl of {self.folder.path} does not go with its predictions.jsonl, as from {alone!r} on: "
                    f"write both anew with `evalkit score {self.folder.path}`"
                )
            self._add_gaps()
            self.state = "whole"
        self._keep()

    def _add_gaps(self) -> None:
        try:
            entries = self.folder.summary()["tasks"]
        except (UserError, KeyError):
            return
        for entry in entries:
            for gap in entry.get("gaps", ()):
                row = {"task": entry["task"], **gap}
                self.gaps.append(row)
                told = [self.tasks.code(row["task"]), _plain(str(row["sample"])), row["draw"], "", "", None, [], GAP, 0, 0, None, [], []]
                self.rows.append(_encode(told))

    def _encoded(self, part: Part) -> str:
        """What the index holds of a row; the page's `COLUMNS` names the fields."""
        row, codes = part.row, self.tags.code
        marks: list[float | None] = []
        for fact in part.facts:
            marks += [None] * (fact.code + 1 - len(marks))
            marks[fact.code] = fact.mark
        unread = [fact.code for fact in part.facts if fact.unread]
        iou = next((fact.iou for fact in part.facts if fact.iou is not None), None)
        flags = FINISHES.get(row.get("finish", ""), 0)
        flags |= (MISSING if row.get("missing") else 0) | (UNPARSED if unread and not row.get("missing") else 0)
        told = (
            self.tasks.code(row["task"]),
            _plain(str(row["sample"])),
            row["draw"],
            _clipped(row.get("question"), QUESTION),
            _clipped(row.get("target"), ANSWER),
            None if row.get("answer") is None else _clipped(row["answer"], ANSWER),
            [codes(tag) for tag in row.get("tags", ())],
            flags,
            len(row.get("evidence", ())),
            len(row.get("text", "")),
            None if iou is None else round(iou, 4),
            marks,
            unread,
        )
        return _encode(told)

    # ------------------------------------------------------------ the cache

    def _place(self) -> Path | None:
        return self._cache and self._cache / f"{sha256(str(self.folder.path.resolve()))[:24]}.index"

    def _recalled(self) -> bool:
        """Takes the index from the cache; False where it is not there or of other files."""
        place = self._place()
        try:
            head, *rows = place.read_text("utf-8").split("\n") if place else ["null"]
            told = json.loads(head)
            if not isinstance(told, dict) or told.get("of") != [VERSION, list(self._known), *self._stamp] or told["count"] != len(rows):
                return False
        except (OSError, ValueError):
            return False
        with self.lock:
            self.tasks, self.tags, self.keys = Names(told["tasks"]), Names(told["tags"]), Names(told["keys"])
            self.rows, self.gaps, self.state = rows, told["gaps"], "whole"
            self.places, self.records_at = array("q", told["places"]), array("q", told["records_at"])
        return True

    def _keep(self) -> None:
        place = self._place()
        if place is None or not self.rows:
            return
        names = {"tasks": self.tasks.texts, "tags": self.tags.texts, "keys": self.keys.texts}
        offsets = {"places": self.places.tolist(), "records_at": self.records_at.tolist()}
        head = {"of": [VERSION, list(self._known), *self._stamp], "count": len(self.rows), "gaps": self.gaps, **names, **offsets}
        part = place.with_suffix(".part")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            part.write_text("\n".join([_encode(head), *self.rows]), "utf-8")
            part.replace(place)
        except OSError:  # the next viewer reads the rows once more
            return


_encode = json.JSONEncoder(separators=(",", ":")).encode


def _key(row: Row) -> Key:
    return row.get("task"), row.get("sample"), row.get("draw")


def _clipped(value: Any, most: int) -> str:
    """A value as one line of at most so many characters."""
    text = value if isinstance(value, str) else "" if value is None else _encode(value)
    line = text if len(text) <= most and "\n" not in text else " ".join(text[: 4 * most].split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _plain(text: str) -> str:
    """The text without lone surrogates, which no address can hold."""
    return text.encode("utf-8", "replace").decode()


def _line(path: Path, place: int) -> Row:
    with path.open("rb") as file:
        file.seek(place)
        row: Row = json.loads(file.readline())
        return row


def _records_of(key: Key, path: Path, place: int) -> Iterator[Row]:
    """The records from a place of the file on that are of one prediction."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        file.seek(place)
        while (line := file.readline()).endswith(b"\n") and _key(record := json.loads(line)) == key:
            yield record
