"""ANLS: against the competition's script, and what its pieces do with awkward texts."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.metrics.anls import ANLS, distance, similarity
from evalkit.metrics.text import GoldText
from evalkit.types import Columns, Sample, Wants


def sample(*answers: str) -> Sample:
    return Sample("1", "What?", "What?", (), Wants("text"), target=GoldText(answers))


def by_the_script(said: str, answer: str) -> float:
    """One answer's score as the formula has it, its edit distance by the table of Wagner and Fischer."""
    first, second = (" ".join(text.strip().lower().split()) for text in (said, answer))
    row = list(range(len(second) + 1))
    for i, one in enumerate(first, 1):
        above, row = row, [i]
        for j, other in enumerate(second, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (one != other)))
    length = max(len(answer.upper()), len(said.upper()))
    score = 1 - (row[-1] / length if length else 0.0)
    return score if score >= 0.5 else 0.0


@pytest.mark.parametrize(
    ("said", "answer", "score"),
    [
        ("blocking", "Blocking", 1.0),
        ("blockin", "blocking", 0.875),
        ("bloc", "blocking", 0.5),  # 0.5 itself counts
        ("blo", "blocking", 0.0),
        ("  Two   words ", "two words", 1.0),
        ("ten     ", "sixten", 0.625),  # the padding counts in the length: 3 / 6 would be 0.5
        ("", "x", 0.0),
        ("", "", 1.0),
        (" ", "", 1.0),
        ("strasse", "straße", 1 - 2 / 7),  # in upper case both have seven letters
        ("naïve", "naive", 0.8),
    ],
)
def test_the_similarity_of_two_texts(said: str, answer: str, score: float) -> None:
    assert similarity(said, answer) == pytest.approx(score)
    assert similarity(said, answer) == by_the_script(said, answer)


@given(st.text("aAbß \n%1", max_size=12), st.text("aAbß \n%1", max_size=12))
def test_any_two_texts_score_as_with_the_script(said: str, answer: str) -> None:
    assert similarity(said, answer) == by_the_script(said, answer)
    assert similarity(said, answer) == similarity(answer, said)
    assert 0 <= similarity(said, answer) <= 1


def test_the_nearest_of_several_answers_counts() -> None:
    assert ANLS().measure("12 percent", sample("12%", "12 percent")) == {"anls": 1.0}
    assert ANLS().measure("twelve", sample("12", "twelv")) == {"anls": pytest.approx(5 / 6)}


def test_an_unparsed_reply_has_nothing() -> None:
    assert ANLS().measure(None, sample("x")) == {"anls": 0.0}


def test_the_estimate_is_the_mean_with_an_interval_that_clusters_widen() -> None:
    rng = random.Random(1)
    values = np.repeat([rng.choice((0.0, 0.75, 1.0)) for _ in range(40)], 5)
    alone = ANLS().summarise(Columns({"anls": values}, np.arange(200)))["anls"]
    grouped = ANLS().summarise(Columns({"anls": values}, np.repeat(np.arange(40), 5)))["anls"]
    assert alone.value == grouped.value == pytest.approx(values.mean())
    assert 0 <= grouped.low < alone.low < alone.high < grouped.high <= 1  # type: ignore[operator]
    assert alone.n == 200


def test_the_distance_of_long_texts_is_quick_and_right() -> None:
    assert distance("ab" * 5000, "ba" * 5000) == 2
