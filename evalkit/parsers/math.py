"""Answers that math-verify compares: Pixel Reasoner's own rule. It evaluates text, so it works in a process that can be ended."""

import atexit
import importlib.util
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..types import Prediction, Sample, Unparsed

DEADLINE = 10.0
"""Seconds for all comparisons of one reply."""
LONGEST = 50_000
"""Characters of a reply: five turns of 2,048 tokens have fewer."""


def verified(prediction: Prediction, sample: Sample) -> bool | Unparsed:
    """Whether the reply says the sample's target, or one of several, by `is_verified`: a `Rule.parse` beside `Share("accuracy")`.

    Several accepted answers are the `answers` of a target that has them. Of a conversation all turns of the model are its reply, as
    with the authors.
    """
    answers = getattr(sample.target, "answers", (sample.target,))
    return is_verified(_whole(prediction), [str(answer) for answer in answers])


def _whole(prediction: Prediction) -> str:
    """All that the model said: its earlier turns too."""
    turns = prediction.asked.messages if prediction.asked else ()
    earlier = [part for turn in turns if turn.role == "assistant" for part in turn.content if isinstance(part, str)]
    return "\n".join([*earlier, prediction.text])


def is_verified(text: str, answers: Sequence[str]) -> bool | Unparsed:
    r"""Whether math-verify finds a reply to say one of the answers, by Pixel Reasoner's rule; letter case never matters.

    Compared are, in order, what the last `\boxed{}` holds, a whole `<answer>` and the reply as it is; a wrong box does not end the
    search. An answer may be in a `\boxed{}` itself. Of an answer with commas it is enough that each part stands behind the last
    "boxed", and one with a percent sign is accepted without it. Details and source: `_verifier.py`.

    `Unparsed` where nothing in the reply can be read, where it has more than 50,000 characters, and where there is no verdict after
    10 seconds: the process is then ended and the next reply gets another.

    Raises:
        UserError: math-verify is not installed.
    """
    if len(text) > LONGEST:
        return Unparsed(f"longer than {LONGEST:,} characters")
    verdict = _worker.ask({"reply": text, "answers": list(answers), "seconds": DEADLINE})
    if isinstance(verdict, Unparsed):
        return verdict
    return verdict == 1 if verdict >= 0 else Unparsed("nothing that math-verify can read")


def installed() -> None:
    """Raises `UserError` where math-verify is not installed."""
    if importlib.util.find_spec("math_verify") is None:
        raise UserError("comparing answers needs math-verify: pip install 'evalkit[math]'")


class _Worker:
    """The process that compares: started at the first job, again after one that ended it, and ended with this process."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def ask(self, job: dict[str, Any]) -> int | Unparsed:
        """The verdict, or why there is none. A job whose process somebody else ended is done again, once."""
        with self._lock:
            for _ in range(2):
                if self._process is None or self._process.poll() is not None:
                    self._start()
                if answer := self._exchange(json.dumps(job) + "\n"):
                    return int(answer)
                if (status := self._end()) == -signal.SIGALRM:
                    return Unparsed(f"no verdict of math-verify within {job['seconds']:g} seconds")
        return Unparsed(f"math-verify ended with exit status {status}")

    def _start(self) -> None:
        installed()
        self._end()
        # -P: the script's folder, whose modules are named as some of the standard library's, stays off the path
        command = [sys.executable, "-P", str(Path(__file__).with_name("_verifier.py"))]
        pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nothing, encoding="ascii")
        atexit.register(self._end)
        if self._exchange("") != "ready\n":
            raise UserError(f"math-verify does not load (exit status {self._end()}): pip install --force-reinstall 'evalkit[math]'")

    def _exchange(self, line: str) -> str:
        """The process's next line after it got this one; empty where it has ended."""
        assert self._process and self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except BrokenPipeError:
            return ""
        return self._process.stdout.readline()

    def _end(self) -> int:
        """Ends the process, where there is one, and returns its exit status."""
        atexit.unregister(self._end)
        process, self._process = self._process, None
        if process is None:
            return 0
        assert process.stdin and process.stdout
        for pipe in (process.stdin, process.stdout):
            with suppress(BrokenPipeError):  # what was written to it and not read
                pipe.close()
        try:
            return process.wait(1)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


_worker = _Worker()
