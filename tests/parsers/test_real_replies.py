"""The strict readers on replies of real models, beside the readings that were published."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalkit.parsers import letter, yes_no
from evalkit.types import Unparsed


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("run", "correct", "unparsed"),
    [
        ("gpt55_original", 166, 0),
        ("kimi_original", 156, 0),
        ("opus47_original", 149, 5),
        ("qwen36plus_original", 173, 1),
        ("qwen3vl32b_cot_orig", 163, 0),
        ("qwen3vl8b_cot_orig", 150, 3),
        ("qwen3vl8b_original", 120, 8),
    ],
)
def test_strict_letters_differ_from_the_published_reading_only_where_it_took_an_article_for_a_letter(
    shared: Callable[[str], Path], run: str, correct: int, unparsed: int
) -> None:
    """Six of 1,337 replies; each declines in words, or goes round in circles until it is cut off."""
    options = {row["question_id"]: list(row["options"].values()) for row in rows(shared("annotations/vstar/vstar_metadata.jsonl"))}
    replies = rows(shared(f"replay/vstar/{run}.jsonl"))
    read = [letter(row["text"], options[row["sample"]]) for row in replies]
    assert sum(value == row["label"] for value, row in zip(read, replies, strict=True)) == correct
    assert sum(isinstance(value, Unparsed) for value in read) == unparsed
    lost = [value for value, row in zip(read, replies, strict=True) if row["official_correct"] != (value == row["label"])]
    assert all(isinstance(value, Unparsed) for value in lost)


@pytest.mark.parametrize("run", ["qwen2vl_7b", "smolvlm2_baseline"])
def test_strict_verdicts_are_the_published_ones(shared: Callable[[str], Path], run: str) -> None:
    replies = rows(shared(f"replay/vsr/{run}.jsonl"))
    assert [yes_no(row["text"]) for row in replies] == [{"True": "yes", "False": "no"}[row["official_prediction"]] for row in replies]
