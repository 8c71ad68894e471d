"""Two runs on the same samples: whether they compare, and how they differ, on folders written as a run writes them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_rel

from evalkit.errors import UserError
from evalkit.geometry import Box
from evalkit.interfaces import Rule
from evalkit.metrics.detection import AveragePrecision, Detection, GoldBox
from evalkit.report import comparison
from evalkit.report.comparable import comparable
from evalkit.report.comparison import Chosen, Comparison, compared
from evalkit.report.records import Number, Records
from evalkit.report.runs import Run, opened
from evalkit.types import Sample, Wants

Write = Callable[..., Path]


def two(*folders: Path) -> tuple[Run, Run]:
    base, new = (opened([folder])[0] for folder in folders)
    return base, new


def one(base: Path, new: Path, **chosen: Any) -> Comparison:
    (found,) = compared(*two(base, new), chosen={"shapes": Chosen(**chosen)})
    return found


def edited(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> Path:
    """The run with its manifest or summary changed."""
    told = json.loads((folder / name).read_text())
    change(told)
    (folder / name).write_text(json.dumps(told))
    return folder


def scores(folder: Path, metric: str, field: str) -> dict[str, float]:
    rows = [json.loads(text) for text in (folder / "records.jsonl").read_text().splitlines()]
    return {row["sample"]: row[field] for row in rows if (row["metric"], row["rule"]) == (metric, "official")}


def test_an_accuracy_is_tested_by_mcnemar_on_the_samples_that_both_answered(run_folder: Write, replies: dict[str, Any]) -> None:
    base, new = run_folder("base", replies["erring"](0.1), 96), run_folder("new", replies["erring"](0.4), 96)
    first, second = (scores(folder, "accuracy", "correct") for folder in (base, new))
    lost, gained = (sum(one[name] > other[name] for name in one) for one, other in ((first, second), (second, first)))
    found = one(base, new)
    assert found.p == pytest.approx(binomtest(lost, lost + gained).pvalue)
    assert (found.n, found.effect.value) == (len(first), pytest.approx((gained - lost) / len(first)))
    assert (len(found.flipped.lost), len(found.flipped.gained)) == (lost, gained)


def test_a_mean_iou_has_the_interval_of_the_paired_t_test_and_a_p_value_near_its(run_folder: Write, replies: dict[str, Any]) -> None:
    base, new = run_folder("base", replies["erring"](shake=10), 96), run_folder("new", replies["erring"](shake=12), 96)
    first, second = (scores(folder, "grounding_iou", "iou") for folder in (base, new))
    expected = ttest_rel([second[name] for name in first], list(first.values()))
    found = one(base, new, metric="grounding_iou")
    assert found.p == pytest.approx(expected.pvalue, abs=0.02)
    interval = expected.confidence_interval()
    assert (found.effect.low, found.effect.high) == pytest.approx((interval.low, interval.high), rel=1e-3)


def test_a_number_that_is_no_ratio_of_sums_is_computed_anew_for_each_exchange(
    run_folder: Write, replies: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, new = run_folder("base", replies["erring"](shake=5), 60), run_folder("new", replies["erring"](shake=25), 60)
    precision = one(base, new, metric="box_precision")
    monkeypatch.setattr(Number, "sums", lambda self, *records: None)
    monkeypatch.setattr(comparison, "WORK", 0)
    monkeypatch.setattr(comparison, "FEWEST", 199)
    anew = one(base, new, metric="box_precision")
    assert anew.effect.value == pytest.approx(precision.effect.value)
    assert anew.effect.stderr == pytest.approx(precision.effect.stderr, rel=0.1)
    assert (anew.p or 1) < 0.01


def test_average_precision_is_compared_by_its_own_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "FEWEST", 99)
    monkeypatch.setattr(comparison, "WORK", 0)
    rng = np.random.default_rng(0)
    metric = AveragePrecision()
    sides: list[list[Any]] = [[], []]
    for place in range(40):
        box = Box(0, 0, 50, 50)
        sample = Sample(str(place), "", "", (), Wants("boxes"), (GoldBox(box, "cup"),))
        for shake, side in zip((2, 12), sides, strict=True):
            moved = Box(*(edge + rng.uniform(-shake, shake) for edge in box))
            side.append(metric.measure([Detection(moved, "cup", rng.random())], sample))
    records = [_records(side) for side in sides]
    number = Number("t", "ap", Rule("official", lambda *_: None, metric))
    assert number.sums(*records) is None
    difference, p, test = comparison._tested(number, *records, None, 1.0)
    assert difference.value == pytest.approx(number.value(records[1]) - number.value(records[0]))
    assert difference.value < -0.2
    assert (p, test) == (0.01, "exchange of 40 clusters")
    low, high = difference.interval() or (0.0, 0.0)
    assert low < difference.value < high < 0


def _records(rows: list[Any]) -> Records:
    values: dict[str, Any] = {}
    for name, value in rows[0].items():
        values[name] = np.array([row[name] for row in rows]) if isinstance(value, float) else np.empty(len(rows), dtype=object)
        if not isinstance(value, float):
            values[name][:] = [np.array(row[name], dtype=float) for row in rows]
    codes = np.arange(len(rows))
    return Records(codes, codes, values)


def test_a_lower_number_that_is_better_is_tested_the_other_way(run_folder: Write, replies: dict[str, Any]) -> None:
    base, new = run_folder("base", replies["erring"](0.1), 96), run_folder("new", replies["erring"](0.4), 96)
    higher, lower = one(base, new), one(base, new, lower_is_better=True)
    assert higher.effect == lower.effect
    assert (higher.p_inferior or 0) > 0.975
    assert (lower.p_inferior or 1) < 0.025


def test_an_error_is_better_the_lower_without_being_told(
    run_folder: Write, replies: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, new = run_folder("base", replies["erring"](0.1), 96), run_folder("new", replies["erring"](0.4), 96)
    monkeypatch.setattr(comparison, "LOWER_IS_BETTER", ("accuracy",))
    assert (one(base, new).p_inferior or 1) < 0.025
    assert (one(base, new, lower_is_better=False).p_inferior or 0) > 0.975


def test_one_subset_is_compared_on_its_own_samples(run_folder: Write, replies: dict[str, Any]) -> None:
    base, new = run_folder("base", replies["erring"](0.1), 96), run_folder("new", replies["erring"](0.6), 96)
    rows = [json.loads(text) for text in (base / "predictions.jsonl").read_text().splitlines()]
    counted = {row["sample"] for row in rows if "count" in row["tags"]}
    first, second = (scores(folder, "accuracy", "correct") for folder in (base, new))
    found = one(base, new, subset="count")
    assert (found.subset, found.n) == ("count", len(counted))
    assert found.effect.value == pytest.approx(sum(second[name] - first[name] for name in counted) / len(counted))
    with pytest.raises(UserError, match=r"no 'accuracy' of shapes in 'cuont'\. Did you mean 'count'"):
        one(base, new, subset="cuont")


def test_p_values_are_adjusted_over_all_that_is_compared(run_folder: Write) -> None:
    chosen = {"shapes": [Chosen("accuracy"), Chosen("grounding_iou"), Chosen("box_f1")]}
    found = compared(*two(run_folder("base"), run_folder("new")), chosen=chosen)
    ordered = sorted(found, key=lambda item: item.p or 0)
    assert ordered[0].p_holm == pytest.approx(min(1, 3 * (ordered[0].p or 0)))


def test_samples_that_one_run_lacks_are_left_out_and_counted(run_folder: Write) -> None:
    base, new = run_folder("base", samples=48), run_folder("new", samples=48, gaps=8)
    found = one(base, new)
    counted = len(scores(new, "accuracy", "correct"))
    assert (found.n, found.unpaired) == (counted, len(scores(base, "accuracy", "correct")) - counted)


def test_only_so_many_replies_are_kept_of_the_samples_that_flipped(
    run_folder: Write, replies: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "TEXTS", 3)
    found = one(run_folder("base", replies["erring"](0.0), 96), run_folder("new", replies["erring"](0.9), 96))
    assert len(found.flipped.lost) > 10
    assert [bool(flip.new) for flip in found.flipped.lost[:4]] == [True, True, True, False]


def test_records_that_do_not_give_the_summarys_number_are_an_error(run_folder: Write) -> None:
    base, new = run_folder("base"), run_folder("new")

    def change(summary: dict[str, Any]) -> None:
        for row in summary["numbers"]:
            row["value"] = 0.123

    edited(new, "summary.json", change)
    with pytest.raises(UserError, match=r"its summary has 0.123: they were scored by another version.*evalkit score"):
        one(base, new)


def test_a_number_that_no_rule_makes_of_records_is_an_error(run_folder: Write) -> None:
    base, new = run_folder("base"), run_folder("new")
    with pytest.raises(UserError, match=r"no 'acuracy' of shapes. There are: accuracy by rule official"):
        one(base, new, metric="acuracy")


@pytest.mark.parametrize(
    ("name", "change", "kind", "reason"),
    [
        ("summary.json", lambda told: told["tasks"][0].update(version=2), "", "another version of the task: 1, then 2"),
        ("manifest.json", lambda told: told["tasks"][0].update(data={"fingerprint": "f"}), "", "another data: None, then f"),
        ("summary.json", lambda told: told["tasks"][0].update(headline="iou"), "", "another headline: accuracy, then iou"),
        ("summary.json", lambda told: told.update(protocol="direct"), "protocol", "another protocol: grit, then direct"),
        (
            "manifest.json",
            lambda told: told.update(sampling={"temperature": 1}),
            "sampling",
            "another sampling: none, then temperature 1",
        ),
        (
            "manifest.json",
            lambda told: told["options"].update(repeats=4, temperature=1.0),
            "sampling",
            "another number of draws: 1, then 4",
        ),
        ("manifest.json", lambda told: told.update(shown=[1, 9]), "pixels", "another size of images: the size that .*, then 1 to 9 pixels"),
        (
            "manifest.json",
            lambda told: told["roles"].update(segmenter={"fingerprint": "s"}),
            "judge",
            "another segmenter: none, then s",
        ),
        (
            "manifest.json",
            lambda told: told["options"].update(seed=3),
            "",
            "another set of samples: 48 samples drawn by seed 0, then 48 samples drawn by seed 3 .--limit draws them by --seed",
        ),
    ],
)
def test_runs_that_were_asked_otherwise_do_not_compare_unless_that_is_looked_past(
    run_folder: Write, name: str, change: Callable[[dict[str, Any]], None], kind: str, reason: str
) -> None:
    base, new = two(run_folder("base"), edited(run_folder("new"), name, change))
    (found,) = comparable(base, new)["shapes"]
    assert re.match(reason, found)
    assert comparable(base, new, [kind])["shapes"] == ([] if kind else [found])


def test_a_judge_counts_only_for_a_task_that_asks_one(run_folder: Write) -> None:
    def judged(told: dict[str, Any]) -> None:
        told["roles"]["judge"] = {"fingerprint": "j"}

    base, new = two(run_folder("base"), edited(run_folder("new"), "manifest.json", judged))
    assert comparable(base, new) == {"shapes": []}

    def probed(told: dict[str, Any]) -> None:
        told["options"]["probe"] = ["correlation"]

    base, new = two(*(edited(run.folder.path, "manifest.json", probed) for run in (base, new)))
    (found,) = comparable(base, new)["shapes"]
    assert found == "another judge: none, then j"


def test_another_seed_of_sampling_compares(run_folder: Write) -> None:
    def drawn(seed: int) -> Callable[[dict[str, Any]], None]:
        return lambda told: told.update(sampling={"temperature": 0.7, "seed": seed})

    base, new = two(*(edited(run_folder(f"run{seed}"), "manifest.json", drawn(seed)) for seed in (1, 2)))
    assert comparable(base, new) == {"shapes": []}


def test_a_task_of_one_run_only_does_not_compare(run_folder: Write) -> None:
    base, new = two(run_folder("base", tasks=("shapes",)), run_folder("new", tasks=("shapes", "shapes:500")))
    assert comparable(base, new) == {"shapes": [], "shapes:500": ["the base run has no task shapes:500"]}
    assert [item.task for item in compared(base, new)] == ["shapes"]
