"""Every task's golden file: invented rows in the benchmark's own layout, replies, and what each rule makes of them.

First line: {"task": NAME, "files": {PATH: rows of a .jsonl, or the value of a .json}}. Then lines
{"sample": ID, "text": REPLY, "rule": {RULE: the first number of its record, or null where the reply is not parsed}}. Replies go
through the `direct` protocol; boxes in them are in original pixels. Of several rules with one name the first is meant.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit import task as tasks
from evalkit.geometry import Frame
from evalkit.protocols.direct import protocol
from evalkit.types import ModelInfo, Response, Sample, Unparsed

GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("*.jsonl"))
MODEL = ModelInfo("golden", "golden", Frame.ORIGINAL)


def files_of(head: dict[str, Any], folder: Path) -> None:
    for place, rows in head["files"].items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(row) for row in rows] if path.suffix == ".jsonl" else [json.dumps(rows)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def predict(sample: Sample, text: str) -> Any:
    conversation = protocol().converse(sample, MODEL)
    next(conversation)
    with pytest.raises(StopIteration) as end:
        conversation.send(Response(text))
    return end.value.value


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_every_rule_reads_the_golden_replies_as_written(path: Path, tmp_path: Path) -> None:
    head, *cases = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    files_of(head, tmp_path)
    task = tasks.find(head["task"], tmp_path)
    samples = {sample.id: sample for sample in tasks.checked(task.samples(), task.name)}
    rules = {rule.name: rule for rule in reversed(task.rules)}
    got: list[dict[str, Any]] = []
    for case in cases:
        sample = samples[case["sample"]]
        prediction = predict(sample, case["text"])
        values = {name: rules[name].parse(prediction, sample) for name in case["rule"]}
        records = {
            name: None if isinstance(value, Unparsed) else rules[name].metric.measure(value, sample) for name, value in values.items()
        }
        got.append(case | {"rule": {name: record and next(iter(record.values())) for name, record in records.items()}})
    assert cases == got


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_no_rule_reads_anything_into_silence(path: Path, tmp_path: Path) -> None:
    head = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    files_of(head, tmp_path)
    task = tasks.find(head["task"], tmp_path)
    read = [rule.parse(predict(sample, ""), sample) for sample in task.samples() for rule in task.rules]
    assert read
    assert all(isinstance(value, Unparsed) and value.reason for value in read)
