"""The visual operations a model may call: zoom into an image, select frames of a video; and how their results are fitted to a
number of pixels. Pure, and lazy: no pixel is touched.

A call that cannot be done is a `ToolError`, whose words go back to the model. Source of the rules: Pixel Reasoner (arXiv 2505.15966),
TIGER-AI-Lab/Pixel-Reasoner at a3a6c3a, `experience_maker.py`: `crop_image_normalized`, `select_frames`, `resize_cropped`. Its words
are the authors', except where a model breaks the schema of a tool, which there ends in whatever Python says.
"""

import math
from collections.abc import Sequence

from .errors import ImageError
from .geometry import Box, Frame, Size, to_original
from .types import Budget, Crop, Image, Resize

PADDING = 0.1
"""How much of the image's width or height is added on every side of a crop."""
LONGEST_PADDING = 600
"""The most pixels of it by the rule of `zoom_in`."""
SMALLEST = 28
"""A crop must be wider and higher than this, in pixels."""
MOST_FRAMES = 8
FACTOR = 28
"""Of what the sides of a fitted image are multiples: two patches of Qwen2.5-VL."""


class ToolError(ValueError):
    """A call that cannot be done; the message is for the model."""


def frame_of(box: Sequence[float]) -> Frame:
    """What the numbers of a tool's argument are: shares of the sides where all are below 1 (`unit`), else pixels (`original`).

    The authors' own rule, in which a border at exactly 1 is a pixel, and the one place where a frame is read off the numbers.

    Raises:
        ToolError: not four finite numbers.
    """
    if not isinstance(box, list | tuple) or len(box) != 4 or not all(isinstance(side, int | float) and abs(side) < 1e9 for side in box):
        raise ToolError(f"expected a box of four numbers, got {box}")
    return Frame.UNIT if all(number < 1 for number in box) else Frame.ORIGINAL


def zoom(image: Image, box: Sequence[float], padding: float = PADDING, longest: int | None = None) -> Image:
    """The part of `image` in the box with a border of `padding` of its sides, cut at its edges; `image.size` must be known.

    With `longest` the border is no more than so many pixels, and fractions of a pixel are dropped at the crop's corners, not
    rounded: the rule of `zoom_in` in the authors' demo, and of `crop_image`.

    Raises:
        ToolError: not four finite numbers (see `frame_of`), corners the wrong way round, or a crop no more than 28 pixels wide or high.

    >>> image = Image(b"", size=Size(1000, 500))
    >>> zoom(image, [0.2, 0.2, 0.5, 0.6]).operation
    Crop(x1=100, y1=50, x2=600, y2=350)
    >>> zoom(image, [200, 100, 500, 300]) == zoom(image, [0.2, 0.2, 0.5, 0.6])
    True
    >>> zoom(Image(b"", size=Size(8000, 500)), [0.2, 0.2, 0.5, 0.6], longest=600).operation
    Crop(x1=1000, y1=50, x2=4600, y2=350)
    """
    in_shares = frame_of(box) is Frame.UNIT
    if image.size is None:
        raise ValueError(f"expected {image.name} to have its size")
    width, height = image.size
    across, down = (1, 1) if in_shares else image.size
    beside, above = (padding, padding) if longest is None else (min(padding, longest / width), min(padding, longest / height))
    x1, y1 = _inside(box[0] / across - beside) * width, _inside(box[1] / down - above) * height
    x2, y2 = _inside(box[2] / across + beside) * width, _inside(box[3] / down + above) * height
    if x2 < x1 or y2 < y1:  # in Pillow's words
        raise ToolError("Coordinate 'right' is less than 'left'" if x2 < x1 else "Coordinate 'lower' is less than 'upper'")
    whole = round if longest is None else int
    crop = Crop(whole(x1), whole(y1), whole(x2), whole(y2))
    if crop.x2 - crop.x1 <= SMALLEST or crop.y2 - crop.y1 <= SMALLEST:
        raise ToolError(f"Cropped image is too small: {crop.x2 - crop.x1}x{crop.y2 - crop.y1}")
    return image.derive(crop)


def select_frames(frames: Sequence[Image], numbers: Sequence[int], most: int = MOST_FRAMES) -> list[Image]:
    """The frames of these numbers, counted from 1, in the order asked for.

    Raises:
        ToolError: more than `most` are asked for, or one that there is not.

    >>> frames = [Image(bytes([i])) for i in range(16)]
    >>> [frame.source for frame in select_frames(frames, [3, 1])]
    [b'\\x02', b'\\x00']
    """
    if not isinstance(numbers, list | tuple) or not numbers or not all(isinstance(number, int) for number in numbers):
        raise ToolError(f"expected a list of frame numbers, got {numbers}")
    if len(numbers) > most:
        raise ToolError(
            f"Execution Error: You have selected {len(numbers)} frames in total."
            f" Think again which frames you need to check in details (no more than {most} frames)"
        )
    if not all(1 <= number <= len(frames) for number in numbers):
        raise ToolError(
            f"Execution Error: There are {len(frames)} frames numbered in range [1,{len(frames)}]."
            f" Your selection `target_frames={numbers}` is out of range."
        )
    return [frames[number - 1] for number in numbers]


def fit(image: Image, budget: Budget) -> Image:
    """The image resampled to a number of pixels in the budget, both of whose bounds must be given; as it is where it has that size,
    or where its size is not known.

    Raises:
        ImageError: one side is more than 200 times the other.

    >>> fit(Image(b"", size=Size(640, 480)), Budget(256 * 28 * 28, 5120 * 28 * 28)).size
    Size(width=644, height=476)
    """
    if image.size is None:
        return image
    assert budget.min_pixels is not None and budget.max_pixels is not None
    size = smart_resize(image.size, FACTOR, budget.min_pixels, budget.max_pixels)
    return image if size == image.size else image.derive(Resize(*size))


def smart_resize(size: Size, factor: int, min_pixels: int, max_pixels: int) -> Size:
    """The size that the processors of the Qwen-VL family give an image: sides that are multiples of `factor`, `min_pixels` to
    `max_pixels` in all where the multiples allow, the proportions nearly kept.

    Source: `smart_resize` in `qwen-vl-utils`, with its words. That of transformers, which processors use, makes something else of a side
    shorter than half a factor: it is in `engines/encoding.py`.

    Raises:
        ImageError: one side is more than 200 times the other.

    >>> smart_resize(Size(640, 480), 28, 56 * 56, 256 * 28 * 28)
    Size(width=504, height=364)
    """
    width, height = size
    if max(size) > 200 * min(size):
        raise ImageError(f"absolute aspect ratio must be smaller than 200, got {max(size) / min(size)}")
    across, down = (max(factor, round(side / factor) * factor) for side in size)
    if across * down > max_pixels:
        ratio = math.sqrt(width * height / max_pixels)
        across, down = (max(factor, math.floor(side / ratio / factor) * factor) for side in size)
    elif across * down < min_pixels:
        ratio = math.sqrt(min_pixels / (width * height))
        across, down = (math.ceil(side * ratio / factor) * factor for side in size)
    return Size(across, down)


def place(box: Box, image: Image, origin: Image) -> Box | None:
    """Where a box, pixels of `image`, lies on the `origin` that the image was cut and resized from; None where it was not.

    >>> photo = Image(b"", size=Size(1000, 500))
    >>> place(Box(0, 0, 50, 30), photo.derive(Crop(100, 50, 600, 350)).derive(Resize(250, 150)), photo)
    Box(x1=100.0, y1=50.0, x2=200.0, y2=110.0)
    """
    while image is not origin:
        parent, change = image.source, image.operation
        if not isinstance(parent, Image):
            return None
        if isinstance(change, Crop):
            box = Box(box.x1 + change.x1, box.y1 + change.y1, box.x2 + change.x1, box.y2 + change.y1)
        elif isinstance(change, Resize):
            if parent.size is None:
                return None
            box = to_original(box, Frame.SEEN, parent.size, Size(change.width, change.height))
        image = parent
    return box


def _inside(share: float) -> float:
    return min(max(share, 0.0), 1.0)
