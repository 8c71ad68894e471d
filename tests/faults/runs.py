"""An `evalkit run` that something is done to, and what is true of its folder afterwards."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from evalkit import runner
from tests.contract.server import Reply, Server
from tests.faults.quiz import ROOT
from tests.faults.tally import Tally
from tests.test_interrupt import LEAVING, Command

PATIENCE = 900.0
"""Seconds until it is given up to wait for what must happen; vLLM takes minutes to start where others want the processor too."""
WINDOWS = (16, runner.WINDOW)
"""Conversations that are live at once: so few that little may be in flight, and as many as there are without a word."""
TASK = """
from pathlib import Path

from evalkit import Accuracy, Rule, Sample, Share, Task, Wants, parsers
from evalkit.graders.judge import JUDGED, Judge

VARIANTS = ("plain", "judged", "verified")
DATA = None
HERE = Path(__file__).parent


class Slow(Accuracy):
    def summarise(self, records):
        (HERE / "summarising").touch()
        return super().summarise(records)


def task(variant, data):
    graded = {{"graders": (Judge(),)}} if variant == "judged" else {{}}
    also = {{"judged": JUDGED, "verified": (Rule("verified", parsers.verified, Share("verified")),)}}.get(variant, ())
    rules = (Rule("strict", lambda p, s: parsers.count(p.answer), Slow()), *also)
    return Task("quiz", 1, samples, rules, "accuracy", ("count",), **graded)


def samples():
    for i in range({rows}):
        yield Sample(str(i), f"What is {{i}} modulo 7?", f"What is {{i}} modulo 7?", (), Wants("count"), i % 7, group=str(i // 3))
"""
ENGINE = '''
import asyncio
import os
from pathlib import Path

from evalkit.types import Response

ASKED = os.open(Path(__file__).with_name("asked.txt"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)


class Model:
    """Right two times of three, and slower on some; tells what it was asked before it answers."""

    def __init__(self):
        self.free = asyncio.Semaphore(8)

    async def answer(self, request):
        number = int(request.sample.rpartition("/")[2])
        async with self.free:
            os.write(ASKED, f"{request.to} {number}\\n".encode())
            await asyncio.sleep(0.002 * (1 + number % 5))
        if request.to == "judge":
            return Response(f"{{score: 0.{number % 10}}}")
        return Response(f"The answer is {number % 7 if number % 3 else 9}.")
'''


class Row(NamedTuple):
    """An answer as it lies in the store. Asked again, it would be a row of another number."""

    number: int
    sample: str
    request: str
    response: str

    @property
    def asked(self) -> str:
        """As the engine tells it: the role and the sample's number."""
        return f"{json.loads(self.request)['to']} {self.of}"

    @property
    def of(self) -> int:
        """The sample's number."""
        return int(self.sample.rpartition("/")[2])


class Run(Command):
    """A run over `rows` samples, by the plugin in its own folder unless the arguments name another model.

    `window` conversations are live at once. The plugin writes down what it is asked, `child` what is committed and what the store lacks.
    """

    def __init__(self, folder: Path, *arguments: object, rows: int = 400, variant: str = "plain", **variables: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.out, self.folder, self._variables = folder / "out", folder, {"PYTHONPATH": str(ROOT), **variables}
        (folder / "quiz.py").write_text(TASK.format(rows=rows))
        (folder / "engine.py").write_text(ENGINE)
        task = f"{folder / 'quiz.py'}:{variant}"
        plugin = f"plugin:{folder / 'engine.py'}:Model"
        model = () if "--model" in arguments else ("--model", plugin)
        judge = ("--judge", plugin) if variant == "judged" else ()
        words = ("run", *model, *judge, *arguments, "--protocol", "direct", "--tasks", task, "--out", self.out, "--max-new-tokens", 24)
        self._words = list(map(str, words))
        self.window = runner.WINDOW
        self.known: dict[str, Row] = {}
        """The answers that were in the store when it was last looked at."""

    @property
    def _line(self) -> list[str]:  # type: ignore[override]
        return [sys.executable, "-m", "tests.faults.child", str(self.folder), "missed", f"window={self.window}", "--", *self._words]

    def asked(self) -> list[str]:
        """What engines have been asked since the folder was made, in order."""
        return self._told("asked.txt")

    def _told(self, name: str) -> list[str]:
        place = self.folder / name
        return place.read_text().splitlines() if place.exists() else []

    def has_its_folder(self) -> bool:
        """Whether this start of it holds its results folder: all before that is imports."""
        return any(lock.read_text() == str(self.process.pid) for lock in self.out.glob("*/lock"))

    def rows(self) -> dict[str, Row]:
        """The answers in the store, by their keys."""
        found = list(self.out.glob("*/answers.sqlite"))
        if not found:
            return {}
        with closing(sqlite3.connect(f"file:{found[0]}?mode=ro", uri=True)) as store:
            try:
                return {key: Row(*row) for key, *row in store.execute("SELECT key, rowid, sample, request, response FROM answers")}
            except sqlite3.OperationalError:  # it is being made
                return {}

    def summary(self) -> bytes:
        """The bytes of the one summary; none where there is none yet."""
        found = list(self.out.glob("*/summary.json"))
        return found[0].read_bytes() if found else b""

    def outcome(self) -> list[bytes]:
        """The summary, and the rows of predictions and records in an order of their own, for answers come in any."""
        rows = [sorted(path.read_bytes().splitlines()) for name in ("predictions", "records") for path in self.out.glob(f"*/{name}.jsonl")]
        return [self.summary(), *(line for lines in rows for line in lines)]

    def _ours(self, number: int) -> bool:
        """Also those of its session: vLLM's own processes write their names over their environment."""
        try:
            state, _, _, session = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:  # it ended meanwhile
            return False
        return (int(session) == self.process.pid and state != "Z") or super()._ours(number)

    def goes_on(self) -> bool:
        return self.process.poll() is None

    def lives(self, holds: Callable[[], Any]) -> bool:
        """Waits until something holds; False where the run ended before."""
        end = time.monotonic() + PATIENCE
        while not holds():
            if not self.goes_on():
                return False
            if time.monotonic() > end:
                raise TimeoutError("the moment never came")
            time.sleep(0.005)
        return self.goes_on()

    def catches(self) -> bool:
        """Whether it has its handler of SIGTERM in place; before that nothing of it has begun."""
        caught = next(line for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
        return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)

    def completes(self, told: Tally, code: int = 0) -> str:
        """Lets it run to its end, and returns what it said."""
        with self:
            return self.comes_to_its_end(told, code)

    def comes_to_its_end(self, told: Tally, code: int = 0) -> str:
        """Waits for its end, which is one with this exit code and leaves nobody, and returns what it said."""
        try:
            said = self.process.communicate(timeout=PATIENCE)[1]
        except subprocess.TimeoutExpired:
            told.crashed(f"it did not end within {PATIENCE:.0f} s")
            return ""
        if self.process.returncode != code:
            told.crashed(f"expected exit code {code}, got {self.process.returncode}: {said[-2000:]}")
        elif parts := [path.name for path in self.out.glob("*/*.part")]:
            told.crashed(f"it came to its end, and left {parts}")
        self.leaves_nobody(told)
        return said

    def leaves_nobody(self, told: Tally, within: float = LEAVING) -> None:
        """Counts processes that outlive it by so many seconds."""
        end = time.monotonic() + within
        while left := self.children():
            if time.monotonic() > end:
                told.crashed(f"left over: {[Path(f'/proc/{number}/cmdline').read_text().replace(chr(0), ' ')[:100] for number in left]}")
                return
            time.sleep(0.05)

    def look(self, told: Tally, asked: int, witnessed: dict[str, Row] | None = None) -> None:
        """Counts what is wrong with the folder after a run that was asked all but the first `asked` of its questions.

        What was in the store before, or was seen there meanwhile, is still there to the byte, and was not asked again; every answer whose
        commit had returned is there; whatever a judge was asked about has been answered; every file is whole.
        """
        now, before = self.rows(), self.known
        for was in (before, witnessed or {}):
            told.loses([row.asked for key, row in was.items() if now.get(key) != row], "in the store, and gone or asked again")
        told.loses(set(self._told("kept")) - set(now), "committed, and not in the store")
        every, kept = self.asked(), {row.asked for row in before.values()}
        told.loses([name for name in every[asked:] if name in kept], "asked again")
        have = {row.asked for row in now.values()}
        early = [name for name in every if name.startswith("judge") and name.replace("judge", "model") not in have]
        if "replay:" not in " ".join(self._words):
            told.loses(early, "judged, and not in the store")
        for broken in broken_files(self.out):
            told.crashed(broken)
        self.known = now

    def in_flight(self, told: Tally, asked: int) -> None:
        """Counts what is lost beyond what was in flight, after a run that was stopped and asked all but the first `asked` of its questions.

        Each of the window's conversations waits for one answer at a time, and for its commit: so at most `window` answers are asked for
        and not stored, of which the plugin is at 8 for each role, and the others wait for their turn or for a group commit to return.
        """
        now = self.rows()
        stored = {row.asked for row in now.values()}
        for flying in (set(self.asked()[asked:]) - stored, set(self._told("missed")) - set(now)):
            told.loses(sorted(flying)[self.window :], f"asked for, not stored, and more than {self.window} conversations wait for")


def broken_files(out: Path) -> Iterator[str]:
    """What is not whole in the folders of runs, in words. A `.part` is no file yet, and only a run that comes to its end leaves none."""
    for path in sorted(out.glob("*/*")):
        try:
            if path.suffix == ".json":
                json.loads(path.read_text("utf-8"))
            elif path.suffix == ".jsonl":
                for line in path.read_text("utf-8").splitlines(keepends=True):
                    json.loads(line)
                    if not line.endswith("\n"):
                        raise ValueError("no end of line")
            elif path.suffix == ".sqlite":
                with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store:
                    [said] = store.execute("PRAGMA integrity_check").fetchone()
                    if said != "ok":
                        raise ValueError(said)
        except (ValueError, sqlite3.DatabaseError) as error:
            yield f"{path.name} is broken: {error}"


class Served(Run):
    """A run that asks a server, which is told the text and counts what it was asked."""

    def __init__(self, folder: Path, server: Server, **options: Any) -> None:
        super().__init__(folder, "--model", "openai:tiny", "--base-url", server.url, "--engine-args", "concurrency=8", **options)
        self._server, self._first = server, len(server.arrived)

    def asked(self) -> list[str]:
        return [f"model {number_in(body)}" for body in self._server.bodies[self._first :]]


def number_in(body: dict[str, Any]) -> int:
    """The number that a question of the task is about."""
    return int(str(body["messages"][-1]["content"]).partition("What is ")[2].split()[0])


def served(pause: float = 0.01) -> Server:
    """A server that takes its time and answers as the plugin does."""

    def reply(_: int, body: dict[str, Any]) -> Reply:
        number = number_in(body)
        return Reply(f"The answer is {number % 7 if number % 3 else 9}.", after=pause * (1 + number % 5))

    return Server(reply)


def command(*words: object) -> subprocess.CompletedProcess[str]:
    """Another command of evalkit, run to its end."""
    line = [sys.executable, "-m", "evalkit", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
