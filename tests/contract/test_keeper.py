"""What an engine starts does not outlive a process that is killed, and a keeper that is let go ends nothing."""

import os
import signal
import subprocess
import sys
import time

import pytest

psutil = pytest.importorskip("psutil")

PARENT = """
import psutil, subprocess, sys, time
from evalkit.engines.launch import Keeper
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
before = subprocess.Popen(sleep, stdout=subprocess.DEVNULL)
with Keeper() as keeper:
    child = subprocess.Popen([sys.executable, "-c", f"import subprocess; subprocess.Popen({sleep}).wait()"], stdout=subprocess.DEVNULL)
    while not psutil.Process(child.pid).children():
        time.sleep(0.1)
    time.sleep(2)
after = subprocess.Popen(sleep, stdout=subprocess.DEVNULL)
LEFT
print(before.pid, child.pid, after.pid, keeper._process.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture(params=["", "keeper.leave()"], ids=["kept", "left"])
def family(request: pytest.FixtureRequest) -> "tuple[bool, list[psutil.Process]]":
    """Whether a keeper was there when a process was killed, and the processes that it had started before, in, and after the context."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT.replace("LEFT", request.param)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    numbers = parent.stdout.readline().split()
    before, child, after = (psutil.Process(int(number)) for number in numbers[:3])
    family = [before, child, *child.children(), after]
    assert len(family) == 4
    parent.kill()
    parent.wait()
    parent.stdout.close()
    return not request.param, family


def test_only_what_was_started_in_the_context_ends_with_a_parent_that_is_killed(family: "tuple[bool, list[psutil.Process]]") -> None:
    kept, (before, child, grandchild, after) = family
    ended = [child, grandchild] if kept else []
    try:
        _, alive = psutil.wait_procs(ended, timeout=60)
        assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []
        time.sleep(1)
        others = [one for one in (before, child, grandchild, after) if one not in ended]
        assert all(one.is_running() for one in others)
    finally:
        for one in (before, child, grandchild, after):
            if one.is_running():
                os.kill(one.pid, signal.SIGKILL)
