"""Whole dialogues: what is sent, to the byte, and images by their size and budget; and what comes of it (tests/golden/conversations).

The first line of a file holds the system message of each protocol, null where there is none, and how every turn is decoded.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.geometry import Box, Frame
from evalkit.protocols import find

from .dialogues import QWEN, converse, sample, written

FILES = {
    path.stem: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for path in sorted((Path(__file__).parents[1] / "golden" / "conversations").glob("*.jsonl"))
}
DIALOGUES = [(head, row) for head, *rows in FILES.values() for row in rows]


@pytest.mark.parametrize(("head", "row"), DIALOGUES, ids=[f"{row['protocol']}: {row['name']}" for _, row in DIALOGUES])
def test_a_dialogue_goes_as_the_authors_code_has_it(head: dict[str, Any], row: dict[str, Any]) -> None:
    frame = row.get("frame", "seen")
    model = replace(QWEN, frame=Frame(frame) if frame else None)
    requests, prediction = converse(sample(row), row["replies"], find(row["protocol"]), model)
    replies = [{"text": reply} if isinstance(reply, str) else reply for reply in row["replies"]]
    texts = [reply.get("reasoning", "") + reply["text"] for reply in replies]
    system = head["systems"][row["protocol"]]
    turns: list[Any] = [*([["system", [system]]] if system else []), ["user", row["asked"][0]]]
    assert written(requests[0]) == turns
    for request, text, asked in zip(requests[1:], texts, row["asked"][1:], strict=False):
        turns += [["assistant", [text]], ["user", asked]]
        assert written(request) == turns
    assert len(requests) == len(row["asked"])
    for request in requests:
        sampling = request.kind.sampling  # type: ignore[union-attr]
        assert {name: getattr(sampling, name) for name in head["sampling"]} == head["sampling"] | {"stop": tuple(head["sampling"]["stop"])}
    assert (prediction.text, prediction.finish) == (texts[-1], replies[-1].get("finish", "stop"))
    assert (prediction.answer, prediction.failure) == (row["answer"], row["failure"])
    if row["protocol"].startswith("pixel_reasoner"):
        assert prediction.tags == {"with_tools" if row["operations"] else "without_tools"}
    found = [[operation.name, operation.error, operation.box] for operation in prediction.operations]
    assert [item[:2] for item in found] == [item[:2] for item in row["operations"]]
    assert [item[2] for item in found] == [close(item[2]) for item in row["operations"]]
    assert [list(item.written) for item in prediction.evidence] == [item[0] for item in row["evidence"]]
    assert [item.frame for item in prediction.evidence] == [item[1] for item in row["evidence"]]
    assert [item.box for item in prediction.evidence] == [close(item[2]) for item in row["evidence"]]


def close(box: list[float] | None) -> Any:
    return None if box is None else pytest.approx(Box(*box), abs=1e-9)


@pytest.mark.parametrize("name", FILES)
def test_every_variant_has_a_dialogue(name: str) -> None:
    from importlib import import_module

    variants = import_module(f"evalkit.protocols.{name}").VARIANTS
    assert {row["protocol"] for _, row in DIALOGUES if row["protocol"].startswith(name)} == {find(f"{name}:{one}").name for one in variants}
    assert set(FILES[name][0]["systems"]) >= {find(f"{name}:{one}").name for one in variants}
