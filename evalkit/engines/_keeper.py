"""A process that ends what its parent started, once the parent is gone, however it went. A script; nothing imports it.

Who is killed leaves children behind, and vLLM's own wait for ever then, with all the memory of their GPUs. As started counts what comes
between the first line that this script writes and its second, which answers the one that it is sent.
"""

import os
import select
import sys
import time
from contextlib import suppress

import psutil  # type: ignore[import-untyped]  # vLLM needs it too

LOOK = 0.5
"""Seconds between looks at the parent and its children."""


def main() -> None:
    """Returns when the parent is gone, and what it started with it."""
    parent = psutil.Process(os.getppid())
    before, started, more = {*_below(parent), psutil.Process()}, set[psutil.Process](), True
    _say("ready")
    while os.getppid() == parent.pid:
        if not more:
            time.sleep(LOOK)
            continue
        more = not select.select([sys.stdin], [], [], LOOK)[0]
        started |= _below(parent) - before
        if not more:
            _say("seen")
    for process in started | {child for known in started for child in _below(known)}:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _say(word: str) -> None:
    with suppress(BrokenPipeError):  # the parent is gone, which shows by itself
        sys.stdout.write(f"{word}\n")
        sys.stdout.flush()


def _below(process: psutil.Process) -> set[psutil.Process]:
    """The processes that it has started, and those that these have."""
    with suppress(psutil.NoSuchProcess):
        return set(process.children(recursive=True))
    return set()


if __name__ == "__main__":
    main()
