"""Estimates against named references, and what must hold for any records."""

import dataclasses
import math
import operator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm, sem, t, ttest_rel
from scipy.stats import bootstrap as scipy_bootstrap

from evalkit import stats
from evalkit.types import Columns, Estimate


def clustered(rng, clusters, chance=0.6, strength=0.6):
    """Right-or-wrong answers in clusters of 1 to 6 that share their luck with probability `strength`."""
    group = np.repeat(np.arange(clusters), rng.integers(1, 7, clusters))
    luck = (rng.random(clusters) < chance)[group]
    return np.where(rng.random(len(group)) < strength, luck, rng.random(len(group)) < chance).astype(float), group


def hesterberg(clusters):
    """The level at which a percentile interval of so many clusters is as wide as Student's."""
    return 2 * norm.cdf(math.sqrt(clusters / (clusters - 1)) * t.ppf(0.975, clusters - 1)) - 1


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


def pairs(rng, clusters=60):
    """What two models score on the same samples, some of it owed to the cluster; and the clusters."""
    group = np.repeat(np.arange(clusters), rng.integers(1, 7, clusters))
    easy = rng.random(clusters)[group]
    return easy + 0.3 * rng.random(len(group)), easy + 0.1 + 0.3 * rng.random(len(group)), group


def test_a_mean_has_the_standard_error_of_scipy_where_samples_are_independent():
    values = np.random.default_rng(11).normal(size=80)
    assert stats.mean(values, np.arange(80)).stderr == pytest.approx(sem(values), rel=1e-12)


def test_a_paired_difference_has_the_statistic_of_scipys_paired_t_test_where_samples_are_independent():
    first, second, _ = pairs(np.random.default_rng(12))
    estimate = stats.paired_difference(first, second, np.arange(len(first)))
    assert estimate.value / estimate.stderr == pytest.approx(ttest_rel(second, first).statistic, rel=1e-9)


@pytest.mark.parametrize("freedom", [1, 5, 30, 300])
@pytest.mark.parametrize("share", [0.8, 0.95, 0.975, 0.9995])
def test_students_distribution_is_scipys(share, freedom):
    assert stats.student(share, freedom) == pytest.approx(t.ppf(share, freedom), rel=0.02)
    assert stats.student_share(t.ppf(share, freedom), freedom) == pytest.approx(share, abs=0.002)


@pytest.mark.parametrize("clusters", [20, 100])
def test_few_clusters_widen_an_interval_as_students_quantile_does(clusters):
    values = np.random.default_rng(18).normal(size=clusters)
    estimate = stats.mean(values, np.arange(clusters), resamples=100_000)
    assert (estimate.high - estimate.low) / 2 == pytest.approx(t.ppf(0.975, clusters - 1) * estimate.stderr, rel=0.03)


def test_a_ratio_over_clusters_has_the_interval_of_scipys_bootstrap_of_cluster_sums():
    first, _, group = pairs(np.random.default_rng(13))
    sums, sizes = np.bincount(group, weights=first), np.bincount(group)
    reference = scipy_bootstrap(
        (sums, sizes),
        lambda total, size, axis: total.sum(axis=axis) / size.sum(axis=axis),
        paired=True,
        confidence_level=hesterberg(60),
        method="percentile",
        n_resamples=10_000,
        rng=np.random.default_rng(0),
    )
    estimate = stats.mean(first, group, resamples=10_000)
    expected = reference.confidence_interval
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high), abs=0.08 * estimate.stderr)
    assert estimate.stderr == pytest.approx(reference.standard_error, rel=0.05)


def paired_bootstrap(statistic, first, second, group, resamples=stats.RESAMPLES):
    """How much a statistic of two columns is higher for `second` than for `first`."""
    sums = stats.cluster_sums(group, *first, *second)
    return stats.bootstrap(lambda *columns: statistic(*columns[2:]) - statistic(*columns[:2]), sums, np.size(group), resamples)


def test_a_paired_bootstrap_has_the_interval_of_scipys_paired_one():
    rng = np.random.default_rng(14)
    columns = rng.random((4, 200)) + np.array([[0], [2], [0.2], [2]])
    estimate = paired_bootstrap(operator.truediv, columns[:2], columns[2:], np.arange(200), resamples=10_000)
    reference = scipy_bootstrap(
        tuple(columns),
        lambda a, b, c, d, axis: c.sum(axis=axis) / d.sum(axis=axis) - a.sum(axis=axis) / b.sum(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=10_000,
        rng=np.random.default_rng(0),
    )
    expected = reference.confidence_interval
    a, b, c, d = columns.sum(axis=1)
    assert estimate.value == pytest.approx(c / d - a / b, rel=1e-12)
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high), abs=0.08 * estimate.stderr)


def test_a_paired_difference_is_the_paired_bootstrap_of_two_means():
    first, second, group = pairs(np.random.default_rng(15))
    one = np.ones(len(group))
    made = paired_bootstrap(operator.truediv, (first, one), (second, one), group)
    expected = stats.paired_difference(first, second, group)
    assert (made.value, made.n) == (pytest.approx(expected.value), expected.n)
    assert (made.low, made.high) == pytest.approx((expected.low, expected.high), abs=0.25 * expected.stderr)


def test_what_both_find_hard_does_not_widen_their_difference():
    first, second, group = pairs(np.random.default_rng(16))
    difference = stats.paired_difference(first, second, group)
    apart = math.hypot(stats.mean(first, group).stderr, stats.mean(second, group).stderr)
    assert difference.stderr < apart / 5
    assert difference.high - difference.low < apart


def test_the_interval_of_a_paired_difference_covers_the_truth_about_95_times_in_100_and_only_as_clusters_are_kept():
    rng, kept, ignored = np.random.default_rng(17), [], []
    for _ in range(200):
        first, second, group = pairs(rng)
        second = second + rng.normal(0, 0.3, 60)[group]  # what a cluster does to one of the two alone
        for found, clusters in ((kept, group), (ignored, np.arange(len(group)))):
            estimate = stats.paired_difference(first, second, clusters, resamples=500)
            found.append(estimate.low <= 0.1 <= estimate.high)
    assert 0.89 <= np.mean(kept) <= 0.99
    assert np.mean(ignored) < 0.85


def test_two_that_answer_alike_differ_by_0_without_an_interval():
    estimate = stats.paired_difference([0.1, 0.7, 0.2], [0.1, 0.7, 0.2], [0, 1, 2])
    assert dataclasses.astuple(estimate) == (0.0, 0.0, None, None, 3)


def test_a_difference_is_undefined_where_either_statistic_is():
    estimate = paired_bootstrap(operator.truediv, ([1, 1], [2, 2]), ([0, 0], [0, 0]), [0, 1])
    assert dataclasses.astuple(estimate) == (None, None, None, None, 2)


@settings(deadline=None)
@given(rows, st.randoms(use_true_random=False), st.permutations(range(-3, 3)))
def test_neither_order_nor_cluster_codes_change_one_bit_of_a_pair(rows, shuffler, codes):
    shuffled = list(rows)
    shuffler.shuffle(shuffled)
    found = []
    for order, renamed in ((rows, range(6)), (shuffled, codes)):
        first, second, correct, group = map(np.array, zip(*order, strict=True))
        one, clusters = np.ones(len(order)), np.array(renamed)[group]
        weights = stats.resample_weights(clusters, first, second, correct, resamples=50)
        place = np.unique(clusters, return_inverse=True)[1]
        found.append(
            (
                stats.paired_difference(first, second, clusters, resamples=50),
                paired_bootstrap(operator.truediv, (first, one), (second, one), clusters, resamples=50),
                sorted(zip(map(tuple, weights.T[place]), first, second, correct, strict=True)),
            )
        )
    assert found[0] == found[1]


def test_resample_weights_draw_as_many_clusters_as_there_are_each_as_likely():
    weights = stats.resample_weights(np.repeat(np.arange(40), 3), resamples=20_000)
    assert weights.shape == (20_000, 40)
    assert set(weights.sum(axis=1)) == {40}
    assert weights.mean(axis=0) == pytest.approx(1, abs=0.04)
    assert weights.var(axis=0) == pytest.approx(1 - 1 / 40, abs=0.08)


def test_a_statistic_reweighted_by_resample_weights_has_the_interval_of_the_bootstrap():
    first, _, group = pairs(np.random.default_rng(18))
    weights = stats.resample_weights(group, first, resamples=10_000)[:, group]
    reweighted = stats.from_resamples(first.mean(), weights @ first / weights.sum(axis=1), len(first))
    expected = stats.mean(first, group, resamples=10_000)
    assert (reweighted.value, reweighted.n) == (pytest.approx(expected.value), expected.n)
    assert reweighted.stderr == pytest.approx(expected.stderr, rel=0.05)
    assert (reweighted.low, reweighted.high) == pytest.approx((expected.low, expected.high), abs=0.1 * expected.stderr)


def test_resample_weights_tell_clusters_apart_by_lists_of_any_length():
    lists = np.empty(3, dtype=object)
    lists[:] = [np.array([0.9, 0.1]), np.array([]), np.array([0.5])]
    weights = stats.resample_weights([3, 1, 2], lists)
    assert (weights[:, [2, 0, 1]] == stats.resample_weights([0, 1, 2], lists)).all()


def test_more_resamples_move_the_interval_only_by_chance():
    values = np.random.default_rng(19).random(300)
    few, many = (stats.mean(values, np.arange(300), resamples=resamples) for resamples in (2_000, 20_000))
    assert few != many
    assert (few.value, few.stderr) == (many.value, many.stderr)
    assert (few.low, few.high) == pytest.approx((many.low, many.high), abs=0.25 * many.stderr)


def test_of_resamples_only_the_finite_count_and_fewer_than_two_give_no_interval():
    made = stats.from_resamples(0.5, [math.nan, 0.4, math.inf, 0.6, 0.5], 9)
    assert made == stats.from_resamples(0.5, [0.4, 0.6, 0.5], 9)
    assert dataclasses.astuple(stats.from_resamples(0.5, [0.5, math.nan], 9)) == (0.5, None, None, None, 9)


@pytest.mark.parametrize("how", ["sum", "mean"])
def test_what_is_combined_of_symmetric_intervals_has_the_interval_of_independent_normals(how):
    errors, values = [0.01, 0.02, 0.02], [0.2, 0.5, 0.9]
    parts = [Estimate(v, e, v - stats.Z * e, v + stats.Z * e, 100) for v, e in zip(values, errors, strict=True)]
    made = stats.combined(parts, how)
    scale = 1 if how == "sum" else 1 / 3
    assert made.value == pytest.approx(1.6 * scale)
    assert made.stderr == pytest.approx(0.03 * scale)
    assert (made.low, made.high) == pytest.approx((scale * (1.6 - stats.Z * 0.03), scale * (1.6 + stats.Z * 0.03)))
    assert made.n == 300


def test_the_interval_of_combined_shares_covers_the_truth_about_95_times_in_100():
    rng, chances, sizes = np.random.default_rng(20), (0.55, 0.8, 0.97), (40, 60, 30)
    covered = []
    for _ in range(400):
        shares = [stats.share(rng.random(n) < chance, np.arange(n)) for chance, n in zip(chances, sizes, strict=True)]
        made = stats.combined(shares, "sum")
        covered.append(made.low <= sum(chances) <= made.high)
    assert 0.92 <= np.mean(covered) <= 0.98


@pytest.mark.parametrize("broken", [Estimate(None, None, None, None, 0), None])
def test_nothing_is_combined_of_what_lacks_a_value(broken):
    known = Estimate(0.5, 0.1, 0.3, 0.7, 10)
    assert dataclasses.astuple(stats.combined([known, broken] if broken else [], "mean"))[:4] == (None, None, None, None)


def test_what_is_combined_has_no_interval_where_one_part_has_none():
    made = stats.combined([Estimate(0.5, 0.1, 0.3, 0.7, 10), Estimate(0.2, None, None, None, 1)], "sum")
    assert dataclasses.astuple(made) == (0.7, None, None, None, 11)


def test_without_resampling_values_and_closed_intervals_are_the_same_and_bootstrapped_ones_are_none():
    rng = np.random.default_rng(8)
    values, group = rng.random(60), rng.integers(0, 20, 60)
    with stats.values_only():
        alone = stats.mean(values, group), stats.share(values > 0.5, group), stats.resample_weights(group, values)
    whole = stats.mean(values, group), stats.share(values > 0.5, group)
    assert (alone[0].value, alone[0].stderr, alone[0].low) == (whole[0].value, whole[0].stderr, None)
    assert alone[1] == whole[1]
    assert alone[2].shape == (0, len(set(group)))
    assert stats.mean(values, group) == whole[0]
