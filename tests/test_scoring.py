"""What stands beside a score is counted rule by rule, and no order of arrival changes a number."""

import gc
import random
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from evalkit.interfaces import Reading, Rule
from evalkit.metrics.choice import Accuracy
from evalkit.parsers import yes_no
from evalkit.scoring import Tally, cluster
from evalkit.task import Composite, Task
from evalkit.types import Columns, Estimate, Prediction, Record, Sample, Unparsed, Wants


def strict(prediction: Prediction, sample: Sample) -> Any:
    return Unparsed(prediction.failure) if prediction.answer is None else yes_no(prediction.answer)


def literal(prediction: Prediction, sample: Sample) -> Any:
    return prediction.answer if prediction.answer in ("yes", "no") else Unparsed("not a bare word")


TASK = Task("t", 1, lambda: iter(()), (Rule("official", literal, Accuracy()), Rule("strict", strict, Accuracy())), "accuracy", ("yes_no",))


def sample(i: int, tag: str = "even") -> Sample:
    return Sample(str(i), "q", "q", (), Wants("yes_no"), "yes", tags=frozenset({tag}), group=f"g{i // 2}")


def asked(rules: tuple[Rule, ...], *composites: Composite) -> Task:
    return Task("t", 1, lambda: iter(()), rules, "accuracy", ("yes_no",), composites=composites)


STRICT = Rule("strict", strict, Accuracy())


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


class Mask(list[int]):
    """A list that can be referred to weakly."""


def test_with_repeats_nothing_that_was_read_is_held_once_all_draws_of_a_sample_are_there() -> None:
    read: list[weakref.ref[Mask]] = []

    def masks(prediction: Prediction, item: Sample) -> Mask:
        made = Mask([int(item.id)])
        read.append(weakref.ref(made))
        return made

    tally = Tally(asked((Rule("strict", masks, Accuracy()),)), repeats=2)
    targets = []
    for i in range(20):
        one = Sample(str(i), "q", "q", (), Wants("mask"), Mask([i]), tags=frozenset({"even" if i % 2 else "odd"}))
        targets.append(weakref.ref(one.target))
        tally.add(one, Prediction("", None))
        if i % 5:
            tally.add(one, Prediction("", None))
        else:
            tally.gap(one, 1, "time-out")
    del one
    gc.collect()
    assert [held() for held in (*read, *targets) if held() is not None] == []
    found = rows(tally)["pass@2", "strict", "overall"]
    assert (found["value"], found["n"], found["gaps"]) == (1.0, 16, 4)


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


AVERAGE = Composite("average", "accuracy", ("even", "odd"), "mean")
TOTAL = Composite("total", "accuracy", ("even", "odd"), "sum")


def answered(task: Task, replies: Mapping[str, list[str]], gives: frozenset[Reading] | None = None) -> Tally:
    """A tally of yes-or-no replies by tag; the right answer is always yes, and every sample is its own cluster."""
    tally = Tally(task, **({} if gives is None else {"gives": gives}))
    for tag, texts in replies.items():
        for text in texts:
            one = Sample(f"{tag}{tally.samples}", "q", "q", (), Wants("yes_no"), "yes", tags=frozenset({tag}))
            tally.count(one)
            tally.add(one, Prediction(text, text))
    return tally


def test_composites_are_the_sum_and_the_plain_mean_of_their_subsets() -> None:
    found = rows(answered(asked((STRICT,), AVERAGE, TOTAL), {"even": ["yes"] * 9 + ["no"], "odd": ["yes", "hm"], "other": ["no"]}))
    average, total, even, odd = (found["accuracy", "strict", subset] for subset in ("average", "total", "even", "odd"))
    assert (even["value"], odd["value"]) == (0.9, 0.5)
    assert (average["value"], total["value"]) == (pytest.approx(0.7), pytest.approx(1.4))
    assert total["stderr"] == pytest.approx(2 * average["stderr"]) == pytest.approx((even["stderr"] ** 2 + odd["stderr"] ** 2) ** 0.5)
    for row in (average, total):
        assert (row["n"], row["unparsed"]) == (12, 1)
        assert row["low"] < row["value"] < row["high"]


def test_a_composite_is_null_where_one_of_its_subsets_has_no_number() -> None:
    found = rows(answered(asked((STRICT,), AVERAGE, TOTAL), {"even": ["yes", "no"]}))
    for subset in ("average", "total"):
        row = found["accuracy", "strict", subset]
        assert (row["value"], row["stderr"], row["low"], row["high"], row["n"]) == (None, None, None, None, 2)


def test_a_metric_with_composites_has_rows_only_for_their_members_and_for_them() -> None:
    tally = answered(asked((STRICT,), AVERAGE), {"even": ["yes"], "odd": ["no"], "other": ["no"]})
    subsets = [row["subset"] for row in tally.numbers() if row["metric"] == "accuracy"]
    assert subsets == ["average", "even", "odd"]


def test_a_metric_without_composites_keeps_its_rows_beside_one_that_has_some() -> None:
    task = asked((STRICT, Rule("strict", strict, Total())), Composite("both", "total", ("even", "odd"), "sum"))
    found = rows(answered(task, {"even": ["yes", "yes"], "odd": ["yes"], "other": ["no"]}))
    assert {subset for metric, _, subset in found if metric == "accuracy"} == {"overall", "even", "odd", "other"}
    assert {subset for metric, _, subset in found if metric == "total"} == {"even", "odd", "both"}
    assert found["total", "strict", "both"]["value"] == 3


def test_a_composite_has_a_row_under_every_rule_that_has_its_metric() -> None:
    found = rows(answered(asked(TASK.rules, TOTAL), {"even": ["Yes, it is."], "odd": ["yes"]}))
    assert [found["accuracy", rule, "total"]["value"] for rule in ("official", "strict")] == [1.0, 2.0]


def test_a_rule_has_numbers_only_for_its_subsets() -> None:
    limited = Rule("official", literal, Accuracy(), subsets=("even",))
    found = rows(answered(asked((STRICT, limited)), {"even": ["yes", "no"], "odd": ["yes"]}))
    assert {subset for _, rule, subset in found if rule == "official"} == {"even"}
    assert {subset for _, rule, subset in found if rule == "strict"} == {"overall", "even", "odd"}
    assert found["accuracy", "official", "even"]["value"] == 0.5


def test_a_run_has_the_numbers_of_the_rules_that_read_what_it_gives() -> None:
    looked = Rule("strict", lambda prediction, _: len(prediction.evidence), Total(), reads="boxes")
    likely = Rule("likelihood", strict, Accuracy(), reads="likelihoods")
    task, replies = asked((STRICT, looked, likely)), {"even": ["yes"]}

    def rules(*gives: Reading) -> set[tuple[str, str]]:
        numbers = answered(task, replies, frozenset(gives)).numbers()
        return {(row["metric"], row["rule"]) for row in numbers if row["rule"] != "majority"}

    assert rules("text") == {("accuracy", "strict")}
    assert rules("text", "boxes") == {("accuracy", "strict"), ("total", "strict")}
    assert rules("likelihoods") == {("accuracy", "likelihood")}
    assert rules("masks") == set()


class Total:
    """`total`: how many were right."""

    name = "total"

    def measure(self, value: Any | None, item: Sample) -> Record:
        return {"right": float(value == item.target)}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        return {"total": Estimate(float(records.values["right"].sum()) if len(records) else None, None, None, None, len(records))}


class Spans:
    """`longest`: the most numbers in a record; keeps what it was given."""

    name = "spans"

    def __init__(self) -> None:
        self.given: list[Columns] = []

    def measure(self, value: Any | None, item: Sample) -> Record:
        return {"scores": [0.5] * len(value or ""), "length": float(len(value or ""))}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        self.given.append(records)
        longest = max(map(len, records.values["scores"]), default=0) if len(records) else None
        return {"longest": Estimate(longest, None, None, None, len(records))}


def test_lists_of_any_length_reach_the_metric_as_arrays_row_by_row() -> None:
    metric = Spans()
    tally = answered(asked((Rule("strict", lambda p, _: p.text, metric),)), {"even": ["abc", ""], "odd": ["a"]})
    assert [row["value"] for row in tally.numbers() if row["metric"] == "longest"] == [3, 3, 1]
    overall, even, odd = metric.given
    for columns, lengths in ((overall, [3, 0, 1]), (even, [3, 0]), (odd, [1])):
        scores = columns.values["scores"]
        assert scores.dtype == object
        assert scores.shape == (len(lengths),)
        assert [(row.dtype, row.tolist()) for row in scores] == [(np.dtype(float), [0.5] * length) for length in lengths]
        assert columns.values["length"].tolist() == lengths


def test_lists_of_one_length_are_not_made_a_table_of() -> None:
    metric = Spans()
    list(answered(asked((Rule("strict", lambda p, _: p.text, metric),)), {"even": ["ab", "cd"]}).numbers())
    assert all(columns.values["scores"].shape == (2,) for columns in metric.given)


def test_beside_each_accuracy_stands_what_answering_all_alike_would_give() -> None:
    tally = Tally(asked(TASK.rules))
    for i, target in enumerate(["yes", "yes", "yes", "no", "no"]):
        one = Sample(str(i), "q", "q", (), Wants("yes_no"), target, tags=frozenset({"even" if i % 2 else "odd"}))
        tally.count(one)
        tally.add(one, Prediction("no", "no"))
    floors = [row for row in tally.numbers() if row["metric"] == "accuracy_floor"]
    assert [(row["rule"], row["subset"], row["value"], row["n"]) for row in floors] == [
        ("majority", "overall", 0.6, 5),
        ("majority", "even", 0.5, 2),
        ("majority", "odd", pytest.approx(2 / 3), 3),
    ]


def test_a_floor_is_of_the_data_whatever_was_answered() -> None:
    tally = Tally(asked((STRICT,)))
    for i, target in enumerate(["yes", "no", "no"]):
        one = Sample(str(i), "q", "q", (), Wants("yes_no"), target)
        tally.count(one)
        if i:
            tally.gap(one, 0, "time-out")
        else:
            tally.add(one, Prediction("yes", "yes"))
    assert rows(tally)["accuracy_floor", "majority", "overall"]["value"] == pytest.approx(2 / 3)


def test_there_is_no_floor_where_answers_are_no_words_or_no_accuracy_is_given() -> None:
    tally = Tally(asked((STRICT,)))
    boxed = Sample("1", "q", "q", (), Wants("boxes"), (), tags=frozenset({"even"}))
    tally.count(boxed)
    tally.add(boxed, Prediction("yes", "yes"))
    assert ("accuracy_floor", "majority", "overall") not in rows(tally)
    assert all(row["metric"] == "total" for row in answered(asked((Rule("strict", strict, Total()),)), {"even": ["yes"]}).numbers())


@dataclass(frozen=True)
class Masks:
    """What is read of a video: dear to measure."""

    frames: tuple[Any, ...]


@dataclass(frozen=True)
class Dear:
    """Notes what it measures."""

    name: str = "dear"
    log: Any = None

    def measure(self, value: Any | None, item: Sample) -> Record:
        self.log.append(value)
        return {"dear": float(len(value.frames) if isinstance(value, Masks) else 0)}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        return {self.name: Estimate(float(records.values["dear"].sum()), None, None, None, len(records))}


def test_what_several_rules_read_and_measure_alike_is_read_and_measured_once() -> None:
    read: list[str] = []
    measured: list[Any] = []

    def masks(prediction: Prediction, item: Sample) -> Masks:
        read.append(item.id)
        return Masks(tuple(prediction.text))

    def whole(prediction: Prediction, item: Sample) -> Masks | Unparsed:
        return Masks(tuple(prediction.text)) if prediction.text != "short" else Unparsed("too few")

    rules = (
        Rule("official", masks, Dear(log=measured)),
        Rule("again", masks, Dear(log=measured), subsets=("even",)),
        Rule("strict", whole, Dear(log=measured)),
        Rule("other", masks, Dear("other", log=measured)),
    )
    tally = Tally(asked(rules))
    tally.add(sample(0), Prediction("masks", None))
    assert (read, measured) == (["0"], [Masks(tuple("masks"))] * 2)
    measured.clear()
    tally.add(sample(1), Prediction("short", None))
    assert (read, measured) == (["0", "1"], [Masks(tuple("short")), None, Masks(tuple("short"))])
    assert {row["rule"]: row["value"] for row in tally.numbers() if row["subset"] == "overall"} == {
        "official": 10,
        "strict": 5,
        "other": 10,
    }


def test_equal_values_that_are_not_alike_are_measured_each() -> None:
    measured: list[Any] = []
    values: tuple[Any, ...] = (1, True, 1.0, Masks((np.zeros(2),)), Masks((np.zeros(2),)))
    rules = tuple(Rule(str(place), lambda p, s, value=value: value, Dear(log=measured)) for place, value in enumerate(values))
    Tally(asked(rules)).add(sample(0), Prediction("", None))
    assert [type(value) for value in measured] == [int, bool, float, Masks, Masks]


class Never(Accuracy):
    """Counts no sample."""

    def measure(self, value: Any | None, item: Sample) -> Record:
        return {}


def test_a_rule_under_which_nothing_counts_has_a_null_number_overall_and_no_other() -> None:
    found = rows(answered(asked((STRICT, Rule("official", strict, Never()))), {"even": ["yes"], "odd": ["no"]}))
    assert {subset for _, rule, subset in found if rule == "official"} == {"overall"}
    row = found["accuracy", "official", "overall"]
    assert (row["value"], row["stderr"], row["low"], row["high"], row["n"]) == (None, None, None, None, 0)
