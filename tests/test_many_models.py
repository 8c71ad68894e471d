"""Several models in one go: which are meant, in what order, and what comes of one that fails."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from evalkit.cli.run import named
from evalkit.errors import UserError
from evalkit.report.table import headlines

TASK = """
from evalkit import Accuracy, Rule, Sample, Task, Wants

VARIANTS = ()
DATA = None


def task(variant, data):
    rows = [Sample(str(i), "q", "q", (), Wants("yes_no"), "yes") for i in range(4)]
    return Task("own", 1, lambda: iter(rows), (Rule("strict", lambda p, s: p.answer, Accuracy()),), "accuracy", ("yes_no",))
"""


def evalkit(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "evalkit", *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(TASK)
    for step, right in ((2, 1), (10, 4), (9, 2)):
        rows = [{"sample": str(i), "text": "yes" if i < right else "no"} for i in range(4)]
        (tmp_path / f"step-{step}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def checkpoints(place: Path, *names: str) -> None:
    for name in names:
        (place / "ckpts" / name).mkdir(parents=True)


def test_a_pattern_is_its_checkpoints_in_natural_order(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoints(place, "step-10", "step-2", "step-100", "step-9")
    (place / "ckpts" / "trainer_state.json").write_text("{}")
    (place / "ckpts" / "served.toml").write_text('source = "openai:x"')
    assert named("ckpts/*") == ["ckpts/served.toml", "ckpts/step-2", "ckpts/step-9", "ckpts/step-10", "ckpts/step-100"]
    assert capsys.readouterr().err == "left out, no checkpoints: ckpts/trainer_state.json\n"
    assert named(str(place / "ckpts" / "step-1*")) == [str(place / "ckpts" / name) for name in ("step-10", "step-100")]


def test_commas_and_patterns_go_together_and_no_model_comes_twice(place: Path) -> None:
    checkpoints(place, "a", "b")
    assert named("demo, ckpts/*,ckpts/b,openai:gpt-4o") == ["demo", "ckpts/a", "ckpts/b", "openai:gpt-4o"]
    assert named("replay:step-*.jsonl") == ["replay:step-2.jsonl", "replay:step-9.jsonl", "replay:step-10.jsonl"]
    assert named("plugin:echo.py:Echo") == ["plugin:echo.py:Echo"]


def test_a_name_that_is_there_is_itself_whatever_is_in_it(place: Path) -> None:
    checkpoints(place, "odd, [1]*")
    assert named("ckpts/odd, [1]*") == ["ckpts/odd, [1]*"]


@pytest.mark.parametrize(("text", "said"), [("ckpts/*", r"match 'ckpts/\*', found none"), (" , ", "expected models with commas")])
def test_nothing_named_is_said(place: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        named(text)


def test_each_has_a_run_of_its_own_and_one_table_comes_at_the_end(place: Path) -> None:
    told = evalkit("run", "--model", "replay:step-*.jsonl", "--tasks", "own.py", "--out", "out")
    assert told.returncode == 0, told.stderr
    rows = [line for line in told.stdout.splitlines() if line.startswith("| step-")]
    assert [row.split("|")[1].strip() for row in rows] == ["step-2", "step-9", "step-10"]
    assert [row.split("|")[2].split()[0] for row in rows] == ["25.0", "_50.0_", "**100.0**"]
    assert len(list(Path("out").iterdir())) == 3
    assert "Read: accuracy (strict): own." in told.stdout


def test_one_that_fails_is_told_and_the_others_go_on(place: Path) -> None:
    told = evalkit("run", "--model", "replay:step-2.jsonl,ckpts/none,replay:step-10.jsonl", "--tasks", "own.py", "--out", "out")
    assert told.returncode == 2
    assert "no model 'ckpts/none'" in told.stderr or "ckpts/none" in told.stderr
    assert "not evaluated, 1 of 3: ckpts/none" in told.stderr
    assert len([line for line in told.stdout.splitlines() if line.startswith("| step-")]) == 2
    assert "Traceback" not in told.stderr


def test_a_wrong_option_is_said_once_and_not_for_every_model(place: Path) -> None:
    told = evalkit("run", "--model", "replay:step-*.jsonl", "--tasks", "own.py", "--out", "out", "--label", "x")
    assert told.returncode == 2
    assert told.stderr.count("expected --label key=value") == 2
    assert "(3 of 3)" not in told.stderr


def test_samples_without_an_answer_are_exit_code_1(place: Path) -> None:
    (place / "own.py").write_text(TASK.replace("(), Wants", '(Image(Path("gone.png")),), Wants').replace("import Acc", "import Image, Acc"))
    (place / "own.py").write_text("from pathlib import Path\n" + (place / "own.py").read_text())
    (place / "echo.py").write_text("class Echo:\n    def generate(self, messages, images):\n        return 'yes'\n")
    told = evalkit("run", "--model", "plugin:echo.py:Echo,replay:step-2.jsonl", "--tasks", "own.py", "--out", "out")
    assert told.returncode == 1, told.stderr
    assert "4 answers did not come" in told.stderr


def test_headlines_are_the_first_rules_whole_and_composites() -> None:
    entry = {"task": "t", "headline": "score", "composites": ["sum"], "limit": None, "published": None, "samples": 2}
    rows = [
        {"task": "t", "metric": metric, "rule": rule, "subset": subset, "value": value}
        for metric, rule, subset, value in (
            ("accuracy", "official", "overall", 0.5),
            ("score", "official", "sum", 200.0),
            ("score", "strict", "sum", 100.0),
            ("score", "official", "part", 10.0),
        )
    ]
    summary = {"model": "m", "tasks": [entry], "numbers": rows}
    assert [(row["rule"], row["subset"]) for row in headlines(summary)] == [("official", "sum")]
    empty = {**summary, "tasks": [{**entry, "task": "other"}]}
    assert headlines(empty) == []
