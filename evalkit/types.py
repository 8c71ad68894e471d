"""The values that pass between those who ask, those who answer and those who measure. Frozen, slotted, no I/O.

A run is one sentence: every sample is a conversation, every conversation ends in a typed prediction, every prediction
becomes a record, records become estimates.
"""

import hashlib
import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from .geometry import Box, Frame, Mask, Point, Size

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")
WRITE = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
"""Values as canonical JSON: one text for equal values."""

# ---------------------------------------------------------------- images


@dataclass(frozen=True, slots=True)
class Lazy:
    """Bytes that are made or fetched when wanted; `name` says which in messages."""

    name: str
    read: Callable[[], bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Crop:
    """The part of the parent inside (x1, y1, x2, y2), integer pixels of the parent, x2 and y2 exclusive."""

    x1: int
    y1: int
    x2: int
    y2: int


@dataclass(frozen=True, slots=True)
class Resize:
    """The parent resampled (bicubic) to width x height pixels."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Draw:
    """The parent with the outlines of these boxes on it, original pixels; in what colour and width, `images.decode` says."""

    boxes: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class Still:
    """One frame of the video that the parent is, by its number in the order in which frames are shown, from 0."""

    number: int


@dataclass(frozen=True, slots=True)
class Budget:
    """How many pixels a processor may hand the model for one image."""

    min_pixels: int | None = None
    max_pixels: int | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """Where an image's bytes are, or how it derives from another image. Lazy: nothing is read to make one.

    `size` (original pixels) and `digest` (sha256 of the file's bytes) are filled in by the runner before a conversation
    starts. A derived image takes both from its parent and its operation, so neither needs a pixel.
    """

    source: "Path | bytes | Lazy | Image"
    operation: "Change | None" = None
    budget: Budget | None = None
    size: Size | None = None
    digest: str = ""
    upright: bool = False
    """Whether the EXIF orientation is applied when decoding; most benchmarks were made without it."""

    @property
    def name(self) -> str:
        """What to call the image in a message."""
        if isinstance(self.source, Image):
            return f"{self.source.name} after {self.operation}"
        if isinstance(self.source, bytes):
            return f"an image of {len(self.source)} bytes"
        return str(self.source.name if isinstance(self.source, Lazy) else self.source)

    def derive(self, operation: "Change", budget: Budget | None = None) -> "Image":
        """The image that `operation` makes of this one, with a resize budget of its own."""
        size = self.size
        if isinstance(operation, Crop):
            size = Size(operation.x2 - operation.x1, operation.y2 - operation.y1)
        elif isinstance(operation, Resize):
            size = Size(operation.width, operation.height)
        digest = sha256(f"{self.digest} {operation}") if self.digest else ""
        return Image(self, operation, budget, size, digest, self.upright)


Change = Crop | Resize | Draw | Still

# ---------------------------------------------------------------- samples

Region = Box | Point | Mask
AnswerKind = Literal["choice", "yes_no", "count", "number", "text", "boxes", "points", "mask"]
Phrasing = Literal["query", "sentence", "explanatory", "question", "description"]
"""UniPixel's annotation types: a noun phrase ("the red cup"), a sentence that asks for the mask, one that asks why too, a question to be
answered as well, a description."""


@dataclass(frozen=True, slots=True)
class Wants:
    """The kinds of answer a sample asks for; with the form, the only thing a protocol may branch on."""

    kind: AnswerKind
    also: tuple[AnswerKind, ...] = ()
    form: Literal["image", "video"] = "image"
    phrase: str = ""
    """What is to be masked, for kind `mask`."""
    phrasing: Phrasing = "query"
    """What the phrase is, which says how it is asked for."""

    def __contains__(self, kind: str) -> bool:
        return kind == self.kind or kind in self.also


@dataclass(frozen=True, slots=True)
class Sample:
    """One question of a benchmark."""

    id: str
    """Stable and unique in its task."""
    question: str
    """The bare question, without the benchmark's wording around it."""
    prompt: str
    """The authors' full wording, options and instructions included."""
    images: tuple[Image, ...]
    wants: Wants
    target: Any
    """The gold answer: a letter for `choice`, "yes" or "no", an int, a float, a string, or boxes."""
    options: tuple[str, ...] = ()
    """The option texts, in the order of their letters."""
    regions: tuple[Box, ...] = ()
    """Gold evidence, original pixels of the first image."""
    given: tuple[Region | None, ...] = ()
    """Regions that are part of the question, original pixels; of a video object by object and frame by frame, None where there is none."""
    tags: frozenset[str] = frozenset()
    """The subsets, besides `overall`, in which the sample counts."""
    group: str = ""
    """The cluster for standard errors, mostly the image; the sample itself where empty."""
    statements: tuple[str, ...] = ()
    """What a likelihood protocol compares in place of the option texts, in the order of their letters; the options where empty."""


# ---------------------------------------------------------------- requests and responses


@dataclass(frozen=True, slots=True)
class Message:
    """One turn: a role (`system`, `user`, `assistant`) and its parts in order, texts and images."""

    role: str
    content: tuple[str | Image, ...]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a reply is decoded. Every field is explicit: a checkpoint's generation_config changes nothing unless it is asked to."""

    max_tokens: int = 1024
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    top_k: int = 0
    """0 keeps every token."""
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    """Strings that end the reply; the reply does not contain the one that did."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Generate:
    """Continue the messages; `prefill` is the reply's forced beginning."""

    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    prefill: str = ""
    regions: tuple[Region | None, ...] = ()
    """A sample's `given` as values, for a model that takes them."""


@dataclass(frozen=True, slots=True)
class Likelihood:
    """The mean token log-probability of each continuation as the reply to the messages."""

    messages: tuple[Message, ...]
    continuations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Segment:
    """A mask for each prompt on the image: a box, a point, or several of them (one box at most) that are of one object."""

    image: Image
    prompts: tuple[Box | Point | tuple[Box | Point, ...], ...]


@dataclass(frozen=True, slots=True)
class Attend:
    """The attention that the tokens of a continuation pay to each image, as a grid: the mean over them, the layers and the heads."""

    messages: tuple[Message, ...]
    continuation: str
    prefill: str = ""
    """The beginning of the reply, which the continuation follows and whose own attention does not count."""


@dataclass(frozen=True, slots=True)
class Request:
    """One thing asked of one engine."""

    kind: Generate | Likelihood | Segment | Attend
    to: str = "model"
    """The role that answers: `model`, `judge`, `segmenter`."""
    draw: int = 0
    """The number of the repeat or attempt: part of the key, so that a second draw is asked anew."""
    sample: str = field(default="", compare=False)
    """The sample it was asked for, as `task/id`; travels along, not part of the key."""
    turn: int = field(default=0, compare=False)
    """How many requests to the same role came before it in its conversation."""

    def key(self, fingerprint: str) -> str:
        """The content key: sha256 of the canonical form and the engine's fingerprint."""
        return sha256(fingerprint + "\n" + WRITE(canonical(self)))


ATTEMPTS = 1_000
"""A repeat's draws are numbered from repeat * ATTEMPTS, a grader's own attempts from there."""

Finish = Literal["stop", "length", "refused"]


@dataclass(frozen=True, slots=True)
class Response:
    """What came back. `text` for Generate, `likelihoods` for Likelihood, `masks` for Segment or a model that makes them."""

    text: str = ""
    finish: Finish = "stop"
    """Why the reply ended, by the engine's own signal, never guessed from its words."""
    reasoning: str = ""
    """Thoughts that a server returned apart."""
    seen: tuple[Size, ...] = ()
    """The size of each image of the request after the processor's resize."""
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    likelihoods: tuple[float, ...] = ()
    boxes: tuple[Box, ...] = ()
    """Boxes that the engine gave as values (original pixels), as a detector or a replay file may."""
    masks: tuple[Mask, ...] = ()
    attention: tuple[tuple[tuple[float, ...], ...], ...] = ()
    """For `Attend`: of each image its rows of visual tokens, each the share of the attention, which over all tokens is 1."""
    missing: bool = False
    """Whether a replay holds no reply for the sample: scored wrong and counted."""
    labels: tuple[str, ...] = ()
    """What each of `boxes` is, where the engine says so."""
    scores: tuple[float, ...] = ()
    """How sure the engine is of each of `boxes`, where it says so."""


Conversation = Generator[Request, Response, T]
"""Yields a request, is sent its response, returns a prediction or a verdict. No I/O inside."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a protocol may know of the engine it talks to."""

    name: str
    fingerprint: str
    """Weights, engine, dtype and processor: what makes two answers comparable."""
    frame: Frame | None = None
    """In what the model writes coordinates; None where it is not declared."""
    answers: frozenset[str] = frozenset({"generate"})
    """The request kinds it can serve, as lower-case class names."""
    reads_images: bool = True
    """False where answers come without images (a replay), which then need not exist."""
    stored: bool = True
    """False where the answers are a file already (a replay) and the store would only copy them."""
    details: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """What the manifest says of it: engine, versions, dtype, device, attention implementation."""
    takes_regions: bool = False
    """Whether given regions reach it as values (`Generate.regions`); any other model is told of them in words."""


# ---------------------------------------------------------------- predictions and records


@dataclass(frozen=True, slots=True)
class Evidence:
    """One box of a reply: the four numbers as written, their frame, and the box in original pixels (None: frame unknown)."""

    written: tuple[float, float, float, float]
    frame: Frame | None
    box: Box | None
    label: str = ""
    """What the reply calls it; empty where it does not say."""
    score: float | None = None
    """The confidence of an engine that gives one as a value; None for what is read in a text."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A visual operation that the model asked for, and what came of it."""

    name: str
    arguments: str
    error: str = ""
    """Why it was not done; empty where it was."""
    box: Box | None = None
    """What it looked at, original pixels of the sample's first image; None where that is no part of it."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """How a conversation ended."""

    text: str
    """The final reply, whole."""
    answer: str | None
    """The span that the protocol takes for the answer; None where there is none, and `failure` says why."""
    failure: str = ""
    evidence: tuple[Evidence, ...] = ()
    masks: tuple[Mask, ...] = ()
    operations: tuple[Operation, ...] = ()
    finish: Finish = "stop"
    missing: bool = False
    likelihoods: tuple[float, ...] = ()
    """The mean token log-probability of each option, in the order of their letters, where those were asked for."""
    verdicts: Mapping[str, Any] = field(default_factory=dict)
    tags: frozenset[str] = frozenset()
    """Subsets in which it counts for how it came about, such as with tools or without, beside those of its sample."""
    asked: Generate | None = None
    """The model's last turn, which `text` is the reply to; the runner fills it in, for graders that go on from there."""


@dataclass(frozen=True, slots=True)
class Unparsed:
    """What a parser returns instead of a value: the reason why there is none."""

    reason: str
    scored_as: Any = field(default=None, compare=False, repr=False)
    """What the benchmark's authors score in its place, such as an empty mask; None: nothing. It is counted as unparsed all the same."""


Record = Mapping[str, "float | Sequence[float]"]
"""The sufficient statistics of one sample under one rule, such as {"correct": 1} or {"inter": 812, "union": 990}; a list where
each of several things counts, such as the scores of a sample's detections."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Records as columns: `values[name]` is a float array (n,), of lists an object array (n,) of float arrays; `group` holds
    integer cluster codes (n,)."""

    values: "Mapping[str, np.ndarray[Any, Any]]"
    group: "np.ndarray[Any, Any]"

    def __len__(self) -> int:
        return len(self.group)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with what it is worth: standard error, 95% interval and n. `value` is None where nothing was measured."""

    value: float | None
    stderr: float | None
    low: float | None
    high: float | None
    n: int


# ---------------------------------------------------------------- canonical form


def sha256(text: str) -> str:
    """The hexadecimal sha256 of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def canonical(request: Request) -> dict[str, Any]:
    """The request as plain JSON values: everything that can change an answer, images by digest and budget, nothing else."""
    kind = request.kind
    form: dict[str, Any] = {"kind": type(kind).__name__.lower(), "to": request.to, "draw": request.draw}
    if isinstance(kind, Segment):
        return form | {"image": _image(kind.image), "prompts": [_prompt(prompt) for prompt in kind.prompts]}
    form["messages"] = [
        {"role": m.role, "content": [part if isinstance(part, str) else _image(part) for part in m.content]} for m in kind.messages
    ]
    if isinstance(kind, Generate):
        s = kind.sampling
        form["prefill"] = kind.prefill
        if kind.regions:
            form["regions"] = [region and _prompt(region) for region in kind.regions]
        form["sampling"] = {"max_tokens": s.max_tokens, "repetition_penalty": s.repetition_penalty, "stop": list(s.stop)}
        if s.temperature > 0:  # greedy decoding draws nothing
            form["sampling"] |= {"temperature": s.temperature, "top_p": s.top_p, "top_k": s.top_k, "seed": s.seed}
    elif isinstance(kind, Likelihood):
        form["continuations"] = list(kind.continuations)
    else:
        form |= {"continuation": kind.continuation, "prefill": kind.prefill}
    return form


def _prompt(prompt: Region | tuple[Box | Point, ...]) -> list[Any]:
    name = next((kind.__name__.lower() for kind in (Box, Point, Mask) if isinstance(prompt, kind)), "")
    return [name, *prompt] if name else [_prompt(part) for part in prompt]  # type: ignore[arg-type]


def _image(image: Image) -> dict[str, Any]:
    budget = image.budget or Budget()
    return {"image": image.digest, "upright": image.upright, "min_pixels": budget.min_pixels, "max_pixels": budget.max_pixels}


def images_of(request: Request) -> Iterator[Image]:
    """The images of a request, in the order in which they appear."""
    if isinstance(request.kind, Segment):
        yield request.kind.image
        return
    for message in request.kind.messages:
        for part in message.content:
            if isinstance(part, Image):
                yield part
