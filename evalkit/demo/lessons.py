"""What the demo checkpoint is taught: scenes of the `shapes` task's training split as dialogues and as dense targets.

A lesson is one scene with its prompt and reply, in one of two forms: direct (the bare answer) or grounded (GRIT's
form: boxes in <think>, a sentence in <rethink>, then <answer>). Boxes are written in thousandths of the image, rounded to
tens, in the order of the image's cells, row by row.
"""

import random
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from ..protocols.grit import SUFFIX
from .architecture import CELL, MAX_PIXELS, MERGE, MIN_PIXELS, PATCH


@dataclass(frozen=True, slots=True)
class Lesson:
    """One scene ready for training: `grid` is (rows, columns) of image tokens, `rank` maps a cell to its place in the reply."""

    drawn: Any
    prompt: str
    reply: str
    patches: np.ndarray  # uint8 (4 * rows * columns, 3, 16, 16)
    grid: tuple[int, int]
    cells: tuple[int, ...]  # the cell of each object of the scene
    evidence: tuple[int, ...]  # objects in the order in which the reply writes their boxes


def lesson(shapes: ModuleType, index: int) -> Lesson:
    """The training lesson of row `index`."""
    from PIL import Image
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    drawn = shapes.scene("train", index)
    height, width = smart_resize(drawn.height, drawn.width, factor=CELL, min_pixels=MIN_PIXELS, max_pixels=MAX_PIXELS)
    rows, columns = height // CELL, width // CELL
    image = shapes.render(drawn).resize((width, height), Image.Resampling.BICUBIC)
    cells = tuple(int(o.centre[1] / drawn.height * rows) * columns + int(o.centre[0] / drawn.width * columns) for o in drawn.objects)
    evidence = drawn.evidence if drawn.kind == "yes_no" else tuple(sorted(drawn.evidence, key=lambda i: cells[i]))
    grounded = random.Random(f"form/{index}").random() < 0.7
    boxes = [thousandths(drawn.objects[i].box, drawn.width, drawn.height) for i in evidence]
    prompt = f"\nQuestion: {asked(drawn)}{SUFFIX}" if grounded else shapes.wording(drawn)
    return Lesson(drawn, prompt, reply(drawn, boxes, grounded), patches(np.asarray(image)), (rows, columns), cells, evidence)


def asked(drawn: Any) -> str:
    """The bare question, with its options where it has some, as the grounded protocol asks it."""
    options = "".join(f"\n({letter}) {text}" for letter, text in zip("ABCD", drawn.options, strict=False))
    return f"{drawn.question}{options}"


def thousandths(box: tuple[int, int, int, int], width: int, height: int) -> list[int]:
    """The box in thousandths of the image, rounded to tens: an error of at most 5, on objects of 150 and more."""
    return [round(100 * v / side) * 10 for v, side in zip(box, (width, height, width, height), strict=True)]


def reply(drawn: Any, boxes: list[list[int]], grounded: bool) -> str:
    """What the model is to answer, without the end-of-turn token."""
    written = [f"[{', '.join(map(str, box))}]" for box in boxes]
    answer = drawn.answer or " ".join(written)
    if not grounded:
        return answer
    thought = " ".join(f'{{"bbox_2d": {box}}}' for box in written) or "nothing"
    rethought = {
        "count": f"I see {len(boxes)}.",
        "yes_no": f"It is {'left' if drawn.answer == 'Yes' else 'right'}.",
        "choice": f"It is {drawn.options['ABCD'.index(drawn.answer)] if drawn.options else ''}.",
        "where": "It is there.",
    }[drawn.kind]
    return f"<think> {thought} </think> <rethink> {rethought} </rethink> <answer> {answer}</answer>"


def patches(pixels: np.ndarray) -> np.ndarray:
    """uint8 (height, width, 3) cut as the Qwen2-VL image processor cuts it: uint8 (patches, 3, 16, 16)."""
    height, width, _ = pixels.shape
    rows, columns = height // CELL, width // CELL
    cut = pixels.reshape(rows, MERGE, PATCH, columns, MERGE, PATCH, 3).transpose(0, 3, 1, 4, 6, 2, 5)
    return np.ascontiguousarray(cut).reshape(rows * columns * MERGE**2, 3, PATCH, PATCH)
