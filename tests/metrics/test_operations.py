"""How often a model looks closer, how often that works, and how close."""

from typing import Any

import pytest

from evalkit import protocols
from evalkit.geometry import Box
from evalkit.metrics.operations import CropArea, Operations
from evalkit.scoring import Tally
from evalkit.task import Task
from evalkit.types import Operation, Prediction, Sample, Wants

DONE = Operation("zoom_in", "{}", box=Box(0, 0, 40, 30))
FAILED = Operation("zoom_in", "{}", error="Cropped image is too small: 0x0")
SAMPLES = [Sample(str(i), "How many?", "How many?", (), Wants("count"), 1, regions=(Box(0, 0, 10, 10),)) for i in range(4)]
ASKED = [(), (DONE,), (FAILED, DONE), (FAILED,)]


def rows(predictions: list[Prediction], samples: list[Sample] = SAMPLES) -> dict[tuple[str, str], dict[str, Any]]:
    """The flat rows that the protocol's own rules give a task without any."""
    rules = protocols.find("pixel_reasoner").rules
    tally = Tally(Task("t", 1, lambda: iter(samples), rules, "rapr", ("count",)))
    for sample, prediction in zip(samples, predictions, strict=True):
        tally.count(sample)
        tally.add(sample, prediction)
    return {(row["metric"], row["subset"]): row for row in tally.numbers()}


def test_the_rates_are_shares_and_means_over_all_samples() -> None:
    found = rows([Prediction("", None, operations=operations) for operations in ASKED])
    assert {metric: row["value"] for (metric, _), row in found.items() if row["rule"] != "math_verify"} == {
        "rapr": 0.75,
        "operations_asked": 1.0,
        "operations_done": 0.5,
        "operations_failed": 0.5,
        "crop_area": 12.0,
    }
    assert [found[metric, "overall"]["n"] for metric in ("rapr", "operations_asked", "crop_area")] == [4, 4, 2]
    assert found["rapr", "overall"]["low"] < 0.75 < found["rapr", "overall"]["high"]


def test_a_missing_reply_asks_for_nothing_and_counts() -> None:
    found = rows([Prediction("", None, missing=True), *(Prediction("", None, operations=(DONE,)) for _ in range(3))])
    assert (found["rapr", "overall"]["value"], found["rapr", "overall"]["missing"]) == (0.75, 1)


@pytest.mark.parametrize(
    ("operations", "regions", "record"),
    [
        ((DONE,), (Box(0, 0, 10, 10),), {"area": 12.0}),
        ((DONE, Operation("zoom_in", "{}", box=Box(5, 5, 10, 10))), (Box(0, 0, 10, 10),), {"area": 0.25}),
        ((DONE, FAILED), (Box(0, 0, 10, 10),), {"area": 12.0}),
        ((DONE, Operation("select_frames", "{}")), (Box(0, 0, 10, 10),), {"area": 12.0}),
        ((DONE,), (Box(0, 0, 10, 10), Box(5, 0, 20, 10)), {"area": 6.0}),
        ((FAILED,), (Box(0, 0, 10, 10),), {}),
        ((), (Box(0, 0, 10, 10),), {}),
        ((DONE,), (), {}),
        ((DONE,), (Box(3, 3, 3, 3),), {}),
        (None, (Box(0, 0, 10, 10),), {}),
    ],
)
def test_the_area_is_that_of_the_last_crop_done_over_the_union_of_the_regions(
    operations: tuple[Operation, ...] | None, regions: tuple[Box, ...], record: dict[str, float]
) -> None:
    assert CropArea().measure(operations, Sample("1", "", "", (), Wants("text"), "", regions=regions)) == record


def test_where_no_sample_has_regions_there_is_no_row_for_the_area() -> None:
    samples = [Sample(str(i), "", "", (), Wants("text"), "") for i in range(2)]
    found = rows([Prediction("", None, operations=(DONE,))] * 2, samples)
    assert ("crop_area", "overall") not in found
    assert found["rapr", "overall"]["value"] == 1.0


def test_every_operation_asked_for_is_done_or_failed() -> None:
    for operations in ASKED:
        record = Operations().measure(operations, SAMPLES[0])
        assert record["asked"] == len(operations)
        assert record["failed"] == sum(operation is FAILED for operation in operations)
