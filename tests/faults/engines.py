"""Engines that die, hang, run out of memory, answer too little, too much or nonsense: gaps that are asked again, and nothing else."""

import json
import os
import random
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from pathlib import Path

from evalkit.engines.batching import Batcher
from evalkit.errors import Gap
from evalkit.types import Generate, Message, Request, Response
from tests.faults.checkpoints import EVERY, damaged_checkpoints
from tests.faults.kills import SEED
from tests.faults.runs import PATIENCE, WINDOWS, Run
from tests.faults.tally import Fault, Tally

DEEDS = """
raise RuntimeError("fire")
raise MemoryError
[][0]
next(iter(()))
sys.exit(0)
raise asyncio.CancelledError
(lambda f: f(f))(lambda f: f(f))
raise asyncio.TimeoutError
raise Odd
raise StopAsyncIteration
return None
return 7
return b"The answer is 0."
return ["The answer is 0."]
return "The answer is 0."
return Response(None)
return Response("0", None)
return Response("0", "length?")
return Response("0", reasoning=7)
return Response("0", tokens_out="7")
return Response("0", tokens_out=None)
return Response("0", seconds=numpy.float32(7))
return Response("0", tokens_in=numpy.int64(7))
return Response("0", seconds=float("nan"))
return Response("0", seen=[(1, 2)])
return Response("0", boxes=[1, 2, 3, 4])
return Response("0", boxes=((1, 2, 3, 4),))
return Response("0", missing="no")
return Response("0", boxes=(Box(float("nan"), 0, 1, 1),))
return Response("0", boxes=(Box(0, 0, 1, "x"),))
return Response("0", boxes=(Box(0, 0, 1, 1),), scores=(0.5, 0.5))
return Response("0", boxes=(Box(0, 0, 1, 1),), labels=("", 7))
return Response("0", masks=None)
return Response("0", likelihoods=0.5)
return Response("0", attention=(((("x",),),),))
""".strip().splitlines()
"""What an engine may do in place of an answer, where a `Response` is expected."""
ENDS = ("os.kill(os.getpid(), 9)", "os._exit(1)", "os.abort()", "ctypes.string_at(0)")
"""How an engine takes the whole process along."""
MANY = 1500
"""Rows of a run in the middle of which something is killed: the last third of them lasts long enough to do it."""
BAD = '''
import asyncio
import ctypes
import os
import sys
import time
from pathlib import Path

import numpy

from evalkit.geometry import Box
from evalkit.types import Response

HERE = Path(__file__).parent
ASKED = os.open(HERE / "asked.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)


class Odd(Exception):
    """One that cannot be told."""

    def __str__(self):
        raise RuntimeError("no words")


class Plain:
    """Does something else on some samples, until it is mended."""

    patience = {patience}

    def answer(self, request):
        number = int(request.sample.rpartition("/")[2])
        os.write(ASKED, f"{{request.to}} {{number}}\\n".encode())
        if number % 3 == 1 and not (HERE / "mended").exists():
            return self.deed(number // 3)
        return Response(f"The answer is {{number % 7}}.")

    def deed(self, number):
{deeds}


class Awaited(Plain):
    """The same, as a coroutine."""

    async def answer(self, request):
        await asyncio.sleep(0)
        found = super().answer(request)
        return await found if asyncio.iscoroutine(found) else found
'''


class Bad(Run):
    """A run of an engine that does these deeds in turn, one on every third sample."""

    def __init__(self, folder: Path, deeds: Sequence[str], kind: str, rows: int, patience: float = 3600) -> None:
        super().__init__(folder, "--model", f"plugin:{folder / 'engine.py'}:{kind}", rows=rows)
        cases = "".join(f"        if number % {len(deeds)} == {place}:\n            {deed}\n" for place, deed in enumerate(deeds))
        (folder / "engine.py").write_text(BAD.format(deeds=cases, patience=patience))
        self.bad = [number for number in range(rows) if number % 3 == 1]

    def mend(self) -> None:
        """From now on it answers."""
        (self.folder / "mended").touch()

    def leaves_gaps(self, told: Tally, said: str) -> None:
        """Counts what is wrong after a run in which every third sample had no answer."""
        if "Traceback" in said:
            told.crashed(said[-2000:])
        stored = sorted(set(self.bad) & {row.of for row in self.rows().values()})
        told.scored += len(stored)
        told.notes += [f"stored as an answer: {stored[:9]}"] * bool(stored)
        summary = json.loads(self.summary() or '{"tasks": [{"gaps": []}]}')
        gaps = sorted(int(gap["sample"]) for gap in summary["tasks"][0]["gaps"])
        if gaps != self.bad:
            told.crashed(f"no gap, or one that should not be: {sorted(set(gaps) ^ set(self.bad))[:9]}")


def misbehaving(folder: Path, times: int) -> Tally:
    """Engines that fail in one of many ways on every third request."""
    return sum((endured(Bad(folder / kind, DEEDS, kind, 3 * times // 2)) for kind in ("Plain", "Awaited")), Tally())


def hanging(folder: Path, times: int) -> Tally:
    """Engines that come back to nobody on every third request: in a thread one after the other, as coroutines all at once."""
    plain = Bad(folder / "plain", ["time.sleep(3600)"], "Plain", 6, patience=3)
    awaited = Bad(folder / "awaited", ["return asyncio.sleep(3600)"], "Awaited", 3 * (times - 2), patience=3)
    return endured(plain) + endured(awaited)


def endured(run: Bad) -> Tally:
    """Runs the engine, mends it and runs it again: the second time it is asked just what had no answer."""
    told = Tally()
    run.leaves_gaps(told, run.completes(told, 1))
    run.look(told, 0)
    told.tried = len({f"model {number}" for number in run.bad} & set(run.asked()))
    run.mend()
    asked = len(run.asked())
    run.completes(told)
    run.look(told, asked)
    again = sorted(int(name.split()[1]) for name in run.asked()[asked:])
    if again != run.bad:
        told.crashed(f"the second time it was asked {len(again)} questions, expected the {len(run.bad)} without an answer")
    return told


def dying(folder: Path, times: int) -> Tally:
    """Engines that end the whole process, again and again; each time it comes a little further."""
    told = Tally()
    for number in range(times):
        run = Bad(folder / f"{number}", [ENDS[number % len(ENDS)]], "Plain", 30)
        run.window = WINDOWS[0]
        while run.asked().count(f"model {run.bad[0]}") < 3:
            asked = len(run.asked())
            with run:
                said = run.process.communicate(timeout=PATIENCE)[1]
                if run.process.returncode == 0 or "Traceback" in said:
                    told.crashed(f"exit code {run.process.returncode}: {said[-2000:]}")
                run.leaves_nobody(told)
            run.in_flight(told, asked)
            run.look(told, asked)
        told.tried += 1
        run.mend()
        asked = len(run.asked())
        run.completes(told)
        run.look(told, asked)
    return told


def miscounting(folder: Path, times: int) -> Tally:
    """Batches from which too few answers come, or too many: nobody waits for ever, gets another's, or lacks one that came as it should."""
    told, whole, short = Tally(), set[str](), set[str]()

    def run(requests: list[Request]) -> list[Response]:
        said = [Response(_words(request)) for request in requests]
        rng = random.Random("".join(response.text for response in said))
        given = rng.choice((said, said, said[1:], said[:-1], [], [*said, *said[-1:]]))
        (whole if given == said else short).update(response.text for response in said)
        return given

    batcher = Batcher(group=lambda _: None, length=lambda _: 1, prepare=list, run=run, size=8, window=0.001)
    asked = [Request(Generate((Message("user", (f"number {number}",)),))) for number in range(times)]
    futures = [batcher.submit(request) for request in asked]
    told.crashes += len(wait(futures, 60).not_done)
    told.notes += ["requests that wait for ever"] * bool(told.crashes)
    for request, future in zip(asked, futures, strict=True):
        if not future.done():
            continue
        told.tried += 1
        gap, words = isinstance(future.exception(), Gap), _words(request)
        if gap and words in whole:
            told.loses([words], "answered in a whole batch, and a gap")
        elif not gap and (future.result().text != words or words not in whole):
            told.scored += 1
            told.notes.append(f"{words} has the answer {future.result().text}, {'of' if words in whole else 'without'} a whole batch")
    batcher.close()
    if not whole - short or not short:
        told.crashed(f"{len(whole)} requests were in whole batches and {len(short)} in others: nothing was tried")
    told.notes.append(f"{len(whole):,} answered, {times - len(whole):,} gaps; {len(short):,} were in a batch of another number of answers")
    return told


def _words(request: Request) -> str:
    assert isinstance(request.kind, Generate)
    return str(request.kind.messages[0].content[0])


def helpers_killed(make: Callable[[Path], Run], name: str, folder: Path, times: int) -> Tally:
    """Kills a process of a run of `MANY` rows, by its command line, once it has said something; the run ends as if nothing was."""
    told, rng = Tally(), random.Random(SEED)
    calm = make(folder / "calm")
    calm.completes(told)
    for number in range(times):
        run = make(folder / f"{number}")
        helper_killed(run, name, rng, told)
        if run.outcome() != calm.outcome():
            told.crashed(f"{name} was killed, and the run came to something else")
    return told


def helper_killed(run: Run, name: str, rng: random.Random, told: Tally) -> None:
    def found() -> list[int]:
        return [child for child in run.children() if name in _told(child, "cmdline") and "wchar: 0" not in _told(child, "io")]

    moment = rng.randrange(1, MANY * 2 // 3)
    with run:
        if not run.lives(lambda: run.stored() >= moment and found()):
            told.crashed(f"it ended without a {name}")
            return
        seen, asked = run.rows(), len(run.asked())
        for number in rng.sample(found(), 1):
            os.kill(number, signal.SIGKILL)
            told.tried += 1
        run.comes_to_its_end(told)
    run.known = seen
    run.look(told, asked)


def _told(number: int, what: str) -> str:
    """What the system tells of a process; nothing of one that has ended."""
    try:
        return Path(f"/proc/{number}/{what}").read_text(errors="replace")
    except OSError:
        return ""


def replicas(folder: Path, times: int) -> Tally:
    return helpers_killed(lambda place: Run(place, "--replicas", 2, rows=MANY), "ray::Replica", folder, times)


def workers(folder: Path, times: int) -> Tally:
    return helpers_killed(lambda place: Run(place, rows=MANY, variant="verified"), "_verifier.py", folder, times)


FAULTS: tuple[Fault, ...] = (
    Fault("an engine raises, exits, returns nonsense", misbehaving, 4 * len(DEEDS), 2 * len(DEEDS)),
    Fault("an engine hangs on a request for ever", hanging, 30, 10),
    Fault("an engine takes the whole process along", dying, len(ENDS), 1),
    Fault("a batch has fewer answers than requests, or more", miscounting, 1000, 200),
    Fault("a replica is killed, Ray", replicas, 3, 0, "ray"),
    Fault("the worker that compares formulas is killed", workers, 5, 0, "math_verify"),
    Fault("a checkpoint's files are empty, cut off, too deep, or lie", damaged_checkpoints, EVERY, 24, "transformers"),
)
