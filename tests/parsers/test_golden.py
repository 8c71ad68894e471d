"""Awkward replies, each with what a careful reader takes it to say: tests/golden/parsers/*.jsonl."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalkit.parsers import between, count, final_answer, integer_quadruples, labelled_quadruples, letter, number, quadruples, yes_no
from evalkit.types import Unparsed

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "parsers"
READERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "boxes": lambda row: [list(box) for box in quadruples(row["reply"])],
    "boxes_integer": lambda row: [list(box) for box in integer_quadruples(row["reply"])],
    "boxes_labelled": lambda row: [[list(box), label] for box, label in labelled_quadruples(row["reply"])],
    "count": lambda row: count(row["reply"]),
    "letter": lambda row: letter(row["reply"], row["options"]),
    "number": lambda row: number(row["reply"]),
    "tags": lambda row: between(row["reply"], row["name"]) if "name" in row else final_answer(row["reply"]),
    "yes_no": lambda row: yes_no(row["reply"]),
}


def rows(parser: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (GOLDEN / f"{parser}.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("parser", "row"), [pytest.param(name, row, id=f"{name}-{i}") for name in READERS for i, row in enumerate(rows(name), 1)]
)
def test_an_awkward_reply_is_read_as_a_careful_reader_would(parser: str, row: dict[str, Any]) -> None:
    value = READERS[parser](row)
    if row["expect"] is None:
        assert value == Unparsed(row["reason"])
    else:
        assert value == row["expect"]
        assert type(value) is type(row["expect"])


@pytest.mark.parametrize("parser", READERS)
def test_every_parser_has_at_least_thirty_awkward_replies_each_once(parser: str) -> None:
    replies = [(row["reply"], str(row.get("options")), row.get("name")) for row in rows(parser)]
    assert len(replies) >= 30
    assert len(set(replies)) == len(replies)


def test_every_file_of_awkward_replies_is_read() -> None:
    assert {path.stem for path in GOLDEN.glob("*.jsonl")} == set(READERS)
