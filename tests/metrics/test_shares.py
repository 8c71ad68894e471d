"""What one value a sample may be."""

import math

import pytest

from evalkit import Mean, Sample, Wants
from evalkit.errors import DataError

SAMPLE = Sample("7", "How much?", "How much?", (), Wants("text"), target="")


@pytest.mark.parametrize("value", [1.5, -0.25, math.nan, math.inf, -math.inf])
def test_a_value_outside_the_unit_interval_is_refused_with_its_sample(value: float) -> None:
    with pytest.raises(DataError, match=r"expected a value in \[0, 1\] as the overlap of 7, got"):
        Mean("overlap").measure(value, SAMPLE)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.25, None])
def test_any_other_counts_as_it_is(value: float | None) -> None:
    assert Mean("overlap").measure(value, SAMPLE) == {"value": value or 0.0}
