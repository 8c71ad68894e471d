"""GRIT's suite whole: real rows and the demo, a judge over HTTP that scores and picks, the probe, the paper's table."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import evalkit
from evalkit.api import Summary, score
from evalkit.cli.table import command
from evalkit.graders.judge import score_of

from .contract.server import Deed, Reply, Server, pictures


def judge(number: int, body: dict[str, Any]) -> Deed:
    """Picks the first of two images; else scores by the gold answer, in words that the authors' parse takes for 11 or for a quarter."""
    if pictures(body):
        return Reply("Image 0")
    gold = str(body["messages"]).rpartition("Standard answer: ")[2].partition(" \\n")[0]
    return Reply("Score: 1/1" if len(gold) % 2 else "{score: 0.25}")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(judge) as made:
        yield made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Path:
    folder = tmp_path_factory.mktemp("grit")
    (folder / "judge.toml").write_text(f'source = "openai:tiny"\nbase_url = "{server.url}"\n')
    return folder


@pytest.fixture
def run(place: Path, shared: Callable[[str], Path]) -> Callable[[], Summary]:
    """Makes the run, which is made once: the same call again finds its folder."""
    pytest.importorskip("transformers")

    def make() -> Summary:
        options = {"engine": "transformers", "device": "cpu", "judge": place / "judge.toml", "probe": "correlation", "limit": 10}
        data = f"grit_vsr={shared('real')}"
        return evalkit.run("demo", "grit_vsr,shapes", suite="grit", data=data, out=place / "out", **options)

    return make


@pytest.fixture
def summary(place: Path, run: Callable[[], Summary]) -> Summary:
    """The run's summary as its folder holds it."""
    if not (place / "out").exists():
        run()
    (folder,) = (place / "out").iterdir()
    said = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return Summary(folder, *(said[name] for name in ("model", "protocol", "tasks", "numbers")))


def rows(summary: Summary, task: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["metric"], row["rule"]): row for row in summary.numbers if (row["task"], row["subset"]) == (task, "overall")}


def verdicts(summary: Summary, task: str) -> list[dict[str, Any]]:
    lines = (summary.folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return [said["verdicts"] for said in map(json.loads, lines) if said["task"] == task]


def test_the_judges_scores_are_read_raw_and_clamped(summary: Summary) -> None:
    assert summary.complete
    found, judged = rows(summary, "grit_vsr"), [verdict["grit"] for verdict in verdicts(summary, "grit_vsr")]
    assert len(judged) == 10
    raw = [(score_of(replies[-1]) or 0.0) if replies else 0.0 for replies in judged]
    assert 11.0 in raw
    assert found["judge_score", "official"]["value"] == pytest.approx(sum(raw) / 10)
    assert found["judge_score", "clamped"]["value"] == pytest.approx(sum(min(one, 1) for one in raw) / 10)
    assert found["judge_accuracy", "official"]["value"] == found["judge_accuracy", "clamped"]["value"] == raw.count(11.0) / 10
    assert found["judge_unparsed", "official"]["value"] == 0
    assert found["judge_score", "official"]["unparsed"] == sum(not replies for replies in judged), "no answer, nobody asked"
    for row in found.values():
        assert row["metric"].endswith("_floor") or row["low"] <= row["value"] <= row["high"]
    assert ("judge_score", "official") not in rows(summary, "shapes"), "its answers need no judge"


def test_the_correlation_is_of_what_the_judge_picked_with_its_interval_and_floor(summary: Summary) -> None:
    for task in ("grit_vsr", "shapes"):
        asked = [verdict["correlation"] for verdict in verdicts(summary, task) if verdict["correlation"]]
        picked = [place == 0 for verdict in asked for place in verdict["shown"]]
        found = rows(summary, task)
        row = found["correlation", "evalkit"]
        assert (row["value"], row["n"]) == (pytest.approx(sum(picked) / len(picked)), len(asked))
        assert row["low"] < row["value"] < row["high"]
        assert (found["correlation_floor", "evalkit"]["value"], found["judge_unparsed", "evalkit"]["value"]) == (0.5, 0)


def test_a_second_run_asks_nobody_and_the_stored_replies_score_the_same(
    summary: Summary, run: Callable[[], Summary], server: Server
) -> None:
    before = len(server.bodies)
    assert run().numbers == summary.numbers
    assert score(summary.folder)[1] == []
    assert len(server.bodies) == before


def test_the_papers_table_has_the_run_above_the_published_rows_marked_for_what_differs(summary: Summary) -> None:
    told = CliRunner().invoke(command, [str(summary.folder), "--suite", "grit", "--published"], catch_exceptions=False)
    lines = told.stdout.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    head, mine = cells[0], next(row for row in cells if row[0].startswith("demo"))
    value = rows(summary, "grit_vsr")["judge_score", "official"]["value"]
    assert mine[head.index("VSR ACC")].startswith(f"{100 * value:.1f}")
    assert mine[head.index("TallyQA ACC")] == "-"
    assert [row[0] for row in cells].index(mine[0]) < [row[0] for row in cells].index("GRIT-Qwen2.5-VL-3B")
    for said in (
        "judged by",
        "the table by gpt-4o",
        "a part of the benchmark only",
        "images of 16,384 to 26,000 pixels, the table's of 3,136 to 200,704 pixels",
    ):
        assert said in told.stdout
