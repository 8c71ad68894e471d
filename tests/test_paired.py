"""Paired tests and intervals against scipy and statsmodels, and what must hold for any records."""

import math
import operator
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, norm, permutation_test, ttest_rel

from evalkit import paired

RATIO = operator.truediv


def answers(seed, clusters=40, most=5, chance=0.6, better=0.0):
    """Right-or-wrong answers of two runs in clusters that share their luck."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(clusters), rng.integers(1, most + 1, clusters))
    luck = rng.random(clusters)[group]
    first, second = ((luck + rng.random(len(group))) / 2 < chance + add for add in (0, better))
    return first.astype(float), second.astype(float), group


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (1, 0), (0, 8), (3, 3), (12, 5), (40, 61), (700, 800), (50_000, 50_900)])
def test_mcnemars_test_is_scipys_binomial_test_of_the_samples_that_differ(lost, gained):
    expected = binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    assert paired.mcnemar(lost, gained) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(("lost", "gained"), [(3, 9), (25, 11)])
def test_mcnemars_test_is_that_of_statsmodels(lost, gained):
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    assert paired.mcnemar(lost, gained) == pytest.approx(tables.mcnemar([[30, lost], [gained, 20]], exact=True).pvalue)


def test_holms_adjustment_is_that_of_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(0).random(9) ** 3
    assert paired.holm(list(p)) == pytest.approx(multitest.multipletests(p, method="holm")[1])


def test_few_clusters_are_exchanged_in_every_way_as_scipy_does():
    rng = np.random.default_rng(5)
    first, second = rng.random(10), rng.random(10) + 0.25
    expected = permutation_test((first, second), lambda a, b: b.mean() - a.mean(), permutation_type="samples", n_resamples=np.inf).pvalue
    assert paired.permutation(RATIO, (first, np.ones(10)), (second, np.ones(10)), np.arange(10)) == pytest.approx(expected)


def test_exchanges_of_clusters_of_one_give_mcnemars_p_value():
    first, second, _ = answers(1, 120, 1, better=0.1)
    p = paired.permutation(RATIO, (first, np.ones(len(first))), (second, np.ones(len(first))), np.arange(len(first)))
    assert p == pytest.approx(paired.mcnemar(int((first > second).sum()), int((first < second).sum())), abs=0.01)


def test_a_ratio_of_sums_is_exchanged_by_cluster_as_by_hand():
    rng = np.random.default_rng(2)
    group = np.repeat(np.arange(6), 2)
    first, second = rng.random((2, 12)), rng.random((2, 12))
    first[1] += 1
    second[1] += 1

    def difference(swapped):
        where = np.array(swapped)[group]
        one, other = np.where(where, second, first), np.where(where, first, second)
        return other[0].sum() / other[1].sum() - one[0].sum() / one[1].sum()

    seen = abs(difference([False] * 6))
    expected = np.mean([abs(difference(swapped)) >= seen - 1e-12 for swapped in product([False, True], repeat=6)])
    assert paired.permutation(RATIO, first, second, group) == pytest.approx(expected)
    assert paired.permutation_of(difference, 6) == pytest.approx(expected)


def test_exchanges_drawn_at_random_give_nearly_the_p_value_of_all_of_them():
    first, second, group = answers(3, 12, 4, better=0.2)
    columns = (first, np.ones(len(first))), (second, np.ones(len(first)))
    every = paired.permutation(RATIO, *columns, group)
    assert paired.permutation(RATIO, *columns, group, permutations=3_000) == pytest.approx(every, abs=0.02)


def test_a_test_of_any_statistic_ends_early_where_nothing_is_to_be_found():
    first, second, group = answers(13, 60)
    asked = []

    def difference(swapped):
        asked.append(swapped)
        return float(((second - first) * np.where(swapped, -1, 1)[group]).sum())

    ones = np.ones(len(first))
    whole = paired.permutation(RATIO, (first, ones), (second, ones), group)
    assert whole > 0.2
    assert paired.permutation_of(difference, 60) == pytest.approx(whole, abs=0.2)
    assert len(asked) < 200


def test_no_p_value_is_zero():
    ones = np.ones(200)
    assert paired.permutation(RATIO, (0 * ones, ones), (ones, ones), np.arange(200)) == 1 / (paired.PERMUTATIONS + 1)


def test_runs_that_agree_everywhere_have_the_p_value_one():
    first, _, group = answers(4)
    columns = (first, np.ones(len(first)))
    assert paired.permutation(RATIO, columns, columns, group) == 1.0


def test_a_mean_of_independent_samples_has_the_interval_of_the_paired_t_test():
    rng = np.random.default_rng(6)
    first, second = rng.random(60), rng.random(60)
    ones = np.ones(60)
    made = paired.of_ratios([(first, ones)], [(second, ones)], np.arange(60))
    expected = ttest_rel(second, first).confidence_interval()
    assert made.interval() == pytest.approx((expected.low, expected.high), rel=1e-4)
    assert made.value == pytest.approx((second - first).mean())


def test_the_non_inferiority_test_is_the_one_sided_paired_t_test_against_the_margin():
    rng = np.random.default_rng(7)
    first, second = rng.random(40), rng.random(40)
    made = paired.of_ratios([(first, np.ones(40))], [(second, np.ones(40))], np.arange(40))
    expected = ttest_rel(second + 0.05, first, alternative="greater").pvalue
    assert made.above(-0.05) == pytest.approx(expected, abs=1e-4)
    assert (made.above(-0.05) <= 0.025) == (made.interval()[0] > -0.05)


def likeliest(change, lost, gained, n):
    """Tango's statistic with the likeliest shares under a difference found by search, in place of the quadratic equation."""
    floor = max(0.0, -change)

    def unlikely(share):
        return -(lost * math.log(share) + gained * math.log(share + change) + (n - lost - gained) * math.log(1 - 2 * share - change))

    share = minimize_scalar(unlikely, bounds=(floor + 1e-12, (1 - change) / 2 - 1e-12), method="bounded", options={"xatol": 1e-12}).x
    return (gained - lost - n * change) / math.sqrt(n * (2 * share + change - change**2))


@pytest.mark.parametrize(("lost", "gained", "n"), [(8, 3, 61), (2, 12, 50), (30, 30, 90), (1, 5, 200)])
def test_the_ends_of_an_interval_of_shares_are_where_tangos_statistic_is_the_normal_quantile(lost, gained, n):
    first, second = np.repeat([1, 0, 0], [lost, gained, n - lost - gained]), np.repeat([0, 1, 0], [lost, gained, n - lost - gained])
    made = paired.of_shares(first, second, np.arange(n))
    scores = [likeliest(end, lost, gained, n) for end in made.interval()]
    assert scores == pytest.approx([1.96, -1.96], abs=1e-3)
    assert made.above(-0.1) == pytest.approx(norm.sf(likeliest(-0.1, lost, gained, n)), abs=1e-5)


def test_the_reverse_of_a_difference_has_the_reverse_interval():
    first, second, group = answers(12, better=0.1)
    made, back = paired.of_shares(first, second, group), -paired.of_shares(second, first, group)
    assert back.interval() == pytest.approx(made.interval(), abs=1e-9)
    assert (back.value, back.above(-0.05)) == pytest.approx((made.value, made.above(-0.05)))


def test_repeating_every_sample_in_its_cluster_changes_no_p_value_and_hardly_an_interval():
    first, second, _ = answers(8, 150, 1, better=0.1)
    group = np.arange(len(first))
    once, thrice = (paired.of_shares(np.tile(first, k), np.tile(second, k), np.tile(group, k)) for k in (1, 3))
    assert thrice.interval() == pytest.approx(once.interval(), rel=0.02)
    one = np.ones(len(first))
    p = [paired.permutation(RATIO, np.tile([first, one], k), np.tile([second, one], k), np.tile(group, k)) for k in (1, 3)]
    assert p[0] == p[1]


def test_the_jackknife_of_a_mean_has_the_linearised_error():
    first, second, group = answers(9, 60)
    ones = np.ones(len(first))

    def difference(kept):
        return (second - first)[kept[group]].mean()

    made = paired.of_statistic(difference, 60, len(first))
    assert made.stderr == pytest.approx(paired.of_ratios([(first, ones)], [(second, ones)], group).stderr, rel=0.05)
    assert made.value == pytest.approx((second - first).mean())


def test_a_sum_and_a_mean_of_ratios_differ_by_their_number():
    first, second, group = answers(10)
    odd = group % 2 == 1
    one, other = ([(run * part, part * 1.0) for part in (odd, ~odd)] for run in (first, second))
    total, mean = (paired.of_ratios(one, other, group, weight=weight) for weight in (1.0, 0.5))
    assert (total.value, total.stderr) == pytest.approx((2 * mean.value, 2 * mean.stderr))


@pytest.mark.parametrize("n", [20, 60, 400])
def test_the_detectable_effect_has_the_power_that_statsmodels_says(n):
    power = pytest.importorskip("statsmodels.stats.power")
    made = paired.Difference(0.0, 0.5 / math.sqrt(n), n - 1, 0.5 / math.sqrt(n), n, n)
    assert power.TTestPower().power(made.detectable() / 0.5, n, 0.05) == pytest.approx(0.8, abs=0.01)


def test_so_many_samples_as_needed_detect_the_effect():
    power = pytest.importorskip("statsmodels.stats.power")
    made = paired.Difference(0.02, 0.4 / math.sqrt(100), 99, 0.04, 100, 100)
    assert made.needed(0.02) == pytest.approx(power.TTestPower().solve_power(0.05, power=0.8, alpha=0.05), rel=0.01)
    assert made.needed(0.0) is None


def test_a_single_cluster_has_a_value_and_no_verdict():
    made = paired.of_ratios([([1, 0], [1, 1])], [([1, 1], [1, 1])], [7, 7])
    assert (made.value, made.interval(), made.above(0), made.detectable(), made.needed(1)) == (0.5, None, None, None, None)
    assert paired.permutation(RATIO, ([1, 0], [1, 1]), ([1, 1], [1, 1]), [7, 7]) == 1.0


def test_above_the_most_clusters_groups_are_exchanged_and_the_p_value_stays_near(monkeypatch):
    first, second, group = answers(11, 600, 1, better=0.03)
    columns = (first, np.ones(len(first))), (second, np.ones(len(first)))
    whole = paired.permutation(RATIO, *columns, group)
    monkeypatch.setattr(paired, "MOST_CLUSTERS", 64)
    assert paired.permutation(RATIO, *columns, group) == pytest.approx(whole, abs=0.1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.randoms(use_true_random=False))
def test_neither_order_nor_codes_of_clusters_change_a_bit(seed, random):
    first, second, group = answers(seed, 15, 3, better=0.1)
    places = list(range(len(first)))
    random.shuffle(places)
    names = {code: random.randrange(10**6) * 16 + code for code in range(15)}
    renamed = np.array([names[code] for code in group])[places]
    ones = np.ones(len(first))
    made = paired.of_shares(first, second, group), paired.permutation(RATIO, (first, ones), (second, ones), group)
    again = (
        paired.of_shares(first[places], second[places], renamed),
        paired.permutation(RATIO, (first[places], ones), (second[places], ones), renamed),
    )
    assert made == again


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=8))
def test_an_adjusted_p_value_is_no_smaller_and_keeps_the_order(p_values):
    made = paired.holm(p_values)
    pairs = [(p, adjusted) for p, adjusted in zip(p_values, made, strict=True) if p is not None]
    assert all(p <= adjusted <= 1 for p, adjusted in pairs)
    assert [adjusted for _, adjusted in sorted(pairs)] == sorted(adjusted for _, adjusted in pairs)
    assert [adjusted is None for adjusted in made] == [p is None for p in p_values]
