"""A server that misbehaves: every request ends as an answer or as a gap, an error is neither, and what is dead is given up in time."""

import asyncio
import json
import random
import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Self

from tests.contract.server import Bytes, Cut, Deed, Hang, Raw, Reply, Server, Status, openai_error
from tests.faults.quiz import Quiz, records
from tests.faults.tally import Fault, Tally

MARK = "SOMETHING WENT WRONG 4242"
"""What every error says; where it is stored or scored, an error was taken for an answer."""
TIMEOUT, PAUSE, PATIENCE = 1.0, 1, 2.0
ALIVE = 150
"""Answers that a server gives before it dies."""
LATE, LEAVING = 20.0, 60.0
"""Seconds that a machine which does much else may be late, and that a process may then take to write what it has and to end.

An engine that does not heed `PATIENCE` takes longer: 30 s where it goes by the default, and minutes where it ends its attempts.
"""
OPTIONS = {"timeout": TIMEOUT, "first_pause": 0.02, "attempts": 3, "concurrency": 64}
HALF = f'{{"choices": [{{"message": {{"role": "assistant", "content": "{MARK}'.encode()
FAULTY: list[Callable[[], Deed]] = [
    lambda: Status(429, openai_error(MARK), {"retry-after": str(PAUSE)}),
    lambda: Status(429, openai_error(MARK), {"retry-after": dated(PAUSE + 1), "date": dated(0)}),
    lambda: Status(503, openai_error(MARK), {"retry-after": str(PAUSE)}),
    lambda: Status(500, f"<html><h1>{MARK}</h1></html>"),
    lambda: Status(503, MARK),
    lambda: Hang(5 * TIMEOUT),
    Cut,
    lambda: Bytes(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9000\r\n\r\n" + HALF),
    lambda: Raw(f"<html><h1>{MARK}</h1></html>".encode(), "text/html"),
    lambda: Raw(HALF),
    lambda: Raw(f'{{"answer": "{MARK}", "choices": "{MARK}"}}'.encode()),
    lambda: Raw(f'{{"choices": [{{"message": {{"content": "{MARK}"}}, "finish_reason": "error"}}]}}'.encode()),
    lambda: Raw(f'{{"choices": [], "note": "{MARK}"}}'.encode()),
    lambda: Raw(b"[" * 100_000),
    lambda: Status(500, "[" * 100_000),
    lambda: Hang(5 * TIMEOUT, drip=True),
]


class Script:
    """Answers rightly, but a share of requests by one of the faults; whether a wait that it asks for is kept, it counts."""

    def __init__(self, share: float) -> None:
        self.share, self.chance = share, random.Random(0)
        self.faults = self.waits = self.too_soon = 0
        self._until: dict[int, float] = {}

    def heals(self) -> None:
        """From now on it misbehaves no more, and has forgotten whom it asked to wait: a later run does not know either."""
        self.share = 0.0
        self._until.clear()

    def __call__(self, number: int, body: dict[str, Any]) -> Deed:
        asked, now = number_of(body), time.monotonic()
        if now < self._until.pop(asked, 0.0):
            self.too_soon += 1
        if self.chance.random() >= self.share:
            return Reply(f"The answer is {asked % 7}.")
        self.faults += 1
        deed = self.chance.choice(FAULTY)()
        if isinstance(deed, Status) and "retry-after" in deed.headers:
            self.waits += 1
            said = deed.headers["retry-after"]
            wait = float(said) if said.isdecimal() else datetime.strptime(said, "%a, %d %b %Y %H:%M:%S %Z").replace(tzinfo=UTC).timestamp()
            self._until[asked] = now + (wait if said.isdecimal() else wait - time.time())
        return deed


def misbehaving(place: Path, times: int) -> Tally:
    """A run against a server that misbehaves to a fifth of the requests; then another, against the same server in good health."""
    told, quiz, script = Tally(), Quiz(place, times), Script(0.2)
    with Server(script) as server:
        on_server(quiz, server, **OPTIONS)
        first = quiz.run()
        asked, kept, stored = len(server.arrived), quiz.kept, quiz.stored()
        told.tried = asked
        gaps = _gaps(quiz)
        if first.returncode != int(gaps > 0) or "Traceback" in first.stderr:
            told.crashed(f"exit {first.returncode} with {gaps} gaps: {first.stderr[-2000:]}")
        _answers_alone(quiz, told, times - gaps)
        script.heals()
        missing = _missing(quiz)
        second = quiz.run()
        again = [number_of(arrived.body) for arrived in server.arrived[asked:]]
    if second.returncode or _gaps(quiz):
        told.crashed(f"the gaps are not filled, exit {second.returncode}: {second.stderr[-2000:]}")
    _answers_alone(quiz, told, times)
    told.loses(kept - stored, "committed, and not in the store")
    told.loses({str(number) for number in again} - missing, "answered, and asked again")
    if script.too_soon:
        told.crashed(f"{script.too_soon} of {script.waits} requests came again before the server's Retry-After was over")
    told.notes.append(f"{asked:,} requests for {times:,} answers, {script.faults:,} of them met a fault")
    told.notes.append(f"{script.waits:,} were asked to wait, {script.too_soon} came sooner")
    told.notes.append(f"{gaps} gaps after 3 attempts each, filled by {len(again)} requests of the next run")
    return told


class At(Server):
    """A server at a port where one has been."""

    def __init__(self, port: int) -> None:
        super().__init__(lambda number, body: Reply(f"The answer is {number_of(body) % 7}."))
        self.port = port

    def __enter__(self) -> Self:
        self._thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result()
        return self


def dying(place: Path, times: int) -> Tally:
    """A server that dies in the middle of a run, in one way after the other: it is given up in time, and the same command goes on later."""
    ways: list[tuple[str, Deed]] = [
        ("cuts every connection", Cut()),
        ("says 500 to everything", Status(500, MARK)),
        ("says nothing", Hang(600)),
    ]
    return sum((_one_death(place / way, way, deed) for way, deed in ways[:times]), Tally())


def _one_death(place: Path, way: str, deed: Deed) -> Tally:
    told, quiz = Tally(), Quiz(place, 400)
    died = [0.0]

    def script(number: int, body: dict[str, Any]) -> Deed:
        if number > ALIVE:
            died[0] = died[0] or time.time()
            return deed
        return Reply(f"The answer is {number_of(body) % 7}.")

    with Server(script) as server:
        on_server(quiz, server, **OPTIONS | {"attempts": 50, "first_pause": 0.1, "patience": PATIENCE})
        _gives_up(quiz, told, way, died)
    if not quiz.stored():
        told.crashed(f"nothing is kept of the {ALIVE} answers of a server that then {way}")
    _comes_back(quiz, told, server.port)
    told.tried += died[0] > 0
    return told


def absent(place: Path, times: int) -> Tally:
    """No server at all: every sample is a gap, in time, and the same command goes on once there is one."""
    told = Tally()
    for number in range(times):
        quiz = Quiz(place / str(number), 200)
        with Server() as server:
            pass
        on_server(quiz, server, first_pause=0.1, patience=PATIENCE)
        _gives_up(quiz, told, "is not there", [])
        if (gaps := _gaps(quiz)) != quiz.rows:
            told.crashed(f"expected {quiz.rows} gaps, got {gaps}")
        _comes_back(quiz, told, server.port)
        told.tried += 1
    return told


def _gives_up(quiz: Quiz, told: Tally, way: str, died: Sequence[float]) -> None:
    """Runs a quiz whose server dies at a time of the clock (none: it never lived), and counts what is wrong with how it is given up.

    The server is dead at the first failure after `PATIENCE` seconds of nothing else. Many requests are under way, of `TIMEOUT` seconds at
    most each, so one fails before as much time again has gone by; what it takes beyond that, up to `LATE`, is the machine's.
    """
    ended = quiz.run()
    now = time.time()
    if ended.returncode != 1 or "Traceback" in ended.stderr or "start the server and run again" not in ended.stderr:
        told.crashed(f"exit {ended.returncode}: {ended.stderr[-2000:]}")
        return
    since, given_up = died[0] if died else _logged(quiz, "asked by protocol"), _logged(quiz, "gave nothing but failures")
    took = given_up - since
    if took > PATIENCE + TIMEOUT + LATE or now - given_up > LEAVING:
        told.crashed(f"a server that {way} was given up after {took:.1f} s, and the run ended {now - given_up:.1f} s later")
    told.notes.append(
        f"{way}: given up after {took:.1f} s (patience {PATIENCE:g} s, an attempt of {TIMEOUT:g} s, at most {LATE:g} s for the machine), "
        f"the run ended {now - given_up:.1f} s later with {len(quiz.stored())} answers kept"
    )
    _answers_alone(quiz, told, quiz.rows - _gaps(quiz))


def _comes_back(quiz: Quiz, told: Tally, port: int) -> None:
    """Types the same command once there is a server, and counts what is wrong: just the gaps are asked."""
    kept, stored, missing = quiz.kept, quiz.stored(), _missing(quiz)
    told.loses(kept - stored, "committed, and not in the store")
    with At(port) as healthy:
        ended = quiz.run()
        again = {str(number_of(arrived.body)) for arrived in healthy.arrived}
    if ended.returncode or _gaps(quiz) or "Traceback" in ended.stderr:
        told.crashed(f"it does not go on, exit {ended.returncode}: {ended.stderr[-2000:]}")
    _answers_alone(quiz, told, quiz.rows)
    told.loses(again - missing, "answered, and asked again")


def _logged(quiz: Quiz, words: str) -> float:
    """When a run first logged a line with such words, in seconds since 1970."""
    line = next(line for line in (quiz.folder / "run.log").read_text("utf-8").splitlines() if words in line)
    return datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f").astimezone().timestamp()


def on_server(quiz: Quiz, server: Server, **options: object) -> None:
    """Has a quiz asked of a server, with options of the engine."""
    quiz.model = "openai:tiny"
    quiz.more = ("--base-url", server.url, *(word for name, value in options.items() for word in ("--engine-args", f"{name}={value}")))


def _answers_alone(quiz: Quiz, told: Tally, answers: int) -> None:
    """Counts what is stored or scored but is no right answer to its own question, and samples that are neither answered nor a gap."""
    kept = b"".join(path.read_bytes() for path in quiz.folder.glob("answers.sqlite*"))
    told.scored += kept.count(MARK.encode())
    for name in ("predictions.jsonl", "records.jsonl"):
        rows = records(quiz.folder, name)
        told.scored += sum(MARK in str(row) for row in rows)
        if len(rows) != answers:
            told.crashed(f"expected {answers} rows in {name}, got {len(rows)}")
    told.scored += sum(row["correct"] != 1 for row in records(quiz.folder, "records.jsonl"))


def _gaps(quiz: Quiz) -> int:
    return sum(len(entry["gaps"]) for entry in json.loads(quiz.summary())["tasks"])


def _missing(quiz: Quiz) -> set[str]:
    """The samples without an answer; a sample's id is the number of its question."""
    return {gap["sample"] for entry in json.loads(quiz.summary())["tasks"] for gap in entry["gaps"]}


def number_of(body: dict[str, Any]) -> int:
    """Which question it is."""
    found = re.search(r"What is (\d+) modulo", str(body["messages"]))
    assert found, body
    return int(found[1])


def dated(seconds: float) -> str:
    """The time so many seconds from now as HTTP writes it, in whole seconds."""
    return format_datetime(datetime.fromtimestamp(int(time.time() + seconds), UTC), usegmt=True)


FAULTS = (
    Fault("a server that misbehaves to 20% of requests, in 16 ways", misbehaving, 10_000, 400),
    Fault("a server that dies in the middle: cuts, says 500, says nothing", dying, 3, 1),
    Fault("no server at all", absent, 1, 0),
)
