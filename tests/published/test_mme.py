"""MME's authentic replies: the eval tool's own example to the digit, and a run with pairs missing, through `evalkit.run`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import evalkit
from evalkit import task as tasks
from evalkit.errors import Refused

LAVIN = {
    "perception": 963.61,
    "cognition": 249.64,
    "existence": 185.00,
    "count": 88.33,
    "position": 63.33,
    "color": 75.00,
    "posters": 79.59,
    "celebrity": 47.35,
    "scene": 136.75,
    "landmark": 93.50,
    "artwork": 87.25,
    "OCR": 107.50,
    "commonsense_reasoning": 87.14,
    "numerical_calculation": 65.00,
    "text_translation": 47.50,
    "code_reasoning": 50.00,
}


def test_the_tools_own_example_gives_its_scores(shared: Callable[[str], Path], tmp_path: Path) -> None:
    summary = evalkit.run(f"replay:{shared('replay/mme/LaVIN')}", "mme", data=str(shared("annotations/mme")), out=tmp_path)
    rows = {row["subset"]: row for row in summary.numbers if (row["metric"], row["rule"]) == ("score", "official")}
    assert {subset: round(row["value"], 2) for subset, row in rows.items()} == LAVIN
    assert (rows["perception"]["n"], rows["cognition"]["n"]) == (2114, 260)
    assert summary.tasks[0]["notes"] == []


def test_a_run_that_lacks_pairs_is_refused_by_name_and_count(shared: Callable[[str], Path], tmp_path: Path) -> None:
    replies, data = shared("replay/mme/llava-v1.5-7b-incomplete"), shared("annotations/mme")
    with pytest.raises(Refused, match="scene has 378 of 400 replies, landmark has 398 of 400 replies"):
        evalkit.run(f"replay:{replies}", "mme", data=str(data), out=tmp_path)


def test_told_to_go_on_it_is_scored_with_its_gaps_beside_it(shared: Callable[[str], Path], tmp_path: Path) -> None:
    replies, data = shared("replay/mme/llava-v1.5-7b-incomplete"), shared("annotations/mme")
    summary = evalkit.run(f"replay:{replies}", "mme", data=str(data), out=tmp_path, allow_incomplete=True)
    rows = {row["subset"]: row for row in summary.numbers if (row["metric"], row["rule"]) == ("score", "official")}
    assert {subset: row["missing"] for subset, row in rows.items() if row["missing"]} == {"scene": 22, "landmark": 2, "perception": 24}
    assert (rows["existence"]["value"], rows["scene"]["n"]) == (190.0, 400)


def test_yes_to_everything_scores_the_floors_that_are_printed(shared: Callable[[str], Path], tmp_path: Path) -> None:
    data, path = shared("annotations/mme"), tmp_path / "yes.jsonl"
    path.write_text("".join(json.dumps({"sample": sample.id, "text": "Yes"}) + "\n" for sample in tasks.find("mme", data).samples()))
    summary = evalkit.run(f"replay:{path}", "mme", data=str(data), out=tmp_path / "out")
    scores = {row["subset"]: row["value"] for row in summary.numbers if (row["metric"], row["rule"]) == ("score", "official")}
    floors = {row["subset"]: row["value"] for row in summary.numbers if (row["metric"], row["rule"]) == ("score_floor", "majority")}
    assert scores == floors
    assert (floors["perception"], floors["cognition"]) == (500.0, 200.0)
