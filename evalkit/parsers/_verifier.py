"""The worker process of `verified`: a script that answers one job a line. Nothing imports it but its tests.

A job is {"reply": text, "answers": [texts], "seconds": number} in JSON; what comes back is 1 (the reply says one of the answers),
0 (it does not) or -1 (nothing in it could be read). The kernel ends the process where a job takes longer than its seconds.

Source: TIGER-AI-Lab/Pixel-Reasoner at a3a6c3a, `experience_maker.py`, `rule_reward` and `handle_boxed`. Everything is compared in
lower case, which leaves two branches of theirs without effect: "Answer:" is never found, and letters are compared as any text.
"""

import json
import re
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

MOST_MEMORY = 4 << 30
"""Bytes of address space: a number of a billion digits ends the job, not the machine."""
BOX = "\\boxed{"
TIDIED = (("dfrac", "frac"), ("\\text", ""), ("\\varnothing", "\\emptyset"), ("minutes", ""), ("cm", ""))
"""What the authors rewrite in replies and answers alike."""


def judged(reply: str, answers: Sequence[str], compare: Callable[[str, str], int]) -> int:
    """1 where a candidate of the reply is one of the answers, else the better of what `compare` says of them, -1 where there is none.

    An answer with commas is also found where each of its parts stands anywhere behind the last "boxed".

    >>> judged(r"first \\boxed{4}, no, \\boxed{5} <answer>4</answer>", ["4"], lambda candidate, answer: int(candidate == answer))
    1
    """
    reply, verdict = reply.lower(), -1
    for answer in accepted(answers):
        boxed = answer if "\\boxed" in answer else f"{BOX}{answer}}}"
        for candidate in candidates(reply):
            verdict = max(verdict, compare(tidied(candidate), tidied(boxed)))
            if verdict == 1:
                return 1
        parts, place = boxed[len(BOX) : -1].split(","), reply.rfind("boxed")
        if len(parts) > 1 and place >= 0 and all(part.strip() in reply[place:] for part in parts):
            return 1
    return verdict


def candidates(reply: str) -> Iterator[str]:
    """What of a lower-case reply is compared, in order: all from the last `\\boxed`, the first `<answer>` of one line, the whole."""
    if "\\boxed" in reply:
        yield reply[reply.rindex("\\boxed") :].strip()
    if tag := re.search("<answer>(.*?)</answer>", reply):
        yield f"{BOX}{tag[1]}}}"
    yield reply


def accepted(answers: Sequence[str]) -> list[str]:
    """The answers in lower case; before them the first that has a percent sign, without it.

    >>> accepted(["45%", "Almost half"])
    ['45', '45%', 'almost half']
    """
    lower = [answer.lower() for answer in answers]
    bare = [answer.replace("%", "") for answer in lower if "%" in answer][:1]
    return [*(answer for answer in bare if answer not in lower), *lower]


def tidied(text: str) -> str:
    """The text with what the authors rewrite rewritten."""
    for word, other in TIDIED:
        text = text.replace(word, other)
    return text


def main() -> None:
    """Answers jobs until there are no more, "ready" first."""
    with suppress(ValueError, OSError):  # a system may not limit address space
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    from math_verify import parse, verify

    answered, sys.stdout = sys.stdout, sys.stderr  # whatever the libraries print is no answer

    def compare(candidate: str, answer: str) -> int:
        try:
            said, gold = parse(candidate, parsing_timeout=None), parse(answer, parsing_timeout=None)
            return int(verify(said, gold, timeout_seconds=None)) if said and gold else -1
        except Exception:  # noqa: BLE001 - what a text makes the libraries stumble over; the authors catch all too
            return -1

    answered.write("ready\n")
    answered.flush()
    for line in sys.stdin:
        job = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, job["seconds"])  # nobody handles the signal, so it ends the process
        verdict = judged(job["reply"], job["answers"], compare)
        signal.setitimer(signal.ITIMER_REAL, 0)
        answered.write(f"{verdict}\n")
        answered.flush()


if __name__ == "__main__":
    main()
