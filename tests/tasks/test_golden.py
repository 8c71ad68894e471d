"""Every task's golden file: invented rows in the benchmark's own layout, replies, and what each rule makes of them.

First line: {"task": NAME, "files": {PATH: rows of a .jsonl, the value of a .json, any text, {"draw": [width, height]} for an
image, {"labels": rows of digits} for a label image}}. Then lines {"sample": ID, "text": REPLY, "rule": {RULE: the first number of its
record, or null where the reply is not parsed}}, with "given" (boxes, labels, scores, masks beside the text) and "verdicts" where the
task has graders. Replies go through the `direct` protocol; boxes in them are in original pixels. Of several rules with one name the
first is meant.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit import task as tasks
from evalkit.geometry import Box, Frame, Mask, Size
from evalkit.protocols.direct import protocol
from evalkit.types import ModelInfo, Response, Sample, Unparsed

GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("*.jsonl"))
MODEL = ModelInfo("golden", "golden", Frame.ORIGINAL)


def predict(sample: Sample, text: str, given: dict[str, Any] | None = None, verdicts: dict[str, Any] | None = None) -> Any:
    values = dict(given or {})
    response = Response(
        text,
        boxes=tuple(Box(*box) for box in values.get("boxes", ())),
        labels=tuple(values.get("labels", ())),
        scores=tuple(values.get("scores", ())),
        masks=tuple(Mask(mask["counts"], Size(mask["size"][1], mask["size"][0])) for mask in values.get("masks", ())),
    )
    conversation = protocol().converse(sample, MODEL)
    next(conversation)
    with pytest.raises(StopIteration) as end:
        conversation.send(response)
    return replace(end.value.value, verdicts=verdicts or {})


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_every_rule_reads_the_golden_replies_as_written(path: Path, golden_data: Callable[[Path], Path]) -> None:
    head, *cases = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    task = tasks.find(head["task"], golden_data(path))
    samples = {sample.id: sample for sample in tasks.checked(task.samples(), task.name)}
    rules = {rule.name: rule for rule in reversed(task.rules)}
    got: list[dict[str, Any]] = []
    for case in cases:
        sample = samples[case["sample"]]
        prediction = predict(sample, case["text"], case.get("given"), case.get("verdicts"))
        values = {name: rules[name].parse(prediction, sample) for name in case["rule"]}
        records = {
            name: None if isinstance(value, Unparsed) else rules[name].metric.measure(value, sample) for name, value in values.items()
        }
        got.append(case | {"rule": {name: record and next(iter(record.values())) for name, record in records.items()}})
    assert cases == got


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_no_strict_rule_reads_anything_into_silence(path: Path, golden_data: Callable[[Path], Path]) -> None:
    head = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    task = tasks.find(head["task"], golden_data(path))
    strict = [rule for rule in task.rules if rule.name == "strict" and rule.reads != "likelihoods"]
    read = [rule.parse(predict(sample, ""), sample) for sample in task.samples() for rule in strict or task.rules]
    assert read
    assert all(isinstance(value, Unparsed) and value.reason for value in read)
