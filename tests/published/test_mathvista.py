"""MathVista's own result files: every stored prediction and every cell of the authors' breakdowns, through `evalkit.run`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import evalkit

COUNTS = {  # correct of 1000 under official-head and official-2023
    "bard": (348, 348),
    "gpt4": (261, 261),
    "claude": (264, 264),
    "chatgpt": (235, 235),
    "gpt4_2shot_solution": (292, 292),
    "gpt4_2shot_code": (270, 260),
    "llava_llama_2_13b": (261, 261),
    "llavar": (252, 250),
    "instruct_blip2_vicuna_13b": (254, 253),
    "random_guess": (179, 179),
    "frequent_guess": (263, 263),
}
ODD = {("chatgpt", "skills=geometry reasoning")}  # 222 rows in the scores file, 223 in the output it was made from


def made_by(name: str) -> str:
    """The rule that a stored file was scored with."""
    return "official-head" if name in {"gpt4", "llavar"} else "official-2023"


def records(folder: Path, rule: str) -> dict[str, dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "records.jsonl").read_text(encoding="utf-8").splitlines()]
    return {row["sample"]: row for row in rows if row["rule"] == rule}


@pytest.mark.parametrize("name", COUNTS)
def test_both_generations_give_the_published_counts(name: str, shared: Callable[[str], Path], tmp_path: Path) -> None:
    output, data = shared(f"replay/mathvista/output_{name}.json"), shared("annotations/mathvista")
    summary = evalkit.run(f"replay:{output}", "mathvista", data=str(data), out=tmp_path)
    right = tuple(summary.value("mathvista", "accuracy", rule) for rule in ("official-head", "official-2023"))
    assert right == tuple(count / 1000 for count in COUNTS[name])
    assert summary.tasks[0]["notes"] == []


@pytest.mark.parametrize("name", COUNTS)
def test_every_stored_row_and_cell_is_reached(name: str, shared: Callable[[str], Path], tmp_path: Path) -> None:
    """The breakdowns are those of the file's own metadata, which is older than that of the annotations."""
    output, data = shared(f"replay/mathvista/output_{name}.json"), shared("annotations/mathvista")
    stored, rule = json.loads(output.read_text(encoding="utf-8")), made_by(name)
    summary = evalkit.run(f"replay:{output}", "mathvista", data=str(data), out=tmp_path)

    found = records(summary.folder, rule)
    for pid, row in stored.items():
        value, options = found[pid]["value"], row["choices"]
        prediction = options[ord(value) - ord("A")] if options and value else value
        assert (prediction, bool(found[pid]["correct"])) == (row.get("prediction"), bool(row.get("true_false"))), pid

    scores = json.loads(output.with_name(f"scores_{name}.json").read_text(encoding="utf-8"))
    average = scores.pop("average")
    cells = {f"{key}={value}": (cell["correct"], cell["total"]) for key, values in scores.items() for value, cell in values.items()}
    cells["overall"] = (average["correct"], average["total"])
    numbers = {row["subset"]: row for row in summary.numbers if (row["metric"], row["rule"]) == ("accuracy", rule)}
    got = {subset: (round(numbers[subset]["value"] * numbers[subset]["n"]), numbers[subset]["n"]) for subset in cells}
    assert {subset for subset, cell in cells.items() if got[subset] != cell} == {subset for run, subset in ODD if run == name}
    assert set(numbers) - set(cells) == {"precision=1", "precision=2"}
