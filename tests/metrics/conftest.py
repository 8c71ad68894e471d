"""What the tests of metrics share: a sample with a target or regions, and estimates straight from values."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from evalkit.geometry import Box
from evalkit.interfaces import Metric
from evalkit.types import Columns, Estimate, Sample, Wants


def _sample(target: Any = None, regions: Sequence[Box] = ()) -> Sample:
    return Sample("1", "Which?", "Which?", (), Wants("choice"), target, regions=tuple(regions))


@pytest.fixture
def sample() -> Callable[..., Sample]:
    """Makes a sample of a target and regions."""
    return _sample


@pytest.fixture
def score() -> Callable[..., Mapping[str, Estimate]]:
    """Measures (value, sample) pairs and summarises those that count; each pair is its own cluster unless `group` says."""

    def run(metric: Metric, pairs: Sequence[tuple[Any, Sample]], group: Sequence[int] | None = None) -> Mapping[str, Estimate]:
        measured = [metric.measure(value, sample) for value, sample in pairs]
        kept = [i for i, record in enumerate(measured) if record]
        names = measured[kept[0]] if kept else {}
        values = {name: np.array([measured[i][name] for i in kept]) for name in names}
        return metric.summarise(Columns(values, np.array([group[i] if group else i for i in kept], dtype=np.int64)))

    return run
