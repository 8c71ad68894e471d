"""`segment`: a mask is asked for; it is the model's own, or a segmenter makes it of the boxes and points that the reply writes.

Where a model answers masks (a plug-in, a replay), they are the prediction's. Else what the reply points at is read, converted once from
the model's declared frame, and sent to the role `segmenter` (`--segmenter sam2:DIR`): a box, points, or both of each object, one mask
for each. The boxes are the evidence. A model that points in an undeclared frame is refused; pointing in
a video gives no mask, and says so.

Variants:
    segment     UniPixel's wording by annotation type (`Wants.phrasing`; PolyU-ChenLab/UniPixel, `unipixel/eval/infer_seg.py` at 5c8e941),
                its 512 new tokens.
    json        Seg-Zero's: one object as JSON, its box and two points (dvlab-research/Seg-Zero, `evaluation_scripts/evaluation.py`), 1024.
    json_all    VisionReasoner's: every object as a JSON list, each a box and a point (`evaluation_visionreasoner.py` there), 1024.
    direct      the benchmark's own wording, for a model that points when asked so.

The authors of the two `json` forms show the model every image at 840 x 840 pixels, and so it is here where the model's frame is `seen`
(bicubic, theirs bilinear). They take a box to whole pixels and count a reply without points, or without thoughts, as no mask; here
fractions stay, and a box alone or a point alone will do. Of `json` the first object counts; a task's rule says whether several masks
are taken together, as VisionReasoner takes them.

What the reply points at is read in its answer: without thoughts, inside `<answer>` where there is one; where nothing is there, in the whole
reply. First JSON objects with a box or a point (keys with `box` or `point` in them), else lists of four numbers (boxes), else lists of
two (points). An object that has no part inside the image is left out; a reply that names more than `MOST_OBJECTS` has no mask, nor has one
that points in a video.

Regions that the sample gives reach a model that takes them (`ModelInfo.takes_regions`) as values. Any other is told of them before the
question, numbered as by UniPixel, in its frame: a box as [x1, y1, x2, y2], a point as [x, y], a mask of an image as its tight box. With the
frame `seen` images are then resized here, so that their size is known. Where no mask is wanted, the task's own wording is asked and boxes
are read as by `direct`, but the `json` forms ask for boxes in their own; and the reply to a question with options about given regions is
begun with UniPixel's prefill.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

from ..errors import Gap, Refused
from ..geometry import Box, Frame, Mask, Point, Size, from_original, is_finite
from ..interfaces import Reading, Rule
from ..parsers import between, labelled_quadruples
from ..parsers.tags import without_thoughts
from ..rle import FittedMask, fitted_mask, mask_box
from ..tools import fit
from ..types import (
    Budget,
    Conversation,
    Evidence,
    Generate,
    Image,
    Message,
    ModelInfo,
    Prediction,
    Request,
    Resize,
    Response,
    Sample,
    Sampling,
    Segment,
    Unparsed,
)
from ._reading import TEXT_AND_REGIONS, Written, evidence, given, prediction, shown

VARIANTS = ("segment", "json", "json_all", "direct")
MOST_OBJECTS = 64
SIDE = 840
"""The sides of an image as the authors of the `json` forms show it."""
LEAST_PIXELS, MOST_PIXELS, FRAMES = 128 * 28 * 28, 256 * 28 * 28, 16
"""UniPixel's pixels of a frame where it shows so many; one image has as many as all of them. Here of images whose regions are told."""

UNIPIXEL = {
    "query": "Please segment the {} in this {}.",
    "sentence": "{} Please provide the segmentation mask.",
    "explanatory": "{} Please provide the segmentation mask and explain why.",
    "question": "{} Please answer the question and provide the segmentation mask.",
    "description": "Please segment the object according to the description: {}",
}
ARTICLES = ("the ", "an ", "a ")
DECLARE = f"say it with --frame {'|'.join(Frame)}, or as `frame = ...` in configs/models/NAME.toml"
REGIONS = "The highlighted regions are as follows:\n"
PREFILL = "The best option is ("
ANSWER_IN = "Output the thinking process in <think> </think> and final answer in <answer> </answer> tags."
FORM = "i.e., <think> thinking process here </think><answer>{}</answer>"
JSON = (
    "Please find '{}' with bbox and points.Compare the difference between objects and find the most closely matched one."
    + ANSWER_IN
    + "Output the one bbox and points of two largest inscribed circles inside the interested object in JSON format."
    + FORM.format("{{'bbox': [10,100,200,210], 'points_1': [30,110], 'points_2': [35,180]}}")
)
JSON_ALL = (
    'Please find "{}" with bboxs and points.Compare the difference between object(s) and find the most closely matched object(s).'
    + ANSWER_IN
    + "Output the bbox(es) and point(s) inside the interested object(s) in JSON format."
    + FORM.format('[{{"bbox_2d": [10,100,200,210], "point_2d": [30,110]}}, {{"bbox_2d": [225,296,706,786], "point_2d": [302,410]}}]')
)

FORMS = {"json": (JSON, "."), "json_all": (JSON_ALL, '."?!')}
"""The wordings that ask for JSON, and what is stripped from both ends of the phrase in them."""

OBJECT = re.compile(r"\{[^{}]*+\}")
NUMBER = r"[-+]?+(?:\d++(?:\.\d*+)?+|\.\d++)"
PAIR = re.compile(rf"[\[(]\s*+({NUMBER})\s*+,\s*+({NUMBER})\s*+[\])]")
LABELS = ("label", "name", "category", "class")
LARGEST = 1e9


class Pointed(NamedTuple):
    """One object that a reply points at, in numbers as written: a box or none, points, and what it is called."""

    box: Written | None
    points: tuple[tuple[float, float], ...] = ()
    label: str = ""


@dataclass(frozen=True, slots=True)
class Segmented:
    """One turn, and one of the segmenter's where the model makes no masks itself."""

    sampling: Sampling = Sampling(max_tokens=512)
    budget: Budget | None = None
    variant: str = VARIANTS[0]
    rules: ClassVar[tuple[Rule, ...]] = ()
    gives: ClassVar[frozenset[Reading]] = TEXT_AND_REGIONS

    @property
    def name(self) -> str:
        return "segment" if self.variant == VARIANTS[0] else f"segment:{self.variant}"

    def converse(self, sample: Sample, model: ModelInfo) -> Conversation[Prediction]:
        """Asks for the mask, or the answer, and has the segmenter make the masks that are wanted and did not come.

        Raises:
            Refused: the reply points, and where that is cannot be known; or regions are given that cannot be told.
            Gap: what the segmenter answered is no mask of the image's size for each object.
        """
        images = self._images(sample, model)
        told = _told(sample, model, images[0].size if images else None)
        masked = "mask" in sample.wants and bool(images)
        prefill = PREFILL if sample.given and sample.options and not masked else ""
        message = Message("user", (*images, told + self.wording(sample)))
        response = yield Request(Generate((message,), self.sampling, prefill, sample.given if model.takes_regions else ()))
        if told and model.frame is Frame.SEEN and response.seen and response.seen[0] != images[0].size:
            raise Refused(f"regions were told as of an image of another size than '{model.name}' saw: give its own --max-pixels")
        boxes = given(response)
        things = [] if boxes or not masked else pointed(response.reasoning + response.text)[: 1 if self.variant == "json" else None]
        if not boxes and (masked or "boxes" in sample.wants):
            written = [(thing.box, thing.label) for thing in things if thing.box] if masked else labelled_quadruples(response.text)
            boxes = evidence(written, sample, model, response.seen)
        if not masked or response.masks or response.missing:
            return prediction(response, _chosen(response.text) if prefill else response.text, "", boxes)
        masks = yield from _segmented(things, boxes, sample, model, response)
        if isinstance(masks, Unparsed):
            return prediction(response, None if sample.wants.kind == "mask" else response.text, masks.reason, boxes)
        return replace(prediction(response, response.text, "", boxes), masks=masks)

    def wording(self, sample: Sample) -> str:
        """The question without the regions that are given."""
        phrase, masked = sample.wants.phrase or sample.question, "mask" in sample.wants
        if self.variant in FORMS and (masked or sample.wants.kind == "boxes"):
            template, ends = FORMS[self.variant]
            return template.format(phrase.lower().strip(ends))
        if self.variant == VARIANTS[0] and masked:
            bare = _bare(phrase) if sample.wants.phrasing == "query" else phrase
            return UNIPIXEL[sample.wants.phrasing].format(bare, sample.wants.form)
        return sample.prompt

    def _images(self, sample: Sample, model: ModelInfo) -> tuple[Image, ...]:
        """The images as they are shown; resized here where the authors do so, and where pixels of the result are told."""
        images = shown(sample.images, self.budget)
        if not images or model.frame is not Frame.SEEN or not (self.variant in FORMS or (sample.given and not model.takes_regions)):
            return images
        if self.variant in FORMS:
            return tuple(image.derive(Resize(SIDE, SIDE), image.budget) for image in images)
        own = self.budget or Budget()
        most = own.max_pixels or MOST_PIXELS * max(FRAMES // len(images), 1)
        return tuple(fit(image, Budget(own.min_pixels or LEAST_PIXELS, most)) for image in images)


def protocol(variant: str = VARIANTS[0], **sampling: Any) -> Segmented:
    """The protocol in a variant, with these fields of its sampling replaced."""
    own = Sampling(max_tokens=1024) if variant in FORMS else Segmented().sampling
    return Segmented(replace(own, **sampling), variant=variant)


# ---------------------------------------------------------------- readings of its own


def pointed(text: str) -> list[Pointed]:
    """The objects that a reply points at, each once, in order; empty where there is none.

    >>> pointed("<think> [5, 5, 9, 9] </think> <answer>{'bbox': [10, 100, 200, 210], 'points_1': [30, 110]}</answer>")
    [Pointed(box=(10.0, 100.0, 200.0, 210.0), points=((30.0, 110.0),), label='')]
    >>> pointed("It is at (12.5, 40).")
    [Pointed(box=None, points=((12.5, 40.0),), label='')]
    """
    rest = without_thoughts(text) or text
    tagged = between(rest, "answer")
    for part in (tagged if isinstance(tagged, str) else rest, text):
        found = (
            [item for match in OBJECT.finditer(part) if (item := _object(match[0]))]
            or [Pointed(box, (), label) for box, label in labelled_quadruples(part)]
            or [Pointed(None, (point,)) for pair in PAIR.findall(part) if is_finite(point := (float(pair[0]), float(pair[1])))]
        )
        if found:
            return list(dict.fromkeys(found))
    return []


def _object(text: str) -> Pointed | None:
    """What a JSON object points at, its quotes double or single; None where it holds no box and no point, or is no JSON."""
    for form in (text, text.replace("'", '"')):
        try:
            fields = {str(key).lower(): value for key, value in json.loads(form).items()}
        except (ValueError, RecursionError):
            continue
        boxes = [box for key, value in fields.items() if "box" in key and (box := _numbers(value, 4))]
        told = [value for key, value in fields.items() if "point" in key and isinstance(value, list)]
        points = tuple(point for value in told for item in (value, *value) if (point := _numbers(item, 2)))
        label = next((value for key in LABELS if isinstance(value := fields.get(key), str)), "")
        return Pointed(boxes[0] if boxes else None, points, label) if boxes or points else None  # type: ignore[arg-type]
    return None


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    """The value as so many numbers, where it is a list of them that are no larger than any image."""
    if not isinstance(value, list) or len(value) != count:
        return None
    sound = all(isinstance(number, int | float) and not isinstance(number, bool) and abs(number) < LARGEST for number in value)
    return tuple(map(float, value)) if sound else None


def _placed(thing: Pointed, sample: Sample, model: ModelInfo, seen: Sequence[Size]) -> tuple[Box | Point, ...]:
    """The object's box and points in original pixels.

    Raises:
        Refused: the model's frame, or what it needs to be converted, is not known.
    """
    corners = [*([thing.box] if thing.box else []), *((x, y, x, y) for x, y in thing.points)]
    boxes = [item.box for item in evidence([(corner, "") for corner in corners], sample, model, seen)]
    placed = [box for box in boxes if box]
    if len(placed) < len(boxes):
        raise Refused(f"'{model.name}' points by numbers, and in what frame is not known: {DECLARE}")
    if not thing.box:
        return tuple(Point(box.x1, box.y1) for box in placed)
    return placed[0], *(Point(box.x1, box.y1) for box in placed[1:])


def _chosen(text: str) -> str:
    """The letter before the bracket that the prefill opened, whether or not the reply repeats the prefill or opens one itself; else the
    reply.

    >>> _chosen("B) the left one"), _chosen("The best option is (B)"), _chosen("(B)"), _chosen("the left one (really)")
    ('B', 'B', 'B', 'the left one (really)')
    """
    begun = text.strip().removeprefix(PREFILL).lstrip("( ")
    letter, bracket, _ = begun.partition(")")
    return letter.strip() if bracket and len(letter.strip()) == 1 else text


def _inside(parts: Sequence[Box | Point], size: Size) -> tuple[Box | Point, ...]:
    """Those that have a part inside an image of `size`, boxes cut at its edges."""
    cut = [part.clipped(size) if isinstance(part, Box) else part for part in parts]
    return tuple(
        part for part in cut if (part.area > 0 if isinstance(part, Box) else 0 <= part.x <= size.width and 0 <= part.y <= size.height)
    )


def _segmented(
    things: Sequence[Pointed], boxes: Sequence[Evidence], sample: Sample, model: ModelInfo, response: Response
) -> Conversation[tuple[Mask, ...] | Unparsed]:
    """The masks that the segmenter makes of what a reply points at, or why there are none.

    Raises:
        Refused: nobody reads the image, so that nobody makes masks of it; or as `_placed` does.
        Gap: as `_checked` does.
    """
    if not things and not boxes:
        return Unparsed("no mask, no box and no point")
    if sample.wants.form == "video":
        return Unparsed("boxes or points in a video, of which no masks are made")
    size = sample.images[0].size
    if size is None:
        raise Refused(f"'{model.name}' points where a mask is wanted: name what makes masks of that with --segmenter sam2:DIR")
    objects = [_placed(thing, sample, model, response.seen) for thing in things] or [(item.box,) for item in boxes if item.box]
    inside = tuple(dict.fromkeys(kept for item in objects if (kept := _inside(item, size))))
    if not inside:
        return Unparsed("every box and point outside the image")
    if len(inside) > MOST_OBJECTS:
        return Unparsed(f"more than {MOST_OBJECTS} objects")
    answered = yield Request(Segment(sample.images[0], inside), to="segmenter")
    return _checked(answered.masks, len(inside), size)


def _checked(masks: Sequence[Mask], count: int, size: Size) -> tuple[Mask, ...]:
    """The segmenter's masks, one an object and of the image's size.

    Raises:
        Gap: they are not, which is no fault of the model.
    """
    if len(masks) != count:
        raise Gap(f"expected {count} masks from the segmenter, got {len(masks)}")
    fitted = [fitted_mask(mask, size) for mask in masks]
    if wrong := [mask.reason for mask in fitted if isinstance(mask, Unparsed)]:
        raise Gap(f"the segmenter gave {wrong[0]}")
    return tuple(mask for mask in fitted if isinstance(mask, FittedMask))


# ---------------------------------------------------------------- wordings


def _bare(query: str) -> str:
    """A noun phrase without full stops around it and its articles, its first letter small, as UniPixel has it.

    >>> _bare("The red cup on the left."), _bare("")
    ('red cup on the left', '')
    """
    bare = query.strip(".")
    bare = bare[:1].lower() + bare[1:]
    for article in ARTICLES:
        bare = bare.removeprefix(article)
    return bare


def _told(sample: Sample, model: ModelInfo, seen: Size | None) -> str:
    """The regions that the sample gives, in the model's frame.

    Empty where it gives none that can be told, where the model gets the values, and where it is shown no image, as in a replay.

    Raises:
        Refused: the frame is not known.
    """
    regions = [region for region in sample.given if region and (sample.wants.form == "image" or not isinstance(region, Mask))]
    original = sample.images[0].size if sample.images and model.reads_images else None
    if not regions or model.takes_regions or original is None:
        return ""
    if model.frame is None:
        raise Refused(f"sample '{sample.id}' gives regions, and in what frame '{model.name}' reads them is not known: {DECLARE}")
    digits = 3 if model.frame is Frame.UNIT else None
    lines = []
    for number, region in enumerate(regions):
        box = Box(*region, *region) if isinstance(region, Point) else _tight(region) if isinstance(region, Mask) else region
        numbers = [round(value, digits) for value in from_original(box, model.frame, original, seen)]
        lines.append(f"[{number}]: {numbers[: 2 if isinstance(region, Point) else 4]}\n")
    return REGIONS + "".join(lines)


def _tight(mask: Mask) -> Box:
    """The tight box of a mask; without area where it is empty.

    Raises:
        ValueError: it is no run-length encoding of its size.
    """
    fitted = fitted_mask(mask, mask.size)
    if isinstance(fitted, FittedMask):
        return mask_box(fitted) or Box(0, 0, 0, 0)
    raise ValueError(f"expected regions whose masks are run-length encodings, got {fitted.reason}")
