"""The region attention density against values worked out by hand, and what is asked for it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.geometry import Box, Size, region_overlap
from evalkit.graders import find
from evalkit.metrics.faithfulness import RegionAttentionDensity, coverage, density
from evalkit.types import Attend, Columns, Generate, Image, Message, Prediction, Request, Response, Sample, Unparsed, Wants

PICTURE = Image(Path("a.jpg"), size=Size(80, 40), digest="d")
SAMPLE = Sample("1", "Where?", "Where?", (PICTURE,), Wants("text"), "left", regions=(Box(0, 0, 20, 40),))
MESSAGES = (Message("user", (PICTURE, "Where?")),)
PREDICTION = Prediction("On the left.", "left", asked=Generate(MESSAGES, prefill="It is: "))
PROBE = find("region-attention")
(RULE,) = PROBE.rules

sides = st.floats(-20, 100, allow_nan=False, width=16)
boxes = st.lists(st.builds(Box, sides, sides, sides, sides), max_size=4)


def graded(prediction: Prediction, response: Response, sample: Sample = SAMPLE) -> tuple[Request | None, Any]:
    """The one request, if there is one, and the verdict."""
    conversation = PROBE.grader.grade(sample, prediction)
    try:
        request = next(conversation)
    except StopIteration as end:
        return None, end.value
    with pytest.raises(StopIteration) as ended:
        conversation.send(response)
    return request, ended.value.value


@pytest.mark.parametrize(
    ("grid", "regions", "expected"),
    [
        ([[4, 1, 1, 2], [4, 1, 1, 2]], [Box(0, 0, 20, 40)], 2.0),  # half of the attention on a quarter of the image
        ([[4, 1, 1, 2], [4, 1, 1, 2]], [Box(20, 0, 60, 40)], 0.5),  # a quarter of it on a half
        ([[4, 1, 1, 2], [4, 1, 1, 2]], [Box(0, 0, 20, 40), Box(60, 0, 80, 40)], 1.5),  # three quarters on a half
        ([[4, 1, 1, 2], [4, 1, 1, 2]], [Box(0, 0, 20, 40), Box(20, 40, 0, 0)], 2.0),  # what two cover counts once
        ([[3, 1]], [Box(0, 0, 20, 40)], 1.5),  # half of the first cell: 1.5 of 4 on a quarter
        ([[3, 1]], [Box(30, 10, 50, 20)], 1.0),  # as much of either cell
        ([[1, 0]], [Box(40, 0, 80, 40)], 0.0),
        ([[3, 1]], [Box(-50, -50, 40, 90)], 1.5),  # cut at the border
        ([[3, 1]], [Box(0, 0, 80, 40)], 1.0),
    ],
)
def test_the_density_is_the_share_of_the_attention_over_the_share_of_the_area(
    grid: list[list[float]], regions: list[Box], expected: float
) -> None:
    assert density(grid, regions, Size(80, 40)) == pytest.approx(expected, abs=1e-12)


@given(boxes, st.integers(1, 6), st.integers(1, 6))
def test_even_attention_has_the_density_one(regions: list[Box], rows: int, columns: int) -> None:
    regions = [*regions, Box(3, 4, 50, 30)]
    assert density([[0.013] * columns] * rows, regions, Size(80, 40)) == pytest.approx(1, abs=1e-9)


@given(boxes, st.integers(1, 6), st.integers(1, 6))
def test_coverage_is_each_cells_overlap_with_the_region(regions: list[Box], rows: int, columns: int) -> None:
    size = Size(80, 40)
    found = coverage(regions, size, rows, columns)
    for row in range(rows):
        for column in range(columns):
            x, y, width, height = column * 80 / columns, row * 40 / rows, 80 / columns, 40 / rows
            overlap = region_overlap([Box(x, y, x + width, y + height)], regions).inter
            assert found[row, column] == pytest.approx(overlap / (width * height), abs=1e-9)


def test_the_whole_reply_is_the_continuation_of_what_was_asked() -> None:
    request, verdict = graded(PREDICTION, Response(attention=(((0.0333333333, 0.01), (0.03, 0.01)), ((0.9,),))))
    assert request is not None
    assert (request.kind, request.to) == (Attend(MESSAGES, "On the left.", "It is: "), "model")
    assert verdict == {"rad": pytest.approx(0.5 * (0.0633333333 / 0.0833333333) / 0.25), "grid": [[0.0333333, 0.01], [0.03, 0.01]]}


def test_of_a_reply_without_end_the_beginning_is_taken() -> None:
    request, _ = graded(replace(PREDICTION, text="left " * 10_000), Response(attention=(((1.0,),),)))
    assert request is not None
    assert len(request.kind.continuation) == 8_192  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("prediction", "sample"),
    [
        (PREDICTION, replace(SAMPLE, regions=())),
        (PREDICTION, replace(SAMPLE, regions=(Box(90, 0, 99, 9), Box(5, 5, 5, 30)))),
        (PREDICTION, replace(SAMPLE, images=())),
        (replace(PREDICTION, text=""), SAMPLE),
        (replace(PREDICTION, asked=None), SAMPLE),
    ],
    ids=["no regions", "none in the image", "no image", "no reply", "no text was asked for"],
)
def test_a_sample_without_a_region_or_a_reply_does_not_count(prediction: Prediction, sample: Sample) -> None:
    request, verdict = graded(prediction, Response(), sample)
    assert (request, verdict) == (None, None)
    assert isinstance(RULE.parse(replace(prediction, verdicts={"region_attention": verdict}), sample), Unparsed)
    assert RULE.metric.measure(None, sample) == {}


def test_the_number_is_the_mean_over_samples_with_its_interval() -> None:
    numbers = RegionAttentionDensity().summarise(Columns({"rad": np.array([1.0, 2.0, 3.0, 4.0])}, np.arange(4)))
    assert (numbers["rad"].value, numbers["rad"].n) == (2.5, 4)
    assert 1 <= numbers["rad"].low < 2.5 < numbers["rad"].high <= 4  # type: ignore[operator]


def test_the_rule_is_named_as_our_own() -> None:
    prediction = replace(PREDICTION, verdicts={"region_attention": {"rad": 1.25, "grid": [[1.0]]}})
    assert (RULE.name, RULE.parse(prediction, SAMPLE)) == ("evalkit", 1.25)
