"""`python -m tests.faults.child PLACE [DEED ...] -- ARGUMENTS`: evalkit's command line, which tells of itself in files of the folder PLACE.

    kept       the key of every answer whose commit has returned: what may not be lost
    memory     the most that the process took, in KiB; written at its end

A deed is done to the process first.

    clock      the clock goes back by an hour at every third look
    commas     the locale `commas`, which `LOCPATH` leads to, is taken up
    missed     the key of every answer that the store does not have is told too, in the file `missed`: what engines are asked
    window=N   so many conversations are live at once, whatever the engine has room for
"""

import itertools
import locale
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from evalkit import cli, runner
from evalkit.store import Store
from evalkit.types import Request, Response


def kept(place: Path) -> None:
    """Makes every store tell of what it has committed."""
    put, file = Store.put, _file(place / "kept")

    async def and_tell(self: Store, key: str, request: Request, response: Response) -> None:
        await put(self, key, request, response)
        os.write(file, f"{key}\n".encode())

    Store.put = and_tell  # type: ignore[method-assign]


def missed(place: Path) -> None:
    """Makes every store tell of what it does not have."""
    (place / "missed").unlink(missing_ok=True)
    get, file = Store.get, _file(place / "missed")

    def or_tell(self: Store, key: str) -> Response | None:
        known = get(self, key)
        if known is None:
            os.write(file, f"{key}\n".encode())
        return known

    Store.get = or_tell  # type: ignore[method-assign]


def clock() -> None:
    """Turns the clock back, over and over."""
    now, calls = time.time, itertools.count()
    time.time = lambda: now() - 3600 * (next(calls) // 3)


def commas() -> None:
    """Takes the locale `commas`."""
    locale.setlocale(locale.LC_ALL, "commas")
    assert f"{1.5:n}" == "1,5"


def window(live: int) -> None:
    """Holds every run to so many conversations at once."""
    run = runner.run

    def held(jobs: Any, roles: Any, started: Any, ended: Any, window: int) -> None:
        run(jobs, roles, started, ended, live)

    runner.run = held  # type: ignore[assignment]


def memory() -> str:
    """The most that this process has taken, in KiB. `ru_maxrss` would begin with what the process that started it had taken."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return found[1]


def _file(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)


def main() -> None:
    words = sys.argv[1:]
    end = words.index("--")
    place = Path(words[0])
    kept(place)
    for deed in words[1:end]:
        name, _, value = deed.partition("=")
        {"clock": clock, "commas": commas, "missed": lambda: missed(place), "window": lambda value=value: window(int(value))}[name]()
    sys.argv = ["evalkit", *words[end + 1 :]]
    try:
        cli.main()
    finally:
        (place / "memory").write_text(memory())


if __name__ == "__main__":
    main()
