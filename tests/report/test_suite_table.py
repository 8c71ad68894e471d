"""A paper's table: each number in its column, and nothing that does not compare without a mark."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from evalkit import config
from evalkit.cli.table import command
from evalkit.report.published import published
from evalkit.report.suite import Run, as_csv, caption, flat, lines, markdown

GRIT = config.suite("grit")
RUN = "MINE"


def row(task: str, metric: str, value: float | None, rule: str = "official", subset: str = "overall", **more: Any) -> dict[str, Any]:
    ends = {"low": None if value is None else value - 0.05, "high": None if value is None else value + 0.05}
    counts = {"unparsed": 0, "truncated": 0, "refused": 0, "missing": 0, "gaps": 0}
    return {"task": task, "metric": metric, "rule": rule, "subset": subset, "value": value, "n": 288, **ends, **counts, **more}


def made(*numbers: dict[str, Any], protocol: str = "grit", limit: int | None = None, label: str = "", **manifest: Any) -> Run:
    """A run of GRIT's VSR, asked just as the suite says but for what is given."""
    samples = manifest.pop("samples", limit or 288)
    entry = {"task": "grit_vsr", "headline": "grounding_iou", "limit": limit, "published": 288, "samples": samples, "gaps": []}
    asked = {"sampling": {"temperature": 0.0, "max_tokens": 1000}, "budget": None}
    asked |= manifest.pop("asked", {})
    said = {"options": {"judge": "gpt-4o", "label": [label] if label else []}, "resolved": {"protocol": ["grit", asked]}, "roles": {}}
    numbers = numbers or (row("grit_vsr", "judge_score", 0.8), row("grit_vsr", "grounding_iou", 0.3))
    summary = {"model": RUN, "protocol": protocol, "tasks": [entry], "numbers": list(numbers)}
    return Run("MINE-0123", summary, said | manifest)


def grid(text: str) -> dict[str, dict[str, str]]:
    """The cells of a Markdown table by row and column; the rows below a run by what they are."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return {cells[0]: dict(zip(rows[0], cells, strict=True)) for cells in rows[2:]}


def notes(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("[")]


def test_the_published_table_is_the_papers() -> None:
    cells = grid(markdown(GRIT, lines(GRIT, [], published())))
    assert len(cells) == 10
    assert cells["GRIT-Qwen2.5-VL-3B"]["VSR ACC"] == "**72.9**"
    assert [cells["GRIT-Qwen2.5-VL-3B"][name] for name in ("TallyQA GIoU", "GQA ACC", "OVDEval")] == ["**44.7**", "62.8", "39.8"]
    assert cells["InternVL3-2B, one-shot"]["OVDEval"] == "**59.3**"
    assert cells["Qwen2.5-VL-3B, few-shot fine-tuned"]["GQA ACC"] == "**64.6**"


def test_a_run_stands_above_the_published_rows_with_its_interval_and_n() -> None:
    text = markdown(GRIT, lines(GRIT, [made()], published()))
    cells = grid(text)
    assert list(cells)[:3] == [RUN, "95% interval", "n"]
    assert cells[RUN]["VSR ACC"] == "**80.0**"
    assert cells[RUN]["VSR GIoU"] == "30.0"
    assert cells[RUN]["TallyQA ACC"] == "-"
    assert cells["95% interval"]["VSR ACC"] == "75.0 to 85.0"
    assert (cells["n"]["VSR ACC"], cells["n"]["TallyQA ACC"]) == ("288", "")
    assert cells["GRIT-Qwen2.5-VL-3B"]["VSR ACC"] == "72.9"
    assert notes(text) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"protocol": "direct"}, "asked by protocol direct, the table's is grit"),
        ({"protocol": "grit, blind"}, "asked blind"),
        ({"limit": 24}, "a part of the benchmark only"),
        ({"samples": 12}, "of data with 12 rows, where the benchmark has 288"),
        (
            {"asked": {"budget": {"min_pixels": 3136, "max_pixels": 50_176}}},
            "images of 3,136 to 50,176 pixels, the table's of the size that protocol",
        ),
        ({"asked": {"sampling": {"temperature": 0.7, "max_tokens": 1000}}}, "temperature 0.7, the table's 0"),
        ({"asked": {"sampling": {"temperature": 0.0, "max_tokens": 50}}}, "new tokens 50, the table's 1000"),
        ({"roles": {"model": {"details": {"engine": "replay"}}}}, "replayed: how its replies were decoded"),
    ],
)
def test_a_run_that_was_made_otherwise_is_marked_and_never_the_best(given: dict[str, Any], said: str) -> None:
    text = markdown(GRIT, lines(GRIT, [made(**given)], published()))
    assert any(said in note for note in notes(text)), text
    assert grid(text)[f"{RUN} [1]"]["VSR ACC"] == "80.0"
    assert grid(text)["GRIT-Qwen2.5-VL-3B"]["VSR ACC"] == "**72.9**"


def test_another_judge_marks_only_what_the_judge_made() -> None:
    text = markdown(GRIT, lines(GRIT, [made(options={"judge": "demo", "label": []})], published()))
    assert notes(text) == ["[1] judged by demo, the table by gpt-4o"]
    assert (grid(text)[RUN]["VSR ACC"], grid(text)[RUN]["VSR GIoU"]) == ("80.0 [1]", "30.0")


def test_a_number_by_another_rule_is_not_put_in() -> None:
    by_rescaled = made(row("grit_vsr", "grounding_iou", 0.99, rule="rescaled"), row("grit_vsr", "judge_score", 0.5))
    assert grid(markdown(GRIT, lines(GRIT, [by_rescaled])))[RUN]["VSR GIoU"] == "-"
    assert lines(GRIT, [made(row("vstar", "accuracy", 1.0))]) == []


def test_where_papers_read_by_a_rule_that_a_run_has_not_the_run_is_marked() -> None:
    satori = config.suite("satori")
    text = markdown(satori, lines(satori, [_of_satori()], published()))
    assert notes(text) == ["[1] read by rule official, the published by vlmevalkit"]
    assert grid(text)[RUN]["MMBench"] == "90.0 [1]"
    assert grid(text)["GPT-4o"]["MMBench"] == "**84.3**"


def test_benchmarks_that_are_not_built_are_dashes_and_named() -> None:
    satori = config.suite("satori")
    text = markdown(satori, lines(satori, [_of_satori()], published()))
    mine = grid(text)[RUN]
    assert {mine[name] for name in ("MATH-Vision", "MathVerse", "OlympiadBench", "WeMath", "MMMU")} == {"-"}
    assert "Not built in evalkit, so dashes for every run: MATH-Vision, MathVerse, OlympiadBench, WeMath, MMMU." in text
    assert grid(text)["SATORI-7B"]["WeMath"] == "65.2"


def _of_satori() -> Run:
    asked = {"sampling": {"temperature": 0.0, "max_tokens": 2048}, "budget": None}
    entry = {"task": "mmbench", "headline": "accuracy", "limit": None, "published": 4329, "samples": 4329, "gaps": []}
    summary = {"model": RUN, "protocol": "satori", "tasks": [entry], "numbers": [row("mmbench", "accuracy", 0.9)]}
    return Run("MINE-0123", summary, {"resolved": {"protocol": ["satori", asked]}})


def test_a_flagged_published_number_has_a_footnote_and_is_not_the_best() -> None:
    pixel_reasoner = config.suite("pixel_reasoner")
    text = markdown(pixel_reasoner, lines(pixel_reasoner, [], published()))
    assert grid(text)["Qwen2.5-VL 7B"]["V*"].startswith("70.4 [")
    assert grid(text)["Pixel-Reasoner 7B"]["V*"] == "**84.3**"
    assert any("no k of 191" in note for note in notes(text))


def test_a_part_of_a_benchmark_says_of_how_many() -> None:
    partial = made(row("grit_vsr", "judge_score", 0.8, n=24), row("grit_vsr", "grounding_iou", 0.3, n=24), limit=24)
    assert grid(markdown(GRIT, lines(GRIT, [partial])))["n"]["VSR ACC"] == "24 of 288"


def test_answers_that_did_not_come_are_told() -> None:
    text = markdown(GRIT, lines(GRIT, [made(row("grit_vsr", "judge_score", 0.8, gaps=3), row("grit_vsr", "grounding_iou", 0.3))]))
    assert notes(text) == ["[1] 3 answers did not come"]


def test_a_number_that_was_not_measured_is_a_dash() -> None:
    text = markdown(GRIT, lines(GRIT, [made(row("grit_vsr", "judge_score", None), row("grit_vsr", "grounding_iou", 0.3))]))
    assert grid(text)[RUN]["VSR ACC"] == "-"


def test_runs_of_one_model_are_told_apart_by_label_and_else_by_folder() -> None:
    assert [line.label for line in lines(GRIT, [made(label="step=1"), made(label="step=2")])] == ["MINE, step=1", "MINE, step=2"]
    assert [line.label for line in lines(GRIT, [made(), made()])] == ["MINE-0123", "MINE-0123"]


def test_points_are_not_percent() -> None:
    core = config.suite("core")
    entry = {"task": "mme", "headline": "score", "limit": None, "published": 2374, "samples": 2374, "gaps": []}
    numbers = [row("mme", "score", 1531.3, subset="perception"), row("mme", "score", 295.4, subset="cognition")]
    run = Run("r", {"model": RUN, "protocol": "direct", "tasks": [entry], "numbers": numbers})
    assert grid(markdown(core, lines(core, [run])))[RUN]["MME perception"] == "1531.3"


def test_the_caption_names_rules_protocol_judge_and_decoding() -> None:
    said = " ".join(caption(GRIT))
    for part in ("protocol grit", "judge gpt-4o", "temperature 0", "grounding_iou (official): VSR GIoU"):
        assert part in said


def test_flat_rows_hold_every_number_once_with_its_marks() -> None:
    table = lines(GRIT, [made(limit=24)], published())
    rows = flat(GRIT, table)
    assert len(rows) == 2 + 10 * 9
    assert all(set(one) == set(rows[0]) for one in rows)
    assert rows[0]["notes"] == "a part of the benchmark only"
    assert [one["model"] for one in rows if one["column"] == "VSR ACC" and one["best"]] == ["GRIT-Qwen2.5-VL-3B"]
    read = list(csv.DictReader(io.StringIO(as_csv(rows))))
    assert [one["model"] for one in read] == [one["model"] for one in rows]
    assert float(read[0]["value"]) == pytest.approx(80.0)
    assert as_csv([]).strip() == ""


def table(*arguments: object) -> Result:
    return CliRunner().invoke(command, [*map(str, arguments)], standalone_mode=False)


def written(folder: Path, run: Run) -> Path:
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps({"format": 1, **run.summary}))
    (folder / "manifest.json").write_text(json.dumps({"format": 1, **run.manifest}))
    return folder


def test_the_command_prints_the_table_in_each_format(tmp_path: Path) -> None:
    folder = written(tmp_path / "one", made())
    text = table(folder, "--suite", "grit", "--published").output
    assert grid(text)[RUN]["VSR ACC"] == "**80.0**"
    assert len(json.loads(table(folder, "--suite", "grit", "--published", "--format", "json").output)) == 92
    assert len(list(csv.reader(io.StringIO(table(folder, "--suite", "grit", "--format", "csv").output)))) == 3
    assert next(iter(grid(table("--suite", "grit", "--published").output))) == "Qwen2.5-VL-3B, direct"


def test_a_run_without_a_number_of_the_table_is_left_out_aloud(tmp_path: Path) -> None:
    written(tmp_path / "one", made())
    written(tmp_path / "other", made(row("vstar", "accuracy", 1.0)))
    told = table(tmp_path, "--suite", "grit")
    assert "left out: other has no number of this table" in told.stderr
    assert RUN in told.stdout
    alone = table(tmp_path / "other", "--suite", "grit", "--published")
    assert "no run of other has a number of suite 'grit', whose tasks are grit_vsr" in str(alone.exception)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--published"], "--published goes with a table"),
        ([], "expected run folders"),
        (["--suite", "grit"], "expected run folders"),
        (["--suite", "girt", "--published"], "Did you mean 'grit'"),
    ],
)
def test_a_mistake_is_answered_with_the_next_step(arguments: list[str], said: str) -> None:
    assert said in str(table(*arguments).exception)
