"""Probes in whole runs: with the demo checkpoint, resumed and scored again; and the runs that are refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import evalkit
from evalkit import api, config, graders, runner
from evalkit.engines.scripted import Scripted
from evalkit.errors import Refused, UserError
from evalkit.types import Conversation, Generate, Message, ModelInfo, Prediction, Request, Sample, Wants

TASK = """
from evalkit import Accuracy, Box, Image, Rule, Sample, Task, Wants

VARIANTS = ()
DATA = None


def task(variant, data):
    return Task("own", 1, samples, (Rule("strict", lambda p, s: p.answer, Accuracy()),), "accuracy", ("yes_no",))


def samples():
    from io import BytesIO
    from PIL import Image as PIL

    for i in range(4):
        file = BytesIO()
        PIL.new("RGB", (64 + i, 48), "gray").save(file, "PNG")
        yield Sample(str(i), "q", "q", (Image(file.getvalue()),), Wants("yes_no"), "yes", regions=(Box(0, 0, 9, 9),))
"""
PLUGIN = '''
from pathlib import Path


class Model:
    """Points at a red corner; as a judge it looks for the image with a red outline there."""

    frame = "original"

    def generate(self, messages, images):
        with Path(__file__).with_name("asked").open("a") as file:
            file.write("x")
        if len(images) == 2:
            return f"Image {int(images[1].getpixel((5, 6)) == (255, 0, 0))}"
        return "<think> [5, 6, 20, 30] </think> <rethink> So. </rethink> <answer> yes"
'''


@pytest.fixture
def own(tmp_path: Path) -> tuple[str, str]:
    """A model of a plugin, which can judge too, and a task."""
    (tmp_path / "model.py").write_text(PLUGIN)
    (tmp_path / "own.py").write_text(TASK)
    return f"plugin:{tmp_path / 'model.py'}:Model", str(tmp_path / "own.py")


def estimate(summary: api.Summary, metric: str) -> dict[str, Any]:
    (row,) = [row for row in summary.numbers if (row["metric"], row["subset"]) == (metric, "overall")]
    return row


def verdicts(summary: api.Summary) -> Iterator[Any]:
    for line in (summary.folder / "predictions.jsonl").read_text().splitlines():
        yield json.loads(line)["verdicts"]


def test_the_probes_are_found_by_name() -> None:
    assert {"box-erasure", "correlation", "region-attention"} <= set(graders.probes())
    with pytest.raises(UserError, match=r"no probe 'box-erasur'\. Did you mean 'box-erasure'"):
        graders.find("box-erasur")


def test_a_grader_is_told_the_models_last_turn_and_not_its_own() -> None:
    class Twice:
        name, rules, gives = "twice", (), frozenset({"text"})

        def converse(self, sample: Sample, model: ModelInfo) -> Conversation[Prediction]:
            yield Request(Generate((Message("user", ("first",)),)))
            yield Request(Generate((Message("user", ("judged",)),)), to="judge")
            response = yield Request(Generate((Message("user", ("last",)),), prefill="so"))
            return Prediction(response.text, response.text)

    class Curious:
        name, to = "curious", "model"

        def grade(self, sample: Sample, prediction: Prediction) -> Conversation[Any]:
            yield Request(Generate((Message("user", ("and?",)),)))
            return prediction.asked

    engine, ended = Scripted(lambda request: "yes"), list[runner.Outcome]()
    sample = Sample("1", "q", "q", (), Wants("yes_no"), "yes")
    job = runner.Job("own", iter([sample]), Twice(), graders=(Curious(), Curious()))
    runner.run([job], {"model": engine, "judge": engine}, lambda task, sample: None, ended.append)
    prediction = ended[0].prediction
    assert prediction is not None
    assert prediction.asked == prediction.verdicts["curious"] == Generate((Message("user", ("last",)),), prefill="so")


# ---------------------------------------------------------------- whole runs


def demo(place: Path, **options: Any) -> api.Summary:
    pytest.importorskip("transformers")
    return evalkit.run("demo", "shapes", protocol="grit", limit=6, out=place, device="cpu", **options)


def test_the_demos_attention_has_numbers_that_come_again(tmp_path: Path) -> None:
    def probed() -> api.Summary:
        return demo(tmp_path, probe="box-erasure,region-attention")

    summary = probed()
    for metric in ("box_erasure", "attention_with_boxes", "attention_without_boxes", "rad"):
        row = estimate(summary, metric)
        assert row["rule"] == "evalkit"
        assert row["low"] < row["value"] < row["high"]
        assert 4 <= row["n"] <= 6
    assert estimate(summary, "rad")["low"] > 1, "it looks where its answer is"
    shares = [estimate(summary, f"attention_{context}_boxes")["value"] for context in ("with", "without")]
    assert shares[0] - shares[1] == pytest.approx(estimate(summary, "box_erasure")["value"])
    for verdict in verdicts(summary):
        for held in (verdict["box_erasure"] or {}).values():
            (grid,) = held["grids"]
            assert sum(map(sum, grid)) == pytest.approx(held["attention"], rel=1e-4)
            assert held["per_token"] * sum(map(len, grid)) == pytest.approx(held["attention"])
    before, answers = (summary.folder / "summary.json").read_bytes(), (summary.folder / "run.log").read_text()
    assert probed().folder == summary.folder
    assert (summary.folder / "summary.json").read_bytes() == before
    asked = 6 + sum(4 * bool(verdict["box_erasure"]) + bool(verdict["region_attention"]) for verdict in verdicts(summary))
    assert f"{asked} answers from the store" in (summary.folder / "run.log").read_text().removeprefix(answers)
    assert api.score(summary.folder)[1] == []


def test_the_demo_as_a_judge_is_asked_with_images_and_says_nothing_of_use(tmp_path: Path) -> None:
    summary = demo(tmp_path, probe="correlation", judge="demo")
    assert (estimate(summary, "correlation")["value"], estimate(summary, "judge_unparsed")["value"]) == (0, 1)
    assert estimate(summary, "correlation")["high"] > 0
    assert estimate(summary, "correlation_floor")["value"] == 0.5
    assert api.score(summary.folder)[1] == []


def test_a_judge_that_looks_for_the_outline_finds_it(tmp_path: Path, own: tuple[str, str]) -> None:
    model, task = own
    summary = evalkit.run(model, task, protocol="grit", probe="correlation", judge=model, out=tmp_path / "out")
    assert (estimate(summary, "correlation")["value"], estimate(summary, "correlation")["n"]) == (1, 4)
    asked = len((tmp_path / "asked").read_text())
    assert asked == 4 * (1 + 3)
    assert api.score(summary.folder)[1] == []
    again = evalkit.run(model, task, protocol="grit", probe="correlation", judge=model, out=tmp_path / "out")
    assert (again.numbers, len((tmp_path / "asked").read_text())) == (summary.numbers, asked)


def test_where_no_reply_has_a_box_there_is_no_row(tmp_path: Path, own: tuple[str, str]) -> None:
    model, task = own
    summary = evalkit.run(model, task, protocol="direct", probe="correlation", judge=model, out=tmp_path / "out")
    assert {row["metric"] for row in summary.numbers} == {"accuracy", "accuracy_floor"}
    assert len((tmp_path / "asked").read_text()) == 4


def test_a_checkpoint_is_opened_with_the_engine_that_tells_attention() -> None:
    pytest.importorskip("transformers")
    from evalkit.engines import close, open_model

    checkpoint = config.model("demo")
    assert checkpoint is not None
    opened = open_model(checkpoint.source, config.RunConfig(probe=("region-attention",), device="cpu"), [])
    try:
        assert opened.engine.info.details["chosen"] == "it can tell attention"
        assert "attend" in opened.engine.info.answers
    finally:
        close(opened.engine)


# ---------------------------------------------------------------- what is refused


def refused(place: Path, model: str, task: str, **options: Any) -> str:
    with pytest.raises(Refused) as caught:
        evalkit.run(model, task, out=place / "out", **options)
    assert not (place / "asked").exists()
    assert not (place / "out").exists()
    return str(caught.value)


@pytest.mark.parametrize("probe", ["box-erasure", "region-attention"])
def test_an_engine_that_tells_no_attention_is_refused_before_anything_is_asked(tmp_path: Path, own: tuple[str, str], probe: str) -> None:
    said = refused(tmp_path, *own, probe=probe)
    assert f"--probe {probe}" in said
    assert "does not attend: choose a checkpoint with --engine transformers" in said


def replay(place: Path) -> str:
    (place / "replies.jsonl").write_text("".join(json.dumps({"sample": str(i), "text": "yes"}) + "\n" for i in range(4)))
    return f"replay:{place / 'replies.jsonl'}"


def test_a_replay_is_refused(tmp_path: Path, own: tuple[str, str]) -> None:
    model, task = own
    assert "'replies' does not attend" in refused(tmp_path, replay(tmp_path), task, probe="box-erasure")
    assert "without them" in refused(tmp_path, replay(tmp_path), task, probe="correlation", judge=model)


def test_a_run_without_images_is_refused(tmp_path: Path, own: tuple[str, str]) -> None:
    model, task = own
    assert "--blind" in refused(tmp_path, model, task, probe="correlation", judge=model, blind=True)


def test_a_judge_that_is_not_named_is_asked_for(tmp_path: Path, own: tuple[str, str]) -> None:
    assert "--probe correlation asks a judge: name one with --judge MODEL" in refused(tmp_path, *own, probe="correlation")


def test_a_protocol_that_asks_for_no_reply_is_refused(tmp_path: Path, own: tuple[str, str]) -> None:
    model, task = own
    said = refused(tmp_path, model, task, probe="correlation", judge=model, protocol="likelihood")
    assert "protocol likelihood asks for none: choose another --protocol" in said
