"""An oracle, a mute and a guesser on every task found on disk, over the data of its golden file; a file of one's own too."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import evalkit
from evalkit import protocols, runner
from evalkit import task as tasks
from evalkit.data import resolve
from evalkit.engines.scripted import Scripted, oracle
from evalkit.geometry import Box, Frame, from_original, iou, to_original
from evalkit.scoring import Tally
from evalkit.types import ModelInfo, Request, Response, Sample

GOLDEN = {path.stem: path for path in sorted((Path(__file__).parent / "golden").glob("*.jsonl"))}
BEST = {
    "accuracy": 1.0,
    "accuracy_plus": 1.0,
    "score": 200.0,
    "giou": 1.0,
    "ciou": 1.0,
    "ap": 1.0,
    "nms_ap": 1.0,
    "grounding_iou": 1.0,
    "anls": 1.0,
    "accuracy_at_0.5": 1.0,
    "j_and_f": 1.0,
    "j": 1.0,
    "f": 1.0,
    "pixel_f1": 1.0,
    "j_and_pixel_f1": 1.0,
    "pixel_accuracy": 1.0,
    "robustness": 1.0,
    "coverage": 1.0,
}
"""The best value of the estimates that a headline or its like may be."""
OF_MASKS = {"giou", "ciou", "j", "f", "j_and_f", "pixel_f1", "j_and_pixel_f1", "coverage"}

OWN = '''"""A task of a stranger's."""
from evalkit import Accuracy, Rule, Sample, Task, Unparsed, Wants, parsers

VARIANTS = ()
DATA = None


def read(prediction, sample):
    return parsers.letter(prediction.answer, sample.options) if prediction.answer is not None else Unparsed(prediction.failure)


def task(variant, data):
    return Task("own", 1, samples, (Rule("strict", read, Accuracy()),), "accuracy", ("choice",))


def samples():
    for i in range(400):
        yield Sample(str(i), "Which?", "Which? (A) a (B) b (C) c", (), Wants("choice"), "ABC"[i % 3], options=("a", "b", "c"))
'''

Run = Callable[[str], list[dict[str, Any]]]


def test_every_task_that_reads_data_has_a_golden_file() -> None:
    reading = {name for name in tasks.names() if tasks.module(name).DATA is not None}
    assert reading == set(GOLDEN)


@pytest.fixture(params=GOLDEN)
def run(request: pytest.FixtureRequest, golden_data: Callable[[Path], Path], tmp_path: Path) -> Run:
    """Runs a built-in answerer over a task's golden data and returns the flat rows of its strict rules, of all where it has none.

    What is measured of masks is among them, by whatever rule: PixelQA's strict rule reads the letter alone.
    """
    golden = GOLDEN[request.param]
    name = json.loads(golden.read_text(encoding="utf-8").splitlines()[0])["task"]
    data = golden_data(golden)

    def answered(model: str) -> list[dict[str, Any]]:
        judge = {"judge": model} if tasks.find(name, data).graders else {}
        summary = evalkit.run(model, name, data=str(data), out=tmp_path / "out", allow_incomplete=True, **judge)
        assert summary.complete
        strict = {row["metric"] for row in summary.numbers if row["rule"] == "strict"}
        of_masks = [row for row in summary.numbers if row["metric"] in OF_MASKS - strict]
        return [row for row in summary.numbers if row["rule"] == "strict"] + of_masks or [
            row for row in summary.numbers if row["rule"] != "majority"
        ]

    return answered


def test_the_oracle_is_right_about_everything(run: Run) -> None:
    rows = [row for row in run("oracle") if row["metric"] in BEST and row["value"] is not None]
    assert rows
    assert {(row["metric"], row["subset"]): row["value"] for row in rows} == {
        (row["metric"], row["subset"]): pytest.approx(BEST[row["metric"]], abs=2e-5) for row in rows
    }


def test_the_mute_says_nothing_and_scores_nothing(run: Run) -> None:
    rows = [row for row in run("mute") if row["metric"] in BEST and row["n"]]
    assert rows
    assert [row for row in rows if row["value"] or row["unparsed"] < row["n"]] == []


@pytest.mark.parametrize("stem", GOLDEN)
def test_every_protocol_asks_every_task_and_a_replay_needs_no_images(stem: str, golden_data: Callable[[Path], Path]) -> None:
    """`likelihood` compares options, and refuses a sample without."""
    head = json.loads(GOLDEN[stem].read_text(encoding="utf-8").splitlines()[0])
    replay = ModelInfo("replay", "replay", reads_images=False)
    for sample in tasks.find(head["task"], golden_data(GOLDEN[stem])).samples():
        for name in set(protocols.names()) - {"likelihood"}:
            conversation = protocols.find(name).converse(sample, replay)
            next(conversation)
            with pytest.raises(StopIteration) as end:
                conversation.send(Response("nothing"))
            assert end.value.value.text == "nothing"


def test_a_file_of_ones_own_is_put_to_the_same_test(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    rows = {model: evalkit.run(model, str(path), out=tmp_path / "out").numbers[0] for model in ("oracle", "mute", "guess")}
    assert (rows["oracle"]["value"], rows["mute"]["value"], rows["mute"]["unparsed"]) == (1.0, 0.0, 400)
    assert rows["guess"]["low"] < 1 / 3 < rows["guess"]["high"]


@pytest.mark.parametrize(
    ("name", "place", "chance"),
    [
        ("vstar", "annotations/vstar", (107 / 4 + 84 / 2) / 191),
        ("vsr:random", "annotations/vsr", 1 / 2),
        ("vsr:zeroshot", "annotations/vsr", 1 / 2),
        ("mme", "annotations/mme", 1 / 2),
    ],
)
def test_the_guesser_lands_on_chance_where_the_real_rows_define_one(
    name: str, place: str, chance: float, shared: Callable[[str], Path], tmp_path: Path
) -> None:
    """Within four standard errors; the photographs are not needed, since a guesser does not look."""
    summary = evalkit.run("guess", name, data=str(shared(place)), out=tmp_path)
    [row] = [row for row in summary.numbers if (row["metric"], row["rule"], row["subset"]) == ("accuracy", "strict", "overall")]
    assert row["unparsed"] == 0
    assert abs(row["value"] - chance) <= 4 * row["stderr"]


@pytest.mark.parametrize(("stem", "protocol"), [("grit_vsr", "grit"), ("ovdeval", "direct")])
def test_the_oracle_in_whole_thousandths_reaches_what_rounding_leaves(
    stem: str, protocol: str, golden_data: Callable[[Path], Path]
) -> None:
    """The ceiling is computed from the gold alone: the least IoU of a gold box with itself in whole thousandths of its image."""
    head = json.loads(GOLDEN[stem].read_text(encoding="utf-8").splitlines()[0])
    made = tasks.find(head["task"], golden_data(GOLDEN[stem]))
    samples = [
        replace(sample, images=tuple(image if image.size else resolve(image) for image in sample.images)) for sample in made.samples()
    ]
    gold = oracle({f"{made.name}/{sample.id}": sample for sample in samples}, Frame.THOUSAND)

    def reply(request: Request) -> str | Response:
        return re.sub(r"\d+\.\d+", lambda number: str(round(float(number[0]))), str(gold.reply(request)))

    tally = Tally(made)
    rounded = Scripted(reply, ModelInfo("rounded", "rounded", Frame.THOUSAND))
    jobs = [runner.Job(made.name, iter(samples), protocols.find(protocol))]
    runner.run(jobs, {"model": rounded}, lambda *_: None, lambda done: tally.add(done.sample, done.prediction) and None)  # type: ignore[arg-type]
    least = min(_rounding(box, sample) for sample in samples for box in _boxes(sample))
    assert 0.5 < least <= 1
    ceilings = {"grounding_iou": least, "ap": sum(0.5 + 0.05 * step <= least for step in range(10)) / 10}
    found = [
        row for row in tally.numbers() if row["metric"] in ceilings and row["rule"] in ("rescaled", "strict") and row["value"] is not None
    ]
    assert found
    assert [row for row in found if row["value"] < ceilings[row["metric"]] - 1e-9] == []


def _boxes(sample: Sample) -> list[Box]:
    """The gold boxes, wherever the task has them."""
    listed = sample.target if sample.wants.kind == "boxes" else sample.regions
    return [getattr(item, "box", item) for item in listed]


def _rounding(box: Box, sample: Sample) -> float:
    size = sample.images[0].size
    assert size
    return iou(box, to_original([round(number) for number in from_original(box, Frame.THOUSAND, size, size)], Frame.THOUSAND, size, size))
