"""A run to make faults in: questions with one right answer each, and an engine that writes down what it was asked.

Every run is a process of its own. What must not be lost is in `kept`: the keys of the answers whose commit has returned.
"""

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from evalkit import runner
from tests.faults.tally import Tally

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 600.0
"""Seconds after which a process counts as one that hangs."""
TASK = """
from evalkit import Accuracy, Rule, Sample, Task, Wants, parsers

VARIANTS = ()
DATA = None


def task(variant, data):
    return Task("quiz", 1, samples, (Rule("strict", lambda p, s: parsers.count(READ), Accuracy()),), "accuracy", ("count",))


def samples():
    for i in range(ROWS):
        yield Sample(str(i), f"What is {i} modulo 7?", f"What is {i} modulo 7?", (), Wants("count"), i % 7, group=str(i // 3))
"""
ENGINE = '''
import time
from pathlib import Path

ASKED, HELD = Path(__file__).with_name("asked"), Path(__file__).with_name("held")


class Quiz:
    """Right two times of three."""

    def generate(self, messages, images):
        time.sleep(SECONDS)
        text = messages[-1]["content"][-1]["text"]
        number = int(text.split()[2])
        while number == LAST and HELD.exists():
            time.sleep(0.01)
        with ASKED.open("a") as file:
            file.write(text + "\\n")
        return f"The answer is {number % 7 if number % 3 else 9}." + " Ça va – 数 😀." + " So it is." * FILL
'''


class Quiz:
    """The files of a quiz in a folder, and what became of its runs.

    Args:
        place: where they are.
        rows: how many questions there are.
        seconds: how long the engine takes for one.
        fill: sentences that it adds to an answer, of ten letters each.
        out: the results folder; None: one in `place`.
        read: what the parser reads; it takes seconds for a megabyte.
    """

    def __init__(
        self, place: Path, rows: int = 120, seconds: float = 0.0, fill: int = 0, out: Path | None = None, read: str = "p.answer"
    ) -> None:
        place.mkdir(parents=True, exist_ok=True)
        self.rows, self.place, self.out = rows, place, out or place / "out"
        (place / "quiz.py").write_text(TASK.replace("ROWS", str(rows)).replace("READ", read), "utf-8")
        engine = ENGINE.replace("SECONDS", str(seconds)).replace("FILL", str(fill)).replace("LAST", str(rows - 1))
        (place / "engine.py").write_text(engine, "utf-8")
        self.model = f"plugin:{place / 'engine.py'}:Quiz"
        self.more: Sequence[str] = ()

    @property
    def folder(self) -> Path:
        """The folder of the one run there is."""
        [folder] = self.out.iterdir()
        return folder

    @property
    def asked(self) -> list[str]:
        """What the engine was asked, since it was last forgotten."""
        return _lines(self.place / "asked")

    @property
    def kept(self) -> set[str]:
        """The keys of all answers whose commit has returned."""
        return set(_lines(self.place / "kept"))

    @property
    def memory(self) -> int:
        """The most that the last process which came to its end took, in KiB."""
        return int((self.place / "memory").read_text())

    def stored(self) -> set[str]:
        """The keys of the answers in the store."""
        return stored(self.folder) if self.out.exists() and any(self.out.iterdir()) else set()

    def forget(self) -> None:
        """Forgets what was asked and kept, as a reader of that does before the next run."""
        for name in ("asked", "kept"):
            (self.place / name).unlink(missing_ok=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """In its block no run comes to its end, however late the machine is: the engine keeps the last question waiting."""
        held = self.place / "held"
        held.touch()
        try:
            yield
        finally:
            held.unlink()

    def start(self, *arguments: str, before: Sequence[str] = (), deeds: Sequence[str] = (), **options: Any) -> "subprocess.Popen[str]":
        """A process that runs evalkit, by default the run itself."""
        run = ("run", "--model", self.model, "--tasks", str(self.place / "quiz.py"), "--out", str(self.out), *self.more)
        words = [*before, sys.executable, "-m", "tests.faults.child", str(self.place), *deeds, "--", *(arguments or run)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | options.pop("env", {})
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "errors": "replace"} | options
        return subprocess.Popen(words, env=environment, **{"cwd": ROOT} | pipes)

    def run(self, *arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        """How such a process ended."""
        return finished(self.start(*arguments, **options))

    def reaches(self, process: "subprocess.Popen[str]", answers: int) -> None:
        """Waits until so many answers are kept."""
        end = time.monotonic() + PATIENCE
        while len(self.kept) < answers:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < end
            time.sleep(0.01)

    def summary(self) -> bytes:
        return (self.folder / "summary.json").read_bytes()

    def goes_on(self, told: Tally, expected: bytes | None = None) -> None:
        """Runs the quiz to its end, and counts what was kept and is gone or asked again, and a summary that differs from the expected one.

        Each of the window's conversations waits for the commit of one answer: of what was asked, no more may not be in the store.
        """
        kept, known, asked = self.kept, self.stored(), self.asked
        told.loses(kept - known, "committed, and not in the store")
        told.loses(asked[len(known) + runner.WINDOW :], "asked for, not stored, and more than the window's conversations wait for")
        self.forget()
        ended = self.run()
        told.loses(self.asked[self.rows - len(known) :], "asked again")
        if ended.returncode:
            told.crashed(f"it does not go on, exit {ended.returncode}: {ended.stderr[-2000:]}")
        elif parts := [path.name for path in self.folder.glob("*.part")]:
            told.crashed(f"it came to its end, and left {parts}")
        elif expected is not None and self.summary() != expected:
            told.crashed("the summary is not that of a run without a fault")


def stored(folder: Path) -> set[str]:
    """The keys of the answers in the store of a run; none where it was not even made."""
    if not (folder / "answers.sqlite").exists():
        return set()
    with closing(sqlite3.connect(folder / "answers.sqlite")) as store:
        made = store.execute("SELECT name FROM sqlite_master WHERE name = 'answers'").fetchone()
        return {key for (key,) in store.execute("SELECT key FROM answers")} if made else set()


def finished(process: "subprocess.Popen[str]") -> "subprocess.CompletedProcess[str]":
    """How a process ended; killed, with exit code 124, where it hangs."""
    try:
        out, said = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        out, said = process.communicate()
        return subprocess.CompletedProcess(process.args, 124, out, f"it hung for {PATIENCE:g} s: {said}")
    return subprocess.CompletedProcess(process.args, process.returncode, out, said)


def refused(told: Tally, ended: "subprocess.CompletedProcess[str]", *words: str, code: int = 2) -> None:
    """Counts a crash unless a run ended with this exit code, one message with one of the words, and no traceback."""
    messages = [line for line in ended.stderr.splitlines() if line.startswith("evalkit: ")]
    clear = ended.returncode == code and len(messages) == 1 and any(word in ended.stderr for word in words)
    if not clear or "Traceback" in ended.stderr or "Error" in ended.stderr:
        told.crashed(f"expected exit {code}, one message with {' or '.join(words)}, got exit {ended.returncode}: {ended.stderr[-2000:]}")


def reference(place: Path, **options: Any) -> bytes:
    """The summary of a quiz in which nothing happened."""
    quiz = Quiz(place, **options)
    ended = quiz.run()
    assert ended.returncode == 0, ended.stderr
    return quiz.summary()


def records(folder: Path, name: str) -> list[dict[str, Any]]:
    """The rows of a file of a run."""
    return [json.loads(line) for line in (folder / name).read_text("utf-8").splitlines()]


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines() if path.exists() else []
