"""Runs whose number would mean something else are refused, before the model is asked or when their numbers are due."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import evalkit
from evalkit import api
from evalkit.errors import Refused

TASK = """
from evalkit import Accuracy, Request, Rule, Sample, Task, Wants
from evalkit.types import Generate, Message

VARIANTS = ()
DATA = None


class Extract:
    name, to = "extraction", "judge"

    def grade(self, sample, prediction):
        response = yield Request(Generate((Message("user", ("What is the answer in: " + prediction.text,)),)), to="judge")
        return response.text


def task(variant, data):
    return Task("own", 1, samples, (Rule("strict", PARSE, Accuracy(), reads="READS"),), "accuracy", ("yes_no",), **OPTIONS)


def samples():
    for i in range(ROWS):
        tags = frozenset({"even" if i % 2 == 0 else "odd"})
        yield Sample(str(i), f"q{i}", f"q{i}", (), Wants("yes_no"), "yes", tags=tags, options=("yes", "no"))
"""
PLUGIN = """
from pathlib import Path


class Yes:
    frame = "original"

    def generate(self, messages, images):
        Path(__file__).with_name("asked").touch()
        if "q3" in str(messages) and Path(__file__).with_name("broken").exists():
            raise RuntimeError("no answer")
        return "yes"
"""
WHOLE = 'dict(whole=("even", "odd"), published={"rows": 6, "even": 3, "odd": 3})'
VERDICT = 'lambda p, s: p.verdicts["extraction"]'


def own(place: Path, *, parse: str = "lambda p, s: p.answer", reads: str = "text", options: str = "{}", rows: int = 6) -> str:
    """The task file: six rows, even and odd."""
    path = place / "own.py"
    text = TASK.replace("PARSE", parse).replace("READS", reads).replace("OPTIONS", options).replace("ROWS", str(rows))
    path.write_text(text)
    return str(path)


def plugin(place: Path) -> str:
    (place / "yes.py").write_text(PLUGIN)
    return f"plugin:{place / 'yes.py'}:Yes"


def replay(place: Path, *samples: int, **roles: str) -> str:
    """A replay of `yes` to these samples, and of what each further role said to them."""
    path = place / "replies.jsonl"
    said = [{"sample": str(i), "text": text, "role": role} for i in samples for role, text in {"model": "yes", **roles}.items()]
    path.write_text("".join(json.dumps(row) + "\n" for row in said))
    return f"replay:{path}"


def run(place: Path, model: str, task: str, **options: Any) -> api.Summary:
    return evalkit.run(model, task, out=place / "out", **options)


def refused(place: Path, model: str, task: str, **options: Any) -> str:
    with pytest.raises(Refused) as caught:
        run(place, model, task, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("reads", "options"),
    [("text", {"protocol": "likelihood"}), ("likelihoods", {}), ("boxes", {"protocol": "likelihood"}), ("boxes", {"blind": True})],
)
def test_a_run_that_no_rule_can_read_is_refused_before_anything_is_asked(tmp_path: Path, reads: str, options: dict[str, Any]) -> None:
    said = refused(tmp_path, plugin(tmp_path), own(tmp_path, reads=reads), **options)
    assert (
        "scores regions only, which say nothing without an image" if options.get("blind") else "task 'own' has no rule that reads"
    ) in said
    assert options.get("blind") or options.get("protocol", "direct") in said
    assert not (tmp_path / "asked").exists()
    assert not (tmp_path / "out").exists()


def test_a_rule_that_reads_nothing_here_is_left_out_where_another_does(tmp_path: Path) -> None:
    task = own(tmp_path)
    text = Path(task).read_text().replace('reads="text"),)', 'reads="text"), Rule("likelihood", None, Accuracy(), reads="likelihoods"))')
    Path(task).write_text(text)
    assert {row["rule"] for row in run(tmp_path, plugin(tmp_path), task).numbers} == {"strict", "majority"}


def test_a_task_with_a_grader_is_refused_without_its_role_and_says_how_to_give_it(tmp_path: Path) -> None:
    task = own(tmp_path, parse=VERDICT, options="dict(graders=(Extract(),))")
    said = refused(tmp_path, plugin(tmp_path), task)
    assert "'own'" in said
    assert "'extraction'" in said
    assert "--judge" in said
    assert not (tmp_path / "asked").exists()


def test_a_grader_asks_the_judge_that_is_named(tmp_path: Path) -> None:
    task = own(tmp_path, parse=VERDICT, options="dict(graders=(Extract(),))")
    model = plugin(tmp_path)
    summary = run(tmp_path, model, task, judge=model)
    assert summary.value("own", "accuracy", "strict") == 1.0
    assert api.score(summary.folder)[1] == []


def test_a_replay_that_holds_the_judges_replies_is_its_own_judge(tmp_path: Path) -> None:
    task = own(tmp_path, parse=VERDICT, options="dict(graders=(Extract(),))")
    assert run(tmp_path, replay(tmp_path, *range(6), judge="no"), task).value("own", "accuracy", "strict") == 0.0
    assert "--judge" in refused(tmp_path, replay(tmp_path, *range(6)), task)


def test_a_benchmark_scored_whole_is_refused_by_the_name_and_number_of_what_lacks_replies(tmp_path: Path) -> None:
    said = refused(tmp_path, replay(tmp_path, 0, 1, 3, 5), own(tmp_path, options=WHOLE))
    assert "own is incomplete" in said
    assert "even has 1 of 3 replies" in said
    assert "odd" not in said
    assert "--allow-incomplete" in said


def test_rows_that_the_data_lacks_are_missing_too(tmp_path: Path) -> None:
    said = refused(tmp_path, replay(tmp_path, *range(5)), own(tmp_path, options=WHOLE, rows=5))
    assert "odd has 2 of 3 replies" in said
    assert "even" not in said


def test_a_refused_run_leaves_no_summary(tmp_path: Path) -> None:
    refused(tmp_path, replay(tmp_path, 0), own(tmp_path, options=WHOLE))
    assert not list((tmp_path / "out").rglob("summary.json"))


def test_told_to_go_on_it_scores_what_is_missing_as_wrong_and_counts_it(tmp_path: Path) -> None:
    summary = run(tmp_path, replay(tmp_path, 0, 1, 3, 5), own(tmp_path, options=WHOLE), allow_incomplete=True)
    rows = {row["subset"]: row for row in summary.numbers if row["metric"] == "accuracy"}
    assert {subset: (row["value"], row["n"], row["missing"]) for subset, row in rows.items()} == {
        "overall": (pytest.approx(4 / 6), 6, 2),
        "even": (pytest.approx(1 / 3), 3, 2),
        "odd": (1.0, 3, 0),
    }
    assert api.score(summary.folder)[1] == []


def test_a_whole_benchmark_and_one_that_need_not_be_are_not_refused(tmp_path: Path) -> None:
    assert run(tmp_path, replay(tmp_path, *range(6)), own(tmp_path, options=WHOLE)).value("own", "accuracy", "strict") == 1.0
    assert run(tmp_path, replay(tmp_path, 0, 1, 2), own(tmp_path)).value("own", "accuracy", "strict") == 0.5


def test_a_limited_run_is_not_refused_for_the_rows_it_left_out(tmp_path: Path) -> None:
    summary = run(tmp_path, replay(tmp_path, *range(6)), own(tmp_path, options=WHOLE), limit=2)
    assert summary.tasks[0]["samples"] == 2
    assert summary.tasks[0]["limit"] == 2


def test_a_limited_run_is_refused_for_a_reply_that_its_own_rows_lack(tmp_path: Path) -> None:
    assert "of" in refused(tmp_path, replay(tmp_path, *range(5)), own(tmp_path, options=WHOLE), limit=6)


def test_a_gap_is_told_as_a_gap_and_not_refused(tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    summary = run(tmp_path, plugin(tmp_path), own(tmp_path, options=WHOLE))
    assert [gap["sample"] for gap in summary.tasks[0]["gaps"]] == ["3"]
    assert not summary.complete


def test_the_command_line_says_what_is_incomplete_and_takes_it_when_told_to(tmp_path: Path) -> None:
    model, task = replay(tmp_path, 0, 1, 2), own(tmp_path, options=WHOLE)
    command = [sys.executable, "-m", "evalkit", "run", "--model", model, "--tasks", task, "--out", str(tmp_path / "out")]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (2, "")
    assert "odd has 1 of 3 replies" in told.stderr
    assert "Traceback" not in told.stderr
    assert subprocess.run([*command, "--allow-incomplete"], capture_output=True, check=False).returncode == 0
