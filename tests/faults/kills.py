"""kill -9 of a run at random moments: what was committed stays, only what was in flight is asked again, the summary is the same.

Half of the kills end the whole process group, as a machine's end does; half end the driver alone, after which nothing may be left over.
Where to kill is drawn from `SEED`: after so many answers, or after the first metric has begun to summarise, and up to `WITHIN` seconds
more; or anywhere in the time that a run takes from when it has its folder. So is how many conversations are live at once.
"""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.faults.runs import WINDOWS, Run, Served, command, served
from tests.faults.tally import Fault, Tally

SEED = 20261123
EACH = 5
"""Kills of one run, before it is let to its end."""
WITHIN = 0.05
LATEST = 120.0
"""Seconds after which nothing of a killed run is left: Ray's own agents, which hold nothing, look for a minute for their dead cluster."""
Moment = Callable[[Run, random.Random, float], bool]
"""Waits for the moment of a kill, in a run that takes so many seconds if it is left alone; False where it ended before."""


def after_answers(rows: int) -> Moment:
    """After some of the answers that are still to come."""

    def moment(run: Run, rng: random.Random, lasts: float) -> bool:
        known = len(run.known)
        more = rng.randint(0, max((rows - known) // 2, 1))
        return run.lives(lambda: run.stored() >= known + more) and waits(rng)

    return moment


def at_any_time(run: Run, rng: random.Random, lasts: float) -> bool:
    """While it reads, asks, or sums up."""
    if run.lives(run.has_its_folder):
        time.sleep(rng.uniform(0, lasts))
    return run.goes_on()


def after_the_last_answer(run: Run, rng: random.Random, lasts: float) -> bool:
    """While numbers are made of the answers and files are written."""
    mark = run.folder / "summarising"
    mark.unlink(missing_ok=True)
    return run.lives(mark.exists) and waits(rng)


def waits(rng: random.Random) -> bool:
    time.sleep(rng.uniform(0, WITHIN))
    return True


def killed(make: Callable[[Path], Run], moment: Moment, folder: Path, times: int, alike: bool = True) -> Tally:
    """Kills runs so many times, and compares what they come to with one that was left alone."""
    told, rng = Tally(), random.Random(SEED)
    calm = make(folder / "calm")
    with calm:
        calm.lives(calm.has_its_folder)
        began = time.monotonic()
        calm.comes_to_its_end(told)
        lasts = time.monotonic() - began
    for number in range(4 * times):
        run = make(folder / f"{number}")
        told += suffered(run, min(EACH, times - told.tried), moment, rng, lasts)
        if alike and run.outcome() != calm.outcome():
            told.crashed(f"what came of it after kills (run {number}) is not what came of an undisturbed run")
        if not alike:
            again(run, told)
        if told.tried == times or told.crashes > EACH:
            return told
    told.crashed(f"{told.tried} kills of {times}: the runs ended before")
    return told


def suffered(run: Run, times: int, moment: Moment, rng: random.Random, lasts: float) -> Tally:
    """Kills a run up to so many times, each time going on where it was, then lets it come to its end."""
    told = Tally()
    while told.tried < times:
        asked, run.window = len(run.asked()), rng.choice(WINDOWS)
        with run:
            if not moment(run, rng, lasts):
                break
            seen = run.rows()
            if rng.random() < 0.5:
                os.killpg(run.process.pid, signal.SIGKILL)
            else:
                run.process.kill()
            if run.process.wait() != -signal.SIGKILL:  # it came to its end by itself meanwhile
                break
            told.tried += 1
            run.leaves_nobody(told, LATEST)
        run.in_flight(told, asked)
        run.look(told, asked, seen)
    asked = len(run.asked())
    run.completes(told)
    run.look(told, asked)
    return told


def again(run: Run, told: Tally) -> None:
    """The same stored answers give the same bytes: typed once more, and scored without the model."""
    first = run.outcome()
    run.completes(told)
    if run.outcome() != first:
        told.crashed("a warm run comes to something else")
    [folder] = run.out.iterdir()
    if command("score", folder).returncode or run.outcome() != first:
        told.crashed("scored again it comes to something else")


def storing(folder: Path, times: int) -> Tally:
    return killed(Run, after_answers(400), folder, times)


def judging(folder: Path, times: int) -> Tally:
    return killed(lambda place: Run(place, variant="judged", rows=200), after_answers(400), folder, times)


def summarising(folder: Path, times: int) -> Tally:
    return killed(lambda place: Run(place, rows=100), after_the_last_answer, folder, times)


def replaying(folder: Path, times: int) -> Tally:
    rows = 3000
    replies = folder / "replies.jsonl"
    replies.write_text("".join(json.dumps({"sample": str(i), "text": f"It is {i % 6}."}) + "\n" for i in range(rows)))
    return killed(lambda place: Run(place, "--model", f"replay:{replies}", rows=rows), at_any_time, folder, times)


def over_http(folder: Path, times: int) -> Tally:
    with ExitStack() as stack:
        server = stack.enter_context(served())
        return killed(lambda place: Served(place, server, rows=300), after_answers(300), folder, times)


def transformers(folder: Path, times: int) -> Tally:
    arguments = ("--model", "demo", "--engine", "transformers", "--device", "cpu", "--batch-size", 4)
    return killed(lambda place: Run(place, *arguments, rows=150), after_answers(150), folder, times, alike=False)


def of_vllm(place: Path) -> Run:
    """A run of 200 samples by vLLM, small enough for a machine without a GPU."""
    arguments = ("--engine-args", "enforce_eager=true", "--engine-args", "max_model_len=2048", "--engine-args", "max_num_seqs=8")
    return Run(place, "--model", "demo", "--engine", "vllm", *arguments, rows=200)


def vllm(folder: Path, times: int) -> Tally:
    return killed(of_vllm, after_answers(200), folder, times, alike=False)


def replicas(folder: Path, times: int) -> Tally:
    return killed(lambda place: Run(place, "--replicas", 2), after_answers(400), folder, times)


FAULTS: tuple[Fault, ...] = (
    Fault("kill -9 while storing, plugin", storing, 30, 2),
    Fault("kill -9 while judging, plugin asked by plugin", judging, 15, 1),
    Fault("kill -9 while summarising, plugin", summarising, 12, 1),
    Fault("kill -9, replay", replaying, 12, 1),
    Fault("kill -9, openai", over_http, 10, 1),
    Fault("kill -9, transformers", transformers, 15, 0, "transformers"),
    Fault("kill -9, Ray", replicas, 3, 0, "ray"),
    Fault("kill -9, vLLM", vllm, 3, 0, "vllm"),
)
