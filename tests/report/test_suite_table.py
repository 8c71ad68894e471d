"""A paper's table: each number in its column, and nothing that does not compare without a mark."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from evalkit import suites
from evalkit.cli.table import command
from evalkit.folder import RunFolder
from evalkit.report import markdown, suite
from evalkit.report.form import as_csv, flat
from evalkit.report.published import Published, published
from evalkit.report.runs import Run
from evalkit.suites import SuiteConfig

GRIT = suites.find("grit")
RUN = "MINE"


def row(task: str, metric: str, value: float | None, rule: str = "official", subset: str = "overall", **more: Any) -> dict[str, Any]:
    ends = {"stderr": 0.025, "low": None if value is None else value - 0.05, "high": None if value is None else value + 0.05}
    counts = {"unparsed": 0, "truncated": 0, "refused": 0, "missing": 0, "gaps": 0}
    return {"task": task, "metric": metric, "rule": rule, "subset": subset, "value": value, "n": 288, **ends, **counts, **more}


def run_of(tasks: list[dict[str, Any]], numbers: list[dict[str, Any]], protocol: str, folder: str = "MINE-0123", **said: Any) -> Run:
    """A run with what its summary says of its tasks and its numbers, and the manifest that is given."""
    entries = [{"version": 1, "gaps": [], "limit": None, **entry} for entry in tasks]
    manifest = {
        "roles": {},
        "protocol": protocol.partition(",")[0],
        "tasks": [{"name": entry["task"], "data": None} for entry in tasks],
        **said,
    }
    manifest["options"] = {"tasks": [entry["task"] for entry in tasks], **said.get("options", {})}
    return Run(RunFolder(Path(folder)), {"model": RUN, "protocol": protocol, "tasks": entries, "numbers": numbers}, manifest)


def made(*numbers: dict[str, Any], protocol: str = "grit", limit: int | None = None, label: str = "", **manifest: Any) -> Run:
    """A run of GRIT's VSR, asked just as the suite says but for what is given."""
    samples = manifest.pop("samples", limit or 288)
    entry = {"task": "grit_vsr", "headline": "grounding_iou", "limit": limit, "published": 288, "samples": samples}
    asked = {"sampling": {"temperature": 0.0, "max_tokens": 1000}, "budget": None}
    asked |= manifest.pop("asked", {})
    said = {
        "options": {"judge": "gpt-4o", "label": [label] if label else []},
        "resolved": {"protocol": ["grit", asked]},
        "roles": {"model": {"frame": "seen", "fingerprint": "f"}},
    }
    numbers = numbers or (row("grit_vsr", "judge_score", 0.8), row("grit_vsr", "grounding_iou", 0.3))
    return run_of([entry], list(numbers), protocol, **(said | manifest))


def shown(chosen: SuiteConfig, runs: Sequence[Run], rows: Iterable[Published] = ()) -> str:
    """The table as it is printed."""
    return markdown.written(suite.table(chosen, runs, rows))


def grid(text: str) -> dict[str, dict[str, str]]:
    """The cells of a Markdown table by row and column; the rows below a run by what they are."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return {cells[0]: dict(zip(rows[0], cells, strict=True)) for cells in rows[2:]}


def notes(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("[")]


def test_the_published_table_is_the_papers() -> None:
    cells = grid(shown(GRIT, [], published()))
    assert len(cells) == 10
    assert cells["GRIT-Qwen2.5-VL-3B"]["VSR ACC"] == "**72.9**"
    assert [cells["GRIT-Qwen2.5-VL-3B"][name] for name in ("TallyQA GIoU", "GQA ACC", "OVDEval")] == ["**44.7**", "_62.8_", "**39.8**"]
    assert cells["Qwen2.5-VL-3B, few-shot fine-tuned"]["GQA ACC"] == "**64.6**"


def test_a_run_stands_above_the_published_rows_with_its_interval_and_n() -> None:
    text = shown(GRIT, [made()], published())
    cells = grid(text)
    assert list(cells)[:3] == [RUN, "95% interval", "Qwen2.5-VL-3B, direct"]
    assert cells[RUN]["VSR ACC"] == "**80.0**"
    assert cells[RUN]["VSR GIoU"] == "_30.0_"
    assert cells[RUN]["TallyQA ACC"] == "-"
    assert cells["95% interval"]["VSR ACC"] == "75.0 to 85.0"
    assert "n = 288." in text
    assert cells["GRIT-Qwen2.5-VL-3B"]["VSR ACC"] == "_72.9_"
    assert notes(shown(GRIT, [made()])) == []


def test_published_numbers_of_other_images_or_boxes_than_the_tables_have_footnotes_and_are_not_the_best() -> None:
    text = shown(GRIT, [], published())
    assert notes(text) == [
        "[1] images of 448-pixel tiles, the table's of 3,136 to 200,704 pixels",
        "[2] boxes in thousandths, which the authors' script scores here as pixels",
        "[3] boxes in thousandths, which the authors' script converts to pixels of the image; Qwen's it leaves as they are",
    ]
    cells = grid(text)
    tiled = [label for label in cells if label.endswith(" [1]")]
    assert len(tiled) == 5
    assert all("InternVL" in label for label in tiled)
    assert (cells["InternVL3-2B, one-shot [1]"]["OVDEval"], cells["GRIT-InternVL-2B [1]"]["VSR GIoU"]) == ("59.3 [2]", "49.5 [3]")
    assert cells["InternVL3-2B, direct [1]"]["VSR GIoU"] == "0.0", "no box was written"
    for name in ("pixel_reasoner", "satori"):
        of_one_size = suites.find(name)
        assert not any("images of" in note for note in notes(shown(of_one_size, [], published())))


@pytest.mark.parametrize(
    ("frame", "note"),
    [
        ("seen", []),
        ("thousand", ["[1] boxes written in frame thousand, the table's in frame seen"]),
        ("original", ["[1] boxes written in frame original, the table's in frame seen"]),
    ],
)
@pytest.mark.parametrize(("task", "metric"), [("grit_ovdeval", "threshold_score"), ("grit_vsr", "grounding_iou")])
def test_a_score_of_boxes_as_they_are_written_is_marked_where_the_model_writes_in_another_frame(
    task: str, metric: str, frame: str, note: list[str]
) -> None:
    """Of Qwen's boxes the authors' script makes less than of others, which are in no need of rescaling or get it."""
    entry = {"task": task, "headline": metric, "published": 288, "samples": 288}
    run = run_of([entry], [row(task, metric, 0.5)], "grit", roles={"model": {"frame": frame, "fingerprint": "f"}})
    assert notes(shown(GRIT, [run])) == note
    assert grid(shown(GRIT, [run]))[RUN]["OVDEval" if task == "grit_ovdeval" else "VSR GIoU"] == ("50.0 [1]" if note else "50.0")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"protocol": "direct"}, "asked by protocol direct, the table's is grit"),
        ({"protocol": "grit, blind"}, "asked blind"),
        ({"limit": 24}, "a part of the benchmark only"),
        ({"samples": 12}, "of data with 12 rows, where the benchmark has 288"),
        (
            {"asked": {"budget": {"min_pixels": 3136, "max_pixels": 50_176}}},
            "images of 3,136 to 50,176 pixels, the table's of 3,136 to 200,704 pixels",
        ),
        ({"shown": [None, None]}, "images of the size that the processor chooses, the table's of 3,136 to 200,704 pixels"),
        ({"shown": [65_536, 1_048_576]}, "images of 65,536 to 1,048,576 pixels, the table's of 3,136 to 200,704 pixels"),
        ({"asked": {"sampling": {"temperature": 0.7, "max_tokens": 1000}}}, "temperature 0.7, the table's 0"),
        ({"asked": {"sampling": {"temperature": 0.0, "max_tokens": 50}}}, "new tokens 50, the table's 1000"),
        ({"roles": {"model": {"fingerprint": "f", "details": {"engine": "replay"}}}}, "replayed: how its replies were decoded"),
    ],
)
def test_a_run_that_was_made_otherwise_is_marked_and_never_the_best(given: dict[str, Any], said: str) -> None:
    text = shown(GRIT, [made(**given)], published())
    assert any(said in note for note in notes(text)), text
    assert grid(text)[f"{RUN} [1]"]["VSR ACC"] == "80.0"
    assert grid(text)["GRIT-Qwen2.5-VL-3B"]["VSR ACC"] == "**72.9**"


def test_another_judge_marks_only_what_the_judge_made() -> None:
    text = shown(GRIT, [made(options={"judge": "demo", "label": []})])
    assert notes(text) == ["[1] judged by demo, the table by gpt-4o"]
    assert (grid(text)[RUN]["VSR ACC"], grid(text)[RUN]["VSR GIoU"]) == ("80.0 [1]", "30.0")


def test_a_judge_whose_file_is_gone_is_told_by_its_name() -> None:
    roles = {"model": {"frame": "seen", "fingerprint": "f"}, "judge": {"name": "tiny", "fingerprint": "f"}}
    text = shown(GRIT, [made(options={"judge": "gone/judge.toml", "label": []}, roles=roles)])
    assert notes(text) == ["[1] judged by tiny, the table by gpt-4o"]


def test_a_number_by_another_rule_is_not_put_in() -> None:
    by_rescaled = made(row("grit_vsr", "grounding_iou", 0.99, rule="rescaled"), row("grit_vsr", "judge_score", 0.5))
    assert grid(shown(GRIT, [by_rescaled]))[RUN]["VSR GIoU"] == "-"
    assert not suite.has(GRIT, made(row("vstar", "accuracy", 1.0)))


def test_where_papers_read_by_a_rule_that_a_run_has_not_the_run_is_marked() -> None:
    satori = suites.find("satori")
    text = shown(satori, [_of_satori()], published())
    assert notes(text) == ["[1] read by rule official, the published by vlmevalkit"]
    assert grid(text)[RUN]["MMBench"] == "90.0 [1]"
    assert grid(text)["GPT-4o"]["MMBench"] == "**84.3**"


def test_benchmarks_that_are_not_built_are_dashes_and_named() -> None:
    satori = suites.find("satori")
    text = shown(satori, [_of_satori()], published())
    mine = grid(text)[RUN]
    assert {mine[name] for name in ("MATH-Vision", "MathVerse", "OlympiadBench", "WeMath", "MMMU")} == {"-"}
    assert "Not built in evalkit, so dashes for every run: MATH-Vision, MathVerse, OlympiadBench, WeMath, MMMU." in text
    assert grid(text)["SATORI-7B"]["WeMath"] == "65.2"


def _of_satori() -> Run:
    asked = {"sampling": {"temperature": 0.0, "max_tokens": 2048}, "budget": None}
    entry = {"task": "mmbench", "headline": "accuracy", "published": 4329, "samples": 4329}
    return run_of([entry], [row("mmbench", "accuracy", 0.9)], "satori", resolved={"protocol": ["satori", asked]})


def test_a_flagged_published_number_has_a_footnote_and_is_not_the_best() -> None:
    pixel_reasoner = suites.find("pixel_reasoner")
    text = shown(pixel_reasoner, [], published())
    assert grid(text)["Qwen2.5-VL 7B"]["V*"].startswith("70.4 [")
    assert grid(text)["Pixel-Reasoner 7B"]["V*"] == "**84.3**"
    assert any("no k of 191" in note for note in notes(text))


def test_a_part_of_a_benchmark_says_of_how_many() -> None:
    partial = made(row("grit_vsr", "judge_score", 0.8, n=24), row("grit_vsr", "grounding_iou", 0.3, n=24), limit=24)
    assert grid(shown(GRIT, [partial]))["n/N"]["VSR ACC"] == "24/288"


def test_answers_that_did_not_come_are_told() -> None:
    text = shown(GRIT, [made(row("grit_vsr", "judge_score", 0.8, gaps=3), row("grit_vsr", "grounding_iou", 0.3))])
    assert notes(text) == ["[1] 3 answers did not come"]


def test_a_number_that_was_not_measured_is_a_dash() -> None:
    text = shown(GRIT, [made(row("grit_vsr", "judge_score", None), row("grit_vsr", "grounding_iou", 0.3))])
    assert grid(text)[RUN]["VSR ACC"] == "-"


def test_runs_of_one_model_are_told_apart_by_label_and_else_by_folder() -> None:
    first, second = (line.label for line in suite.table(GRIT, [made(label="step=1"), made(label="step=2")]).lines)
    assert first.endswith("step=1")
    assert second.endswith("step=2")
    assert [line.label for line in suite.table(GRIT, [made(), made()]).lines] == ["MINE-0123", "MINE-0123"]


def test_points_are_not_percent() -> None:
    core = suites.find("core")
    entry = {"task": "mme", "headline": "score", "published": 2374, "samples": 2374}
    numbers = [row("mme", "score", 1531.3, subset="perception"), row("mme", "score", 295.4, subset="cognition")]
    run = run_of([entry], numbers, "direct")
    assert grid(shown(core, [run]))[RUN]["MME perception"] == "1531.3"


def test_the_caption_names_rules_protocol_judge_and_decoding() -> None:
    said = " ".join(suite.caption(GRIT))
    for part in ("protocol grit", "judge gpt-4o", "temperature 0", "grounding_iou (official): VSR GIoU"):
        assert part in said


def test_flat_rows_hold_every_number_once_with_its_marks() -> None:
    rows = flat(suite.table(GRIT, [made(limit=24)], published()))
    assert len(rows) == 2 + 10 * 9
    assert all(set(one) == set(rows[0]) for one in rows)
    assert rows[0]["notes"] == "a part of the benchmark only"
    assert [one["model"] for one in rows if one["column"] == "VSR ACC" and one["rank"] == 1] == ["GRIT-Qwen2.5-VL-3B"]
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
