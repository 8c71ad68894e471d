"""What is whole of a run's folder, and the repair of what is not: `evalkit score RUN --check`.

A store that SQLite cannot read is read page by page (`pages`). The other files follow from the answers, and are made again from them.
"""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from . import api, manifest, reading
from .data import read_jsonl
from .errors import DataError, UserError
from .folder import RunFolder
from .pages import rows, seal
from .store import SCHEMA, VERSION, Lock, answers_in, insert


def mended(path: Path) -> Iterator[str]:
    """Mends what can be of a run's folder, and says a line on each thing that is whole, was mended or is lost.

    Raises:
        UserError: the folder is no run, its manifest is damaged, or its answers are not all there.
    """
    folder = RunFolder.at(path)
    known = folder.own_manifest()
    with Lock(folder.path):
        if folder.store.exists():
            yield mended_store(folder.store)
        elif any(said["stored"] for said in known["roles"].values()):
            raise UserError(
                f"{folder.store}, which held the answers, is gone: put it back, or `evalkit run --from {path}` asks anew. "
                "Tables, plots and the viewer need it not"
            )
        made = folder.changed()
    if not made:
        yield "the other files: whole"
    if "summary.json" in made:
        _made_again(folder, known)
    elif made and api.score(path, check=True)[1]:
        yield f"{', '.join(made)}: not as it was written, and today's numbers differ: `evalkit score` without --check makes it again"
        return
    elif made:
        api.score(path)
    yield from (f"{name}: not as it was written; made again from the answers" for name in made)


def _made_again(folder: RunFolder, known: dict[str, Any]) -> None:
    """Makes the summary, and the rows, again from the answers; where these are not all there, nothing changes."""
    summary = folder.path / "summary.json"
    was = summary.read_bytes() if summary.exists() else b""
    folder.write(summary.name, _without_numbers(folder, known))
    try:
        api.score(folder.path)
    except UserError:
        summary.write_bytes(was)
        raise


def _without_numbers(folder: RunFolder, known: dict[str, Any]) -> dict[str, Any]:
    """A summary that names the gaps alone: the samples that have no row of predictions."""
    config = manifest.options(known)
    answered = set()
    with suppress(DataError, KeyError, TypeError):
        for row in read_jsonl(folder.path / "predictions.jsonl"):
            answered.add((row["task"], row["sample"], row["draw"]))
    tasks = [
        {
            "task": made.name,
            "gaps": [
                {"sample": sample.id, "draw": draw, "reason": "no answer is stored"}
                for sample in reading.limited(made, config)
                for draw in range(config.repeats)
                if (made.name, sample.id, draw) not in answered
            ],
        }
        for made in api.tasks_of(config)
    ]
    return {"format": known["format"], "tasks": tasks, "numbers": []}


# ---------------------------------------------------------------- the store


def mended_store(path: Path) -> str:
    """What is to be said of a store, which is whole afterwards: what was damaged lies beside it as `answers.sqlite.damaged`.

    Raises:
        UserError: another version of evalkit wrote it, or it cannot be read for another reason than its state.
    """
    journal = path.with_name(f"{path.name}-wal")
    beside = list(rows([journal]))
    trouble, keys = _state(path)
    lost = answers_in(beside) - keys
    if not trouble and not lost:
        return f"{path.name}: whole, {len(keys)} answers"
    trouble = trouble or f"{len(lost)} answers are beyond a damaged place of its journal"
    saved = path.with_name(f"{path.name}.part")
    saved.unlink(missing_ok=True)
    with closing(sqlite3.connect(saved)) as fresh:
        fresh.executescript(f"{SCHEMA} PRAGMA user_version = {VERSION};")
        insert(fresh, chain(rows([path, journal]), beside))
        answers = fresh.execute("SELECT count(*) FROM answers").fetchone()[0]
    for ending in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + ending).replace(path.with_name(f"{path.name}.damaged{ending}"))
    saved.replace(path)
    return f"{path.name}: damaged ({trouble}); {answers} answers are saved, the old file is kept as {path.name}.damaged"


def _state(path: Path) -> tuple[str, set[str]]:
    """What is wrong with a store, empty where it is whole, and the keys of its answers then."""
    keys: set[str] = set()
    broken = 0
    try:
        with closing(sqlite3.connect(path, timeout=30)) as connection:
            connection.text_factory = lambda data: str(data, "utf-8", "replace")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            found = [row[0] for row in connection.execute("PRAGMA integrity_check(1)")]
            if found != ["ok"]:
                return found[0].splitlines()[-1], keys
            if not connection.execute("SELECT * FROM sqlite_master").fetchall():
                return "", keys
            if version != VERSION:
                raise UserError(f"expected the store {path} of version {VERSION}, got {version}: `evalkit run` again, or update evalkit")
            for *fields, sealed in connection.execute("SELECT key, sample, request, response, seal FROM answers"):
                broken += seal(*fields) != sealed
                keys.add(fields[0])
            for *fields, sealed in connection.execute("SELECT sample, place, digest, width, height, seal FROM images"):
                broken += seal(*fields) != sealed
            for digest, text in connection.execute("SELECT hash, text FROM parts"):
                broken += hashlib.sha256(text).hexdigest() != digest
    except sqlite3.OperationalError as error:
        raise UserError(f"cannot read the store {path}: {error}") from error
    except sqlite3.DatabaseError as error:
        return str(error), keys
    return f"{broken} rows are not as they were written" if broken else "", keys
