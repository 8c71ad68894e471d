"""Every request and its response, by content key, in one SQLite file a run.

Design. A request's key is the sha256 of its canonical form and the engine's fingerprint (`Request.key`). An answer is a row
(key, sample, request, response); a request's long parts (messages' texts) live once in `parts`, by their own sha256, and
the request holds their hashes. Images are never stored: the request holds their digests, and `images` the digest and size of each
of a sample's images, so that a run can be scored again where the files are gone. Writes are gathered by one thread
and committed together after 20 ms or 256 answers, whichever comes first; `put` resolves only after its commit, so what a
caller was told is on disk (WAL, synchronous=FULL: it outlives a power cut). Nothing but answers is stored: a gap leaves no row.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from .errors import UserError
from .geometry import Box, Mask, Size
from .types import WRITE, Image, Request, Response, canonical, sha256

VERSION = 1
BLANK = {spec.name: spec.default for spec in fields(Response)}
LONG = 120  # characters from which a text is worth a row of its own
PAUSE, MOST = 0.020, 256
CACHE, CHECKPOINT = 128 << 10, 16_000
"""Kibibytes of pages that the writer keeps in memory, and the pages written ahead before they are put in their places."""

# Keys come in no order: with rows of their own in the order they came, only the small pages of the keys' index are written all over.
SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, sample TEXT NOT NULL, request TEXT NOT NULL, response TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS parts (hash TEXT PRIMARY KEY, text BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS images (
    sample TEXT NOT NULL, place INTEGER NOT NULL, digest TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,
    PRIMARY KEY (sample, place)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_sample ON answers (sample);
"""


class Lock:
    """Holds a folder for one process; released by the operating system however the process ends."""

    def __init__(self, folder: Path) -> None:
        """Raises `UserError` where another run holds the folder, or it cannot be written."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / "lock").open("a+")
        except OSError as error:
            raise UserError(f"cannot write the results folder {folder}: {error.strerror}. Choose another with --out") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise UserError(f"another evalkit (process {holder}) is working on {folder}. Wait for it, or choose another --out") from error
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


class Store:
    """The answers of one run. One writer thread; reads come from any thread's loop."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file. Raises `UserError` where a newer evalkit wrote it or it is no store."""
        self.path = path
        try:
            self._reader = _connect(path)
            version = self._reader.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                self._reader.close()
                raise UserError(f"the store {path} is of version {version}, this evalkit reads up to {VERSION}: update evalkit")
            self._reader.executescript(SCHEMA + f"PRAGMA user_version = {VERSION};")
        except sqlite3.DatabaseError as error:
            raise UserError(f"{path} is no readable store ({error}). Move it away to start anew, or choose another --out") from error
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._known: set[str] = set()
        self._writer = threading.Thread(target=self._work, name="store", daemon=True)
        self._writer.start()

    def get(self, key: str) -> Response | None:
        """The stored response, or None."""
        row = self._reader.execute("SELECT response FROM answers WHERE key = ?", (key,)).fetchone()
        return _response(row[0]) if row else None

    async def put(self, key: str, request: Request, response: Response) -> None:
        """Returns once the answer is on disk."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        form, parts = _packed(request)
        self._queue.put(_Write([(key, _plain(request.sample), form, _text(response))], parts, waiting=(loop, done)))
        await done

    def note(self, sample: str, images: Sequence[Image]) -> None:
        """Keeps the digests and sizes of a sample's images, with the next commit."""
        name = _plain(sample)
        rows = [(name, i, image.digest, image.size.width, image.size.height) for i, image in enumerate(images) if image.size]
        self._queue.put(_Write(images=rows))

    def recall(self, sample: str, images: Sequence[Image]) -> list[Image] | None:
        """The images with the digests and sizes they had when the sample was asked; None where that was not noted."""
        query = "SELECT digest, width, height FROM images WHERE sample = ? ORDER BY place"
        rows = self._reader.execute(query, (_plain(sample),)).fetchall()
        if len(rows) != len(images):
            return None
        return [replace(image, digest=row[0], size=Size(row[1], row[2])) for image, row in zip(images, rows, strict=True)]

    def __len__(self) -> int:
        return int(self._reader.execute("SELECT count(*) FROM answers").fetchone()[0])

    def of_sample(self, sample: str) -> Iterator[tuple[dict[str, Any], Response]]:
        """The requests of a sample (`task/id`) in canonical form, texts put back, with their responses."""
        rows = self._reader.execute("SELECT request, response FROM answers WHERE sample = ? ORDER BY key", (_plain(sample),)).fetchall()
        for form, response in rows:
            yield self._unpacked(json.loads(form)), _response(response)

    def close(self) -> None:
        """Commits what is queued and closes the file."""
        self._queue.put(None)
        self._writer.join()
        self._reader.close()

    def _unpacked(self, form: dict[str, Any]) -> dict[str, Any]:
        for message in form.get("messages", ()):
            for i, part in enumerate(message["content"]):
                if isinstance(part, dict) and "part" in part:
                    row = self._reader.execute("SELECT text FROM parts WHERE hash = ?", (part["part"],)).fetchone()
                    message["content"][i] = row[0].decode("utf-8", "surrogatepass")
        return form

    def _work(self) -> None:
        """Commits what is queued until None comes; what cannot be written is an error of those who wait for it."""
        connection: sqlite3.Connection | None = None
        for batch in self._batches():
            error: Exception | None = None
            try:
                connection = connection or _writing(self.path)
                self._commit(connection, batch)
            except Exception as failed:  # noqa: BLE001 - whatever it is, those who wait must hear of it
                error = UserError(f"cannot write the store {self.path}: {failed}")
            waiting: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
            for loop, done in (write.waiting for write in batch if write.waiting):
                waiting.setdefault(loop, []).append(done)
            for loop, all_done in waiting.items():
                with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
                    loop.call_soon_threadsafe(_settle, all_done, error)
        if connection:
            connection.close()

    def _batches(self) -> "Iterator[list[_Write]]":
        closing = False
        while not closing:
            first = self._queue.get()
            if first is None:
                return
            batch, deadline = [first], time.monotonic() + PAUSE
            while len(batch) < MOST:
                try:
                    item = self._queue.get(timeout=max(deadline - time.monotonic(), 0))
                except queue.Empty:
                    break
                if item is None:
                    closing = True
                    break
                batch.append(item)
            yield batch

    def _commit(self, connection: sqlite3.Connection, batch: "list[_Write]") -> None:
        fresh = {h: text.encode("utf-8", "surrogatepass") for write in batch for h, text in write.parts.items() if h not in self._known}
        with connection:
            connection.executemany("INSERT OR IGNORE INTO parts VALUES (?, ?)", fresh.items())
            connection.executemany("INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?)", [row for write in batch for row in write.images])
            connection.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", [row for write in batch for row in write.answers])
        if len(self._known) < 100_000:
            self._known.update(fresh)


@dataclass(frozen=True, slots=True)
class _Write:
    """Rows to be committed, and who waits for them."""

    answers: list[tuple[str, str, str, str]] = field(default_factory=list)
    parts: dict[str, str] = field(default_factory=dict)
    images: list[tuple[str, int, str, int, int]] = field(default_factory=list)
    waiting: "tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None" = None


def _plain(name: str) -> str:
    """A name that SQLite can hold: lone surrogates written out."""
    return name.encode("utf-8", "backslashreplace").decode()


def _settle(all_done: "list[asyncio.Future[None]]", error: Exception | None) -> None:
    for done in all_done:
        if done.done():
            continue
        if error:
            done.set_exception(error)
        else:
            done.set_result(None)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, timeout=30)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _writing(path: Path) -> sqlite3.Connection:
    connection = _connect(path)
    connection.execute(f"PRAGMA cache_size = -{CACHE}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT}")
    return connection


def _packed(request: Request) -> tuple[str, dict[str, str]]:
    """The canonical form with its long texts replaced by their hashes, and those texts."""
    form, parts = canonical(request), {}
    for message in form.get("messages", ()):
        for i, part in enumerate(message["content"]):
            if isinstance(part, str) and len(part) >= LONG:
                digest = sha256(part)
                parts[digest] = part
                message["content"][i] = {"part": digest}
    return WRITE(form), parts


def _text(response: Response) -> str:
    """The response as JSON, fields at their default left out."""
    return WRITE({name: value for name, blank in BLANK.items() if (value := getattr(response, name)) != blank})


def _response(text: str) -> Response:
    told: dict[str, Any] = json.loads(text)
    if "seen" in told:
        told["seen"] = tuple(Size(*size) for size in told["seen"])
    if "boxes" in told:
        told["boxes"] = tuple(Box(*box) for box in told["boxes"])
    if "masks" in told:
        told["masks"] = tuple(Mask(counts, Size(*size)) for counts, size in told["masks"])
    for name in ("likelihoods", "labels", "scores"):
        if name in told:
            told[name] = tuple(told[name])
    if "attention" in told:
        told["attention"] = tuple(tuple(tuple(row) for row in grid) for grid in told["attention"])
    return Response(**told)
