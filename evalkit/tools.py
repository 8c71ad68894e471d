"""The visual operations a model may call: zoom into an image, select frames of a video. Pure, and lazy: no pixel is touched.

A call that cannot be done is a `ToolError`, whose words go back to the model. Source of both rules: Pixel Reasoner (arXiv
2505.15966), `experience_maker.py`, `crop_image_normalized` and `select_frames`.
"""

from collections.abc import Sequence

from .types import Crop, Image

PADDING = 0.1
"""How much of the image's width or height is added on every side of a crop."""
SMALLEST = 28
"""A crop must be wider and higher than this, in pixels."""
MOST_FRAMES = 8


class ToolError(ValueError):
    """A call that cannot be done; the message is for the model."""


def zoom(image: Image, box: Sequence[float], padding: float = PADDING) -> Image:
    """The part of `image` in the box with a border of `padding` of its sides, cut at its edges; `image.size` must be known.

    Four numbers all below 1 are shares of the sides, others are pixels, so that a border at exactly 1 is a pixel: the authors'
    own rule, and the one place where a frame is read off the numbers.

    Raises:
        ToolError: not four finite numbers, or the crop is no more than 28 pixels wide or high.

    >>> from evalkit.geometry import Size
    >>> image = Image(b"", size=Size(1000, 500))
    >>> zoom(image, [0.2, 0.2, 0.5, 0.6]).operation
    Crop(x1=100, y1=50, x2=600, y2=350)
    >>> zoom(image, [200, 100, 500, 300]) == zoom(image, [0.2, 0.2, 0.5, 0.6])
    True
    """
    if len(box) != 4 or not all(isinstance(number, int | float) and abs(number) < 1e9 for number in box):
        raise ToolError(f"expected a box of four numbers, got {list(box)}")
    if image.size is None:
        raise ValueError(f"expected {image.name} to have its size")
    width, height = image.size
    x1, y1, x2, y2 = box if all(number < 1 for number in box) else (box[0] / width, box[1] / height, box[2] / width, box[3] / height)
    left, top = max(x1 - padding, 0.0), max(y1 - padding, 0.0)
    right, bottom = min(x2 + padding, 1.0), min(y2 + padding, 1.0)
    crop = Crop(round(left * width), round(top * height), round(right * width), round(bottom * height))
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
    if not numbers or not all(isinstance(number, int) for number in numbers):
        raise ToolError(f"expected a list of frame numbers, got {list(numbers)}")
    if len(numbers) > most:
        raise ToolError(f"expected no more than {most} frames, got {len(numbers)}")
    for number in numbers:
        if not 1 <= number <= len(frames):
            raise ToolError(f"expected frame numbers from 1 to {len(frames)}, got {number}")
    return [frames[number - 1] for number in numbers]
