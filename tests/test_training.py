"""Evaluating during training: training does not notice, and the numbers arrive where the loss does."""

import itertools
import json
import math
import os
import random
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evalkit
from evalkit.errors import UserError
from evalkit.task import module

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from evalkit.training import untouched  # noqa: E402 - torch may be absent

DEMO = Path(evalkit.__file__).parent / "demo" / "checkpoints" / "demo-early"
pytestmark = pytest.mark.skipif(not (DEMO / "config.json").exists(), reason="the demo checkpoint has not been trained yet")
Attach = Callable[[Any, Any], Any]


@pytest.fixture(scope="module")
def processor() -> Any:
    return transformers.AutoProcessor.from_pretrained(DEMO)


@pytest.fixture(scope="module")
def lessons(processor: Any) -> list[dict[str, Any]]:
    """Two samples of shapes, ready for the model."""
    shapes, made = module("shapes"), []
    for index in range(2):
        drawn = shapes.scene("train", index)
        chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": shapes.wording(drawn)}]}]
        text = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False) + str(drawn.answer)
        row = dict(processor(text=[text], images=[[shapes.render(drawn)]], return_tensors="pt"))
        made.append(row | {"labels": row["input_ids"].clone()})
    return made


@pytest.fixture
def trained(processor: Any, lessons: list[dict[str, Any]], tmp_path: Path) -> Callable[..., Any]:
    """Trains the demo for four steps, its attention dropped out at random, and returns the trainer."""

    def train(attach: Attach | None = None, **more: Any) -> Any:
        transformers.set_seed(7)
        model = transformers.AutoModelForImageTextToText.from_pretrained(DEMO, dtype=torch.float32)
        for layer in model.modules():
            if hasattr(layer, "attention_dropout"):
                layer.attention_dropout = 0.3
        said = {"max_steps": 4, "logging_steps": 1, "per_device_train_batch_size": 1, "save_strategy": "no", "report_to": "none"}
        said |= {"use_cpu": True, "remove_unused_columns": False, "disable_tqdm": True, "learning_rate": 1e-4, **more}
        trainer = transformers.Trainer(
            model,
            transformers.TrainingArguments(str(tmp_path / "trainer"), **said),
            data_collator=lambda rows: rows[0],
            train_dataset=lessons,
            eval_dataset=lessons[:1],
            processing_class=processor,
        )
        if attach:
            trainer.add_callback(attach(trainer, tmp_path))
        trainer.train()
        return trainer

    return train


def watch(**options: Any) -> Attach:
    said = {"limit": 2, "max_new_tokens": 4, **options}
    return lambda trainer, place: evalkit.evaluation_callback(trainer, "shapes", out=str(place / "runs"), **said)


def losses(trainer: Any) -> list[float]:
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


def seen(trainer: Any) -> list[int]:
    return [row["step"] for row in trainer.state.log_history if "eval_shapes/accuracy" in row]


def test_the_losses_are_the_same_to_the_last_digit_with_the_callback_and_without(trained: Callable[..., Any], tmp_path: Path) -> None:
    without, watched = trained(), trained(watch(every=2, label="run=a"))
    assert len(losses(without)) == 4
    assert losses(watched) == losses(without)
    assert all(torch.equal(a, b) for a, b in zip(without.model.parameters(), watched.model.parameters(), strict=True))
    assert seen(watched) == [2, 4]
    row = next(row for row in watched.state.log_history if "eval_shapes/accuracy" in row)
    assert row["eval_shapes/accuracy_low"] <= row["eval_shapes/accuracy"] <= row["eval_shapes/accuracy_high"]
    manifests = [json.loads(path.read_text()) for path in (tmp_path / "runs").glob("*/manifest.json")]
    assert sorted(made["options"]["label"] for made in manifests) == [["run=a", "step=2"], ["run=a", "step=4"]]


def test_it_goes_with_the_trainers_evaluations_and_the_best_model_can_be_chosen_by_it(trained: Callable[..., Any]) -> None:
    best = {"metric_for_best_model": "eval_shapes/accuracy", "greater_is_better": True}
    trainer = trained(watch(), max_steps=2, eval_strategy="steps", eval_steps=1, **best)
    assert seen(trainer) == [1, 2]
    assert trainer.state.best_metric == max(
        row["eval_shapes/accuracy"] for row in trainer.state.log_history if "eval_shapes/accuracy" in row
    )


def test_it_goes_with_the_trainers_saves(trained: Callable[..., Any]) -> None:
    assert seen(trained(watch(every="save"), max_steps=2, save_strategy="steps", save_steps=2)) == [2]


def test_an_evaluation_that_fails_is_a_warning_and_training_goes_on(
    trained: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "runs").write_text("in the way")
    trainer = trained(watch(every=1), max_steps=1)
    assert len(losses(trainer)) == 1
    assert seen(trainer) == []
    assert "no evaluation at step 1: cannot write the results folder" in caplog.text


def fail(monkeypatch: pytest.MonkeyPatch, *calls: int) -> None:
    """Lets these evaluations, counted from 0, fail."""
    whole, count = evalkit.api.run, itertools.count()

    def run(*arguments: Any, **options: Any) -> Any:
        if next(count) in calls:
            raise ValueError("a plug-in broke")
        return whole(*arguments, **options)

    monkeypatch.setattr(evalkit.api, "run", run)


def test_whatever_fails_training_goes_on_and_the_best_model_is_chosen_by_the_evaluations_that_did_not(
    trained: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fail(monkeypatch, 0, 2)
    seen_by_others: list[dict[str, float]] = []

    class Last(transformers.TrainerCallback):  # type: ignore[misc]
        """Notes the trainer's metrics."""

        def on_evaluate(self, *_: Any, metrics: dict[str, float], **others: Any) -> None:
            seen_by_others.append(dict(metrics))

    def attach(trainer: Any, place: Path) -> Any:
        trainer.add_callback(watch()(trainer, place))
        return Last()

    best = {"metric_for_best_model": "shapes/accuracy", "greater_is_better": True}
    trainer = trained(attach, max_steps=3, eval_strategy="steps", eval_steps=1, **best)
    values = [metrics["eval_shapes/accuracy"] for metrics in seen_by_others]
    assert math.isnan(values[0])
    assert values[1] == values[2] == trainer.state.best_metric
    assert seen(trainer) == [2]
    assert "no evaluation at step 1: ValueError: a plug-in broke (training goes on; there are no numbers yet)" in caplog.text
    assert "no evaluation at step 3: ValueError: a plug-in broke (training goes on; the numbers of the last one are kept)" in caplog.text


def test_ctrl_c_during_an_evaluation_ends_the_training(trained: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*arguments: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(evalkit.api, "run", run)
    with pytest.raises(KeyboardInterrupt):
        trained(watch(every=1), max_steps=1)


def test_a_best_model_by_a_metric_that_the_tasks_do_not_give_is_transformers_own_error(trained: Callable[..., Any]) -> None:
    with pytest.raises(KeyError, match="eval_shapes/acuracy"):
        trained(watch(), max_steps=1, eval_strategy="steps", eval_steps=1, metric_for_best_model="eval_shapes/acuracy")


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch has no gloo here")
def test_of_two_processes_one_evaluates_and_both_have_its_numbers_also_where_it_fails(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(Path(__file__).with_name("training_of_two.py")), str(DEMO), str(tmp_path)]
    processes = [
        subprocess.Popen(command, env={**os.environ, **shared, "RANK": rank, "LOCAL_RANK": rank}, stderr=subprocess.PIPE, text=True)
        for rank in "01"
    ]
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in "01")
    assert first == second
    assert first["values"][0] is None
    assert first["values"][1] == first["values"][2] == first["best"]
    assert first["logged"] == [2]
    assert len(list((tmp_path / "runs").iterdir())) == 1
    assert [words.count("no evaluation at step") for words in said] == [2, 0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"every": 0}, "expected every="),
        ({"every": "epoch"}, "expected every="),
        ({"limt": 3}, "unknown key 'limt'"),
        ({"label": "x"}, "--label key=value"),
        ({"processor": "none"}, "expected a processor"),
    ],
)
def test_a_wrong_option_is_said_before_training(trained: Callable[..., Any], options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        trained(watch(**options))


def test_modes_attributes_and_random_states_are_put_back() -> None:
    def seed() -> None:
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002 - the state that is to be put back
        torch.manual_seed(1)

    def drawn() -> tuple[float, float, float]:
        return random.random(), np.random.random(), torch.rand(1).item()  # noqa: NPY002

    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout())
    model[0].eval()
    seed()
    expected = drawn()
    seed()
    with untouched(model):
        model.train()
        model[0].cached = 3
        model[1].p = 0.9
        drawn()
    assert drawn() == expected
    assert ([part.training for part in model], hasattr(model[0], "cached"), model[1].p) == ([False, True], False, 0.5)
