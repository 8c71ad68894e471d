"""The demo checkpoint is a stock one, answers in both forms, and `demo-early` is clearly worse; measured by evalkit itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import evalkit
from evalkit import config

pytest.importorskip("torch")
pytest.importorskip("transformers")

ROWS = 96


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same rows, asked in the grounded form of both checkpoints, and directly of `demo`."""
    out = str(tmp_path_factory.mktemp("runs"))
    asked = {"demo": ("demo", "grit"), "early": ("demo-early", "grit"), "direct": ("demo", "direct")}
    return {name: evalkit.run(model, "shapes", protocol=protocol, limit=ROWS, out=out) for name, (model, protocol) in asked.items()}


def low(summary: Any, metric: str, subset: str) -> float:
    row = next(
        r
        for r in summary.numbers
        if (r["metric"], r["rule"], r["subset"]) == (metric, "strict" if metric == "accuracy" else "official", subset)
    )
    return float(row["low"])


def test_it_counts_compares_chooses_and_points_far_above_chance(runs: dict[str, Any]) -> None:
    for subset, chance in {"count": 1 / 6, "yes_no": 1 / 2, "choice": 1 / 4}.items():
        assert low(runs["demo"], "accuracy", subset) > chance, subset
    assert runs["demo"].value("shapes", "grounding_iou") > 0.6


def test_asked_directly_it_answers_barely(runs: dict[str, Any]) -> None:
    """The bare answer: the plain reading and the strict one agree, and nothing is unparsed."""
    for row in runs["direct"].numbers:
        if row["metric"] == "accuracy":
            assert row["unparsed"] == 0, row
    assert low(runs["direct"], "accuracy", "count") > 1 / 6


def test_the_early_checkpoint_is_clearly_worse(runs: dict[str, Any]) -> None:
    rows = {
        name: next(r for r in runs[name].numbers if r["metric"] == "grounding_iou" and r["subset"] == "overall")
        for name in ("demo", "early")
    }
    assert rows["early"]["high"] < rows["demo"]["low"]


def test_every_reply_has_the_form_that_was_asked_for(runs: dict[str, Any]) -> None:
    import pandas

    rows = pandas.read_json(runs["demo"].folder / "predictions.jsonl", lines=True)
    form = r"^<think> .* </think> <rethink> .* </rethink> <answer> .*"
    assert rows["text"].str.match(form).mean() > 0.95


def test_a_loaded_model_is_evaluated_like_its_directory(runs: dict[str, Any], tmp_path: Path) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    declared = config.model("demo")
    assert declared is not None
    model = AutoModelForImageTextToText.from_pretrained(declared.source, dtype="float32")
    processor = AutoProcessor.from_pretrained(declared.source)
    summary = evalkit.run(model, ["shapes"], processor=processor, protocol="grit", limit=ROWS, out=str(tmp_path))
    assert [row["value"] for row in summary.numbers] == [row["value"] for row in runs["demo"].numbers]


def test_both_together_fit_in_the_wheel() -> None:
    folders = [config.model(name) for name in ("demo", "demo-early")]
    size = sum(path.stat().st_size for declared in folders if declared for path in Path(declared.source).rglob("*") if path.is_file())
    assert size <= 12e6


def test_real_photographs_with_gold_boxes_run_through_the_same_path(shared: Callable[[str], Path], tmp_path: Path) -> None:
    """The demo knows nothing of photographs; the ten rows are asked, read and scored all the same, and a second run asks nothing."""
    summary = evalkit.run("demo", "grit_vsr:unjudged", data=(str(shared("real")),), out=str(tmp_path))
    assert summary.complete
    rows = {(row["metric"], row["rule"]): row for row in summary.numbers if row["subset"] == "overall"}
    assert rows["grounding_iou", "official"]["n"] == 10
    assert rows["grounding_iou", "rescaled"]["n"] == 10
    again = evalkit.run("demo", "grit_vsr:unjudged", data=(str(shared("real")),), out=str(tmp_path))
    assert again.numbers == summary.numbers
    assert "10 answers from the store" in (again.folder / "run.log").read_text().splitlines()[-1]
