"""Answers compared by math-verify in a process of its own: Pixel Reasoner's table of replies, and what would never end."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from evalkit.errors import UserError
from evalkit.metrics.text import GoldText
from evalkit.parsers import is_verified, verified
from evalkit.parsers import math as of_math
from evalkit.types import Generate, Message, Prediction, Sample, Unparsed, Wants

pytest.importorskip("math_verify", reason="the extra math is not installed")

NOTHING = Unparsed("nothing that math-verify can read")
ENDLESS = r"\boxed{9^{9^{9^9}}}"
TABLE = [
    *[(reply, "A", True) for reply in (r"\boxed{A}", r"\boxed{(A)}", r"\boxed{\text{A}}", "<answer>A</answer>")],
    *[(reply, "A", False) for reply in (r"\boxed{A. red}", r"\boxed{A: red}", r"\boxed{B}")],
    *[(reply, "A", NOTHING) for reply in ("The answer is A", "Answer: A", "")],
    *[(reply, "4", True) for reply in (r"\boxed{4}", r"\boxed{4.0}", "There are 4 dogs", "I see 3 cats and 4 dogs")],
    *[
        (reply, "4", False)
        for reply in (r"\boxed{four}", r"\boxed{4 dogs}", r"There are 4 dogs. \boxed{5}", r"first \boxed{4} then \boxed{5}")
    ],
    *[(reply, "45%", True) for reply in (r"\boxed{45%}", r"\boxed{45}", r"\boxed{0.45}")],
    (r"\boxed{Facebook}", "facebook", True),
    (r"\boxed{new york}", "New York City", False),
    (r"\boxed{the siege of krishnapur and troubles}", "Troubles, The Siege of Krishnapur", True),
    (r"\boxed{share contacts via nhs test and trace}", "share contacts", False),
    (r"\boxed{5} <answer>4</answer>", "4", True),
]
"""What the authors' own functions say, run with math-verify 0.9.0; their -1 is nothing that can be read."""


@pytest.mark.parametrize("boxed", [False, True], ids=["bare", "boxed"])
@pytest.mark.parametrize(("reply", "answer", "found"), TABLE)
def test_a_reply_is_judged_as_by_the_authors_functions(reply: str, answer: str, found: bool | Unparsed, boxed: bool) -> None:
    assert is_verified(reply, [f"\\boxed{{{answer}}}" if boxed else answer]) == found


@pytest.mark.parametrize(
    ("reply", "answers", "found"),
    [
        (r"\boxed{red}", ["blue", "red"], True),
        (r"\boxed{green}", ["blue", "red"], False),
        (r"\boxed{45}", ["half", "45%"], True),
        (r"\boxed{\dfrac{1}{2}}", [r"\frac{1}{2}"], True),
        (r"\boxed{30 minutes}", ["30"], True),
        ("<answer>4\n</answer>", ["4"], NOTHING),
        (r"\boxed{it holds b and a}", ["a, b"], True),
        ("a and b, without a box", ["a, b"], NOTHING),
        (r"\boxed{\frac{1}{", ["7"], False),
    ],
)
def test_several_answers_units_and_parts(reply: str, answers: list[str], found: bool | Unparsed) -> None:
    assert is_verified(reply, answers) == found


@pytest.fixture
def deadline(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(of_math, "DEADLINE", 1.5)
    return 1.5


def test_a_reply_that_would_compute_for_ever_ends_by_the_deadline_and_the_next_is_judged(deadline: float) -> None:
    assert is_verified(r"\boxed{4}", ["4"]) is True  # the process is there
    begun = time.monotonic()
    assert is_verified(ENDLESS, ["4"]) == Unparsed("no verdict of math-verify within 1.5 seconds")
    assert time.monotonic() - begun < deadline + 5
    assert is_verified(r"\boxed{4}", ["4"]) is True


@pytest.mark.parametrize("reply", [r"\boxed{10000000!}", r"\boxed{2^{2^{200}}}", r"\boxed{" + "(" * 20_000, "4 " * 20_000])
def test_other_replies_that_are_hard_to_compute_end_too(reply: str, deadline: float) -> None:
    assert is_verified(reply, ["4"]) is not True
    assert is_verified(r"\boxed{4}", ["4"]) is True


def test_one_process_serves_all_replies_until_one_ends_it(deadline: float) -> None:
    is_verified(r"\boxed{4}", ["4"])
    first = of_math._worker._process
    assert first is not None
    is_verified(r"\boxed{5}", ["4"])
    assert of_math._worker._process is first
    is_verified(ENDLESS, ["4"])
    assert first.poll() == -signal.SIGALRM
    assert is_verified(r"\boxed{4}", ["4"]) is True
    assert of_math._worker._process is not first


def test_a_process_that_somebody_kills_is_replaced_and_the_reply_judged() -> None:
    is_verified(r"\boxed{4}", ["4"])
    assert of_math._worker._process is not None
    os.kill(of_math._worker._process.pid, signal.SIGKILL)
    assert is_verified(r"\boxed{4}", ["4"]) is True


def test_a_reply_that_is_too_long_is_not_judged() -> None:
    reply = "I see 3 cats and 4 dogs. " * 2_000
    assert is_verified(reply, ["4"]) is True
    assert is_verified(reply + " ", ["4"]) == Unparsed("longer than 50,000 characters")


def test_lone_surrogates_and_controls_go_through() -> None:
    assert is_verified("\ud800\x00\n\u2028 \\boxed{4}", ["4"]) is True


@pytest.mark.skipif(shutil.which("ps") is None, reason="there is no ps to see processes with")
def test_the_process_ends_with_the_one_that_started_it() -> None:
    code = (
        "from evalkit.parsers import is_verified, math; is_verified('4', ['4']); import os, signal;"
        "os.write(1, str(math._worker._process.pid).encode()); {}"
    )
    for end in ("pass", "os.kill(os.getpid(), signal.SIGKILL)"):
        done = subprocess.run([sys.executable, "-W", "error", "-c", code.format(end)], capture_output=True, text=True, check=False)
        assert done.stderr == ""
        assert gone(int(done.stdout))


def gone(pid: int) -> bool:
    """Whether a process ends in the next ten seconds; one that nobody has waited for yet has ended."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
        if state.startswith("Z"):
            return True
        time.sleep(0.05)
    return False


def test_without_the_extra_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_math, "_worker", of_math._Worker())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"comparing answers needs math-verify: pip install 'evalkit\[math\]'"):
        is_verified("4", ["4"])


def test_a_math_verify_that_does_not_load_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_math, "_worker", of_math._Worker())
    monkeypatch.setattr("sys.executable", shutil.which("false"))
    with pytest.raises(UserError, match=r"does not load \(exit status 1\): pip install --force-reinstall 'evalkit\[math\]'"):
        is_verified("4", ["4"])


def test_a_rule_reads_whether_the_reply_says_the_target_or_one_of_several() -> None:
    sample = Sample("1", "How many?", "How many?", (), Wants("count"), target=4)
    assert verified(Prediction(r"so \boxed{4.0}", "4.0"), sample) is True
    assert verified(Prediction(r"so \boxed{5}", "5"), sample) is False
    assert verified(Prediction("", None), sample) == NOTHING
    several = Sample("1", "Who?", "Who?", (), Wants("text"), target=GoldText(("red", "blue")))
    assert verified(Prediction(r"\boxed{Blue}", "Blue"), several) is True


def test_all_turns_of_the_model_are_its_reply() -> None:
    sample = Sample("1", "How many?", "How many?", (), Wants("count"), target=4)
    asked = Generate((Message("user", ("How many?",)), Message("assistant", (r"\boxed{4}, but wait",)), Message("user", ("Go on: 7",))))
    assert verified(Prediction("I am sure.", "4", asked=asked), sample) is True
    assert isinstance(verified(Prediction("I am sure.", "4"), sample), Unparsed)
