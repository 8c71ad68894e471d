"""`make bench`: what is measured rather than tested, one table, each row against its goal on this machine.

Each row runs in a process of its own, so that its peak memory is its own. A row that misses its goal says BELOW, and a rate
below its goal prints where the time goes; the last line counts them. `loop` tells how fast this machine's interpreter is.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

ROWS = (
    ("replay engine, one rule, JSON lines on: samples/s at 100,000", "harness", ["100000"], "rate", 10_000, "at least"),
    ("the same: peak memory in MB at 1,000,000", "harness", ["1000000"], "megabytes", 400, "at most"),
    ("evalkit --help: median seconds of 15", "start", [], "seconds", 0.10, "at most"),
    ("10,000 clustered resamples of 12,578 rows, 398 images: seconds", "resamples", [], "seconds", 1.0, "at most"),
    ("NMS-AP: times as fast as its literal restatement", "nms_ap", [], "ratio", 20, "at least"),
    ("gIoU and cIoU of 10,000 masks of 1024 x 1024: times pycocotools", "masks", ["10000"], "ratio", 1.0, "at least"),
)


def main() -> None:
    below = 0
    print(f"loop: {interpreter():.0f} million additions a second")
    print(f"{'what':64} {'measured':>10} {'goal':>16}")
    for what, module, arguments, key, goal, sense in ROWS:
        command = [sys.executable, "-m", f"tests.bench.{module}", *arguments]
        told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
        measured = json.loads(told.stdout.splitlines()[-1])
        met = measured[key] >= goal if sense == "at least" else measured[key] <= goal
        below += not met
        print(f"{what:64} {measured[key]:>10,.3g} {sense + ' ' + format(goal, ','):>16}{'' if met else '  BELOW'}", flush=True)
        if not met and key == "rate":
            profile = subprocess.run([*command, "--profile"], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
            print(profile.stderr, flush=True)
    print(f"below: {below}")


def interpreter() -> float:
    """Millions of additions a second in a plain loop, the best of five."""

    def once() -> float:
        begun, total = time.perf_counter(), 0
        for number in range(1_000_000):
            total += number
        return 1 / (time.perf_counter() - begun)

    return max(once() for _ in range(5))


if __name__ == "__main__":
    main()
