"""Authentic replies, whole runs: the numbers of the published scores, digit for digit, through `evalkit.run`."""

from collections.abc import Callable
from pathlib import Path

import pytest

import evalkit

VSTAR = {
    "gpt55_original": (102, 64, 166),
    "qwen36plus_original": (102, 71, 173),
    "kimi_original": (93, 63, 156),
    "opus47_original": (89, 61, 150),
    "qwen3vl8b_original": (77, 47, 124),
    "qwen3vl8b_cot_orig": (87, 64, 151),
    "qwen3vl32b_cot_orig": (100, 63, 163),
}
VSR = {"qwen2vl_7b": 1776, "smolvlm2_baseline": 1624}


@pytest.mark.parametrize("name", VSTAR)
def test_vstar_gives_the_published_counts(name: str, shared: Callable[[str], Path], tmp_path: Path) -> None:
    replies, data = shared(f"replay/vstar/{name}.jsonl"), shared("annotations/vstar")
    summary = evalkit.run(f"replay:{replies}", "vstar", data=str(data), out=tmp_path)
    right = [summary.value("vstar", "accuracy", "official", part) for part in ("direct_attributes", "relative_position", "overall")]
    attributes, positions, overall = VSTAR[name]
    assert right == [attributes / 115, positions / 76, overall / 191]
    assert summary.tasks[0]["notes"] == []


@pytest.mark.parametrize("name", VSR)
def test_vsr_gives_the_published_counts(name: str, shared: Callable[[str], Path], tmp_path: Path) -> None:
    replies, data = shared(f"replay/vsr/{name}.jsonl"), shared("annotations/vsr")
    summary = evalkit.run(f"replay:{replies}", "vsr:random", data=str(data), out=tmp_path)
    assert summary.value("vsr:random", "accuracy") == VSR[name] / 2195
