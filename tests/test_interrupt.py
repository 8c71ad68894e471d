"""Ctrl-C and SIGTERM at any time: exit code 130, no traceback, no process left behind, and the same command goes on."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from .contract.server import Reply, Server, Status, openai_error

GRACE = 300.0  # seconds until a test gives up waiting for what must happen
LEAVING = 30.0  # seconds that children may take to end, on a machine that does other things too
MARK = "EVALKIT_TEST_RUN"
ROWS = 160
TASK = f"""
from evalkit import Accuracy, Rule, Sample, Task, Wants

VARIANTS = ()
DATA = None


def task(variant, data):
    return Task("own", 1, samples, (Rule("strict", lambda p, s: p.answer, Accuracy()),), "accuracy", ("yes_no",))


def samples():
    for i in range({ROWS}):
        question = "red " * 5_000 if i == 7 else f"Is there a red circle? Write the numbers from {{i}} on."
        yield Sample(str(i), question, question, (), Wants("yes_no"), "yes")
"""
SLOW = '''
import time


class Slow:
    """Takes its time, and refuses what is too long for it."""

    def generate(self, messages, images):
        if "red red" in messages[-1]["content"][-1]["text"]:
            raise RuntimeError("too long")
        time.sleep(0.1)
        return "yes"
'''
UNLUCKY = """
import signal
import time


class Freed:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)


class Unlucky:
    def __init__(self):
        Freed()
        time.sleep(3600)

    def generate(self, messages, images):
        return "yes"
"""


class Command:
    """An `evalkit run` in a process group of its own, as a terminal starts it; its children are known by a mark in their environment."""

    def __init__(self, folder: Path, *arguments: object, **variables: str) -> None:
        self.out = folder / "out"
        (folder / "own.py").write_text(TASK)
        common = ["--tasks", folder / "own.py", "--out", self.out, "--max-new-tokens", 24]
        self._line = [sys.executable, "-m", "evalkit", "run", *map(str, (*arguments, *common))]
        self._variables = variables

    def __enter__(self) -> "Command":
        self.mark = uuid.uuid4().hex
        variables = {**os.environ, "OMP_NUM_THREADS": "1", MARK: self.mark, **self._variables}
        self.process = subprocess.Popen(
            self._line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=variables, start_new_session=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        for number in [self.process.pid, *self.children()]:
            try:
                os.kill(number, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()
        assert self.process.stderr
        self.process.stderr.close()

    def children(self) -> list[int]:
        """The living processes of this run but the first."""
        numbers = (int(place.name) for place in Path("/proc").glob("[0-9]*"))
        return [number for number in numbers if number != self.process.pid and self._ours(number)]

    def _ours(self, number: int) -> bool:
        try:
            marked = f"{MARK}={self.mark}".encode() in Path(f"/proc/{number}/environ").read_bytes().split(b"\0")
            return marked and Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:  # it ended meanwhile, or is another's
            return False

    def until(self, holds: Callable[[], Any]) -> None:
        """Waits until something holds, while the run goes on."""
        end = time.monotonic() + GRACE
        while not holds():
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < end
            time.sleep(0.02)

    def stored(self) -> int:
        """How many answers are in the run's store."""
        found = list(self.out.glob("*/answers.sqlite"))
        try:
            with closing(sqlite3.connect(f"file:{found[0]}?mode=ro", uri=True)) as store:
                return int(store.execute("SELECT count(*) FROM answers").fetchone()[0])
        except (IndexError, sqlite3.OperationalError):  # not made yet
            return 0

    def has_loaded(self, library: str) -> bool:
        """Whether its memory holds a library."""
        return library in Path(f"/proc/{self.process.pid}/maps").read_text()

    def to_all(self, number: signal.Signals) -> None:
        """Sends a signal to the run and its children, as a terminal does."""
        os.killpg(self.process.pid, number)

    def stops(self) -> None:
        """Checks that the run ends as one that was stopped."""
        said = self.process.communicate(timeout=GRACE)[1]
        assert self.process.returncode == 130, said
        assert "the same command goes on" in said
        assert "Traceback" not in said
        self.is_alone()

    def ends(self, known: int) -> None:
        """Checks that the run goes on from the answers it has, to the end, where the one sample that is too long has none."""
        said = self.process.communicate(timeout=GRACE)[1]
        assert self.process.returncode == 1, said
        assert "own: 1 answers did not come, such as that to 7: " in said
        [folder] = self.out.iterdir()
        summary = json.loads((folder / "summary.json").read_text())
        assert [gap["sample"] for gap in summary["tasks"][0]["gaps"]] == ["7"]
        assert [row["n"] for row in summary["numbers"] if row["subset"] == "overall" and row["rule"] == "strict"] == [ROWS - 1]
        assert f"{known} answers from the store" in (folder / "run.log").read_text()
        assert self.stored() == ROWS - 1
        self.is_alone()

    def is_alone(self) -> None:
        """Checks that no child outlives the run."""
        end = time.monotonic() + LEAVING
        while left := self.children():
            assert time.monotonic() < end, [_words(number) for number in left]
            time.sleep(0.1)


def answering(command: Command, more: int = 8) -> Callable[[], bool]:
    """Whether so many more answers are there than now."""
    before = command.stored()
    return lambda: command.stored() >= before + more


def test_transformers(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    command = Command(tmp_path, "--model", "demo", "--engine", "transformers", "--device", "cpu", "--batch-size", 4)
    with command:
        command.until(lambda: command.has_loaded("libtorch_cpu"))
        command.to_all(signal.SIGINT)
        command.stops()
    for ways in ([signal.SIGTERM], [signal.SIGINT, signal.SIGINT]):
        with command:
            command.until(answering(command))
            for number in ways:
                command.to_all(number)
                time.sleep(0.1)
            command.stops()
    known = command.stored()
    with command:
        command.ends(known)


def test_vllm(tmp_path: Path) -> None:
    """The port that it would take first is another's."""
    pytest.importorskip("vllm")
    with socket.create_server(("", 0)) as taken:
        arguments = ("--engine-args", "enforce_eager=true", "--engine-args", "max_model_len=2048", "--engine-args", "max_num_seqs=8")
        command = Command(tmp_path, "--model", "demo", "--engine", "vllm", *arguments, VLLM_PORT=str(taken.getsockname()[1]))
        with command:
            command.until(lambda: any("spawn_main" in _words(child) for child in command.children()))
            time.sleep(2)  # vLLM waits for its process, and would swallow Ctrl-C
            command.process.send_signal(signal.SIGINT)
            command.stops()
        with command:
            command.until(answering(command))
            command.process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
            command.to_all(signal.SIGINT)
            command.stops()
        known = command.stored()
        with command:
            command.ends(known)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that takes its time, and refuses what is too long for its model."""
    long = Status(400, openai_error("This model's maximum context length is 64 tokens"))
    with Server(lambda number, body: long if "red red" in str(body) else Reply("yes", after=0.5)) as running:
        yield running


def test_openai(tmp_path: Path, server: Server) -> None:
    command = Command(tmp_path, "--model", "openai:tiny", "--base-url", server.url, "--engine-args", "concurrency=8")
    for ways in ([signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGINT]):
        with command:
            command.until(answering(command))
            for number in ways:
                command.to_all(number)
                time.sleep(0.05)
            command.stops()
    known, asked = command.stored(), len(server.arrived)
    with command:
        command.ends(known)
    assert len(server.arrived) - asked == ROWS - known


def test_replicas(tmp_path: Path) -> None:
    """Ray's own processes end too."""
    pytest.importorskip("ray")
    (tmp_path / "slow.py").write_text(SLOW)
    command = Command(tmp_path, "--model", f"plugin:{tmp_path / 'slow.py'}:Slow", "--replicas", 2)
    with command:
        command.until(answering(command))
        assert any("raylet" in _words(child) for child in command.children())
        command.to_all(signal.SIGINT)
        command.stops()
    known = command.stored()
    assert known < ROWS - 1
    with command:
        command.ends(known)


def test_where_the_interpreter_drops_what_is_raised(tmp_path: Path) -> None:
    """A Ctrl-C that comes while an object is freed is not lost and prints nothing."""
    (tmp_path / "unlucky.py").write_text(UNLUCKY)
    command = Command(tmp_path, "--model", f"plugin:{tmp_path / 'unlucky.py'}:Unlucky")
    with command:
        command.stops()


def _words(number: int) -> str:
    try:
        return Path(f"/proc/{number}/cmdline").read_text(errors="replace")
    except OSError:
        return ""
