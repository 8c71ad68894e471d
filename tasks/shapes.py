"""Shapes: coloured shapes drawn on the fly, with a known truth for every question and every box.

Data: none to fetch. A scene is a function of (split, index); the splits `train` and `test` seed disjoint streams, and the
demo checkpoint has only ever seen `train`. Licence: the project's own.

Row (what `scene("test", 0)` returns, shortened):
    Scene(width=214, height=188, objects=(Shape("red", "circle", (30, 42, 71, 83)), ...), kind="count",
          question="How many red circles are there?", options=(), answer="2", evidence=(0, 3))

Paper: none; evalkit's own. A variant is any number of rows: `shapes` has 960, `shapes:500` the first 500 of them. `shapes:mask-240` are
the first 240 questions of where, each of which wants the pixels of the object, known exactly, and is scored by its box as well.
Metric: accuracy of the answer by kind; boxes in any reply against the boxes of the objects that answer it, as GRIT's
union-area IoU and as precision, recall and F1 at IoU 0.5. The prompt asks for pixels of the original image; a model whose
declared frame is another is read in that one. Of the `mask` variants: gIoU and cIoU of all masks of a reply together, beside the
same of its boxes.
Headline: accuracy; giou of the `mask` variants. Departures: none, there is nothing to depart from.

Kinds take turns: count (0 to 5, uniform), yes_no ("Is the A to the left of the B?", even), choice (a colour among four
letters, even), where (a box). In any 24 consecutive rows that start at a multiple of 24 every answer of a kind is equally
frequent, so a constant answer scores exactly its floor: 1/6, 1/2, 1/4.
"""

import io
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit import (
    Accuracy,
    Box,
    BoxMatch,
    GoldMask,
    GroundingIoU,
    Image,
    Lazy,
    Mask,
    MaskIoU,
    Prediction,
    Record,
    Rule,
    Sample,
    Task,
    Unparsed,
    UserError,
    Wants,
    encode_mask,
    fitted_mask,
    parsers,
    union_mask,
)

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image
    import PIL.ImageDraw

VARIANTS = ("960", "mask-240", ...)
DATA = None
COLOURS = {"red": (214, 45, 45), "green": (46, 160, 67), "blue": (52, 90, 214), "yellow": (232, 196, 40)}
FORMS = ("circle", "square", "triangle")
NAMES = [(colour, form) for colour in COLOURS for form in FORMS]
KINDS = ("count", "yes_no", "choice", "where")
MOST_OBJECTS = 7
SMALLEST, LARGEST, GAP = 0.17, 0.24, 0.035  # of the geometric mean of the image's sides
LETTERS = "ABCD"
ASK = {
    "count": "Answer with a single number.",
    "yes_no": "Answer yes or no.",
    "choice": "Answer with the option's letter.",
    "where": "Answer with its bounding box as [x1, y1, x2, y2].",
}


Name = tuple[str, str]
"""A colour and a form."""
Asked = tuple[str, tuple[str, ...], str, tuple[int, ...]]
"""Question, options, answer, and the objects that answer it."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One drawn object; `box` is (x1, y1, x2, y2) in pixels of the image, x2 and y2 exclusive."""

    colour: str
    form: str
    box: tuple[int, int, int, int]

    @property
    def name(self) -> str:
        return f"{self.colour} {self.form}"

    @property
    def centre(self) -> tuple[float, float]:
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


Ask = Callable[[Sequence[Shape], int], Asked | None]
"""What is asked once the objects are placed in an image of a width; None where they are not clear enough."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A drawing and its question; `evidence` indexes the objects that answer it, in the order the question names them."""

    width: int
    height: int
    background: tuple[int, int, int]
    objects: tuple[Shape, ...]
    kind: str
    question: str
    options: tuple[str, ...]
    answer: str
    evidence: tuple[int, ...]


def task(variant: str, data: Path | None) -> Task:
    """The test split, in as many rows as the variant says.

    Raises:
        UserError: it does not say a whole number above 0.
    """
    masked, rows = variant.startswith("mask-"), variant.removeprefix("mask-")
    if not re.fullmatch("[1-9][0-9]{0,11}", rows):
        raise UserError(f"expected a number of rows above 0 as variant of shapes, such as shapes:500 or shapes:mask-500, got '{variant}'")
    regions = (Rule("official", boxes, GroundingIoU(), reads="boxes"), Rule("official", boxes, BoxMatch(), reads="boxes"))
    answers = (Rule("official", plain_answer, Answers()), Rule("strict", strict_answer, Answers()))
    masks = (Rule("official", mask, MaskIoU(strict=True), reads="masks"),)
    return Task(
        name="shapes" if variant == VARIANTS[0] else f"shapes:{variant}",
        version=1,
        samples=lambda: (to_mask(index) if masked else sample(index) for index in range(int(rows))),
        rules=(*masks, *regions) if masked else (*answers, *regions),
        headline="giou" if masked else "accuracy",
        kinds=("mask", "boxes") if masked else ("count", "yes_no", "choice", "boxes"),
        published={"rows": int(rows)},
    )


def sample(index: int) -> Sample:
    """Row `index` of the test split; its image is drawn when it is read."""
    drawn = scene("test", index)
    regions = tuple(Box(*drawn.objects[i].box) for i in drawn.evidence)
    targets: dict[str, Any] = {"count": drawn.answer, "yes_no": drawn.answer.lower(), "choice": drawn.answer, "where": regions}
    return Sample(
        id=str(index),
        question=drawn.question,
        prompt=wording(drawn),
        images=(Image(Lazy(f"shapes/test/{index}", lambda: png(drawn))),),
        wants=Wants("boxes" if drawn.kind == "where" else drawn.kind),
        target=int(drawn.answer) if drawn.kind == "count" else targets[drawn.kind],
        options=drawn.options,
        regions=regions,
        tags=frozenset({drawn.kind}),
    )


def to_mask(number: int) -> Sample:
    """The question of where of that number, from 0, which wants the object's mask as well; as any row it has its place as id."""
    index = number * len(KINDS) + KINDS.index("where")
    drawn = scene("test", index)
    asked = drawn.objects[drawn.evidence[0]]
    wants = Wants("mask", also=("boxes",), phrase=f"the {asked.name}")
    return replace(sample(index), wants=wants, target=GoldMask(encode_mask(pixels(drawn, asked))), tags=frozenset())


@dataclass(frozen=True, slots=True)
class Answers(Accuracy):
    """Accuracy over the kinds that have a short answer; "where" is measured by its boxes."""

    def measure(self, value: Any | None, sample: Sample) -> Record:
        return {} if sample.wants.kind == "boxes" else Accuracy.measure(self, value, sample)


def plain_answer(prediction: Prediction, sample: Sample) -> str | int | Unparsed:
    """The answer span as it stands, but for case, spaces and a final full stop; anything longer is unparsed."""
    if prediction.answer is None:
        return Unparsed(prediction.failure)
    text = prediction.answer.strip().rstrip(".").lower()
    known: dict[str, Any] = {
        "count": {str(n): n for n in range(100)},
        "yes_no": {"yes": "yes", "no": "no"},
        "choice": {letter.lower(): letter for letter in LETTERS},
        "boxes": {},
    }
    return known[sample.wants.kind].get(text, Unparsed("more than the bare answer"))


def strict_answer(prediction: Prediction, sample: Sample) -> str | int | Unparsed:
    """What the strict parser of the sample's kind reads in the answer span."""
    if prediction.answer is None:
        return Unparsed(prediction.failure)
    if sample.wants.kind == "choice":
        return parsers.letter(prediction.answer, sample.options)
    return {"count": parsers.count, "yes_no": parsers.yes_no}.get(sample.wants.kind, Unparsed)(prediction.answer)


def boxes(prediction: Prediction, sample: Sample) -> Sequence[Box] | Unparsed:
    """The reply's boxes in original pixels, each once: a box thought of and then answered is one box."""
    found = [evidence.box for evidence in prediction.evidence if evidence.box is not None]
    if len(found) < len(prediction.evidence):
        return Unparsed("boxes in an unknown frame")
    return tuple(dict.fromkeys(found)) or Unparsed("no box")


def mask(prediction: Prediction, sample: Sample) -> Mask | Unparsed:
    """All masks of the reply as one."""
    fitted = [fitted_mask(given, sample.target.mask.size) for given in prediction.masks]
    unfit = [given for given in fitted if isinstance(given, Unparsed)]
    if unfit or not fitted:
        return unfit[0] if unfit else Unparsed(prediction.failure or "no mask")
    return union_mask(fitted)


def png(drawn: Scene) -> bytes:
    """The scene as the bytes of a PNG file."""
    file = io.BytesIO()
    render(drawn).save(file, "PNG")
    return file.getvalue()


def scene(split: str, index: int) -> Scene:
    """The scene at `index` (0 and up) of `split`; the same on every machine and Python version."""
    kind, turn = KINDS[index % len(KINDS)], index // len(KINDS)
    rng = random.Random(f"shapes/{split}/{index}")
    while True:
        drawn = _compose(rng, split, kind, turn)
        if drawn is not None:
            return drawn


def render(drawn: Scene) -> "PIL.Image.Image":
    """The scene as an RGB image of (height, width) pixels."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (drawn.width, drawn.height), drawn.background)
    pen = ImageDraw.Draw(image)
    for shape in drawn.objects:
        _draw(pen, shape, COLOURS[shape.colour])
    return image


def pixels(drawn: Scene, shape: Shape) -> "np.ndarray[Any, Any]":
    """Which pixels of the scene are the shape's, 255 or 0, uint8 (height, width)."""
    import numpy as np
    from PIL import Image, ImageDraw

    image = Image.new("L", (drawn.width, drawn.height))
    _draw(ImageDraw.Draw(image), shape, 255)
    return np.asarray(image)


def _draw(pen: "PIL.ImageDraw.ImageDraw", shape: Shape, fill: Any) -> None:
    x1, y1, x2, y2 = shape.box
    inner = (x1, y1, x2 - 1, y2 - 1)
    if shape.form == "circle":
        pen.ellipse(inner, fill=fill)
    elif shape.form == "square":
        pen.rectangle(inner, fill=fill)
    else:
        pen.polygon([(x1, y2 - 1), (x2 - 1, y2 - 1), ((x1 + x2 - 1) / 2, y1)], fill=fill)


def wording(drawn: Scene) -> str:
    """The question as the task asks it directly."""
    options = "".join(f"\n({letter}) {text}" for letter, text in zip(LETTERS, drawn.options, strict=False))
    return f"{drawn.question}{options}\n{ASK[drawn.kind]}"


def _compose(rng: random.Random, split: str, kind: str, turn: int) -> Scene | None:
    """One attempt at a scene; None where the objects did not fit or did not differ clearly enough."""
    side, aspect = rng.uniform(128, 448), 2 ** rng.uniform(-0.7, 0.7)
    width, height = round(side * aspect**0.5), round(side / aspect**0.5)
    names, ask = {"count": _count, "yes_no": _yes_no, "choice": _choice, "where": _where}[kind](rng, split, turn)
    boxes = _place(rng, width, height, len(names))
    if boxes is None:
        return None
    objects = tuple(Shape(*name, box) for name, box in zip(names, boxes, strict=True))
    asked = ask(objects, width)
    if asked is None:
        return None
    grey = rng.randint(205, 250)
    red, green, blue = (grey + rng.randint(-5, 5) for _ in range(3))
    return Scene(width, height, (red, green, blue), objects, kind, *asked)


def _place(rng: random.Random, width: int, height: int, count: int) -> list[tuple[int, int, int, int]] | None:
    """`count` boxes that keep GAP apart, or None when 200 throws did not find room."""
    unit = (width * height) ** 0.5
    gap = GAP * unit
    boxes: list[tuple[int, int, int, int]] = []
    for _ in range(200):
        if len(boxes) == count:
            return boxes
        size = round(rng.uniform(SMALLEST, LARGEST) * unit)
        x, y = rng.randint(1, width - size - 1), rng.randint(1, height - size - 1)
        if all(x + size + gap < b[0] or b[2] + gap < x or y + size + gap < b[1] or b[3] + gap < y for b in boxes):
            boxes.append((x, y, x + size, y + size))
    return None


def _balanced(split: str, kind: str, turn: int, values: Sequence[Any]) -> Any:
    """The value of this turn, where every block of len(values) turns holds each value once, shuffled."""
    block = list(values)
    random.Random(f"shapes/{split}/{kind}/{turn // len(values)}").shuffle(block)
    return block[turn % len(values)]


def _count(rng: random.Random, split: str, turn: int) -> tuple[list[Name], Ask]:
    """How many there are of a colour, of a form, or of both."""
    count = _balanced(split, "count", turn, range(6))
    colour, form = rng.choice(list(COLOURS)), rng.choice(FORMS)
    by = rng.choice(("both", "colour", "form"))
    phrase = {"both": f"{colour} {form}s", "colour": f"{colour} shapes", "form": f"{form}s"}[by]
    hits = [name for name in NAMES if (by == "form" or name[0] == colour) and (by == "colour" or name[1] == form)]
    others = [name for name in NAMES if name not in hits]
    names = [rng.choice(hits) for _ in range(count)]
    names += [rng.choice(others) for _ in range(rng.randint(1, min(4, MOST_OBJECTS - count)))]
    rng.shuffle(names)

    def ask(objects: Sequence[Shape], width: int) -> Asked:
        return f"How many {phrase} are there?", (), str(count), tuple(i for i, o in enumerate(objects) if (o.colour, o.form) in hits)

    return names, ask


def _yes_no(rng: random.Random, split: str, turn: int) -> tuple[list[Name], Ask]:
    """Whether one object is to the left of another, clearly."""
    truth = _balanced(split, "yes_no", turn, ("Yes", "No"))
    first, second = rng.sample(NAMES, 2)

    def ask(objects: Sequence[Shape], width: int) -> Asked | None:
        left, right = objects[0], objects[1]
        apart = (right.centre[0] - left.centre[0]) / width
        if abs(apart) < 0.12 or (apart > 0) != (truth == "Yes"):
            return None
        return f"Is the {left.name} to the left of the {right.name}?", (), truth, (0, 1)

    return [first, second, *_others(rng, lambda name: name not in (first, second))], ask


def _choice(rng: random.Random, split: str, turn: int) -> tuple[list[Name], Ask]:
    """The colour of the only object of a form."""
    letter = _balanced(split, "choice", turn, LETTERS)
    colour, form = rng.choice(NAMES)
    names = [(colour, form), *_others(rng, lambda name: name[1] != form)]
    options = rng.sample([other for other in COLOURS if other != colour], 3)
    options.insert(LETTERS.index(letter), colour)
    return names, lambda objects, width: (f"What is the colour of the {form}?", tuple(options), letter, (0,))


def _where(rng: random.Random, split: str, turn: int) -> tuple[list[Name], Ask]:
    """Where the only object of a name is."""
    first = rng.choice(NAMES)
    names = [first, *_others(rng, lambda name: name != first)]
    return names, lambda objects, width: (f"Where is the {objects[0].name}?", (), "", (0,))


def _others(rng: random.Random, allowed: Callable[[Name], bool]) -> list[Name]:
    pool = [name for name in NAMES if allowed(name)]
    return [rng.choice(pool) for _ in range(rng.randint(1, 4))]
