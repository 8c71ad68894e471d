"""`pixel_reasoner`: the bare question, tools that look closer, and the answer in a `\\boxed{}`; up to five turns.

Source: TIGER-AI-Lab/Pixel-Reasoner at a3a6c3a. Words, tools and limits are those of `experience_maker.py` (qwen-agent writes the tools
into the system message), the guideline is `vcot` of `prompts_dataset.py`, options are listed as in its training data.

Variants: `crop_image_normalized`, the authors' evaluation; `crop_image`, pixels in the schema, as in the paper's appendix; `zoom_in`, as
in verl-tool. The last two pad a crop by 600 pixels at most. `no_tools` asks without tools and guideline; a call that comes
nevertheless is done, as it is by the authors. The guideline says `crop_image` in all of them, as theirs does: who calls it by that name
where the tool has another is told so in an error turn.

A reply that ends with `</tool_call>` calls a tool: the JSON behind the last `<tool_call>` of the conversation, one call a turn. The
conversation ends with a reply that calls none, with a call after the fourth, with a call whose images would be more than 16 (a video
counts as one), and with a call at more than 12,088 tokens. Such a last call counts as asked for, and as failed.

Sizes: the images of the question are resized to 200,704 to 6,272,000 pixels, frames of a video to 401,408 at most, and crops are cut
from these; a crop is resized to 200,704 to 4,014,080 pixels, which is the size that the model is told. The authors' engine then brings
every image into 401,408 to 4,014,080 pixels (`MIN_PIXELS` and `MAX_PIXELS` of their README). All of it is done here, so that it does
not depend on the engine. A `budget` replaces both sizes of the question's images. Frames of a video are sent as images, each on
its own, and not made larger.

Coordinates in a call are what `tools.frame_of` says, whatever frame the model is declared to write in; boxes in the answer are read in
the declared one, where the sample wants boxes. Else the evidence is what was asked to be seen of the first image: each box of a crop that
was done, as written, in its frame (`seen`: pixels of the image it names) and, without the padding, in original pixels. The box of an
operation is the crop itself. Tags: `with_tools`, `without_tools`.
"""

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

from ..errors import ImageError
from ..geometry import Box, Frame, Size, to_original
from ..interfaces import Reading, Rule
from ..metrics.operations import CropArea, Operations
from ..metrics.shares import Share
from ..parsers import labelled_quadruples, verified
from ..parsers.tags import boxed
from ..parsers.tool_calls import ToolCall, calls_tool, last_call
from ..tools import LONGEST_PADDING, ToolError, fit, frame_of, place, select_frames, zoom
from ..types import (
    Budget,
    Conversation,
    Evidence,
    Generate,
    Image,
    Message,
    ModelInfo,
    Operation,
    Prediction,
    Request,
    Response,
    Sample,
    Sampling,
    Unparsed,
)
from ._reading import TEXT_AND_REGIONS, evidence, given, prediction, whole

VARIANTS = ("crop_image_normalized", "crop_image", "zoom_in", "no_tools")
MOST_CALLS, MOST_IMAGES, MOST_TOKENS = 4, 16, 12 * 1024 - 200
TOO_MANY = f"more than {MOST_IMAGES} images"
PATCH = 28 * 28
QUESTION, FRAME, CROP = Budget(256 * PATCH, 8000 * PATCH), Budget(4 * PATCH, 512 * PATCH), Budget(256 * PATCH, 5120 * PATCH)
SEEN = Budget(512 * PATCH, 5120 * PATCH)

HELPFUL = "You are a helpful assistant."
WITH_TOOLS = (
    HELPFUL
    + """

# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{tools}
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>"""
)
GUIDELINE = (
    "\n\n\n\nGuidelines: Understand the given visual information and the user query. Determine if it is beneficial to employ the given"
    " visual operations (tools). For a video, we can look closer by `select_frames`. For an image, we can look closer by `crop_image`."
    " Reason with the visual information step by step, and put your final answer within \\boxed{}."
)
WITHOUT_TOOLS = "\n\nPlease think step by step, and put your final answer within \\boxed{}."

ZOOM = "Zoom in on the image based on the bounding box coordinates."
CLOSER = f"{ZOOM} It is useful when the object or text in the image is too small to be seen."
AREA = "coordinates for bounding box of the area you want to zoom in."
CROPS = {
    "crop_image_normalized": (CLOSER, f"{AREA} Values should be within [0.0,1.0]."),
    "crop_image": (ZOOM, f"{AREA} minimum value is 0 and maximum value is the width/height of the image."),
    "zoom_in": (ZOOM, f"normalized {AREA.replace('area', 'region')} Values should be within [0.0,1.0]."),
}
"""What the tool of each variant does, and what its box is."""
TARGET = "The index of the image to crop. Index from 1 to the number of images. Choose 1 to operate on original image."
SELECT = {
    "name": "select_frames",
    "description": "Select frames from a video.",
    "parameters": {
        "type": "object",
        "properties": {
            "target_frames": {
                "type": "array",
                "description": "List of frame indices to select from the video (no more than 8 frames in total).",
                "items": {"type": "integer", "description": "Frame index from 1 to 16."},
            }
        },
        "required": ["target_frames"],
    },
}
OF_AN_IMAGE = (
    "Execution Error: You attempted to `select_frames` from **image** not **video**."
    " You should use `crop_image_normalized` instead for inspecting **image**."
)
NO_IMAGE = (
    "Execution Error: Incorrect `target_image` argument in `crop_image_normalized` operation. You can only pick an image{} within{} [{},{}]"
)


@dataclass(slots=True)
class Album:
    """The images of a conversation as calls number them: those of the question, or its video as one, and then what calls gave."""

    question: list[Image]
    """As they are cut from; the frames of a video."""
    video: bool
    results: list[Image] = field(default_factory=list)

    def __len__(self) -> int:
        return (1 if self.video else len(self.question)) + len(self.results)

    def target(self, number: Any) -> Image:
        """The image that a crop is to be cut from; of a video the frame, until there are results, and then one of these.

        Raises:
            ToolError: there is none of that number.
        """
        try:
            index: int = number - 1
            if self.video and not self.results:
                if index >= len(self.question):
                    told = NO_IMAGE.format(" **from** the video", "", 1, len(self.question))
                    raise ToolError(f"{told}, but the current argument `target_image={number}`.")
                return self.question[index]
            if self.video:
                if index < 1:
                    raise ToolError(f"{NO_IMAGE.format('', ' range', 2, len(self))}, but the current argument `target_image={number}`.")
                return self.results[index - 1]
            if index >= len(self):
                raise ToolError(NO_IMAGE.format("", "", 1, len(self)))
            return self.question[index] if index < len(self.question) else self.results[index - len(self.question)]
        except (TypeError, LookupError) as error:
            raise ToolError(str(error)) from error


class Look(NamedTuple):
    """What came of a call."""

    operation: Operation
    said: str = ""
    images: Sequence[Image] = ()
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class PixelReasoner:
    """Asks, does what the replies call for, and ends with the last reply."""

    sampling: Sampling = Sampling(max_tokens=2048)
    budget: Budget | None = None
    variant: str = VARIANTS[0]
    gives: ClassVar[frozenset[Reading]] = TEXT_AND_REGIONS

    @property
    def name(self) -> str:
        return "pixel_reasoner" if self.variant == VARIANTS[0] else f"pixel_reasoner:{self.variant}"

    @property
    def rules(self) -> tuple[Rule, ...]:
        """How often tools are asked for and work, and how close the last crop is to the gold region."""
        return RULES

    def converse(self, sample: Sample, model: ModelInfo) -> Conversation[Prediction]:
        """The turns. The answer is the content of the last `\\boxed{}` in any of the replies."""
        album, replies, looks = self._album(sample), list[str](), list[Look]()
        messages = self._asked(sample, album)
        while True:
            response = yield Request(Generate(messages, self.sampling))
            replies.append(response.reasoning + response.text)
            if response.missing or not calls_tool(replies[-1]):
                break
            call = last_call("".join(part for turn in messages for part in turn.content if isinstance(part, str)) + replies[-1])
            limit = _limit(response, len(looks), len(album))
            look = Look(_operation(call, limit)) if limit else self._look(call, album, sample)
            if len(album) + len(look.images) > MOST_IMAGES:
                look = Look(_operation(call, limit := TOO_MANY))
            looks.append(look)
            if limit:
                break
            album.results += look.images
            messages += (Message("assistant", (replies[-1],)), Message("user", (look.said, *(fit(image, SEEN) for image in look.images))))
        return _ended(response, "\n".join(replies), looks, sample, model)

    def shows(self, model: ModelInfo, own: Budget) -> Budget:
        """At how many pixels an image of the question is shown to a model whose processor does `own` with what is resized here."""
        least, most = astuple(whole(self.budget, QUESTION) if self.budget else SEEN)
        return Budget(*(min(max(bound, own.min_pixels or 0), own.max_pixels or most) for bound in (least, most)))

    def _album(self, sample: Sample) -> Album:
        video = sample.wants.form == "video"
        budget = whole(self.budget, QUESTION) if self.budget else FRAME if video else QUESTION
        return Album([fit(image, budget) for image in sample.images], video)

    def _asked(self, sample: Sample, album: Album) -> tuple[Message, ...]:
        """The system's turn and the user's."""
        shown = album.question if self.budget or album.video else [fit(image, SEEN) for image in album.question]
        lettered = zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", sample.options, strict=False)
        options = "\nchoices:\n" + "\n".join(f"{letter}: {text}" for letter, text in lettered) if sample.options else ""
        if self.variant == "no_tools":
            system, guideline = HELPFUL, WITHOUT_TOOLS
        else:
            system, guideline = WITH_TOOLS.replace("{tools}", _described(self.variant)), GUIDELINE
        return Message("system", (system,)), Message("user", (*shown, f"{sample.question}{options}{guideline}"))

    def _look(self, call: ToolCall | Unparsed, album: Album, sample: Sample) -> Look:
        """Does what is called for, or says why not."""
        try:
            if isinstance(call, Unparsed):
                raise ToolError(call.reason)
            if call.name == "select_frames":
                return _frames(call, album)
            if call.name != (self.variant if self.variant in CROPS else VARIANTS[0]):
                raise ToolError(repr(call.name))
            return _crop(call, album, sample, None if call.name == VARIANTS[0] else LONGEST_PADDING)
        except ToolError as error:
            return Look(_operation(call, str(error)), f"\nExecution error:\n{error}\n")


def protocol(variant: str = VARIANTS[0], **sampling: Any) -> PixelReasoner:
    """The protocol in a variant, with these fields of its sampling replaced."""
    return PixelReasoner(replace(PixelReasoner().sampling, **sampling), variant=variant)


def _described(name: str) -> str:
    """The tools, one JSON object a line."""
    description, of_box = CROPS[name]
    box = {"type": "array", "description": of_box, "items": {"type": "number"}}
    target = {"type": "number", "description": TARGET}
    parameters = {"type": "object", "properties": {"bbox_2d": box, "target_image": target}, "required": ["bbox_2d", "target_image"]}
    crop = {"name": name, "description": description, "parameters": parameters}
    return "\n".join(json.dumps({"type": "function", "function": tool}) for tool in (crop, SELECT))


def _limit(response: Response, calls: int, images: int) -> str:
    """Why a call is not done; empty where it may be."""
    if calls >= MOST_CALLS:
        return f"{MOST_CALLS} calls were done before"
    if images > MOST_IMAGES:
        return TOO_MANY
    return f"more than {MOST_TOKENS:,} tokens" if response.tokens_in + response.tokens_out > MOST_TOKENS else ""


def _operation(call: ToolCall | Unparsed, error: str = "", box: Box | None = None) -> Operation:
    if isinstance(call, Unparsed):
        return Operation("", "", error)
    return Operation(str(call.name), json.dumps(call.arguments, ensure_ascii=False), error, box)


def _argument(call: ToolCall, name: str) -> Any:
    """Raises `ToolError` in Python's own words where there is none, which is what the authors' model is told."""
    try:
        return call.arguments[name]
    except (TypeError, LookupError) as error:
        raise ToolError(str(error)) from error


def _size(image: Image) -> Size:
    """The size; in a replay, which has no images, it is not known, and no call can be done."""
    if image.size is None:
        raise ToolError("the size of the image is not known")
    return image.size


def _frames(call: ToolCall, album: Album) -> Look:
    """Frames of the video, as they are."""
    if not album.video:
        raise ToolError(OF_AN_IMAGE)
    frames = select_frames(album.question, _argument(call, "target_frames"))
    (width, height), first = _size(frames[0]), len(album)
    said = f"\nHere are the selected frames (Frame Size: {width}x{height}, Numbered {first} to {first + len(frames) - 1}):"
    return Look(_operation(call), said, frames)


def _crop(call: ToolCall, album: Album, sample: Sample, longest: int | None) -> Look:
    """A crop of one of the images, fitted; what of the sample's first image it shows, and the box that was written for it."""
    target, written = album.target(_argument(call, "target_image")), _argument(call, "bbox_2d")
    frame = frame_of(written)
    pointed = to_original(written, frame, _size(target))
    try:
        crop = zoom(target, written, longest=longest)
        image = fit(crop, CROP)
        fit(image, SEEN)  # refused where rounding has made the sides more unequal
    except ImageError as error:
        raise ToolError(str(error)) from error
    width, height = _size(image)
    said = f"\nHere is the cropped image (Image Size: {width}x{height}):"
    box = place(Box(0, 0, *_size(crop)), crop, sample.images[0])
    if box is None:
        return Look(_operation(call), said, (image,))
    x1, y1, x2, y2 = map(float, written)
    noted = Frame.UNIT if frame is Frame.UNIT else Frame.SEEN
    found = Evidence((x1, y1, x2, y2), noted, place(pointed, target, sample.images[0]))
    return Look(_operation(call, box=box), said, (image,), (found,))


def _ended(response: Response, said: str, looks: Sequence[Look], sample: Sample, model: ModelInfo) -> Prediction:
    """The prediction of a conversation that ended with this response, `said` being all that the model said."""
    found = boxed(said)
    answer, failure = (None, found.reason) if isinstance(found, Unparsed) else (found, "")
    boxes = given(response)
    if not boxes and "boxes" in sample.wants:
        boxes = evidence(labelled_quadruples(answer or ""), sample, model, response.seen)
    elif not boxes:
        boxes = tuple(box for look in looks for box in look.evidence)
    made = prediction(response, answer, failure, boxes, tuple(look.operation for look in looks))
    return made if made.missing else replace(made, tags=frozenset({"with_tools" if looks else "without_tools"}))


def _operations(prediction: Prediction, sample: Sample) -> tuple[Operation, ...]:
    return prediction.operations


WORDED: Any = ("choice", "yes_no", "count", "number", "text")
"""The kinds of answer that its authors' rule can compare."""
RULES = (
    Rule("math_verify", verified, Share("accuracy", WORDED), optional=True),
    Rule("official", _operations, Operations(), subsets=("overall",), optional=True),
    Rule("last", _operations, CropArea(), subsets=("overall",), optional=True),
)
