"""Every request and its response, by content key, in one SQLite file a run.

Design. A request's key is the sha256 of its canonical form and the engine's fingerprint (`Request.key`). An answer is a row
(key, sample, request, response, seal); a request's long parts (messages' texts) live once in `parts`, by their own sha256, and
the request holds their hashes. Images are never stored: the request holds their digests, and `images` the digest and size of each
of a sample's images, so that a run can be scored again where the files are gone. Writes are gathered by one thread
and committed together after 20 ms or 256 answers, whichever comes first; `put` resolves only after its commit, so what a
caller was told is on disk (WAL, synchronous=FULL: it outlives a power cut). Nothing but answers is stored: a gap leaves no row.
SQLite does not notice a bit that a disk turned inside a text: each row bears its `seal`, and one that is broken counts as no answer.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import json
import logging
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from .errors import UserError
from .geometry import Box, Mask, Size
from .pages import Row, rows, seal
from .types import WRITE, Image, Request, Response, canonical, sha256

VERSION = 2
BLANK = {spec.name: spec.default for spec in fields(Response)}
LONG = 120  # characters from which a text is worth a row of its own
PAUSE, MOST = 0.020, 256
CACHE, CHECKPOINT = 128 << 10, 16_000
"""Kibibytes of pages that the writer keeps in memory, and the pages written ahead before they are put in their places."""

# Keys come in no order: with rows of their own in the order they came, only the small pages of the keys' index are written all over.
SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, sample TEXT NOT NULL, request TEXT NOT NULL, response TEXT NOT NULL, seal TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS parts (hash TEXT PRIMARY KEY, text BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS images (
    sample TEXT NOT NULL, place INTEGER NOT NULL, digest TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,
    seal TEXT NOT NULL DEFAULT '', PRIMARY KEY (sample, place)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_sample ON answers (sample);
"""
SEALED = """
ALTER TABLE answers ADD COLUMN seal TEXT NOT NULL DEFAULT '';
ALTER TABLE images ADD COLUMN seal TEXT NOT NULL DEFAULT '';
UPDATE answers SET seal = seal(key, sample, request, response);
UPDATE images SET seal = seal(sample, place, digest, width, height);
"""
"""What makes version 2 of a store of version 1, which had no seals."""
COLUMNS = {
    "answers": ["key", "sample", "request", "response", "seal"],
    "parts": ["hash", "text"],
    "images": ["sample", "place", "digest", "width", "height", "seal"],
}
DAMAGE = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
log = logging.getLogger("evalkit")


class Lock:
    """Holds a folder for one process; released by the operating system however the process ends."""

    def __init__(self, folder: Path) -> None:
        """Raises `UserError` where another run holds the folder, or it cannot be written."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / "lock").open("a+")
        except OSError as error:
            raise _unwritable(folder, error) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise UserError(f"another evalkit (process {holder}) is working on {folder}. Wait for it, or choose another --out") from error
        try:
            self._file.truncate(0)
            os.write(self._file.fileno(), str(os.getpid()).encode())
        except OSError as error:
            self._file.close()
            raise _unwritable(folder, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


class Store:
    """The answers of one run. One writer thread; reads come from any thread's loop."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file. Raises `UserError` where a newer evalkit wrote it, or it is no store or damaged or not writable."""
        self.path = path
        try:
            journal = list(rows([path.with_name(f"{path.name}-wal")]))
            self._reader = _connect(path)
            _settled(self._reader, path)
            self._put_back(journal)
            self._file = _identity(path)
        except (sqlite3.Error, OSError) as error:
            raise _broken(path, error) from error
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._known: set[str] = set()
        self.damaged = 0
        """How many rows with a broken seal were met."""
        self._writer = threading.Thread(target=self._work, name="store", daemon=True)
        self._writer.start()

    def get(self, key: str) -> Response | None:
        """The stored response, or None, also where it is damaged. Raises `UserError` where the store cannot be read."""
        row = next(iter(self._rows("SELECT sample, request, response, seal FROM answers WHERE key = ?", key)), None)
        return _response(row[2]) if row and self._sealed(row[3], key, *row[:3]) else None

    async def put(self, key: str, request: Request, response: Response) -> None:
        """Returns once the answer is on disk."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        form, parts = _packed(request)
        row = (key, as_stored(request.sample), form, _text(response))
        self._queue.put(_Write([(*row, seal(*row))], parts, waiting=(loop, done)))
        await done

    def note(self, sample: str, images: Sequence[Image]) -> None:
        """Keeps the digests and sizes of a sample's images, with the next commit."""
        name = as_stored(sample)
        rows = [(name, i, image.digest, image.size.width, image.size.height) for i, image in enumerate(images) if image.size]
        self._queue.put(_Write(images=[(*row, seal(*row)) for row in rows]))

    def recall(self, sample: str, images: Sequence[Image]) -> list[Image] | None:
        """The images with the digests and sizes they had when the sample was asked; None where that was not noted."""
        name = as_stored(sample)
        rows = self._rows("SELECT place, digest, width, height, seal FROM images WHERE sample = ? ORDER BY place", name)
        if len(rows) != len(images) or not all(self._sealed(row[4], name, *row[:4]) for row in rows):
            return None
        return [replace(image, digest=row[1], size=Size(row[2], row[3])) for image, row in zip(images, rows, strict=True)]

    def __len__(self) -> int:
        return int(self._rows("SELECT count(*) FROM answers")[0][0])

    def close(self) -> None:
        """Commits what is queued and closes the file."""
        self._queue.put(None)
        self._writer.join()
        self._reader.close()

    def _put_back(self, journal: Sequence[Row]) -> None:
        """Stores what a process that died had written and SQLite leaves out: of a damaged journal, all that follows the place."""
        lost = {key for key in answers_in(journal) if not self._rows("SELECT 1 FROM answers WHERE key = ?", key)}
        if lost:
            log.info("the journal of %s is damaged; %d answers behind the place are saved", self.path, len(lost))
            insert(self._reader, journal)

    def _rows(self, query: str, *values: str) -> list[Any]:
        try:
            return self._reader.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise _broken(self.path, error) from error

    def _sealed(self, sealed: str, *fields: str | int) -> bool:
        """Whether a row is as it was written. One that is not is told of."""
        if sealed == seal(*fields):
            return True
        if not self.damaged:
            log.info("%s is damaged: what is not as it was written counts as not there", self.path)
        self.damaged += 1
        log.warning("a damaged row of %s: %s", self.path, fields[0])
        return False

    def _work(self) -> None:
        """Commits what is queued until None comes; what cannot be written is an error of those who wait for it."""
        connection: sqlite3.Connection | None = None
        for batch in self._batches():
            error: Exception | None = None
            try:
                connection = connection or _writing(self.path)
                self._commit(connection, batch)
            except Exception as failed:  # noqa: BLE001 - whatever it is, those who wait must hear of it
                error = _broken(self.path, failed)
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
            connection.executemany(
                "INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?, ?)", [row for write in batch for row in write.images]
            )
            connection.executemany(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", [row for write in batch for row in write.answers]
            )
        if _identity(self.path) != self._file:  # SQLite would go on with a file that no name leads to
            raise FileNotFoundError(2, "it was removed or moved away meanwhile")
        if len(self._known) < 100_000:
            self._known.update(fresh)


@dataclass(frozen=True, slots=True)
class _Write:
    """Rows to be committed, and who waits for them."""

    answers: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    parts: dict[str, str] = field(default_factory=dict)
    images: list[tuple[str, int, str, int, int, str]] = field(default_factory=list)
    waiting: "tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None" = None


def held(path: Path, sample: str) -> tuple[list[tuple[dict[str, Any], dict[str, Any]]], list[tuple[str, Size]]]:
    """What a store holds of a sample (`task/id`), by reading alone: its requests with their responses, and its images' digests and sizes.

    A request is in canonical form, its texts put back; a response is as stored, fields at their default left out. Damaged rows are
    left out. Both lists are empty where there is no store yet.
    """
    # Where even the lock files of a reader cannot be made, the store is taken for finished.
    for how in ("mode=ro", "immutable=1") if path.is_file() else ():
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=5)) as connection:
            connection.text_factory = _lenient
            try:
                answers = _whole(connection, "answers", "key", sample)
                told = [(_unpacked(connection, json.loads(form)), json.loads(response)) for _, _, form, response in answers]
                images = _whole(connection, "images", "place", sample)
                return told, [(digest, Size(width, height)) for _, _, digest, width, height in images]
            except (sqlite3.DatabaseError, ValueError):  # a store that is being made, or that is none
                continue
    return [], []


def _whole(connection: sqlite3.Connection, table: str, order: str, sample: str) -> list[tuple[Any, ...]]:
    """A sample's rows that are as they were written, without their seals, which a store of version 1 has not."""
    sealed = connection.execute("PRAGMA user_version").fetchone()[0] > 1
    columns = ", ".join(COLUMNS[table] if sealed else COLUMNS[table][:-1])
    found = connection.execute(f"SELECT {columns} FROM {table} WHERE sample = ? ORDER BY {order}", (as_stored(sample),)).fetchall()
    return [row[:-1] for row in found if row[-1] == seal(*row[:-1])] if sealed else found


def _unpacked(connection: sqlite3.Connection, form: dict[str, Any]) -> dict[str, Any]:
    for message in form.get("messages", ()):
        for i, part in enumerate(message["content"]):
            if isinstance(part, dict) and "part" in part:
                (text,) = connection.execute("SELECT text FROM parts WHERE hash = ?", (part["part"],)).fetchone() or (b"",)
                whole = hashlib.sha256(text).hexdigest() == part["part"]
                message["content"][i] = text.decode("utf-8", "surrogatepass") if whole else "(this text is damaged)"
    return form


def as_stored(name: str) -> str:
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


def answers_in(found: Iterable[Row]) -> set[str]:
    """The keys of those rows that are answers."""
    return {row[0] for row in found if len(row) == len(COLUMNS["answers"])}


def insert(connection: sqlite3.Connection, found: Iterable[Row]) -> None:
    """Stores rows, of whichever tables, that are not there yet."""
    with connection:
        for row in found:
            table = next(name for name, columns in COLUMNS.items() if len(columns) == len(row))
            connection.execute(f"INSERT OR IGNORE INTO {table} VALUES ({', '.join('?' * len(row))})", row)


def _settled(connection: sqlite3.Connection, path: Path) -> None:
    """Makes the tables where there are none, and brings those of an earlier version up to date.

    Raises:
        UserError: a newer evalkit made them, or something else did.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        connection.close()
        raise UserError(f"the store {path} is of version {version}, this evalkit reads up to {VERSION}: update evalkit")
    if version == 1:
        connection.create_function("seal", -1, seal, deterministic=True)
        connection.executescript(f"BEGIN IMMEDIATE; {SEALED} PRAGMA user_version = {VERSION}; COMMIT;")
    elif version < 1:
        connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
    found = {table: [row[1] for row in connection.execute(f"PRAGMA table_info({table})")] for table in COLUMNS}
    if found != COLUMNS:
        connection.close()
        raise UserError(f"expected the store {path} to have the columns {COLUMNS}, got {found}. Choose another --out")


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from every other; None where there is none."""
    try:
        told = path.stat()
    except FileNotFoundError:
        return None
    return told.st_dev, told.st_ino


def _broken(path: Path, error: Exception) -> UserError:
    """What is to be done about a store that cannot be read or written."""
    if getattr(error, "sqlite_errorname", "").startswith(DAMAGE):
        mend = f"`evalkit score {path.parent} --check` saves what can be read of it; or move it away to start anew"
        return UserError(f"{path} is no readable store ({error}). {mend}")
    reason = error.strerror if isinstance(error, OSError) else error
    return UserError(f"cannot read or write the store {path}: {reason}. Mend that, and the same command goes on from what is stored")


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(f"cannot write the results folder {folder}: {error.strerror}. Mend that, or choose another with --out")


def _lenient(data: bytes) -> str:
    return str(data, "utf-8", "replace")


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, timeout=30)
    connection.text_factory = _lenient
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
