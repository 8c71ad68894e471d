"""Nothing paid for is ever lost: a run killed at any moment goes on from what was committed, and ends in the same numbers."""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

TASK = """
from evalkit import Accuracy, Rule, Sample, Task, Unparsed, Wants, parsers

VARIANTS = ()
DATA = None


def task(variant, data):
    return Task("quiz", 1, samples, (Rule("strict", lambda p, s: parsers.count(p.answer), Accuracy()),), "accuracy", ("count",))


def samples():
    for i in range(120):
        yield Sample(str(i), f"What is {i} modulo 7?", f"What is {i} modulo 7?", (), Wants("count"), i % 7, group=str(i // 3))
"""

ENGINE = '''
import time
from pathlib import Path

ASKED = Path(__file__).with_name("asked.txt")
BROKEN = Path(__file__).with_name("broken.txt")


class Slow:
    """Right two times of three; slow enough to be killed half-way."""

    def generate(self, messages, images):
        time.sleep(0.01)
        text = messages[-1]["content"][-1]["text"]
        if BROKEN.exists() and "is 5 " in text:
            raise RuntimeError("the machine is on fire")
        with ASKED.open("a") as file:
            file.write(text + "\\n")
        number = int(text.split()[2])
        return f"The answer is {number % 7 if number % 3 else 9}."
'''


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "quiz.py").write_text(TASK)
    (tmp_path / "slow.py").write_text(ENGINE)
    return tmp_path


def command(place: Path, out: str, *more: str) -> list[str]:
    model, task = f"plugin:{place / 'slow.py'}:Slow", str(place / "quiz.py")
    return [sys.executable, "-m", "evalkit", "run", "--model", model, "--tasks", task, "--out", str(place / out), *more]


def run(place: Path, out: str, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(place, out, *more), capture_output=True, text=True, check=False)


def asked(place: Path) -> list[str]:
    return (place / "asked.txt").read_text().splitlines() if (place / "asked.txt").exists() else []


def only_folder(out: Path) -> Path:
    (folder,) = out.iterdir()
    return folder


def test_killed_and_typed_again_it_asks_only_the_rest(place: Path) -> None:
    assert run(place, "whole").returncode == 0
    (place / "asked.txt").unlink()

    process = subprocess.Popen(command(place, "killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(asked(place)) < 40 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    folder = only_folder(place / "killed")
    committed = sqlite3.connect(folder / "answers.sqlite").execute("SELECT count(*) FROM answers").fetchone()[0]
    assert 0 < committed < 120
    assert not (folder / "summary.json").exists()
    (place / "asked.txt").unlink()

    assert run(place, "killed").returncode == 0
    assert only_folder(place / "killed") == folder
    assert len(asked(place)) == 120 - committed
    assert (folder / "summary.json").read_bytes() == (only_folder(place / "whole") / "summary.json").read_bytes()


def test_a_gap_is_said_and_only_it_is_asked_again(place: Path) -> None:
    (place / "broken.txt").touch()
    told = run(place, "out")
    assert told.returncode == 1
    assert "1 answers did not come" in told.stderr
    assert "on fire" in told.stderr
    summary = json.loads((only_folder(place / "out") / "summary.json").read_text())
    assert [gap["sample"] for gap in summary["tasks"][0]["gaps"]] == ["5"]
    row = next(row for row in summary["numbers"] if row["subset"] == "overall")
    assert (row["n"], row["gaps"]) == (119, 1)

    (place / "broken.txt").unlink()
    (place / "asked.txt").unlink()
    assert run(place, "out").returncode == 0
    assert asked(place) == ["What is 5 modulo 7?"]


def test_a_second_run_on_a_folder_in_use_is_refused(place: Path) -> None:
    process = subprocess.Popen(command(place, "out"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not asked(place) and time.monotonic() < deadline:
        time.sleep(0.02)
    told = run(place, "out")
    assert told.returncode == 2
    assert "another evalkit" in told.stderr
    assert process.wait() == 0


def test_interrupted_it_says_that_nothing_is_lost(place: Path) -> None:
    process = subprocess.Popen(command(place, "out"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(asked(place)) < 10 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "the same command goes on" in said
    assert "Traceback" not in said


def test_scored_again_without_the_model_the_numbers_are_the_same(place: Path) -> None:
    assert run(place, "out").returncode == 0
    folder = only_folder(place / "out")
    (place / "slow.py").unlink()
    told = subprocess.run([sys.executable, "-m", "evalkit", "score", str(folder), "--check"], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (0, "every number is the same\n")

    changed = TASK.replace("parsers.count(p.answer)", "1")
    (place / "quiz.py").write_text(changed)
    told = subprocess.run([sys.executable, "-m", "evalkit", "score", str(folder), "--check"], capture_output=True, text=True, check=False)
    assert told.returncode == 1
    assert "quiz accuracy (strict) overall: was" in told.stderr

    (place / "quiz.py").write_text(TASK.replace('f"What is {i} modulo 7?", (),', 'f"Say {i} modulo 7", (),'))
    told = subprocess.run([sys.executable, "-m", "evalkit", "score", str(folder)], capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert "its prompt" in told.stderr


def test_another_runs_answers_are_used_where_the_request_is_the_same(place: Path) -> None:
    assert run(place, "first", "--limit", "30").returncode == 0
    first = len(asked(place))
    assert 30 <= first < 120
    told = run(place, "second", "--reuse", str(only_folder(place / "first")))
    assert told.returncode == 0
    assert len(asked(place)) == 120
