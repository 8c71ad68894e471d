"""Damaged files, stores of other versions, and two runs of one folder: refused or recovered in words, never a silent mix."""

import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import evalkit
from evalkit import api, mending
from evalkit.errors import UserError
from evalkit.store import VERSION
from tests.faults.quiz import PATIENCE, Quiz, finished, reference, refused, stored
from tests.faults.tally import Fault, Tally

PAGE = 4096


def at_once(place: Path, times: int) -> Tally:
    """Three processes are started on one folder at once: one works, the others say so."""
    told, expected = Tally(), reference(place / "whole")
    for number in range(times):
        quiz = Quiz(place / str(number))
        with quiz.held():
            processes = [quiz.start() for _ in range(3)]
            _leaves_one(processes)
        ended = [finished(process) for process in processes]
        if sorted(one.returncode for one in ended) != [0, 2, 2] or quiz.summary() != expected:
            told.crashed(f"expected one run and two refusals, got {[(one.returncode, one.stderr[-500:]) for one in ended]}")
        for one in ended:
            if one.returncode:
                refused(told, one, "another evalkit")
        told.lost += max(len(quiz.asked) - quiz.rows, 0)
        told.tried += 1
    return told


def dies_with_the_lock(place: Path, times: int) -> Tally:
    """A process that holds the lock is stopped, and the next is refused; it is killed, and the next goes on."""
    told, expected = Tally(), reference(place / "whole")
    for number in range(times):
        quiz = Quiz(place / str(number), seconds=0.01)
        with quiz.held():
            process = quiz.start()
            quiz.reaches(process, 10 + 80 * number // times)
            process.send_signal(signal.SIGSTOP)
            refused(told, quiz.run(), f"another evalkit (process {process.pid})")
            process.kill()
            finished(process)
        quiz.goes_on(told, expected)
        told.tried += 1
    return told


def versions(place: Path, times: int) -> Tally:
    """A store of a newer evalkit, of an older one, of something else: refused and left as it is, or brought up to date."""
    told, quiz = Tally(), Quiz(place / "whole")
    assert quiz.run().returncode == 0
    expected, store = quiz.summary(), quiz.folder / "answers.sqlite"
    whole = store.read_bytes()
    for number in range(times):
        store.write_bytes(whole)
        quiz.forget()
        with closing(sqlite3.connect(store)) as connection:
            if number % 3 == 0:
                connection.execute(f"PRAGMA user_version = {VERSION + 1}")
            elif number % 3 == 1:
                connection.executescript("ALTER TABLE answers RENAME COLUMN response TO reply;")
            else:
                connection.executescript(
                    "ALTER TABLE answers DROP COLUMN seal; ALTER TABLE images DROP COLUMN seal; PRAGMA user_version = 1; VACUUM;"
                )
        before = store.read_bytes()
        if number % 3 < 2:
            refused(told, quiz.run(), "update evalkit", "column")
            refused(told, quiz.run("score", str(quiz.folder), "--check"), "update evalkit", "column")
            told.crashes += store.read_bytes() != before
        else:
            quiz.goes_on(told, expected)
        told.tried += 1
    return told


def damaged_store(place: Path, times: int) -> Tally:
    """Bits flipped, pages overwritten, ends cut off in a finished run's store."""
    quiz = Quiz(place / "whole")
    assert quiz.run().returncode == 0
    return _damaged(quiz, place, times, "answers.sqlite", quiz.summary())


def damaged_journal(place: Path, times: int) -> Tally:
    """The same in the journal of a run that was killed: of what is in it, nothing is in the database yet."""
    expected, quiz = reference(place / "reference"), Quiz(place / "whole", seconds=0.01)
    with quiz.held():
        process = quiz.start()
        quiz.reaches(process, 100)
        process.kill()
        finished(process)
    return _damaged(quiz, place, times, "answers.sqlite-wal", expected)


def other_files(place: Path, times: int) -> Tally:
    """Torn, flipped and removed files that follow from the answers: made again from them; a manifest is refused, and the run writes it."""
    told, rng, quiz = Tally(), random.Random(0), Quiz(place / "whole")
    assert quiz.run().returncode == 0
    names = ("predictions.jsonl", "records.jsonl", "summary.json", "manifest.json")
    for number in range(times):
        name = names[number % len(names)]
        trial = _Trial(quiz, place / "trial", told)
        file, before = trial.folder / name, {name: _lines(trial.folder / name) for name in names}
        data = file.read_bytes()
        file.write_bytes(_spoiled(data, rng, number // len(names))[0])
        if number % 10 == 0:
            file.unlink()
        if name != "manifest.json" or not file.exists():
            trial.mended(name if file.exists() or name != "manifest.json" else "found none")
        else:
            trial.mended("evalkit run")
        if name == "manifest.json":
            trial.run(quiz.summary())
            before.pop(name)
        if any(_lines(trial.folder / name) != lines for name, lines in before.items()):
            told.crashed(f"trial {number}: {name} is not as it was")
        told.tried += 1
    return told


def _damaged(quiz: Quiz, place: Path, times: int, name: str, expected: bytes) -> Tally:
    """Each damage is tried with `--check` before the run, and without."""
    told, rng, again, refusals = Tally(), random.Random(0), 0, 0
    files = {path.name: path.read_bytes() for path in quiz.folder.glob("answers.sqlite*") if not path.name.endswith("-shm")}
    copy = place / "copy.sqlite"
    for ending in ("", "-wal"):
        if f"answers.sqlite{ending}" in files:
            (place / f"copy.sqlite{ending}").write_bytes(files[f"answers.sqlite{ending}"])
    with closing(sqlite3.connect(copy)) as connection:
        rows = connection.execute("SELECT key, sample, request, response, seal FROM answers").fetchall()
    for number in range(times):
        data, untouched = _spoiled(files[name], rng, number)
        there = untouched + b"".join(files[other] for other in files if other != name)
        findable = {row[0] for row in rows if "".join(row).encode() in there}
        for check in (True, False):
            trial = _Trial(quiz, place / "trial", told)
            (trial.folder / name).write_bytes(data)
            if check:
                trial.mended(name.removesuffix("-wal"))
                saved = stored(trial.folder)
                if findable - saved:
                    told.lost += len(findable - saved)
                    told.notes.append(f"trial {number}: {len(findable - saved)} answers could have been saved")
                if (quiz.folder / "summary.json").exists():
                    trial.scored_again(len(saved) == len(rows))
            refusal = trial.run(expected)
            if check and (refusal or len(quiz.asked) != quiz.rows - len(saved)):
                told.crashed(f"trial {number}: mended it is {refusal or 'asked what is stored'}")
            refusals += not check and bool(refusal)
            again += 0 if check or refusal else len(quiz.asked) - (quiz.rows - len(rows))
        told.tried += 1
    told.notes.append(f"after --check only what stood on damaged pages was asked again; without it the run was refused {refusals} times")
    told.notes.append(f"of {times}, and asked {again:,} of {len(rows) * (times - refusals):,} answers again")
    return told


def _leaves_one(processes: "Sequence[subprocess.Popen[str]]") -> None:
    """Waits until all but one have ended, or one of them hangs."""
    end = time.monotonic() + PATIENCE
    while sum(process.poll() is None for process in processes) > 1 and time.monotonic() < end:
        time.sleep(0.01)


class _Trial:
    """A copy of a quiz's results folder to spoil, and what evalkit makes of it, in this process."""

    def __init__(self, quiz: Quiz, out: Path, told: Tally) -> None:
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(quiz.out, out, ignore=shutil.ignore_patterns("*-shm"))
        self.quiz, self.out, self.told = quiz, out, told
        self.folder = out / quiz.folder.name

    def mended(self, words: str) -> None:
        """Mends the folder, in words."""
        try:
            said = "\n".join(mending.mended(self.folder))
        except UserError as error:
            said = str(error)
        if words not in said:
            self.told.crashed(f"expected it to speak of {words}, got: {said}")

    def scored_again(self, whole: bool) -> None:
        """Scores a mended folder: the same numbers, or a refusal where answers are lacking."""
        try:
            differences = api.score(self.folder, check=True)[1]
        except UserError as error:
            if whole or "does not hold" not in str(error):
                self.told.crashed(f"with all answers {whole}: {error}")
        else:
            self.told.scored += bool(differences)

    def run(self, expected: bytes) -> str:
        """Types the command again: the same summary, or else the words of a refusal."""
        self.quiz.forget()
        try:
            evalkit.run(self.quiz.model, str(self.quiz.place / "quiz.py"), out=self.out)
        except UserError as error:
            if "--check" not in str(error):
                self.told.crashed(f"it does not say what to do: {error}")
            return str(error)
        self.told.scored += (self.folder / "summary.json").read_bytes() != expected
        return ""


def _spoiled(data: bytes, rng: random.Random, number: int) -> tuple[bytes, bytes]:
    """A file with one bit flipped, a page overwritten, or its end cut off, in turn; and what of it stands on no page that was touched."""
    at = rng.randrange(len(data))
    if number % 3 == 2:
        return data[:at], data[:at]
    page = at // PAGE * PAGE
    spoiled, blank = bytearray(data), bytearray(data)
    if number % 3:
        at, size = page, min(PAGE, len(data) - page)
        spoiled[page : page + size] = rng.randbytes(size)
    else:
        spoiled[at] ^= 1 << rng.randrange(8)
    near = slice(max(page - PAGE - 64, 0), page + 2 * PAGE + 64)
    blank[near] = bytes(len(blank[near]))
    return bytes(spoiled), bytes(blank)


def _lines(path: Path) -> list[bytes]:
    return sorted(path.read_bytes().splitlines())


FAULTS = (
    Fault("three processes on one store at once", at_once, 10, 1),
    Fault("a process that holds the lock is stopped, then killed", dies_with_the_lock, 10, 1),
    Fault("a store of a newer version, of an older one, of other columns", versions, 9, 0),
    Fault("a store with a bit flipped, a page overwritten, its end cut off", damaged_store, 150, 6),
    Fault("a journal with a bit flipped, a page overwritten, its end cut off", damaged_journal, 150, 3),
    Fault("predictions, records, summary, manifest flipped, cut off, removed", other_files, 120, 8),
)
