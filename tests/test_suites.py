"""Suites: a paper's table as a file, and what `--suite` makes of it."""

from pathlib import Path
from typing import Any

import pytest

import evalkit
from evalkit import config, graders, protocols, suites, task
from evalkit.config import RunConfig, build
from evalkit.errors import DataError, Refused, UserError
from evalkit.scoring import Tally
from evalkit.suites import SuiteConfig, suited
from evalkit.types import Budget

TASK = """
from dataclasses import dataclass

from evalkit import Accuracy, Image, Request, Rule, Sample, Task, Wants

VARIANTS = ()
DATA = None


@dataclass(frozen=True)
class Judge:
    name: str = "judged"
    to: str = "judge"

    def grade(self, sample, prediction):
        return "good"
        yield


def task(variant, data):
    rules = (Rule("official", lambda p, s: p.answer, Accuracy()),)
    return Task("own", 1, lambda: iter([Sample("1", "q", "q", (), Wants("text"), "yes")]), rules, "accuracy", ("text",)GRADERS)
"""
SUITE = """
title = "Own"
source = "nowhere"
tasks = ["{task}"]
protocol = "grit"
judge = "gpt-4o"
max_new_tokens = 7
columns = [{{ title = "Own", task = "{task}", metric = "accuracy" }}]
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(TASK.replace("GRADERS", ""))
    (tmp_path / "yes.py").write_text("class Yes:\n    def generate(self, messages, images):\n        return '<answer>yes'\n")
    (tmp_path / "own.toml").write_text(SUITE.format(task=tmp_path / "own.py"))
    return tmp_path


def run(place: Path, **options: Any) -> evalkit.Summary:
    return evalkit.run(f"plugin:{place / 'yes.py'}:Yes", suite=str(place / "own.toml"), out=place / "out", **options)


def test_the_five_suites_are_there() -> None:
    assert set(suites.names()) == {"grit", "pixel_reasoner", "satori", "unipixel", "core"}


@pytest.mark.parametrize("name", suites.names())
def test_every_task_of_a_suite_can_be_found(name: str) -> None:
    chosen = suites.find(name)
    assert [task.find(one).name for one in chosen.tasks] == list(chosen.tasks)
    assert not set(chosen.not_built) & set(task.names()), "these are built: name them among the tasks"


@pytest.mark.parametrize("name", suites.names())
def test_every_column_of_a_suite_is_a_number_that_its_task_gives(name: str) -> None:
    chosen = suites.find(name)
    asked = protocols.find(chosen.protocol)
    for column in chosen.columns:
        if column.task in chosen.not_built:
            continue
        made = task.find(column.task).equipped(asked, ())
        read = {(metric, rule.name) for rule in made.rules for metric in estimates(made, rule)}
        assert (column.metric, column.rule) in read, column.name


def estimates(made: task.Task, rule: Any) -> list[str]:
    """What a rule's metric calls its estimates."""
    from dataclasses import replace

    alone = replace(made, rules=(replace(rule, subsets=None, optional=False),), composites=(), floors={})
    return [row["metric"] for row in Tally(alone).numbers()]


@pytest.mark.parametrize(
    ("named", "protocol", "numbers"),
    [
        ("grit_vsr", "grit", "judge_score official clamped, judge_accuracy official, grounding_iou official rescaled, accuracy strict"),
        ("grit_vsr", "grit", "count_consistency strict, format official, bleu_1 official, correlation evalkit, box_erasure evalkit"),
        ("grit_ovdeval", "grit", "threshold_score official rescaled, rad evalkit"),
        ("infographicsvqa", "pixel_reasoner", "anls official, accuracy math_verify, rapr official, operations_asked official"),
        ("infographicsvqa", "pixel_reasoner", "operations_done official, operations_failed official"),
        ("vqa_verify", "satori", "caption official, grounding_iou official, accuracy official, format official"),
        ("refcoco:val", "segment", "accuracy_at_0.5 official strict"),
        ("refcoco:val-masks", "segment", "giou official strict, ciou official strict, accuracy_at_0.5 tight_box"),
        ("revos", "segment", "j official strict, f official strict, j_and_f official strict"),
        ("pixelqa", "segment", "accuracy official, j volume davis, pixel_f1 volume, f davis, j_and_f davis"),
    ],
)
def test_numbers_have_the_names_by_which_tables_and_plots_find_them(named: str, protocol: str, numbers: str) -> None:
    probes = [graders.find(name) for name in ("correlation", "box-erasure", "region-attention")]
    made = task.find(named).equipped(protocols.find(protocol), probes)
    given = {(metric, rule.name) for rule in made.rules for metric in estimates(made, rule)}
    for metric, *rules in map(str.split, numbers.split(", ")):
        assert {(metric, rule) for rule in rules} <= given, metric


def test_what_a_suite_says_stands_for_what_is_not_given() -> None:
    grit = build(RunConfig, suited({"model": "m", "suite": "grit"}), "here")
    assert (grit.protocol, grit.max_new_tokens, grit.temperature, grit.max_pixels) == ("grit", 1000, 0.0, None)
    assert (len(grit.tasks), grit.judge) == (6, "")
    other = build(RunConfig, suited({"suite": "grit", "tasks": "grit_vsr,shapes", "temperature": 0.5, "protocol": "direct"}), "here")
    assert (other.tasks, other.temperature, other.protocol, other.max_new_tokens) == (("grit_vsr", "shapes"), 0.5, "direct", 1000)
    zero = {"suite": "grit", "temperature": 0, "tasks": ("shapes",)}
    assert suited(zero)["temperature"] == 0


OWN = """
title = "Own"
source = "nowhere"
tasks = ["shapes"]
protocol = "direct"
min_pixels = 3136
max_pixels = 200704
columns = [{ title = "Own", task = "shapes", metric = "accuracy" }]
"""


def test_one_bound_of_the_pixels_replaces_the_suites_and_the_other_stays(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(OWN)
    for given, budget in [
        ({}, Budget(3136, 200704)),
        ({"max_pixels": 50_000}, Budget(3136, 50_000)),
        ({"min_pixels": 50_000}, Budget(50_000, 200704)),
        ({"min_pixels": 300_000, "max_pixels": 400_000}, Budget(300_000, 400_000)),
        ({"min_pixels": 200704}, Budget(200704, 200704)),
    ]:
        options = {"model": "m", "suite": str(tmp_path / "own.toml"), **given}
        assert build(RunConfig, suited(options), "here").budget == budget


@pytest.mark.parametrize("suite", ["own", "grit"])
def test_one_bound_that_leaves_the_suites_other_no_room_is_refused_with_what_to_give(tmp_path: Path, suite: str) -> None:
    """Of `grit` it is the protocol's bound: the suite names none."""
    (tmp_path / "own.toml").write_text(OWN)
    named = str(tmp_path / "own.toml") if suite == "own" else suite
    with pytest.raises(UserError, match=r"--min-pixels 300000 leaves no size for the at most 200,704 pixels .*: give --max-pixels too"):
        suited({"suite": named, "min_pixels": 300_000})
    with pytest.raises(UserError, match=r"--max-pixels 1000 leaves no size for the at least 3,136 pixels .*: give --min-pixels too"):
        suited({"suite": named, "max_pixels": 1000})
    assert suited({"suite": named, "min_pixels": 10, "max_pixels": 1000})["min_pixels"] == 10


def test_a_run_of_a_suite_is_the_same_run_as_with_its_options_spelt_out(place: Path) -> None:
    summary = run(place)
    assert summary.value("own", "accuracy") == 1.0
    spelt = evalkit.run(f"plugin:{place / 'yes.py'}:Yes", str(place / "own.py"), protocol="grit", max_new_tokens=7, out=place / "out")
    assert spelt.folder == summary.folder
    assert run(place, max_new_tokens=8).folder != summary.folder


def test_a_run_without_the_judge_it_needs_is_told_the_papers(place: Path) -> None:
    (place / "own.py").write_text(TASK.replace("GRADERS", ", graders=(Judge(),)"))
    with pytest.raises(Refused, match=r"needs a judge .*the paper's is gpt-4o: --judge gpt-4o"):
        run(place)


def test_the_judges_that_papers_name_can_be_named() -> None:
    declared = config.model("gpt-4o")
    assert declared
    assert declared.source == "openai:gpt-4o"


def test_all_tasks_whose_data_is_absent_are_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError) as refused:
        evalkit.run("mute", "vstar,shapes,gqa", suite="core", data=[f"vstar={tmp_path / 'none'}", f"gqa={tmp_path / 'none'}"])
    said = str(refused.value)
    assert said.startswith("2 of 3 tasks have no data here: vstar, gqa. To run the others alone: --tasks shapes.")
    assert "test_questions.jsonl" in said
    assert "evalkit data gqa --download" in said


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('tasks = ["', 'tasks = ["vstr", "', r"own.toml'?: no task 'vstr'. Did you mean 'vstar'\?"),
        ('"grit"', '"grti"', r"own.toml'?: no protocol 'grti'. Did you mean 'grit'\?"),
        ("judge =", "juge =", r"unknown key 'juge' in .*own.toml. Did you mean 'judge'\?"),
        ("metric =", "metrik =", r"unknown key 'metrik' in .*own.toml, columns 1. Did you mean 'metric'\?"),
        ('", metric', 'x", metric', "no task of the suite"),
        ("columns = [", 'columns = [{ title = "Own", task = "TASK", metric = "f1" },', "two columns have one title"),
        ("columns = [{", 'columns = ["x", {', "expected tables for 'columns'"),
    ],
)
def test_a_wrong_suite_file_is_said_to_be_wrong_where_it_is(place: Path, old: str, new: str, said: str) -> None:
    text = (place / "own.toml").read_text()
    assert old in text
    (place / "own.toml").write_text(text.replace(old, new.replace("TASK", str(place / "own.py")), 1))
    with pytest.raises(UserError, match=said):
        run(place)


def test_an_unknown_suite_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no suite 'girt'. Did you mean 'grit'\?"):
        evalkit.run("mute", suite="girt")
    with pytest.raises(UserError, match="no file"):
        suites.find("absent.toml")


def test_a_columns_name_is_its_title_below_its_groups() -> None:
    table = {"title": "T", "source": "", "tasks": ["a"], "columns": [{"title": "ACC", "group": "A", "task": "a", "metric": "m"}]}
    (column,) = build(SuiteConfig, table, "here").columns
    assert (column.name, column.rule, column.subset, column.scale) == ("A ACC", "official", "overall", 100)
