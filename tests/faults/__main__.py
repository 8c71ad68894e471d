"""`make faults`: what may happen to an evaluation is made to happen, and what was lost is counted.

python -m tests.faults [--quick] [MODULE ...]

A line for each fault: how often it was tried, how many answers were lost, how many errors were scored, how many crashes there were.
What is wrong is told below the line. A fault that this machine lacks something for is told, and is no failure; one that was tried less
often than it should be without such a reason is. The last line adds all up, and the exit code is 1 unless it is all zeros and every
fault was tried as often as it should be.
"""

import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from tests.faults.tally import Fault, Tally

MODULES = "kills servers disks damage folders engines signals surroundings images files texts secrets order fuzz".split()


def faults(named: list[str] | None = None) -> Iterator[tuple[str, Fault]]:
    """Every fault with the module it is in."""
    for module in named or MODULES:
        for fault in import_module(f"tests.faults.{module}").FAULTS:
            yield module, fault


def tried(fault: Fault, times: int) -> Tally:
    """The tally of a fault in a folder of its own; a trial that itself fails is a crash."""
    if fault.needs and find_spec(fault.needs) is None:
        return Tally(lacks=fault.needs)
    with tempfile.TemporaryDirectory() as folder:
        try:
            return fault.try_(Path(folder), times)
        except Exception:  # noqa: BLE001  the table goes on, and says so
            return Tally(crashes=1, notes=[traceback.format_exc()])


def main(words: list[str]) -> int:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a shell's background, for all below; and Ctrl-C is among the faults
        signal.signal(signal.SIGINT, signal.default_int_handler)
    quick = "--quick" in words
    named = [word for word in words if word != "--quick"]
    total, left_out, seldom = Tally(), 0, 0
    print(f"{'what':74} {'tried':>9} {'lost':>6} {'scored':>7} {'crashes':>8} {'seconds':>8}")
    for _, fault in faults(named):
        times = fault.quick if quick else fault.whole
        if not times:
            continue
        start = time.monotonic()
        told = tried(fault, times)
        total += told
        seconds = time.monotonic() - start
        if told.lacks and not any((told.tried, told.lost, told.scored, told.crashes)):
            left_out += 1
            print(f"{fault.what:74} not tried: needs {told.lacks}", flush=True)
        else:
            print(f"{fault.what:74} {told.tried:>9,} {told.lost:>6} {told.scored:>7} {told.crashes:>8} {seconds:>8.1f}", flush=True)
            if told.tried < times:
                seldom += not told.lacks
                told.notes.append(f"tried {told.tried:,} times of {times:,}" + f": the others need {told.lacks}" * bool(told.lacks))
        print(*(f"    {line}" for note in told.notes for line in note.splitlines()), sep="\n", end="\n" if told.notes else "", flush=True)
    print(f"tried: {total.tried:,}, not tried: {left_out} rows, tried too seldom: {seldom} rows")
    print(f"lost: {total.lost}, scored errors: {total.scored}, crashes: {total.crashes}")
    return int(any((seldom, total.lost, total.scored, total.crashes)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
