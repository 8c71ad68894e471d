"""An oracle, a mute and a guesser tell a fault of the harness from a fault of a model, on every task that needs no data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalkit import protocols, runner
from evalkit.data import resolve
from evalkit.engines.scripted import Scripted, guess, mute, oracle
from evalkit.geometry import Frame
from evalkit.scoring import Tally
from evalkit.task import checked, find
from evalkit.types import ModelInfo, Request, Response, Sample

ROWS = 240
SPOKEN = [name for name in protocols.names() if "text" in protocols.find(name).gives]


def numbers(make: Callable[[dict[str, Sample]], Scripted], protocol: str) -> dict[tuple[str, str, str], dict[str, Any]]:
    """The flat rows of `shapes` answered by an engine, by (metric, rule, subset)."""
    task = find("shapes")
    samples = [sample for _, sample in zip(range(ROWS), task.samples(), strict=False)]
    tally, known = Tally(task), {f"shapes/{sample.id}": sample for sample in samples}
    engine = make(known)
    read = (lambda sample: [resolve(image) for image in sample.images]) if engine.info.reads_images else None
    jobs = [runner.Job("shapes", checked(iter(samples), "shapes"), protocols.find(protocol), images=read)]

    def ended(outcome: runner.Outcome) -> None:
        assert outcome.prediction is not None, outcome.gap
        tally.add(outcome.sample, outcome.prediction)

    runner.run(jobs, {"model": engine}, lambda _, sample: tally.count(sample), ended)
    return {(row["metric"], row["rule"], row["subset"]): row for row in tally.numbers()}


@pytest.mark.parametrize("protocol", SPOKEN)
def test_the_oracle_is_right_about_everything(protocol: str) -> None:
    rows = numbers(oracle, protocol)
    assert {key: row["value"] for key, row in rows.items() if key[0] == "accuracy" and row["value"] != 1} == {}
    assert rows["grounding_iou", "official", "overall" if protocol == "grit" else "where"]["value"] == pytest.approx(1.0)
    assert rows["box_f1", "official", "where"]["value"] == 1.0


def test_the_oracle_in_integer_thousandths_is_off_by_rounding_only() -> None:
    """Whole thousandths of a side move a box of at least 15% of the image by at most 1/300 of its side at each border."""

    def rounded(samples: dict[str, Sample]) -> Scripted:
        gold = oracle(samples, Frame.THOUSAND)

        def reply(request: Request) -> str | Response:
            import re

            return re.sub(r"\d+\.\d+", lambda number: str(round(float(number[0]))), str(gold.reply(request)))

        return Scripted(reply, ModelInfo("rounded", "rounded", Frame.THOUSAND))

    assert numbers(rounded, "grit")["grounding_iou", "official", "overall"]["value"] > 0.98


@pytest.mark.parametrize("protocol", SPOKEN)
def test_the_mute_is_unparsed_everywhere_and_scores_nothing(protocol: str) -> None:
    rows = numbers(lambda _: mute(), protocol)
    for (metric, rule, subset), row in rows.items():
        if metric == "accuracy":
            assert (row["value"], row["unparsed"]) == (0.0, row["n"]), (rule, subset)
    assert rows["grounding_iou", "official", "overall"]["value"] == 0.0


def test_the_guesser_lands_on_chance() -> None:
    rows = numbers(guess, "direct")
    for subset, chance in {"count": 1 / 6, "yes_no": 1 / 2, "choice": 1 / 4}.items():
        row = rows["accuracy", "strict", subset]
        assert abs(row["value"] - chance) <= 4 * row["stderr"], subset


def test_a_constant_answer_scores_exactly_its_floor() -> None:
    """Answers are balanced in every block of 24 rows."""
    rows = numbers(
        lambda _: Scripted(
            lambda request: (
                "3"
                if "number" in request.kind.messages[0].content[1]
                else "Yes"
                if "yes or no" in request.kind.messages[0].content[1]
                else "B"
            )
        ),
        "direct",
    )  # type: ignore[union-attr,operator]
    found = {subset: rows["accuracy", "official", subset]["value"] for subset in ("count", "yes_no", "choice")}
    assert found == pytest.approx({"count": 1 / 6, "yes_no": 1 / 2, "choice": 1 / 4})


def test_a_spray_of_boxes_scores_near_zero() -> None:
    """192 boxes over the whole image hit something by chance; F1 must not be fooled."""
    grid = [[x, y, x + 62, y + 83] for x in range(0, 1000, 63) for y in range(0, 1000, 83)][:192]
    spray = Scripted(lambda request: str(grid), ModelInfo("spray", "spray", Frame.THOUSAND))
    assert numbers(lambda _: spray, "direct")["box_f1", "official", "where"]["value"] < 0.05


def test_training_and_test_scenes_are_disjoint(tmp_path: Path) -> None:
    from evalkit.task import module

    shapes = module("shapes")
    train = {repr(shapes.scene("train", index).objects) for index in range(300)}
    assert not train & {repr(shapes.scene("test", index).objects) for index in range(300)}
