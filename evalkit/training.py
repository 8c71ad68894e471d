"""Evaluation during training: a callback for the Trainer of transformers.

    trainer = Trainer(model, arguments, train_dataset=..., processing_class=processor)
    trainer.add_callback(evalkit.evaluation_callback(trainer, "vstar", limit=64, every=200))

Each evaluation is a run with a folder of its own, labelled `step=N`, and its headlines are logged where the loss is. Training goes on as
if it had not been: the model's attributes and modes and the state of every random generator are put back.
"""

import logging
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from . import api
from .config import RunConfig, build
from .errors import EvalkitError, UserError
from .report.table import headlines
from .suites import suited

if TYPE_CHECKING:
    from transformers import TrainerCallback

WAITING = timedelta(days=7)
"""How long the other processes wait for the one that evaluates: as long as it lives."""
log = logging.getLogger("evalkit")


def evaluation_callback(
    trainer: Any,
    tasks: str | Sequence[str],
    *,
    every: int | Literal["evaluation", "save"] = "evaluation",
    limit: int | None = 64,
    processor: Any = None,
    label: str | Sequence[str] = (),
    **options: Any,
) -> "TrainerCallback":
    """A callback that evaluates the trainer's model on `tasks` and logs each headline as `eval_TASK/METRIC`, with its interval's ends.

    Of several processes the main one evaluates; the others wait, and have the same numbers. An evaluation that fails is a warning in
    the log, and training goes on: the trainer's metrics keep the numbers of the last one, and `metric_for_best_model` is NaN, which is
    never the best, until there is one.

    Args:
        trainer: the Trainer that the callback will be added to.
        tasks: as on the command line.
        every: so many steps; or with each "evaluation" or "save" of the trainer. With "evaluation" the numbers are among its metrics, so
            `metric_for_best_model="eval_vstar/accuracy"` chooses by them.
        limit: at least so many samples of each task, the same at every step; None: all.
        processor: where the trainer's `processing_class` is not the model's processor.
        label: labels of the runs beside `step=N`.
        options: others of `evalkit run`, such as `protocol`, `data`, `out`, `seed`.

    Raises:
        UserError: an option is wrong, a task's data is absent, there is no processor, or the model is spread over processes.
    """
    try:
        from transformers import TrainerCallback
    except ImportError as error:
        raise UserError(f"a callback for the Trainer needs transformers ({error}): pip install 'evalkit[transformers]'") from error
    if not (every in ("evaluation", "save") or (isinstance(every, int) and every > 0)):
        raise UserError(f"expected every= as a number of steps above 0, 'evaluation' or 'save', got {every!r}")
    labels = (label,) if isinstance(label, str) and label else tuple(label)
    evaluation = _Evaluation(trainer, processor or trainer.processing_class, labels, {"tasks": tasks, "limit": limit, **options})

    class EvaluationCallback(TrainerCallback):  # type: ignore[misc]  # mypy does not follow transformers
        """Evaluates at the steps that `every` says."""

        def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            if isinstance(every, int) and state.global_step % every == 0:
                evaluation(state, control)

        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **others: Any) -> None:
            if every == "evaluation":
                found = evaluation(state, control)
                if metrics is not None:
                    metrics.update(found)

        def on_save(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            if every == "save":
                evaluation(state, control)

    return EvaluationCallback()


class _Evaluation:
    """Evaluates a trainer's model as it is at a step."""

    def __init__(self, trainer: Any, processor: Any, labels: tuple[str, ...], options: Mapping[str, Any]) -> None:
        if getattr(processor, "image_processor", None) is None:
            raise UserError("expected a processor of images and text, got none: pass processor=AutoProcessor.from_pretrained(...)")
        if getattr(trainer, "is_fsdp_enabled", False) or getattr(trainer, "is_deepspeed_enabled", False):
            raise UserError(
                "the trainer's model is spread over processes, and none of them can evaluate it: save checkpoints, and evaluate them with "
                "evalkit run --model 'DIR/checkpoint-*'"
            )
        config = build(RunConfig, suited({**options, "label": labels}), "the options of the callback")
        self._tasks = tuple(made.name for made in api.tasks_of(config))
        self._trainer, self._processor, self._labels, self._options = trainer, processor, labels, dict(options)
        self._last: dict[str, float] = {}
        self._group: Any = None

    def __call__(self, state: Any, control: Any) -> dict[str, float]:
        """The headlines by the names under which they are logged, in every process; those of the last evaluation where this one fails."""
        found = self._everywhere(self._found(state) if state.is_world_process_zero else None)
        if found is None:
            return self._unknown() | self._last
        self._last = found
        due = control.should_log, control.should_evaluate, control.should_save
        self._trainer.log(dict(found))  # which takes the loss of this step for logged
        control.should_log, control.should_evaluate, control.should_save = due
        return found

    def _found(self, state: Any) -> dict[str, float] | None:
        """The headlines; None where the evaluation fails, whatever the reason: it must not end the training."""
        model = self._trainer.accelerator.unwrap_model(self._trainer.model)
        try:
            with untouched(model):
                summary = api.run(model, processor=self._processor, label=(*self._labels, f"step={state.global_step}"), **self._options)
            return _logged(summary.as_json())
        except Exception as error:
            words = error if isinstance(error, EvalkitError) else f"{type(error).__name__}: {error}"
            kept = "the numbers of the last one are kept" if self._last else "there are no numbers yet"
            told = None if isinstance(error, EvalkitError) else error
            log.warning("no evaluation at step %d: %s (training goes on; %s)", state.global_step, words, kept, exc_info=told)
            return None

    def _everywhere(self, found: dict[str, float] | None) -> dict[str, float] | None:
        """What the main process found, in every process. The others wait for it here, also where it failed."""
        from torch import distributed

        if not distributed.is_available() or not distributed.is_initialized() or distributed.get_world_size() == 1:
            return found
        if self._group is None:  # of its own, as that of the gradients waits some minutes only
            self._group = distributed.new_group(backend="gloo", timeout=WAITING)
        told = [found]
        distributed.broadcast_object_list(told, src=0, group=self._group)
        return told[0]

    def _unknown(self) -> dict[str, float]:
        """The trainer's `metric_for_best_model` as NaN where a task of this callback gives it, as the trainer ends where it is absent."""
        wanted = self._trainer.args.metric_for_best_model or ""
        name = wanted if wanted.startswith("eval_") else f"eval_{wanted}"
        return {name: math.nan} if name.startswith(tuple(f"eval_{task}/" for task in self._tasks)) else {}


@contextmanager
def untouched(model: Any) -> Iterator[None]:
    """Puts back every attribute of the model's modules and the state of the random generators (Python's, numpy's, torch's).

    Tensors are not copied: what changes a parameter in place is not undone.
    """
    import numpy as np
    import torch

    before = [(module, {**vars(module), "_buffers": dict(module._buffers)}) for module in model.modules()]
    drawn = random.getstate(), np.random.get_state()  # noqa: NPY002 - whoever trains may draw from it
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(drawn[0])
        np.random.set_state(drawn[1])  # noqa: NPY002
        for module, attributes in before:
            vars(module).clear()
            vars(module).update(attributes)


def _logged(summary: dict[str, Any]) -> dict[str, float]:
    """The headlines of a summary and the ends of their intervals, where they have any; NaN for one without a value."""
    found: dict[str, float] = {}
    for row in headlines(summary):
        name = f"eval_{row['task']}/{row['metric']}" + ("" if row["subset"] == "overall" else f"/{row['subset']}")
        ends = {"_low": row["low"], "_high": row["high"]}
        found[name] = math.nan if row["value"] is None else row["value"]
        found |= {name + end: value for end, value in ends.items() if value is not None}
    return found
