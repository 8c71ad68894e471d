"""Disks that fill up, are read-only or go away: one clear message, nothing stored is lost, and the run goes on once it is mended.

A full disk, and one that is read-only, is a small file system of its own, which root may mount; a quota is a limit on the size of every
file that the process writes.
"""

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.faults.quiz import Quiz, finished, reference, refused
from tests.faults.tally import Fault, Tally

KIB = 1 << 10
SIZE, MOST = 4096, 700
"""Kibibytes of the small file system, and the most that is left of it: less than a run takes."""
FILL = 120
"""Sentences added to an answer, so that the answers fill it."""
WAYS = ("no right to write", "the right lost after 40 of 120 answers", "a tmpfs mounted read-only")


def full(place: Path, times: int) -> Tally:
    """A disk with room for some of the run, more at each trial: it fills up wherever the run is then."""
    told, expected = Tally(), reference(place / "whole", fill=FILL)
    for number in range(times):
        here = place / str(number)
        with _mounted(here) as mounted:
            if not mounted:
                told.lacks = "mount"
                return told
            quiz, ballast = Quiz(place / f"{number} files", fill=FILL, out=here / "out"), here / "ballast"
            room = 8 + (MOST - 8) * number // times
            ballast.write_bytes(bytes((SIZE - room) * KIB))
            ended = quiz.run()
            if ended.returncode:
                refused(told, ended, "No space left", "disk is full")
            else:
                told.crashed(f"it ran with {room} KiB of room")
            ballast.unlink()
            quiz.goes_on(told, expected)
            told.tried += 1
    told.notes.append(f"by a tmpfs of {SIZE} KiB with 8 to {MOST} KiB of room")
    return told


def quota(place: Path, times: int) -> Tally:
    """No file may grow beyond a bound, a higher one at each trial."""
    told, expected = Tally(), reference(place / "whole", fill=FILL)
    for number in range(times):
        quiz = Quiz(place / str(number), fill=FILL)
        most = (2 + 300 * number // times) * KIB
        ended = quiz.run(preexec_fn=partial(resource.setrlimit, resource.RLIMIT_FSIZE, (most, most)))
        refused(told, ended, "File too large", "disk I/O error", "disk is full")
        quiz.goes_on(told, expected)
        told.tried += 1
    told.notes.append("by RLIMIT_FSIZE of 2 to 302 KiB")
    return told


def read_only(place: Path, times: int) -> Tally:
    """In turn: a results folder without the right to write, one that loses it in the middle of the run, one mounted read-only."""
    told, expected, done = Tally(), reference(place / "whole"), dict[str, None]()
    bound = ["setpriv", "--bounding-set=-all"] if os.geteuid() == 0 else []  # else root may write anywhere
    for number in range(times):
        here = place / str(number)
        with _mounted(here) as mounted:
            quiz, way = Quiz(place / f"{number} files", seconds=0.01, out=here / "out"), WAYS[number % len(WAYS)]
            if lacking := _lacking(bound) if way != WAYS[2] else "" if mounted else "mount":
                told.lacks = lacking
                continue
            if way == WAYS[0]:
                here.chmod(0o555)
                refused(told, quiz.run(before=bound), "Permission denied")
                here.chmod(0o755)
            elif way == WAYS[1]:
                with quiz.held():
                    process = quiz.start(before=bound)
                    quiz.reaches(process, 40)
                    quiz.folder.chmod(0o555)
                refused(told, finished(process), "Permission denied")
                quiz.folder.chmod(0o755)
            else:
                _remount(here, "ro")
                refused(told, quiz.run(), "Read-only file system")
                _remount(here, "rw")
            quiz.goes_on(told, expected)
            told.tried += 1
            done[way] = None
    told.notes.append(f"in turn: {'; '.join(done)}")
    return told


def gone(place: Path, times: int) -> Tally:
    """The results folder is moved away in the middle of the run, or removed, in turn."""
    told, expected = Tally(), reference(place / "whole")
    for number in range(times):
        quiz, aside = Quiz(place / str(number), seconds=0.02), place / f"{number} moved"
        with quiz.held():
            process = quiz.start()
            quiz.reaches(process, 40)
            quiz.out.rename(aside)
        if removed := number % 2 == 1:
            shutil.rmtree(aside)
        refused(told, finished(process), "removed or moved away")
        if quiz.out.exists():
            told.crashed(f"it wrote where the folder had been: {sorted(map(str, quiz.out.rglob('*')))}")
        if removed:
            quiz.forget()
        else:
            aside.rename(quiz.out)
        quiz.goes_on(told, expected)
        told.tried += 1
    told.notes.append("in turn moved away and put back (all is kept), and removed (it starts anew)")
    return told


@contextmanager
def _mounted(place: Path) -> Iterator[bool]:
    """Whether a small file system is mounted there; it is until the block ends."""
    place.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}k", "tmpfs", str(place)]
    done = not _lacking(line) and subprocess.run(line, capture_output=True, check=False).returncode == 0
    try:
        yield done
    finally:
        if done:
            subprocess.run(["umount", "-l", str(place)], check=True)


def _lacking(command: list[str]) -> str:
    """The program that a command begins with, where this machine does not have it; empty: it has, or there is no command."""
    return command[0] if command and shutil.which(command[0]) is None else ""


def _remount(place: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(place)], check=True)


FAULTS = (
    Fault("the disk fills up", full, 20, 3),
    Fault("a quota: no file may grow any more", quota, 10, 1),
    Fault("the results folder cannot be written", read_only, 6, 1),
    Fault("the results folder goes away in the middle of the run", gone, 6, 1),
)
