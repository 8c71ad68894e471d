"""Train the demo checkpoint from scratch: `python -m evalkit.demo.train OUT`. Resumable: the same command goes on.

Two stages, on the training split of the `shapes` task only:

1. `sight`: the vision tower alone learns, for each image token, whether an object's centre lies in its cell, its colour,
   its form and its box.
2. `speech`: the whole model learns the replies. Beside the next-token loss linear probes inside the language model learn whether a
   cell's object belongs in the reply and at which place, which letter an option has, which colour is asked for, which box
   is being written and where it lies; they are thrown away after training.

On a CPU set OMP_WAIT_POLICY=passive: threads that spin while they wait cost more than they save on a shared machine.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..protocols.grit import SUFFIX
from . import architecture
from .lessons import Lesson, lesson

SEED = 20261122
BATCH = {"sight": 48, "speech": 36}
PARTS = {"sight": 1, "speech": 3}  # a batch is sorted by length and cut into as many, so that little is padded
RATE = {"sight": 2e-3, "speech": 1.5e-3}
WARMUP = 150
EARLY, MIDDLE, LATE = 1, 2, 3  # the language model's layers (counted from 1) that the probes read
RANKS = 7  # not in the reply, or its 1st to 6th box
ANSWER_WEIGHT = 4.0  # of the tokens on which a reply turns


class Trainee(nn.Module):
    """The model with the probes that only training uses: linear heads on what its layers hold."""

    def __init__(self, words: Any) -> None:
        super().__init__()
        self.model = architecture.model(words, SEED)
        self.sight = nn.Linear(architecture.WIDTH, 1 + 4 + 3 + 4)
        self.match = nn.Linear(architecture.WIDTH, 1)
        self.rank = nn.Linear(architecture.WIDTH, RANKS)
        self.letter = nn.Linear(architecture.WIDTH, 4)
        self.colour = nn.Linear(architecture.WIDTH, 4)
        self.turn = nn.Linear(architecture.WIDTH, RANKS)
        self.point = nn.Linear(architecture.WIDTH, 4)
        self.words = words
        self.model.model.visual.patch_embed = StillPatchEmbed(self.model.model.visual.patch_embed)
        self.seen: dict[str | int, Tensor] = {}
        self.model.model.visual.register_forward_hook(self._keeper("sight"))
        for number in (EARLY, MIDDLE, LATE):
            self.model.model.language_model.layers[number - 1].register_forward_hook(self._keeper(number))

    def _keeper(self, name: str | int) -> Callable[..., None]:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            self.seen[name] = output.pooler_output if name == "sight" else output[0] if isinstance(output, tuple) else output

        return keep


def batch_parts(shapes: Any, stage: str, step: int) -> list[list[Lesson]]:
    """The batch of a step, a function of the step alone, in parts of like length; no lesson comes twice."""
    size, parts = BATCH[stage], PARTS[stage]
    first = step * size + {"sight": 0, "speech": 10_000_000}[stage]
    drawn = sorted((lesson(shapes, first + i) for i in range(size)), key=lambda item: len(item.reply) + 4 * len(item.cells))
    return [drawn[i * size // parts : (i + 1) * size // parts] for i in range(parts)]


def pixels(batch: list[Lesson]) -> tuple[Tensor, Tensor]:
    """Patches (n, 768) in [-1, 1], one frame of the processor's two, and the grids (images, 3) in patches."""
    cut = torch.cat([torch.tensor(item.patches) for item in batch]).float().div_(127.5).sub_(1)
    grids = torch.tensor([[1, item.grid[0] * architecture.MERGE, item.grid[1] * architecture.MERGE] for item in batch])
    return cut.flatten(1), grids


class StillPatchEmbed(nn.Module):
    """The patch embedding of a still image, whose two frames are equal: half the work of the convolution, same weights."""

    def __init__(self, embed: nn.Module) -> None:
        super().__init__()
        self.proj: Any = embed.proj

    def forward(self, values: Tensor) -> Tensor:
        return F.linear(values, self.proj.weight.sum(2).flatten(1), self.proj.bias)


def sight_loss(trainee: Trainee, batch: list[Lesson], shapes: Any) -> Tensor:
    """Objectness, colour, form and box of the object in each cell."""
    values, grids = pixels(batch)
    trainee.model.model.visual(values, grid_thw=grids)
    return seen_loss(trainee, batch, shapes)


def seen_loss(trainee: Trainee, batch: list[Lesson], shapes: Any) -> Tensor:
    """The loss of stage one on what the vision tower last saw."""
    seen = trainee.sight(trainee.seen["sight"])
    colours, forms = list(shapes.COLOURS), list(shapes.FORMS)
    present, where, start = torch.zeros(len(seen)), [], 0
    colour, form, boxes = [], [], []
    for item in batch:
        for cell, thing in zip(item.cells, item.drawn.objects, strict=True):
            where.append(start + cell)
            colour.append(colours.index(thing.colour))
            form.append(forms.index(thing.form))
            sides = (item.drawn.width, item.drawn.height) * 2
            boxes.append([v / side for v, side in zip(thing.box, sides, strict=True)])
        start += item.grid[0] * item.grid[1]
    present[where] = 1
    found = seen[where]
    return (
        4 * F.binary_cross_entropy_with_logits(seen[:, 0], present)
        + F.cross_entropy(found[:, 1:5], torch.tensor(colour))
        + F.cross_entropy(found[:, 5:8], torch.tensor(form))
        + 20 * F.smooth_l1_loss(found[:, 8:], torch.tensor(boxes), beta=0.02)
    )


@dataclass(frozen=True, slots=True)
class Dialogues:
    """A batch of prompts and replies as tokens, padded on the right."""

    ids: Tensor  # (rows, length)
    mask: Tensor  # (rows, length), 1 where there is a token
    weight: Tensor  # (rows, length), what a token counts in the loss: 0 in the prompt
    starts: list[int]
    """Where each row's reply begins."""
    image: Tensor  # (rows, length), true on image tokens
    rank: Tensor  # (image tokens of all rows,): the place in the reply of the object in the token's cell, 0 for none


def dialogues(trainee: Trainee, batch: list[Lesson]) -> Dialogues:
    """The lessons as the model sees them."""
    words, image_pad = trainee.words, trainee.model.config.image_token_id
    rows, starts, ranks = [], [], []
    for item in batch:
        tokens = item.grid[0] * item.grid[1]
        prompt = words(f"<|im_start|>user\n{item.prompt}<|vision_start|>").input_ids + [image_pad] * tokens
        prompt += words("<|vision_end|><|im_end|>\n<|im_start|>assistant\n").input_ids
        rows.append(prompt + words(item.reply + "<|im_end|>").input_ids)
        starts.append(len(prompt))
        rank = torch.zeros(tokens, dtype=torch.long)
        rank[[item.cells[i] for i in item.evidence]] = torch.arange(1, len(item.evidence) + 1)
        ranks.append(rank)
    ids = torch.full((len(rows), max(map(len, rows))), trainee.model.config.text_config.pad_token_id)
    mask, weight = torch.zeros_like(ids), torch.zeros(ids.shape)
    deciding = torch.zeros(len(words), dtype=torch.bool)
    deciding[_deciding(words)] = True
    for i, (row, start) in enumerate(zip(rows, starts, strict=True)):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
        weight[i, start : len(row)] = 1
        weight[i, start : len(row)][deciding[ids[i, start : len(row)]]] = ANSWER_WEIGHT
        weight[i, len(row) - 3 : len(row) - 1] = ANSWER_WEIGHT
    return Dialogues(ids, mask, weight, starts, ids == image_pad, torch.cat(ranks))


def speech_loss(trainee: Trainee, batch: list[Lesson], shapes: Any) -> Tensor:
    """Next-token loss over the replies, plus the losses of the probes."""
    said = dialogues(trainee, batch)
    values, grids = pixels(batch)
    logits = trainee.model(
        input_ids=said.ids,
        attention_mask=said.mask,
        pixel_values=values,
        image_grid_thw=grids,
        mm_token_type_ids=said.image.int(),
        use_cache=False,
    ).logits
    token = F.cross_entropy(logits[:, :-1].flatten(0, 1), said.ids[:, 1:].flatten(), reduction="none")
    spoken = (token * said.weight[:, 1:].flatten()).sum() / said.weight.sum()
    probed = cell_loss(trainee, said) + option_loss(trainee, batch, said, shapes) + box_loss(trainee, batch, said)
    return spoken + probed + 0.2 * seen_loss(trainee, batch, shapes)


def cell_loss(trainee: Trainee, said: Dialogues) -> Tensor:
    """The loss of two probes on the image tokens: whether a cell's object belongs in the reply, and at which place."""
    matched = F.binary_cross_entropy_with_logits(
        trainee.match(trainee.seen[EARLY][said.image])[:, 0], (said.rank > 0).float(), pos_weight=torch.tensor(4.0)
    )
    weights = torch.ones(RANKS)
    weights[0] = 0.25
    return matched + F.cross_entropy(trainee.rank(trainee.seen[MIDDLE][said.image]), said.rank, weight=weights)


def box_loss(trainee: Trainee, batch: list[Lesson], said: Dialogues) -> Tensor:
    """The loss of two probes on the tokens of a written box: which of the reply's boxes it is, and where it lies."""
    opening = {trainee.words(text).input_ids[0] for text in (' {"bbox_2d": [', " [", "[")}
    closing = {trainee.words(text).input_ids[0] for text in ("]}", "]")}
    places: list[tuple[int, int]] = []
    turns: list[int] = []
    boxes: list[list[float]] = []
    for row, (item, start) in enumerate(zip(batch, said.starts, strict=True)):
        turn, inside = -1, False
        sides = (item.drawn.width, item.drawn.height) * 2
        for place, token in enumerate(said.ids[row].tolist()[start:], start):
            if token in opening:
                turn, inside = (turn + 1) % len(item.evidence), True
            inside = inside and token not in closing
            if inside:
                places.append((row, place))
                turns.append(turn)
                boxes.append([v / side for v, side in zip(item.drawn.objects[item.evidence[turn]].box, sides, strict=True)])
    if not places:
        return torch.zeros(())
    at = tuple(torch.tensor(places).T)
    return 0.5 * F.cross_entropy(trainee.turn(trainee.seen[MIDDLE][at]), torch.tensor(turns)) + 3 * F.smooth_l1_loss(
        trainee.point(trainee.seen[LATE][at]), torch.tensor(boxes), beta=0.02
    )


def option_loss(trainee: Trainee, batch: list[Lesson], said: Dialogues, shapes: Any) -> Tensor:
    """The loss of two more probes, on multiple choice: an option's text knows its letter, and the place before the answer the colour."""
    colours = list(shapes.COLOURS)
    tokens = {trainee.words(f" {colour}").input_ids[0]: number for number, colour in enumerate(colours)}
    answer = trainee.words(" <answer>").input_ids[0]
    options: list[tuple[int, int]] = []
    places: list[tuple[int, int]] = []
    asked: list[int] = []
    for row, (item, start) in enumerate(zip(batch, said.starts, strict=True)):
        if item.drawn.kind == "choice":
            line = said.ids[row].tolist()
            options += [(row, place) for place in range(start) if line[place] in tokens][-4:]
            places.append((row, line.index(answer, start) if answer in line[start:] else start - 1))
            asked.append(colours.index(item.drawn.objects[item.evidence[0]].colour))
    if not asked:
        return torch.zeros(())
    letters = torch.arange(4).repeat(len(asked))
    by_option, by_answer = (tuple(torch.tensor(found).T) for found in (options, places))
    return 0.5 * F.cross_entropy(trainee.letter(trainee.seen[MIDDLE][by_option]), letters) + 0.5 * F.cross_entropy(
        trainee.colour(trainee.seen[LATE][by_answer]), torch.tensor(asked)
    )


def _deciding(words: Any) -> list[int]:
    """The tokens on which a reply turns: whether another box follows, a colour, a side."""
    turns = (' {"bbox_2d": [', " </think>", " red", " green", " blue", " yellow", " left", " right")
    return [words(text).input_ids[0] for text in turns]


def corpus(shapes: Any) -> list[str]:
    """The texts that the tokenizer is trained on."""
    taught = [lesson(shapes, index) for index in range(4000)]
    return [text for item in taught for text in (f"user\n{item.prompt.replace(SUFFIX, '')}", f"assistant\n{item.reply}")]


class Training:
    """A run of both stages in a folder, from wherever the folder's state is."""

    def __init__(self, shapes: Any, out: Path, steps: Mapping[str, int], early: int) -> None:
        from transformers import AutoTokenizer

        self.shapes, self.out, self.steps, self.early = shapes, out, steps, early
        out.mkdir(parents=True, exist_ok=True)
        if not (out / "words" / "tokenizer.json").exists():
            architecture.tokenizer(corpus(shapes)).save_pretrained(out / "words")
        self.trainee = Trainee(AutoTokenizer.from_pretrained(out / "words"))
        self.done = dict.fromkeys(steps, 0)
        self.optimiser_state: dict[str, Any] | None = None
        if self._state.exists():
            saved = torch.load(self._state, weights_only=True, map_location=torch.get_default_device())
            self.trainee.load_state_dict(saved["trainee"])
            self.done, self.optimiser_state = saved["done"], saved["optimiser"]

    @property
    def _state(self) -> Path:
        return self.out / "state.pt"

    def run(self, log: Callable[..., None]) -> None:
        """Runs what is left of each stage and saves the checkpoint `demo`."""
        for stage, total in self.steps.items():
            if self.done[stage] < total:
                self._stage(stage, total, log)
        save(self.trainee, self.out / "demo")

    def _stage(self, stage: str, total: int, log: Callable[..., None]) -> None:
        trainee, first = self.trainee, self.done[stage]
        loss_of = sight_loss if stage == "sight" else speech_loss
        trained = [*trainee.model.model.visual.parameters(), *trainee.sight.parameters()] if stage == "sight" else [*trainee.parameters()]
        optimiser = torch.optim.AdamW(trained, lr=RATE[stage], weight_decay=0.01, betas=(0.9, 0.95))
        if first and self.optimiser_state:
            optimiser.load_state_dict(self.optimiser_state)
        running, started = None, time.time()
        for step in range(first, total):
            for group in optimiser.param_groups:
                group["lr"] = RATE[stage] * min(1, (step + 1) / WARMUP) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / total)))
            whole = 0.0
            for part in batch_parts(self.shapes, stage, step):
                loss = loss_of(trainee, part, self.shapes) / PARTS[stage]
                loss.backward()
                whole += loss.item()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimiser.step()
            optimiser.zero_grad()
            running = whole if running is None else 0.98 * running + 0.02 * whole
            self.done[stage] = step + 1
            if self.done[stage] % 50 == 0:
                log(stage, step + 1, running, (time.time() - started) / (step + 1 - first))
            if self.done[stage] % 250 == 0 or step + 1 == total:
                parts = {"trainee": trainee.state_dict(), "optimiser": optimiser.state_dict(), "done": self.done}
                torch.save(parts, self._state.with_suffix(".part"))
                self._state.with_suffix(".part").replace(self._state)
            if stage == "speech" and step + 1 == self.early:
                save(trainee, self.out / "demo-early")


def save(trainee: Trainee, folder: Path) -> None:
    """Write the checkpoint in bfloat16 with its processor, as `from_pretrained` reads it."""
    copy = architecture.model(trainee.words, SEED)
    copy.load_state_dict(trainee.model.state_dict())
    copy.to("cpu", torch.bfloat16).save_pretrained(folder)
    architecture.processor(trainee.words).save_pretrained(folder)


def main() -> None:
    from ..task import module

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--sight", type=int, default=1400)
    parser.add_argument("--speech", type=int, default=5500)
    parser.add_argument("--early", type=int, default=1300)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_default_device(arguments.device)
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)  # gradients of what is learned become denormal, which is many times slower
    shapes = module("shapes")
    curve = arguments.out / "curve.jsonl"

    def log(stage: str, step: int, loss: float, seconds: float) -> None:
        line = {"stage": stage, "step": step, "loss": round(loss, 4), "seconds_per_step": round(seconds, 3)}
        with curve.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(line, flush=True)

    Training(shapes, arguments.out, {"sight": arguments.sight, "speech": arguments.speech}, arguments.early).run(log)


if __name__ == "__main__":
    main()
