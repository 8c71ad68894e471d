"""The gate, through `evalkit gate` on folders of real runs: every verdict and its exit code, what it writes, and what bad input is told."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

import evalkit
from evalkit.cli.gate import command
from evalkit.report.gate import Verdict, overall

TASK = '''"""Questions of which each has its own letter."""
from evalkit import Accuracy, Composite, Rule, Sample, Task, Unparsed, Wants, parsers

VARIANTS = ("10", ...)
DATA = None


def read(prediction, sample):
    return parsers.letter(prediction.answer, sample.options) if prediction.answer is not None else Unparsed(prediction.failure)


def task(variant, data):
    kind, _, count = variant.rpartition("-")
    composites = (Composite("both", "accuracy", ("even", "odd"), "sum"),) if kind == "sum" else ()
    rules = (Rule("official", read, Accuracy()), Rule("strict", read, Accuracy()))
    return Task(f"quiz:{variant}", 1, lambda: samples(kind, int(count)), rules, "accuracy", ("choice",), composites=composites)


def samples(kind, count):
    for number in range(count):
        yield Sample(
            str(number) + ("<b>|\\x1b[31m\\x00]]>&`" if kind == "hostile" else ""),
            "Which?", "Which?\\n(A) one\\n(B) two", (), Wants("choice"), "AB"[number % 2], options=("one", "two"),
            tags=frozenset({"odd" if number % 2 else "even"}), group=str(number // 4) if kind == "grouped" else "",
        )
'''
Quiz = Callable[..., Path]
HOSTILE = "<b>|\x1b[31m\x00]]>&`"


@pytest.fixture
def quiz(tmp_path: Path) -> Quiz:
    """Runs a replay in which the numbers given are answered wrong, and returns the run's folder."""
    file = tmp_path / "quiz.py"
    file.write_text(TASK)

    def write(name: str, wrong: Iterable[int] = (), variant: str = "200", **options: Any) -> Path:
        missed = set(wrong)
        replies = tmp_path / f"{name}.jsonl"
        count, ending = int(variant.rpartition("-")[2]), HOSTILE if variant.startswith("hostile") else ""
        rows = [
            {"sample": f"{number}{ending}", "text": "AB"[(number + (number in missed)) % 2] + f"\n{ending}" * (ending != "")}
            for number in range(count)
        ]
        replies.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return evalkit.run(f"replay:{replies}", f"{file}:{variant}", out=str(tmp_path / name), **options).folder

    return write


def judged(base: Path, new: Path, *options: Any) -> tuple[int, dict[str, Any]]:
    """The exit code and the verdict as JSON."""
    done = CliRunner().invoke(command, [str(base), str(new), "--format", "json", *map(str, options)], standalone_mode=False)
    assert done.exception is None, done.exception
    return done.return_value, json.loads(done.stdout)


def refused(*arguments: Any) -> str:
    """What is told where there is no verdict."""
    done = CliRunner().invoke(command, list(map(str, arguments)), standalone_mode=False)
    assert done.return_value == 3
    return done.stderr


@pytest.mark.parametrize(
    ("wrong", "code", "verdict"),
    [(range(25), 0, "PASS"), (range(70), 1, "REGRESSION"), (range(20, 62), 2, "INCONCLUSIVE"), (None, 3, "NOT COMPARABLE")],
)
def test_the_command_ends_with_the_exit_code_of_its_verdict(quiz: Quiz, wrong: range | None, code: int, verdict: str) -> None:
    base = quiz("base", range(30))
    new = quiz("new", variant="180") if wrong is None else quiz("new", wrong)
    line = [sys.executable, "-m", "evalkit", "gate", str(base), str(new), "--margin", "0.1"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.partition(":")[0]) == (code, verdict), done.stderr


def test_a_regression_names_effect_interval_p_value_and_every_sample_that_flipped(quiz: Quiz) -> None:
    code, told = judged(quiz("base", [3]), quiz("new", range(5, 45)))
    (number,) = told["numbers"]
    assert (code, told["verdict"]) == (1, "REGRESSION")
    assert (number["base"], number["new"]) == (0.995, 0.8)
    assert number["effect"]["value"] == pytest.approx(-0.195)
    assert number["effect"]["low"] < -0.195 < number["effect"]["high"] < 0
    assert number["p_holm"] == number["p"] < 1e-6
    assert {flip["sample"] for flip in number["flipped"]["lost"]} == set(map(str, range(5, 45)))
    assert [(flip["sample"], flip["target"], flip["base"], flip["new"]) for flip in number["flipped"]["gained"]] == [("3", "B", "A", "B")]


def test_a_loss_is_told_by_subset_and_a_subset_can_be_gated_alone(quiz: Quiz, tmp_path: Path) -> None:
    base, new = quiz("base"), quiz("new", range(0, 60, 2))
    done = CliRunner().invoke(command, [str(base), str(new)], standalone_mode=False)
    assert "30 right before, wrong now (even 30); the first 3:" in done.stdout
    config = tmp_path / "gate.toml"
    config.write_text("".join(f'[[tasks]]\ntask = "quiz:200"\nsubset = "{subset}"\n' for subset in ("even", "odd")))
    numbers = judged(base, new, "--config", config, "--margin", "0.1")[1]["numbers"]
    assert [(n["subset"], n["n"], n["verdict"]) for n in numbers] == [("even", 100, "REGRESSION"), ("odd", 100, "PASS")]


def test_two_runs_of_one_model_are_called_by_what_they_differ_in(quiz: Quiz) -> None:
    base, new = (quiz("quiz", label=[f"step={step}"]) for step in (100, 200))
    done = CliRunner().invoke(command, [str(base), str(new)], standalone_mode=False)
    assert re.match(r"PASS: .*, step=200 against .*, step=100 ", done.stdout)


def test_a_loss_within_the_margin_passes_even_where_it_is_certain(quiz: Quiz) -> None:
    base, new = quiz("base"), quiz("new", range(8))
    assert judged(base, new, "--margin", "0.1")[1]["verdict"] == "PASS"
    assert judged(base, new, "--margin", "0.01")[1]["verdict"] == "REGRESSION"


def test_an_inconclusive_verdict_says_how_many_samples_would_settle_it(quiz: Quiz) -> None:
    (number,) = judged(quiz("base", range(4)), quiz("new", range(2, 8)), "--margin", "0.02")[1]["numbers"]
    assert number["verdict"] == "INCONCLUSIVE"
    assert number["needed"] > number["n"] == 200


def test_the_same_run_passes_once_it_has_samples_enough_for_the_margin(quiz: Quiz) -> None:
    verdicts = [judged(run, run)[1]["verdict"] for run in (quiz("few", variant="40"), quiz("many", variant="400"))]
    assert verdicts == ["INCONCLUSIVE", "PASS"]


def test_grouped_samples_are_exchanged_by_group_and_weigh_less(quiz: Quiz) -> None:
    wrong = [number for number in range(200) if number // 4 % 5 == 0]
    alone = judged(quiz("base"), quiz("new", wrong))[1]["numbers"][0]
    grouped = judged(quiz("b2", variant="grouped-200"), quiz("n2", wrong, "grouped-200"))[1]["numbers"][0]
    assert (alone["clusters"], alone["test"]) == (200, "McNemar's exact test")
    assert (grouped["clusters"], grouped["test"]) == (50, "exchange of 50 clusters")
    assert grouped["p"] > alone["p"]
    assert grouped["effect"]["stderr"] > 1.8 * alone["effect"]["stderr"]


def test_a_composite_is_compared_in_place_of_the_whole(quiz: Quiz) -> None:
    (number,) = judged(quiz("base", variant="sum-100"), quiz("new", range(0, 40, 2), "sum-100"))[1]["numbers"]
    assert (number["subset"], number["base"], number["new"]) == ("both", 2.0, 1.6)
    assert number["effect"]["value"] == pytest.approx(-0.4)
    assert number["margin"] == pytest.approx(0.04)


@pytest.mark.parametrize("wrong", [range(200), ()], ids=["all wrong", "all right"])
def test_all_wrong_and_all_right_have_an_interval_of_some_width(quiz: Quiz, wrong: Iterable[int]) -> None:
    (number,) = judged(quiz("base", wrong), quiz("new", wrong))[1]["numbers"]
    assert number["effect"]["low"] < 0 < number["effect"]["high"]
    assert (number["effect"]["value"], number["p"], number["verdict"]) == (0, 1, "PASS")


def test_one_sample_settles_nothing(quiz: Quiz) -> None:
    code, told = judged(quiz("base", variant="1"), quiz("new", [0], "1"))
    assert (code, told["numbers"][0]["p"]) == (2, 1.0)


def test_a_gate_toml_chooses_numbers_margins_and_levels(quiz: Quiz, tmp_path: Path) -> None:
    config = tmp_path / "gate.toml"
    config.write_text(
        'margin = "50%"\n[[tasks]]\ntask = "quiz:200"\n[[tasks]]\ntask = "quiz:200"\nrule = "strict"\nmargin = 0.01\nalpha = 0.2\n'
    )
    numbers = judged(quiz("base"), quiz("new", range(40)), "--config", config)[1]["numbers"]
    assert [(n["rule"], n["margin"], n["alpha"], n["verdict"]) for n in numbers] == [
        ("official", 0.5, 0.05, "PASS"),
        ("strict", 0.01, 0.2, "REGRESSION"),
    ]
    assert numbers[0]["p_holm"] == pytest.approx(2 * numbers[0]["p"])


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("margn = 1", "unknown key 'margn' in .*. Did you mean 'margin'"),
        ("margin = -1", "expected a margin of at least 0, such as 0.02 or 2%, got -1"),
        ("alpha = 1.5", "expected alpha above 0 and below 1"),
        ('across = ["protocl"]', "Did you mean 'protocol'"),
        ('[[tasks]]\ntask = "quiz:20"', "no task 'quiz:20' in either run. Did you mean 'quiz:200'"),
        ('[[tasks]]\ntask = "quiz:200"\nmetric = "acuracy"', "has no 'acuracy' of quiz:200. There are: accuracy by rule official"),
        ('[[tasks]]\ntask = "quiz:200"\nrules = "x"', "unknown key 'rules'"),
        ('[[tasks]]\ntask = "quiz:200"\nsubset = "evn"', "has no 'accuracy' of quiz:200 in 'evn'. Did you mean 'even'"),
    ],
)
def test_a_wrong_gate_toml_is_no_verdict_and_says_what_is_wrong(quiz: Quiz, tmp_path: Path, written: str, expected: str) -> None:
    config, run = tmp_path / "gate.toml", quiz("base")
    config.write_text(written)
    assert re.search(expected, refused(run, run, "--config", config))


def test_a_protocol_that_differs_is_refused_unless_it_is_looked_past(quiz: Quiz) -> None:
    base, new = quiz("base"), quiz("new", protocol="grit")
    code, told = judged(base, new)
    assert (code, told["numbers"][0]["reasons"]) == (3, ["another protocol: direct, then grit"])
    assert judged(base, new, "--across", "protocol")[1]["numbers"][0]["n"] == 200


def test_gaps_are_no_verdict_and_say_how_to_fill_them(run_folder: Callable[..., Path]) -> None:
    code, told = judged(run_folder("base"), run_folder("new", gaps=2))
    assert code == 3
    assert "the new run lacks 2 answers" in told["numbers"][0]["reasons"][0]
    assert "run it again" in told["numbers"][0]["reasons"][0]


def test_a_task_that_one_run_lacks_is_named_and_a_regression_elsewhere_still_counts(
    run_folder: Callable[..., Path], replies: dict[str, Any]
) -> None:
    base = run_folder("base", replies["erring"](0.0), 96, tasks=("shapes", "shapes:500"))
    new = run_folder("new", replies["erring"](0.8), 96)
    code, told = judged(base, new)
    assert {n["task"]: n["verdict"] for n in told["numbers"]} == {"shapes": "REGRESSION", "shapes:500": "NOT COMPARABLE"}
    assert (code, told["numbers"][1]["reasons"]) == (1, ["the new run has no task shapes:500"])


def test_runs_without_boxes_compare_and_their_boxes_are_a_regression(
    run_folder: Callable[..., Path], replies: dict[str, Any], tmp_path: Path
) -> None:
    config = tmp_path / "gate.toml"
    config.write_text('[[tasks]]\ntask = "shapes"\nmetric = "grounding_iou"\n[[tasks]]\ntask = "shapes"\nmetric = "box_f1"\n')
    told = judged(run_folder("base"), run_folder("new", replies["erring"](boxes=False)), "--config", config)[1]
    assert [(n["new"], n["verdict"]) for n in told["numbers"]] == [(0.0, "REGRESSION")] * 2


def test_what_is_no_run_is_no_verdict(quiz: Quiz, tmp_path: Path) -> None:
    run = quiz("base")
    quiz("other")
    assert "expected a run's folder" in refused(run, tmp_path / "nothing")
    assert "expected one run" in refused(run, tmp_path)
    assert "Missing argument" in refused(run)
    assert "expected a margin" in refused(run, run, "--margin", "two")


def test_hostile_names_and_replies_leave_every_output_what_it_is(quiz: Quiz, tmp_path: Path) -> None:
    base, new = quiz("<i>base|`", variant="hostile-60"), quiz("new", range(40), "hostile-60")
    xml, page, told = tmp_path / "gate.xml", tmp_path / "page.md", tmp_path / "gate.json"
    line = [str(base), str(new), "--junit", str(xml), "--markdown", str(page), "--json", str(told)]
    done = CliRunner().invoke(command, line, standalone_mode=False)
    assert done.return_value == 1
    assert "\x1b" not in done.stdout
    suite = ElementTree.parse(xml).getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert "<b>|(U+001B)[31m(U+0000)]]>&`" in (failure.text or "")
    rows = [row for row in page.read_text().splitlines() if row.startswith("|")]
    assert len({row.replace("\\|", "").count("|") for row in rows}) == 1
    assert "<b>" not in page.read_text()
    assert json.loads(told.read_text())["numbers"][0]["flipped"]["lost"][0]["sample"].endswith(HOSTILE)


def test_a_summary_is_added_to_what_the_job_page_has(quiz: Quiz, tmp_path: Path) -> None:
    page, run = tmp_path / "page.md", quiz("base")
    page.write_text("before\n")
    CliRunner().invoke(command, [str(run), str(run), "--markdown", str(page)], standalone_mode=False)
    assert page.read_text().startswith("before\n## PASS")


@pytest.mark.parametrize("option", ["--junit", "--markdown", "--json"])
def test_a_file_that_cannot_be_written_is_no_verdict(quiz: Quiz, tmp_path: Path, option: str) -> None:
    run = quiz("base")
    assert "cannot write" in refused(run, run, option, tmp_path / "nowhere" / "gate")


def test_two_gates_of_the_same_runs_are_the_same_to_the_last_bit(quiz: Quiz) -> None:
    base, new = quiz("base", range(0, 60, 7), "grouped-200"), quiz("new", range(50), "grouped-200")
    first = judged(base, new)
    for folder in (base, new):
        for name in ("predictions.jsonl", "records.jsonl"):
            rows = (folder / name).read_text().splitlines(keepends=True)
            step = len(rows) // 200
            parts = [rows[place : place + step] for place in range(0, len(rows), step)]
            (folder / name).write_text("".join(line for part in reversed(parts) for line in part))
    assert judged(base, new) == first


def test_of_all_verdicts_the_worst_stands_and_a_regression_stands_whatever_lacks() -> None:
    passed, regression, unsettled, apart = Verdict
    assert [overall(kinds) for kinds in ([passed], [passed, unsettled], [unsettled, apart], [apart, regression], [])] == [
        passed,
        unsettled,
        apart,
        regression,
        apart,
    ]
