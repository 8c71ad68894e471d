"""Ctrl-C once and twice and SIGTERM at random moments: stored, resumable, exit code 130, nobody left over, no half-written file."""

import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.faults.engines import Bad
from tests.faults.kills import SEED, again, of_vllm
from tests.faults.runs import WINDOWS, Run, Served, served
from tests.faults.tally import Fault, Tally

GRACE = 30.0
"""Seconds that a scheduler gives between SIGTERM and SIGKILL."""
Way = Callable[[Run, random.Random], None]


def once(run: Run, rng: random.Random) -> None:
    """As a terminal does: to the run and all that it started."""
    run.to_all(signal.SIGINT)


def twice(run: Run, rng: random.Random) -> None:
    run.to_all(signal.SIGINT)
    time.sleep(rng.choice((0, 0.01, 0.1, 0.5)) * rng.random())
    if run.goes_on():
        run.to_all(signal.SIGINT)


def ended(run: Run, rng: random.Random) -> None:
    """As a scheduler does: to the first process, or to all."""
    if rng.random() < 0.5:
        run.process.send_signal(signal.SIGTERM)
    else:
        run.to_all(signal.SIGTERM)


def stopped(make: Callable[[Path], Run], way: Way, folder: Path, times: int, alike: bool = True) -> Tally:
    """Stops runs so many times, each time lets it go on to its end, and compares that with a run that was left alone.

    Where an engine's own answers depend on what it has beside them, they are not `alike`: then a run is compared with itself, done again.
    """
    told, rng = Tally(), random.Random(SEED)
    calm = make(folder / "calm")
    began = time.monotonic()
    calm.completes(told)
    lasts = time.monotonic() - began
    for number in range(4 * times):
        run = make(folder / f"{number}")
        stopped_one = interrupted(run, way, rng, lasts)
        told += stopped_one
        lasts *= 1 if stopped_one.tried else 0.7  # the first one was slower
        asked = len(run.asked())
        run.completes(told)
        run.look(told, asked)
        if not alike:
            again(run, told)
        elif run.outcome() != calm.outcome():
            told.crashed(f"what came of run {number}, which was stopped, is not what came of an undisturbed run")
        if told.tried == times or told.crashes > 5:
            return told
    told.crashed(f"{told.tried} of {times}: the runs ended before")
    return told


def interrupted(run: Run, way: Way, rng: random.Random, lasts: float) -> Tally:
    """Stops a run at a moment of the time that it lasts; one that came to its end by itself is not counted."""
    told, run.window = Tally(), rng.choice(WINDOWS)
    with run:
        run.lives(run.catches)
        time.sleep(rng.uniform(0, lasts))
        seen = run.rows()
        if run.goes_on():
            way(run, rng)
            stops(run, told)
    run.in_flight(told, 0)
    run.look(told, 0, seen)
    return told


def stops(run: Run, told: Tally) -> None:
    """Counts a run that was sent a signal, and what is wrong with its end."""
    began = time.monotonic()
    try:
        said = run.process.communicate(timeout=GRACE)[1]
    except subprocess.TimeoutExpired:
        told.crashed(f"it did not end within {GRACE:.0f} s")
        return
    if run.summary() and run.process.returncode in (0, -signal.SIGINT, -signal.SIGTERM):  # it was done, or the interpreter winding up
        return
    told.tried += 1
    if run.process.returncode != 130 or "the same command goes on" not in said or "Traceback" in said:
        told.crashed(f"exit code {run.process.returncode} after {time.monotonic() - began:.1f} s: {said[-2000:]}")
    run.leaves_nobody(told)


def while_it_hangs(folder: Path, times: int) -> Tally:
    """An engine that would come back in an hour keeps nobody."""
    told, rng = Tally(), random.Random(SEED)
    for number in range(times):
        run = Bad(folder / f"{number}", ["time.sleep(3600)"], "Plain", 6)
        with run:
            run.lives(lambda run=run: len(run.asked()) > 1)
            rng.choice((once, twice, ended))(run, rng)
            stops(run, told)
        run.mend()
        asked = len(run.asked())
        run.look(told, 0)
        run.completes(told)
        run.look(told, asked)
    return told


def of_plugin(way: Way) -> Callable[[Path, int], Tally]:
    return lambda folder, times: stopped(lambda place: Run(place, variant="judged", rows=200), way, folder, times)


def of_server(way: Way) -> Callable[[Path, int], Tally]:
    def try_(folder: Path, times: int) -> Tally:
        with served() as server:
            return stopped(lambda place: Served(place, server, rows=300), way, folder, times)

    return try_


def of_checkpoint(way: Way) -> Callable[[Path, int], Tally]:
    arguments = ("--model", "demo", "--engine", "transformers", "--device", "cpu", "--batch-size", 4)
    return lambda folder, times: stopped(lambda place: Run(place, *arguments, rows=100), way, folder, times)


FAULTS: tuple[Fault, ...] = (
    Fault("Ctrl-C once, plugin with a judge", of_plugin(once), 15, 1),
    Fault("Ctrl-C twice, plugin with a judge", of_plugin(twice), 15, 1),
    Fault("SIGTERM, 30 s of grace, plugin with a judge", of_plugin(ended), 15, 1),
    Fault("Ctrl-C once, openai", of_server(once), 10, 0),
    Fault("Ctrl-C twice, openai", of_server(twice), 10, 3),
    Fault("SIGTERM, 30 s of grace, openai", of_server(ended), 10, 0),
    Fault("Ctrl-C or SIGTERM while an engine hangs", while_it_hangs, 6, 1),
    Fault("Ctrl-C twice, transformers", of_checkpoint(twice), 5, 0, "transformers"),
    Fault("SIGTERM, 30 s of grace, transformers", of_checkpoint(ended), 5, 0, "transformers"),
    Fault("SIGTERM, 30 s of grace, vLLM", lambda folder, times: stopped(of_vllm, ended, folder, times, alike=False), 3, 0, "vllm"),
)
