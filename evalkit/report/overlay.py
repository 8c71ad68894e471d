"""Boxes and masks drawn on an image, gold against predicted: one call for each of the two, in its colour."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..geometry import Box, Mask, Size
from ..rle import decode_mask, fitted_mask
from ..types import Unparsed

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image

Colour = tuple[int, int, int]

GOLD: Colour = (0, 158, 115)
PREDICTED: Colour = (213, 94, 0)
"""Bluish green and vermilion, which colour-blind readers tell apart. Source: Okabe and Ito, Color Universal Design, 2008."""
OPACITY = 0.4
"""How much of a mask's inside is its colour."""
THINNEST, THICKNESS = 2, 1 / 250
"""The width of an outline: so much of the image's longer side, and no less than so many pixels."""


def overlay(
    image: "PIL.Image.Image", boxes: Iterable[Box] = (), masks: Iterable[Mask] = (), colour: Colour = PREDICTED
) -> "PIL.Image.Image":
    """A copy of the image, RGB, with the masks tinted and outlined and the boxes outlined, each just inside its border.

    Masks are of the image's size, boxes in its pixels; a box that leaves the image is cut at its edge, one outside is not drawn.
    Where masks share pixels these are tinted once.

    Raises:
        ValueError: a mask is no run-length encoding of the image's size.
    """
    import numpy as np
    import PIL.Image
    import PIL.ImageDraw

    size = Size(*image.size)
    pixels, width = np.array(image.convert("RGB")), max(THINNEST, round(max(size) * THICKNESS))
    inside = np.zeros((size.height, size.width), bool)
    border = inside.copy()
    for mask in masks:
        fitted = fitted_mask(mask, size)
        if isinstance(fitted, Unparsed):
            raise ValueError(f"expected a mask of {size.width} x {size.height} pixels, got {fitted.reason}")  # noqa: TRY004
        one = decode_mask(fitted)
        inside |= one
        border |= one & ~_shrunk(one, width)
    pixels[inside] = np.rint((1 - OPACITY) * pixels[inside] + OPACITY * np.array(colour))
    pixels[border] = colour
    canvas = PIL.Image.fromarray(pixels)
    pen = PIL.ImageDraw.Draw(canvas)
    for box in boxes:
        x1, y1, x2, y2 = map(round, box.ordered().clipped(size))
        if x1 < x2 and y1 < y2:
            pen.rectangle((x1, y1, x2 - 1, y2 - 1), outline=colour, width=width)
    return canvas


def _shrunk(mask: "np.ndarray[Any, Any]", width: int) -> "np.ndarray[Any, Any]":
    """The pixels of a mask whose neighbours, so many steps up, down, left and right, are all of it; beyond the image lies the mask."""
    import numpy as np

    kept = mask
    for _ in range(width):
        padded = np.pad(kept, 1, mode="edge")
        kept = kept & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return kept
