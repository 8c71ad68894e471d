"""Estimates against named references, and what must hold for any records."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from scipy.stats import bootstrap as scipy_bootstrap

from evalkit import stats
from evalkit.types import Columns


def clustered(rng, clusters, chance=0.6, strength=0.6):
    """Right-or-wrong answers in clusters of 1 to 6 that share their luck with probability `strength`."""
    group = np.repeat(np.arange(clusters), rng.integers(1, 7, clusters))
    luck = (rng.random(clusters) < chance)[group]
    return np.where(rng.random(len(group)) < strength, luck, rng.random(len(group)) < chance).astype(float), group


@pytest.mark.parametrize(("right", "n"), [(0, 1), (1, 1), (0, 7), (7, 7), (3, 10), (161, 191), (999, 1000), (1_000_000, 1_000_000)])
def test_a_share_of_independent_samples_has_the_wilson_interval_of_scipy(right, n):
    estimate = stats.share(np.arange(n) < right, np.arange(n))
    expected = binomtest(right, n).proportion_ci(method="wilson")
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert estimate.value == right / n
    assert estimate.low < estimate.high


def test_a_shares_standard_error_is_that_of_the_mean_where_samples_are_independent():
    correct = np.arange(50) < 20
    assert stats.share(correct, np.arange(50)).stderr == pytest.approx(correct.std(ddof=1) / math.sqrt(50))


def test_repeating_every_sample_in_its_cluster_changes_neither_interval_nor_error_of_a_share():
    correct, group = np.arange(40) < 23, np.arange(40)
    once, thrice = stats.share(correct, group), stats.share(np.tile(correct, 3), np.tile(group, 3))
    assert thrice.n == 3 * once.n
    assert thrice.stderr == pytest.approx(once.stderr)
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))


def test_clusters_that_balance_themselves_do_not_narrow_a_share_below_independence():
    balanced = stats.share(np.tile([0, 1], 50), np.repeat(np.arange(50), 2))
    independent = stats.share(np.tile([0, 1], 50), np.arange(100))
    assert (balanced.low, balanced.high, balanced.stderr) == pytest.approx((independent.low, independent.high, independent.stderr))


def test_all_right_in_clusters_is_worth_as_many_samples_as_clusters():
    estimate = stats.share(np.ones(100), np.repeat(np.arange(20), 5))
    assert (estimate.low, estimate.high) == (pytest.approx(binomtest(20, 20).proportion_ci(method="wilson").low), 1.0)


def test_one_cluster_is_one_sample_and_has_no_standard_error():
    estimate = stats.share([1, 0, 1, 1], [5, 5, 5, 5])
    assert (estimate.value, estimate.stderr, estimate.n) == (0.75, None, 4)
    assert (estimate.low, estimate.high) == stats.wilson(0.75, 1)


def test_of_nothing_every_estimate_is_none_with_n_0():
    for estimate in (stats.share([], []), stats.mean([], []), stats.ratio([], [], [])):
        assert dataclasses.astuple(estimate) == (None, None, None, None, 0)


def test_a_mean_of_independent_samples_has_the_interval_and_error_of_scipys_bootstrap():
    values = np.random.default_rng(3).random(400) ** 2
    estimate = stats.mean(values, np.arange(400))
    reference = scipy_bootstrap((values,), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(0))
    assert estimate.value == pytest.approx(values.mean(), rel=1e-14)
    assert estimate.stderr == pytest.approx(values.std(ddof=1) / 20, rel=1e-12)
    expected = reference.confidence_interval
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high), abs=0.1 * estimate.stderr + 0.001)


def test_a_means_clustered_error_is_the_cluster_robust_one():
    rng = np.random.default_rng(4)
    values, group = rng.random(60), rng.integers(0, 9, 60)
    residual = values - values.mean()
    meat = sum(residual[group == code].sum() ** 2 for code in range(9))
    assert stats.mean(values, group).stderr == pytest.approx(math.sqrt(9 / 8 * meat) / 60)


def test_a_ratio_is_sum_over_sum_not_a_mean_of_ratios():
    assert stats.ratio([1, 0, 30], [2, 4, 30], [0, 1, 2]).value == 31 / 36


def test_a_ratio_without_denominator_has_no_value_and_keeps_its_n():
    estimate = stats.ratio([0, 0], [0, 0], [0, 1])
    assert dataclasses.astuple(estimate) == (None, None, None, None, 2)


def test_resamples_in_which_the_statistic_is_undefined_are_left_out():
    estimate = stats.ratio([1, 0, 0, 0, 0], [2, 2, 0, 0, 0], range(5))
    assert (estimate.value, estimate.low, estimate.high) == (0.25, 0.0, 0.5)


def test_equal_values_of_no_known_range_have_no_interval():
    estimate = stats.mean(np.full(1000, 0.1), np.arange(1000) // 7)
    assert (estimate.low, estimate.high) == (None, None)
    assert estimate.stderr < 1e-12


@pytest.mark.parametrize("value", [0, 0.1, 0.5, 1])
@pytest.mark.parametrize("group", [[0, 1], [0, 0, 0, 1], [*range(50), *range(50)]], ids=["two", "uneven", "pairs"])
def test_equal_values_between_0_and_1_have_an_interval_as_wide_as_their_number_says(value, group):
    estimate = stats.mean(np.full(len(group), value), group, bounded=True)
    assert estimate.value == pytest.approx(value)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert estimate.high - estimate.low > 1 / len(group)


@pytest.mark.parametrize("right", [0, 1])
def test_a_mean_of_zeros_or_of_ones_has_the_interval_of_that_share(right):
    values, group = np.full(30, right), np.arange(30) // 4
    assert stats.mean(values, group, bounded=True) == stats.share(values, group)


def test_values_that_differ_have_the_same_interval_whether_bounded_or_not():
    values = np.random.default_rng(10).random(50)
    assert stats.mean(values, np.arange(50), bounded=True) == stats.mean(values, np.arange(50))


@pytest.mark.parametrize("bounded", [True, False])
def test_a_ratio_that_rests_on_one_cluster_has_no_error_or_interval(bounded):
    estimate = stats.ratio([1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 2, 3], bounded=bounded)
    assert dataclasses.astuple(estimate) == (1.0, None, None, None, 4)


def test_one_cluster_has_a_mean_without_error_or_interval():
    assert dataclasses.astuple(stats.mean([0.25, 0.75], [1, 1])) == (0.5, None, None, None, 2)


values = st.floats(-1e6, 1e6, allow_subnormal=False)
rows = st.lists(st.tuples(values, st.floats(0.1, 10), st.booleans(), st.integers(0, 5)), min_size=1, max_size=30)


@settings(deadline=None)
@given(rows, st.randoms(use_true_random=False), st.permutations(range(-3, 3)))
def test_neither_order_nor_cluster_codes_change_one_bit(rows, shuffler, codes):
    shuffled = list(rows)
    shuffler.shuffle(shuffled)
    value, weight, correct, group = map(np.array, zip(*rows, strict=True))
    other_value, other_weight, other_correct, other = map(np.array, zip(*shuffled, strict=True))
    other_group = np.array(codes)[other]
    assert stats.share(correct, group) == stats.share(other_correct, other_group)
    assert stats.mean(value, group) == stats.mean(other_value, other_group)
    assert stats.ratio(value, weight, group) == stats.ratio(other_value, other_weight, other_group)
    assert stats.mean(correct, group, bounded=True) == stats.mean(other_correct, other_group, bounded=True)
    assert stats.mean(weight * 0 + 0.1, group, bounded=True) == stats.mean(other_weight * 0 + 0.1, other_group, bounded=True)


@pytest.mark.parametrize("decimals", [16, 1], ids=["all distinct, hence pooled", "few distinct"])
def test_order_does_not_change_one_bit_where_clusters_are_many(decimals):
    rng = np.random.default_rng(5)
    values, group = rng.random(40_000).round(decimals), np.repeat(np.arange(20_000), 2)
    order = rng.permutation(40_000)
    assert stats.mean(values, group) == stats.mean(values[order], -group[order])


@pytest.mark.parametrize("decimals", [16, 1], ids=["all distinct, hence pooled", "few distinct"])
def test_the_interval_of_many_clusters_is_as_wide_as_theory_says(decimals):
    values = np.random.default_rng(6).exponential(size=50_000).round(decimals)
    estimate = stats.mean(values, np.arange(50_000))
    assert estimate.high - estimate.low == pytest.approx(2 * stats.Z * estimate.stderr, rel=0.1)
    assert estimate.low < estimate.value < estimate.high


def test_the_bootstrap_error_of_a_statistic_agrees_with_the_analytic_one():
    values = np.random.default_rng(7).random(500)
    sums = stats.cluster_sums(np.arange(500), values, np.ones(500))
    assert stats.bootstrap(np.divide, sums, 500).stderr == pytest.approx(stats.mean(values, np.arange(500)).stderr, rel=0.1)


def test_the_interval_of_a_share_covers_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(8)
    covered = [estimate.low <= 0.6 <= estimate.high for estimate in (stats.share(*clustered(rng, 80)) for _ in range(400))]
    assert 0.91 <= np.mean(covered) <= 0.98


def test_ignoring_the_clusters_would_cover_too_seldom():
    rng = np.random.default_rng(8)
    answers = [clustered(rng, 80)[0] for _ in range(400)]
    naive = [stats.share(correct, np.arange(len(correct))) for correct in answers]
    assert np.mean([estimate.low <= 0.6 <= estimate.high for estimate in naive]) < 0.88


def test_the_interval_of_a_mean_covers_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(9)
    covered = []
    for _ in range(250):
        group = np.repeat(np.arange(60), rng.integers(1, 7, 60))
        estimate = stats.mean(rng.beta(2, 3, 60)[group] * 0.7 + 0.3 * rng.beta(2, 3, len(group)), group)
        covered.append(estimate.low <= 0.4 <= estimate.high)
    assert 0.90 <= np.mean(covered) <= 0.985


def test_a_column_is_empty_where_no_record_counts():
    assert len(stats.column(Columns({}, np.zeros(0, dtype=int)), "iou")) == 0
