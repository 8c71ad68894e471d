"""A mask model with code of its own, behind evalkit's one method.

    evalkit run --model plugin:examples/plugin_masks.py:ColourModel --protocol segment --tasks shapes:mask-240

A checkpoint that ships its own code (UniPixel, Sa2VA, LISA, ...) is loaded in `__init__` by that code and asked in `answer`. What
must hold, whatever the model: each mask has the size of the image as its file has it, in the order in which the reply speaks of
the objects (object by object, each frame by frame, for a video); a reply without a mask has none. This one runs anywhere: its
"checkpoint" knows four colours and marks what has the colour that it is asked for, or that a point, a box or a mask given with the
question lies on.

To use it for a checkpoint of your own, replace what is marked (1), (2) and (3).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image

from evalkit import Box, Mask, Point, Request, Response, decode_mask, encode_mask
from evalkit.images import decode
from evalkit.types import Generate, images_of


class ColourModel:
    """Answers a request for a mask with what has the colour that is named, and a sentence."""

    name = "colours"
    fingerprint = "the revision or hash of your weights"  # with the file itself, what tells two models' answers apart
    frame = "original"  # in what it writes boxes, where it does: original, seen, unit, thousand
    takes_regions = True  # boxes, points and masks that a question is about come as values; without this line they come in words

    def __init__(self) -> None:
        self.model = load()  # (1) your loader: weights, processor, device

    def answer(self, request: Request) -> Response:
        """The reply, with a mask for each object, as run lengths of the image's own size."""
        assert isinstance(request.kind, Generate)
        images = [decode(image) for image in images_of(request)]  # RGB, in the order in which the messages show them
        text = "\n".join(part for message in request.kind.messages for part in message.content if isinstance(part, str))
        # Boxes, points and masks in pixels of the original image, of a video object by object, each a region or None a frame.
        regions = request.kind.regions
        # (2) your model's call. A prefill is the forced beginning of the reply; sampling is greedy where its temperature is 0.
        reply, logits = self.model(images, text, regions, prefill=request.kind.prefill, max_new_tokens=request.kind.sampling.max_tokens)
        return Response(reply, masks=tuple(encode_mask(one > 0) for one in logits))

    def close(self) -> None:
        """Lets go of what the model holds; called at the end of the run."""


# ---------------------------------------------------------------- (3) the checkpoint's own code, here a toy

COLOURS = {"red": (214, 45, 45), "green": (46, 160, 67), "blue": (52, 90, 214), "yellow": (232, 196, 40)}


def load() -> Any:
    """A function that takes images, a text and regions, and returns a reply and a float array (height, width) an object, above 0 inside."""

    def model(images: Sequence[PIL.Image.Image], text: str, regions: Sequence[Any], **_: Any) -> tuple[str, list[np.ndarray]]:
        pixels = [np.asarray(image, dtype=float) for image in images]
        named = [colour for colour in COLOURS if colour in text.lower()]
        named += [nearest(pixels[place % len(pixels)], region) for place, region in enumerate(regions) if region]
        logits = [64.0 - np.abs(frame - COLOURS[colour]).sum(-1) for colour in dict.fromkeys(named) for frame in pixels]
        return (f"Sure, it is {named[0]}." if named else "I know no such colour."), logits

    return model


def nearest(pixels: np.ndarray, region: Box | Point | Mask) -> str:
    """The colour of the pixel that a region is about: a point's, that in the middle of a box or of a mask's pixels."""
    if isinstance(region, Mask):
        y, x = np.argwhere(decode_mask(region)).mean(0)
    else:
        x, y = region if isinstance(region, Point) else ((region.x1 + region.x2) / 2, (region.y1 + region.y2) / 2)
    return min(COLOURS, key=lambda colour: np.abs(pixels[int(y), int(x)] - COLOURS[colour]).sum())
