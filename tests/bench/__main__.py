"""`make bench`: what is measured rather than tested, one table, each row against its goal on this machine.

python -m tests.bench [MODULE ...]

Each module runs in a process of its own, so that its peak memory is its own; named ones run alone. A row that misses its goal says
BELOW, and a rate below its goal prints where the time goes; the last line counts them. A row for which something is not installed is
not measured, and counted apart. A ratio is the limit's seconds over ours, the limit measured in the same process, pass by pass;
`spread` is the least and the most of the passes. `loop` tells how fast this machine's interpreter is.
"""

import json
import subprocess
import sys
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROWS = (
    ("vLLM, 1,000 one-image requests of shapes: times bare LLM.generate", "vllm shapes", "ratio", 0.97, "at least"),
    ("vLLM, 200 photographs from files: times open all, then generate", "vllm photographs", "ratio", 1.1, "at least"),
    ("vLLM, 300 conversations of 3 turns: times all turns known", "vllm turns", "ratio", 0.90, "at least"),
    ("vLLM, mean running sequences: times bare LLM.generate", "vllm occupancy", "ratio", 0.95, "at least"),
    ("transformers, 300 samples: times a sorted loop by hand", "transformers", "ratio", 0.95, "at least"),
    ("openai engine on vllm serve: times a bare asyncio client", "openai", "ratio", 0.95, "at least"),
    ("8 replicas through Ray: times work over slots", "replicas", "ratio", 0.95, "at least"),
    ("the same: the busiest over the least busy, less 1", "replicas", "spread", 0.02, "at most"),
    ("replay engine, one rule, JSON lines on: samples/s at 100,000", "harness 100000", "rate", 10_000, "at least"),
    ("the same: peak memory in MB at 1,000,000", "harness 1000000", "megabytes", 400, "at most"),
    ("store: milliseconds an answer at 1,000,000 rows", "store append", "milliseconds", 0.1, "at most"),
    ("a finished run of 100,000 samples again: seconds", "store resume", "seconds", 10, "at most"),
    ("evalkit --help: median seconds of 15", "start", "seconds", 0.10, "at most"),
    ("10,000 clustered resamples of 12,578 rows, 398 images: seconds", "resamples", "seconds", 1.0, "at most"),
    ("95% intervals, 100 clusters up: points off 95 in 100, simulated", "simulation coverage", "coverage", 1.0, "at most"),
    ("tests at 5%, simulated: points of false alarms above that", "simulation alarms", "alarms", 0.0, "at most"),
    ("power, simulated: points off the exact test's", "simulation power", "power", 3.0, "at most"),
    ("NMS-AP: times as fast as its literal restatement", "nms_ap", "ratio", 20, "at least"),
    ("J and F of a video of 100 frames of 854 x 480: seconds", "jf 100", "seconds", 1.0, "at most"),
    ("gIoU and cIoU of 10,000 masks of 1024 x 1024: times pycocotools", "masks 10000", "ratio", 1.0, "at least"),
)
NEEDS = {"vllm": "vllm", "openai": "vllm", "replicas": "ray", "transformers": "transformers"}


def main(named: list[str]) -> None:
    below = unmeasured = 0
    print(f"loop: {interpreter():.0f} million additions a second")
    print(f"{'what':66} {'measured':>10} {'spread':>15} {'goal':>16}")
    for what, command, key, goal, sense in ROWS:
        module = command.split()[0]
        if named and module not in named:
            continue
        if find_spec(needed := NEEDS.get(module, "evalkit")) is None:
            unmeasured += 1
            print(f"{what:66} not measured: {needed} is not installed", flush=True)
            continue
        told = measured(command)
        met = told[key] >= goal if sense == "at least" else told[key] <= goal
        below += not met
        spread = f"{told['least']:.3g} to {told['most']:.3g}" if key == "ratio" and "least" in told else ""
        print(f"{what:66} {told[key]:>10,.3g} {spread:>15} {f'{sense} {goal:,}':>16}{'' if met else '  BELOW'}", flush=True)
        if not met and key == "rate":
            print(run(f"{command} --profile").stderr, flush=True)
    if unmeasured:
        print(f"not measured: {unmeasured}")
    print(f"below: {below}")


@cache
def measured(command: str) -> dict[str, Any]:
    """What a module and its arguments tell, measured once."""
    told: dict[str, Any] = json.loads(run(command).stdout.splitlines()[-1])
    return told


def run(command: str) -> subprocess.CompletedProcess[str]:
    """The module's process, ended. Raises `SystemExit` with the end of what it said where it failed."""
    module, *arguments = command.split()
    line = [sys.executable, "-m", f"tests.bench.{module}", *arguments]
    ended = subprocess.run(line, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    if ended.returncode:
        sys.exit(f"{command} failed:\n{ended.stderr[-3000:]}")
    return ended


def interpreter() -> float:
    """Millions of additions a second in a plain loop, the best of five."""

    def once() -> float:
        begun, total = time.perf_counter(), 0
        for number in range(1_000_000):
            total += number
        return 1 / (time.perf_counter() - begun)

    return max(once() for _ in range(5))


if __name__ == "__main__":
    main(sys.argv[1:])
