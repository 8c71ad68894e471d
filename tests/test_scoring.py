"""What stands beside a score is counted rule by rule, and no order of arrival changes a number."""

import random
from typing import Any

import pytest

from evalkit.interfaces import Rule
from evalkit.metrics.choice import Accuracy
from evalkit.parsers import yes_no
from evalkit.scoring import Tally, cluster
from evalkit.task import Task
from evalkit.types import Prediction, Sample, Unparsed, Wants


def strict(prediction: Prediction, sample: Sample) -> Any:
    return Unparsed(prediction.failure) if prediction.answer is None else yes_no(prediction.answer)


def literal(prediction: Prediction, sample: Sample) -> Any:
    return prediction.answer if prediction.answer in ("yes", "no") else Unparsed("not a bare word")


TASK = Task("t", 1, lambda: iter(()), (Rule("official", literal, Accuracy()), Rule("strict", strict, Accuracy())), "accuracy", ("yes_no",))


def sample(i: int, tag: str = "even") -> Sample:
    return Sample(str(i), "q", "q", (), Wants("yes_no"), "yes", tags=frozenset({tag}), group=f"g{i // 2}")


def rows(tally: Tally) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {(row["metric"], row["rule"], row["subset"]): row for row in tally.numbers()}


def test_unparsed_truncated_refused_missing_and_gaps_stand_beside_each_number() -> None:
    tally = Tally(TASK)
    tally.add(sample(0), Prediction("yes", "yes"))
    tally.add(sample(1, "odd"), Prediction("Yes, it is.", "Yes, it is."))
    tally.add(sample(2), Prediction("well", "well", finish="length"))
    tally.add(sample(3, "odd"), Prediction("", None, "no <answer>", finish="refused"))
    tally.add(sample(4), Prediction("", None, "missing", missing=True))
    tally.gap(sample(5, "odd"), 0, "time-out")
    found = rows(tally)
    official, strictly, odd = (
        found["accuracy", rule, subset] for rule, subset in (("official", "overall"), ("strict", "overall"), ("strict", "odd"))
    )
    assert (official["value"], official["n"], official["unparsed"]) == (0.2, 5, 3)
    assert (strictly["value"], strictly["n"], strictly["unparsed"]) == (0.4, 5, 2)
    for row in (official, strictly):
        assert (row["truncated"], row["refused"], row["missing"], row["gaps"]) == (1, 1, 1, 1)
    assert (odd["value"], odd["n"], odd["unparsed"], odd["refused"], odd["missing"], odd["gaps"]) == (0.5, 2, 1, 1, 0, 1)


@pytest.mark.parametrize("seed", range(3))
def test_no_order_of_arrival_changes_a_number(seed: int) -> None:
    rng = random.Random(seed)
    replies = [(sample(i, "even" if i % 2 else "odd"), Prediction("", rng.choice(["yes", "no", "hm"]))) for i in range(101)]

    def numbers(order: list[Any]) -> list[dict[str, Any]]:
        tally = Tally(TASK)
        for item, prediction in order:
            tally.add(item, prediction)
        return list(tally.numbers())

    assert numbers(replies) == numbers(rng.sample(replies, len(replies)))


def test_clusters_have_one_code_in_every_process() -> None:
    assert cluster("g0") == 2009434662189493945
    assert len({cluster(str(i)) for i in range(10_000)}) == 10_000


def test_with_repeats_only_samples_with_every_draw_count_for_pass_and_majority() -> None:
    tally = Tally(TASK, repeats=3)
    for reply in ("yes", "no", "yes"):
        tally.add(sample(0), Prediction(reply, reply))
    for reply in ("no", "hm", "hm"):
        tally.add(sample(1, "odd"), Prediction(reply, reply))
    for reply in ("yes", "yes"):
        tally.add(sample(2), Prediction(reply, reply))
    tally.gap(sample(2), 2, "time-out")
    found = rows(tally)
    passed, majority = (found[f"{name}@3", "strict", "overall"] for name in ("pass", "majority"))
    assert (passed["value"], passed["n"], passed["gaps"], passed["unparsed"]) == (0.5, 2, 1, 1)
    assert (majority["value"], majority["n"]) == (0.5, 2)
    assert found["pass@3", "strict", "odd"]["value"] == 0.0
    assert found["accuracy", "strict", "overall"]["n"] == 8


class Half(Accuracy):
    """Counts only even samples."""

    def measure(self, value: Any | None, item: Sample) -> Any:
        return {} if int(item.id) % 2 else Accuracy.measure(self, value, item)


def test_samples_that_do_not_count_do_not_count_in_repeats_either() -> None:
    task = Task("t", 1, lambda: iter(()), (Rule("strict", strict, Half()),), "accuracy", ("yes_no",))
    tally = Tally(task, repeats=2)
    for i in (0, 1):
        for _ in range(2):
            tally.add(sample(i), Prediction("yes", "yes"))
    assert rows(tally)["pass@2", "strict", "overall"]["n"] == 1


def test_gaps_stand_beside_a_number_even_where_there_is_nothing_else() -> None:
    tally = Tally(TASK)
    tally.gap(sample(1, "odd"), 0, "time-out")
    for subset in ("overall", "odd"):
        row = rows(tally)["accuracy", "strict", subset]
        assert (row["value"], row["n"], row["gaps"]) == (None, 0, 1)
