"""Clocks, zones, locales, terminals and paths of every kind, and things of great size: all as usual."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from evalkit import runner
from evalkit.engines.scripted import Scripted
from evalkit.engines.stored import Stored
from evalkit.errors import Gap
from evalkit.runner import Job, Outcome
from evalkit.store import Store
from evalkit.types import Conversation, Generate, Message, ModelInfo, Prediction, Request, Sample, Wants
from tests.contract.server import Reply, Server, Status
from tests.faults.quiz import Quiz, finished, records, reference
from tests.faults.servers import OPTIONS, dated, number_of, on_server
from tests.faults.tally import Fault, Tally

ZONES = ("ABC-14", "ABC+12", "ABC3:30DEF", "Nowhere/Land")
TERMINALS = ("ascii", "latin-1", "cp437")
NAMES = ("two words", "数 ü – 😀", "50%41 ?x=1#top & 'one' \"two\"", "a\nb\tc", os.fsdecode(b"caf\xe9"), "-m")
LONG_ANSWER, LARGE = 10 << 20, 2 << 30
"""Bytes of one reply, and of a run's files."""
MEMORY = 1 << 20
"""Kibibytes that a process may take to score large results."""


def clock(place: Path, times: int) -> Tally:
    """The clock goes back an hour, over and over; and once more with a server that asks to wait until a date."""
    told, expected = Tally(), reference(place / "whole")
    for number in range(times):
        quiz = Quiz(place / str(number))
        _as_usual(told, quiz, expected, deeds=("clock",))
    quiz, asked = Quiz(place / "served"), set()

    def script(number: int, body: dict[str, Any]) -> Reply | Status:
        question = number_of(body)
        if question % 10 == 0 and question not in asked:
            asked.add(question)
            return Status(429, "wait", {"retry-after": dated(2), "date": dated(0)})
        return Reply(f"The answer is {question % 7 if question % 3 else 9}.")

    with Server(script) as server:
        on_server(quiz, server, **OPTIONS)
        ended = quiz.run(deeds=("clock",))
    if ended.returncode or len(server.arrived) != quiz.rows + len(asked):
        told.crashed(f"a wait until a date: exit {ended.returncode}, {len(server.arrived)} requests: {ended.stderr[-2000:]}")
    told.tried += 1
    return told


def zones(place: Path, times: int) -> Tally:
    """Time zones, one that is none among them."""
    told, expected = Tally(), reference(place / "whole")
    for number, zone in enumerate(ZONES[:times]):
        _as_usual(told, Quiz(place / str(number)), expected, env={"TZ": zone})
    return told


def commas(place: Path, times: int) -> Tally:
    """A locale in which numbers have decimal commas, taken up by the process."""
    told, expected = Tally(), reference(place / "whole")
    made = place / "locales" / "commas"
    made.parent.mkdir()
    line = ["localedef", "-c", "-i", "de_DE", "-f", "UTF-8", str(made)]
    if shutil.which("localedef") is None or subprocess.run(line, capture_output=True, check=False).returncode > 1 or not made.exists():
        told.lacks = "localedef and the locale de_DE"
        return told
    for number in range(times):
        _as_usual(told, Quiz(place / str(number)), expected, deeds=("commas",), env={"LOCPATH": str(made.parent), "LC_ALL": "commas"})
    return told


def terminals(place: Path, times: int) -> Tally:
    """Terminals that cannot show what models write: every command that prints it."""
    told, expected = Tally(), reference(place / "whole")
    for terminal in TERMINALS[:times]:
        plain = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": terminal}
        quiz = Quiz(place / terminal)
        _as_usual(told, quiz, expected, env=plain)
        _commands(told, quiz, env=plain)
    return told


def paths(place: Path, times: int) -> Tally:
    """Folders whose names have spaces, signs of all scripts, what URLs and shells take for theirs, and bytes that are no UTF-8."""
    told, expected = Tally(), reference(place / "whole")
    for name in NAMES[:times]:
        quiz = Quiz(place / name, out=place / name / f"out {name}")
        _as_usual(told, quiz, expected)
        _commands(told, quiz)
    return told


def long_reply(place: Path, times: int) -> Tally:
    """Replies of 10 MB from a server."""
    told = Tally()
    for number in range(times):
        quiz = Quiz(place / str(number), 1)
        filling = "So it is. " * (LONG_ANSWER // 10)
        with Server(lambda number, body, filling=filling: Reply(f"The answer is {number_of(body) % 7}. {filling}")) as server:
            on_server(quiz, server, timeout=120)
            ended = quiz.run()
        rows = records(quiz.folder, "predictions.jsonl") if not ended.returncode else []
        if ended.returncode or [len(row["text"]) for row in rows] != [len("The answer is 0. ") + len(filling)]:
            told.crashed(f"exit {ended.returncode}: {ended.stderr[-2000:]}")
        _said(told, quiz, ("score", str(quiz.folder), "--check"), {})
        told.tried += 1
    return told


def large(place: Path, times: int) -> Tally:
    """A run whose files are 2 GB, killed in the middle, gone on with and scored again; in how much memory."""
    told = Tally()
    for number in range(times):
        quiz = Quiz(place / str(number), (LARGE // 3 >> 17) + 160, fill=(1 << 17) // len(" So it is."), read="p.answer[:99]")
        process = quiz.start()
        quiz.reaches(process, quiz.rows // 2)
        process.kill()
        finished(process)
        quiz.goes_on(told)
        memory = max(quiz.memory, _commands(told, quiz))
        size = sum(path.stat().st_size for path in quiz.folder.iterdir())
        if size < LARGE or memory > MEMORY:
            told.crashed(f"expected {LARGE / 1e9:.2f} GB in {MEMORY >> 10} MiB, got {size / 1e9:.2f} GB in {memory >> 10} MiB of memory")
        told.notes.append(f"{size / 1e9:.2f} GB, gone on with, scored again and shown in at most {memory >> 10} MiB of memory")
        told.tried += 1
    return told


class Loop:
    """A protocol of so many turns, each of which sees all before it."""

    name, rules = "loop", ()

    def __init__(self, turns: int) -> None:
        self.turns = turns

    def converse(self, sample: Sample, model: ModelInfo) -> Conversation[Prediction]:
        messages, reply = [Message("user", (sample.prompt,))], ""
        for _ in range(self.turns):
            response = yield Request(Generate(tuple(messages)))
            reply = response.text
            messages += [Message("assistant", (reply,)), Message("user", ("Go on.",))]
        return Prediction(reply, reply)


def turns(place: Path, times: int) -> Tally:
    """A conversation of many turns; then again, from the store alone."""
    told, outcomes = Tally(), list[Outcome]()

    def answered(request: Request) -> str:
        assert isinstance(request.kind, Generate)
        return f"turn {len(request.kind.messages) // 2 + 1}"

    def silent(request: Request) -> str:
        raise Gap("it was asked again")

    sample = Sample("1", "Count.", "Count.", (), Wants("text"), "")
    for reply in (answered, silent):
        with closing(Store(place / "answers.sqlite")) as store:
            engine = Stored(Scripted(reply), store)
            runner.run([Job("loop", iter([sample]), Loop(times))], {"model": engine}, lambda task, sample: None, outcomes.append)
            told.lost += times - len(store)
            told.tried = len(store)
    if [outcome.prediction and outcome.prediction.text for outcome in outcomes] != [f"turn {times}"] * 2:
        told.crashed(f"expected turn {times} twice, got {outcomes}")
    told.notes.append(f"the store is {(place / 'answers.sqlite').stat().st_size / 1e6:.0f} MB: each turn is stored as it was sent")
    return told


def _as_usual(told: Tally, quiz: Quiz, expected: bytes, **surroundings: Any) -> None:
    """Runs and scores a quiz, and counts what is not as it always is."""
    told.tried += 1
    ended = quiz.run(**surroundings)
    if ended.returncode or "Traceback" in ended.stderr:
        told.crashed(f"{surroundings}: exit {ended.returncode}: {ended.stderr[-2000:]}")
    elif quiz.summary() != expected:
        told.crashed(f"{surroundings}: the summary differs")
    else:
        _said(told, quiz, ("score", str(quiz.folder), "--check"), surroundings)


def _commands(told: Tally, quiz: Quiz, **surroundings: Any) -> int:
    """The most memory in KiB that any of the commands takes that read a run and print. Runs them all."""
    folder, most = str(quiz.folder), 0
    for words in (("show", folder), ("table", folder), ("score", folder, "--check"), ("score", folder), ("tasks",)):
        _said(told, quiz, words, surroundings)
        most = max(most, quiz.memory)
    return most


def _said(told: Tally, quiz: Quiz, words: Sequence[str], surroundings: Mapping[str, Any]) -> None:
    ended = quiz.run(*words, **surroundings)
    if ended.returncode or "Traceback" in ended.stderr or "error" in ended.stderr:
        told.crashed(f"evalkit {' '.join(words)} with {surroundings}: exit {ended.returncode}: {ended.stderr[-2000:]}")


FAULTS = (
    Fault("the clock goes back an hour, over and over", clock, 5, 1),
    Fault("time zones", zones, 4, 0),
    Fault("a locale with decimal commas", commas, 3, 0),
    Fault("a terminal that is not UTF-8", terminals, 3, 1),
    Fault("paths with spaces, Unicode, quotes, line breaks, no UTF-8", paths, 6, 2),
    Fault("replies of 10 MB", long_reply, 3, 0),
    Fault("2 GB of results", large, 1, 0),
    Fault("turns of one conversation", turns, 5_000, 100),
)
