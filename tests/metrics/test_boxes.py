"""Boxes as regions and boxes one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from evalkit.geometry import Box, iou
from evalkit.metrics.boxes import AccuracyAt, BoxMatch, GroundingIoU, matches

TEN = Box(0, 0, 10, 10)
small = st.integers(0, 6)
boxes = st.lists(st.builds(lambda x, y, w, h: Box(x, y, x + w + 1, y + h + 1), small, small, small, small), max_size=8)


@pytest.mark.parametrize(
    ("predicted", "gold", "expected"),
    [
        ([TEN, Box(20, 20, 30, 30)], [TEN], 0.5),
        ([Box(5, 5, 5, 5)], [Box(5, 5, 5, 5)], 0.0),
        ([Box(10, 10, 0, 0)], [TEN], 1.0),
        ([TEN, Box(5, 5, 15, 15)], [TEN], 4 / 7),
        ([TEN, TEN], [TEN], 1.0),
        ([], [TEN], 0.0),
        (None, [TEN], 0.0),
        ([Box(-1e308, -1e308, 1e308, 1e308)], [TEN], 0.0),
    ],
    ids=["extra box", "no area", "inverted corners", "overlapping boxes", "twice the same", "no box", "unparsed", "beyond floats"],
)
def test_grounding_iou_gives_the_values_of_the_scripts_of_grit_and_satori(sample, predicted, gold, expected):
    assert GroundingIoU().measure(predicted, sample(regions=gold))["iou"] == pytest.approx(expected)


def test_a_sample_without_gold_boxes_counts_in_neither_metric(sample, score):
    pairs = [([TEN], sample(regions=[TEN])), ([TEN], sample()), (None, sample())]
    assert (score(GroundingIoU(), pairs)["grounding_iou"].value, score(GroundingIoU(), pairs)["grounding_iou"].n) == (1.0, 1)
    assert (score(BoxMatch(), pairs)["box_precision"].value, score(BoxMatch(), pairs)["box_precision"].n) == (1.0, 1)


def test_a_task_without_any_gold_box_has_no_value(sample, score):
    for metric in (GroundingIoU(), BoxMatch()):
        assert all(estimate.value is None and estimate.n == 0 for estimate in score(metric, [([TEN], sample())]).values())


def test_grounding_iou_is_the_mean_over_samples(sample, score):
    estimate = score(
        GroundingIoU(), [([TEN], sample(regions=[TEN])), ([], sample(regions=[TEN])), ([TEN], sample(regions=[Box(0, 0, 10, 5)]))]
    )
    assert estimate["grounding_iou"].value == 0.5
    assert (estimate["grounding_iou"].low, estimate["grounding_iou"].high) == (0.0, 1.0)


def test_precision_recall_and_f1_are_counted_over_the_data_set(sample, score):
    pairs = [([TEN, Box(50, 50, 60, 60)], sample(regions=[TEN])), ([TEN], sample(regions=[TEN, Box(20, 0, 30, 10), Box(40, 0, 50, 10)]))]
    estimates = score(BoxMatch(), pairs)
    assert estimates["box_precision"].value == pytest.approx(2 / 3)
    assert estimates["box_recall"].value == 0.5
    assert estimates["box_f1"].value == pytest.approx(2 * (2 / 3 * 0.5) / (2 / 3 + 0.5))


def test_a_silent_model_has_no_precision_and_recall_and_f1_of_zero(sample, score):
    estimates = score(BoxMatch(), [(None, sample(regions=[TEN])), ([], sample(regions=[TEN]))])
    assert estimates["box_precision"].value is None
    assert (estimates["box_recall"].value, estimates["box_f1"].value) == (0.0, 0.0)


@pytest.mark.parametrize("predicted", [[TEN], [Box(50, 50, 60, 60)]], ids=["all hit", "all missed"])
def test_no_estimate_claims_certainty_where_all_samples_agree(sample, score, predicted):
    pairs = [(predicted, sample(regions=[TEN]))] * 3
    for estimate in (score(GroundingIoU(), pairs) | score(BoxMatch(), pairs)).values():
        assert estimate.value in (0.0, 1.0)
        assert estimate.high - estimate.low > 0.3


def test_the_precision_of_a_single_predicted_box_has_no_interval(sample, score):
    precision = score(BoxMatch(), [([TEN], sample(regions=[TEN])), *[(None, sample(regions=[TEN]))] * 9])["box_precision"]
    assert (precision.value, precision.stderr, precision.low, precision.high) == (1.0, None, None, None)


def test_an_iou_of_exactly_the_threshold_matches_and_one_below_does_not():
    assert matches([Box(0, 0, 10, 5)], [TEN], 0.5) == 1
    assert matches([Box(0, 0, 10, 4.999)], [TEN], 0.5) == 0


def test_spraying_192_boxes_scores_near_zero_even_where_it_hits_every_gold_box(sample, score):
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(50):
        gold = [Box(100, 100, 250, 260), Box(300, 300, 420, 380)]
        corners = zip(rng.uniform(0, 600, (190, 2)), rng.uniform(20, 200, (190, 2)), strict=True)
        pairs.append(([*gold, *(Box(x, y, x + w, y + h) for (x, y), (w, h) in corners)], sample(regions=gold)))
    estimates = score(BoxMatch(), pairs)
    assert estimates["box_recall"].value == 1.0
    assert estimates["box_precision"].high < 0.02
    assert estimates["box_f1"].high < 0.03


@settings(deadline=None)
@given(boxes, boxes, st.sampled_from([0.1, 0.3, 0.5]))
def test_as_many_boxes_are_matched_as_scipys_maximum_bipartite_matching_does(predicted, gold, threshold):
    edges = np.array([[iou(p, g) >= threshold for g in gold] for p in predicted], dtype=int).reshape(len(predicted), len(gold))
    expected = int((maximum_bipartite_matching(csr_array(edges)) >= 0).sum()) if edges.size else 0
    assert matches(predicted, gold, threshold) == expected


@settings(deadline=None)
@given(boxes, boxes)
def test_matching_ignores_order_and_which_side_is_gold(first, second):
    assert matches(first, second, 0.3) == matches(second, first, 0.3) == matches(first[::-1], second[::-1], 0.3)


def test_ten_thousand_boxes_on_one_gold_box_match_it_once():
    assert matches([TEN] * 10_000, [TEN] * 2, 0.5) == 2


@settings(deadline=None)
@given(boxes, boxes.filter(bool))
def test_boxes_far_from_every_gold_box_add_no_match(predicted, gold):
    far = [Box(100, 100, 110, 110)] * 3
    assert matches(predicted + far, gold, 0.5) == matches(predicted, gold, 0.5)


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        (TEN, 1.0),
        (Box(0, 0, 10, 5), 1.0),
        (Box(0, 0, 10, 4.999), 0.0),
        (Box(10, 10, 0, 0), 1.0),
        (Box(5, 5, 5, 5), 0.0),
        (Box(-1e308, -1e308, 1e308, 1e308), 0.0),
        (Box(100, 100, 110, 110), 0.0),
        (None, 0.0),
    ],
    ids=["perfect", "at the threshold", "below it", "inverted corners", "no area", "beyond floats", "elsewhere", "unparsed"],
)
def test_a_box_hits_from_the_threshold_on(sample, predicted, expected):
    assert AccuracyAt(0.5).measure(predicted, sample(regions=[TEN])) == {"hit": expected}


def test_accuracy_at_a_threshold_is_a_share_with_wilsons_interval_under_its_own_name(sample, score):
    pairs = [(Box(0, 0, 10, 6), sample(regions=[TEN])), (None, sample(regions=[TEN]))]
    estimates = score(AccuracyAt(0.5), pairs) | score(AccuracyAt(0.75), pairs)
    assert {name: estimate.value for name, estimate in estimates.items()} == {"accuracy_at_0.5": 0.5, "accuracy_at_0.75": 0.0}
    assert estimates["accuracy_at_0.75"].high > 0.5
    assert AccuracyAt(0.5).name != AccuracyAt(0.75).name
