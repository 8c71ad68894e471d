"""Accuracy of exact answers."""

import numpy as np
from sklearn.metrics import accuracy_score

from evalkit.metrics.choice import Accuracy


def test_accuracy_agrees_with_scikit_learn(sample, score):
    rng = np.random.default_rng(0)
    gold, said = rng.choice(list("ABCD"), 300).tolist(), rng.choice(list("ABCD"), 300).tolist()
    estimate = score(Accuracy(), [(value, sample(target)) for value, target in zip(said, gold, strict=True)])["accuracy"]
    assert estimate.value == accuracy_score(gold, said)
    assert estimate.low < estimate.value < estimate.high
    assert estimate.n == 300


def test_an_unparsed_reply_is_wrong_and_stays_in_the_denominator(sample, score):
    estimate = score(Accuracy(), [("yes", sample("yes")), (None, sample("no")), (None, sample("yes"))])["accuracy"]
    assert (estimate.value, estimate.n) == (1 / 3, 3)


def test_an_unparsed_reply_is_wrong_even_where_the_target_is_none(sample):
    assert Accuracy().measure(None, sample(None)) == {"correct": 0.0}


def test_no_record_gives_no_value(score):
    assert score(Accuracy(), [])["accuracy"].value is None


def test_161_of_191_right_on_v_star_has_wilsons_interval(sample, score):
    estimate = score(Accuracy(), [("A" if i < 161 else "B", sample("A")) for i in range(191)])["accuracy"]
    assert round(estimate.value, 3) == 0.843
    assert (round(estimate.low, 4), round(estimate.high, 4)) == (0.7846, 0.8877)
