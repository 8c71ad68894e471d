"""Accuracy and root mean squared errors of counts."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, root_mean_squared_error

from evalkit.metrics.counts import Counts


def test_accuracy_and_errors_agree_with_scikit_learn_where_all_is_parsed(sample, score):
    rng = np.random.default_rng(0)
    gold, said = rng.integers(0, 16, 400), rng.integers(0, 40, 400)
    estimates = score(Counts(), [(int(p), sample(int(t))) for p, t in zip(said, gold, strict=True)])
    assert estimates["accuracy"].value == accuracy_score(gold, said)
    clipped = pytest.approx(root_mean_squared_error(gold, said.clip(0, 15)), rel=1e-12)
    assert estimates["rmse"].value == clipped
    assert estimates["rmse_unparsed_zero"].value == clipped
    assert estimates["rmse_raw"].value == pytest.approx(root_mean_squared_error(gold, said), rel=1e-12)


def test_an_unparsed_reply_is_wrong_left_out_of_rmse_and_taken_for_zero_in_the_reading_that_says_so(sample, score):
    estimates = score(Counts(), [(4, sample(4)), (3, sample(4)), (None, sample(6))])
    assert (estimates["accuracy"].value, estimates["accuracy"].n) == (1 / 3, 3)
    assert (estimates["rmse"].value, estimates["rmse"].n) == (0.5**0.5, 2)
    assert (estimates["rmse_raw"].value, estimates["rmse_raw"].n) == (0.5**0.5, 2)
    assert estimates["rmse_unparsed_zero"].value == pytest.approx((37 / 3) ** 0.5)
    assert estimates["rmse_unparsed_zero"].n == 3


def test_one_wild_count_is_clipped_in_rmse_and_shows_in_rmse_raw(sample, score):
    estimates = score(Counts(), [(2014, sample(5))] + [(5, sample(5))] * 99)
    assert estimates["rmse"].value == 1.0
    assert estimates["rmse_raw"].value == 200.9


def test_a_negative_count_is_clipped_to_zero(sample):
    assert Counts().measure(-3, sample(2)) == {"correct": 0.0, "error": -2.0, "raw_error": -5.0, "parsed": 1.0}


def test_the_largest_answer_is_the_benchmarks_own(sample):
    assert Counts(largest=5).measure(9, sample(4))["error"] == 1.0


def test_a_count_of_a_thousand_digits_is_a_finite_error(sample, score):
    estimate = score(Counts(), [(10**1000, sample(1)), (1, sample(1))])["rmse_raw"]
    assert np.isfinite(estimate.value) and estimate.value > 10**8


def test_where_nothing_is_parsed_accuracy_is_zero_and_rmse_has_no_value(sample, score):
    estimates = score(Counts(), [(None, sample(3)), (None, sample(1))])
    assert estimates["accuracy"].value == 0.0
    assert (estimates["rmse"].value, estimates["rmse"].n) == (None, 0)
    assert estimates["rmse_unparsed_zero"].value == 5**0.5


def test_the_interval_of_rmse_holds_its_value_and_is_not_empty(sample, score):
    rng = np.random.default_rng(1)
    estimate = score(Counts(), [(int(rng.integers(0, 9)), sample(4)) for _ in range(200)], group=[i // 4 for i in range(200)])["rmse"]
    assert estimate.low < estimate.value < estimate.high
    assert estimate.stderr > 0


def test_errors_that_are_all_equal_have_no_interval(sample, score):
    estimates = score(Counts(), [(4, sample(4))] * 5)
    assert (estimates["rmse"].value, estimates["rmse"].low, estimates["rmse"].high) == (0.0, None, None)
    assert estimates["accuracy"].low < estimates["accuracy"].high


def test_no_record_gives_no_value(score):
    assert all(estimate.value is None and estimate.n == 0 for estimate in score(Counts(), []).values())
