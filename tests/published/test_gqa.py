"""GQA's authentic replies, whole: every line of the official printout, through `evalkit.run`."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import evalkit
from evalkit import task as tasks

RUN = "llava-v1.5-13b"
HEAD = {"Binary": "binary", "Open": "open", "Accuracy": "overall"}


def printout(text: str) -> Iterator[tuple[str, str, int | None]]:
    """Subset, percentage as printed, and questions where they are printed, of every accuracy that the official code prints."""
    family = ""
    for line in text.splitlines():
        if title := re.fullmatch(r"Accuracy / (\w+) .*:", line):
            family = title[1]
        elif row := re.fullmatch(r"  (\w+): ([\d.]+)% \((\d+) questions\)", line):
            yield f"{family}={row[1]}", row[2], int(row[3])
        elif (row := re.fullmatch(r"(\w+): ([\d.]+)%", line)) and row[1] in HEAD:
            yield HEAD[row[1]], row[2], None


@pytest.mark.parametrize(("replies", "rule"), [(f"{RUN}.jsonl", "llava"), (f"{RUN}_testdev_balanced_predictions.json", "official")])
def test_every_line_of_the_official_printout_is_reached(replies: str, rule: str, shared: Callable[[str], Path], tmp_path: Path) -> None:
    data, text = shared("annotations/gqa"), shared(f"replay/gqa/{RUN}_official_eval_output.txt").read_text()
    summary = evalkit.run(f"replay:{shared(f'replay/gqa/{replies}')}", "gqa", data=str(data), out=tmp_path)
    expected = list(printout(text))
    assert len(expected) == 45
    rows = {row["subset"]: row for row in summary.numbers if (row["metric"], row["rule"]) == ("accuracy", rule)}
    assert {subset for subset, _, _ in expected} == set(rows)
    got = [(subset, f"{100 * rows[subset]['value']:.2f}", questions and rows[subset]["n"]) for subset, _, questions in expected]
    assert got == expected
    distribution = re.search(r"Distribution: ([\d.]+)", text)
    assert distribution
    assert f"{summary.value('gqa', 'distribution', rule):.2f}" == distribution[1]
    assert [summary.value("gqa", name, rule) for name in ("validity", "plausibility", "consistency")] == [None] * 3
    if rule == "llava":
        assert summary.value("gqa", "accuracy", "official") == 0.0, "the raw text, which no gold answer equals"
    assert summary.tasks[0]["notes"] == []


@pytest.mark.parametrize(("variant", "rows"), [("ood_head", 1733), ("ood_tail", 1063)])
def test_the_out_of_distribution_slices_have_their_rows(variant: str, rows: int, shared: Callable[[str], Path]) -> None:
    task = tasks.find(f"gqa:{variant}", shared("annotations/gqa"))
    assert len(list(task.samples())) == rows
