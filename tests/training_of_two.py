"""One of two processes that train the demo together, evaluated after each of three steps; the first evaluation fails, and the last.

python training_of_two.py CHECKPOINT FOLDER, with the variables of torch's distributed training. Writes FOLDER/RANK.json.
"""

import itertools
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import torch
import transformers

import evalkit
from evalkit import api
from evalkit.task import module


class Noting(transformers.TrainerCallback):  # type: ignore[misc]
    """Notes the trainer's metrics."""

    def __init__(self) -> None:
        self.values: list[float | None] = []

    def on_evaluate(self, *_: Any, metrics: dict[str, float], **others: Any) -> None:
        value = metrics["eval_shapes/accuracy"]
        self.values.append(None if math.isnan(value) else value)


def main(checkpoint: str, folder: Path) -> None:
    processor = transformers.AutoProcessor.from_pretrained(checkpoint)
    shapes, lessons, noting = module("shapes"), [], Noting()
    for index in range(2):
        drawn = shapes.scene("train", index)
        chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": shapes.wording(drawn)}]}]
        text = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False) + str(drawn.answer)
        row = dict(processor(text=[text], images=[[shapes.render(drawn)]], return_tensors="pt"))
        lessons.append(row | {"labels": row["input_ids"].clone()})
    whole, count = api.run, itertools.count()

    def run(*arguments: Any, **options: Any) -> Any:
        if next(count) in (0, 2):
            raise ValueError("a plug-in broke")
        return whole(*arguments, **options)

    api.run = run
    said: dict[str, Any] = {"max_steps": 3, "eval_strategy": "steps", "eval_steps": 1, "save_strategy": "no", "report_to": "none"}
    said |= {"use_cpu": True, "ddp_backend": "gloo", "remove_unused_columns": False, "disable_tqdm": True, "per_device_train_batch_size": 1}
    said |= {"metric_for_best_model": "eval_shapes/accuracy", "greater_is_better": True}
    trainer = transformers.Trainer(
        transformers.AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32),
        transformers.TrainingArguments(str(folder / "trainer"), **said),
        data_collator=lambda rows: rows[0],
        train_dataset=lessons,
        eval_dataset=lessons,
        processing_class=processor,
    )
    trainer.add_callback(evalkit.evaluation_callback(trainer, "shapes", out=str(folder / "runs"), limit=2, max_new_tokens=4))
    trainer.add_callback(noting)
    trainer.train()
    logged = [row["step"] for row in trainer.state.log_history if "eval_shapes/accuracy" in row]
    told = {"values": noting.values, "best": trainer.state.best_metric, "logged": logged}
    (folder / f"{os.environ['RANK']}.json").write_text(json.dumps(told))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
