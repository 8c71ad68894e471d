"""Images as they go over HTTP: the original bytes where decoding by evalkit's rule changes nothing, else the decoded pixels.

Decoded pixels are written without loss. As WebP (method 0, quality 0) a photograph takes about two thirds of the bytes and of the
time that PNG takes at its fastest level; but some servers read no WebP, so it is used only where the server is known to.
"""

import asyncio
import base64
import math
import os
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any, Literal

from ..errors import ImageError, Refused
from ..geometry import Size
from ..images import ORIENTATION, decode, read, resolve
from ..types import Budget, Image, Resize

Form = Literal["PNG", "WEBP"]
WAYS: dict[str, dict[str, Any]] = {"PNG": {"compress_level": 1}, "WEBP": {"lossless": True, "quality": 0, "method": 0}}
LONGEST_WEBP = 16383  # pixels of a side: the format has 14 bits for it
LARGEST = 80_000_000  # pixels; PIL warns of larger ones where only their header is read


@dataclass(frozen=True, slots=True)
class Resizing:
    """What a server's processor makes of an image: sides that are multiples of `factor`, pixels between two bounds."""

    factor: int
    min_pixels: int
    max_pixels: int

    def size(self, image: Image) -> Size:
        """What becomes of the image, under its own budget where it has one.

        Raises:
            Refused: the budget lies outside the bounds, so the server would resize again.
            ImageError: the image is so long that its processor would not leave any size alone.
        """
        budget = image.budget or Budget()
        least, most = budget.min_pixels or self.min_pixels, budget.max_pixels or self.max_pixels
        if not self.min_pixels <= least <= most <= self.max_pixels:
            raise Refused(
                f"expected an image's budget within the {self.min_pixels} to {self.max_pixels} pixels that the model is declared to "
                f"resize to, got {least} to {most}: leave it out, or declare the bounds that the server was started with"
            )
        own = resolve(image).size
        assert own is not None
        found = smart_resize(own, self.factor, least, most)
        if smart_resize(found, self.factor, self.min_pixels, self.max_pixels) != found:
            raise ImageError(f"{image.name} has {own.width} x {own.height} pixels, and none of its sizes would the server not resize again")
        return found


class Encoder:
    """Makes data URLs of images, in threads of its own, each image once for as long as there is room to keep it.

    Args:
        resizing: what the server's processor does, so that it is done before; None: not known.
        form: how decoded pixels are written.
        room: bytes of data URLs that are kept.
    """

    def __init__(self, resizing: Resizing | None, form: Form, room: int) -> None:
        self._make = partial(encode, resizing=resizing, form=form)
        self._pool = ThreadPoolExecutor(min(os.cpu_count() or 1, 8), "encoding")
        self._flying: dict[Any, asyncio.Future[tuple[str, Size | None]]] = {}
        self._kept: OrderedDict[Any, tuple[str, Size | None]] = OrderedDict()
        self._room = room

    async def __call__(self, image: Image) -> tuple[str, Size | None]:
        """The image's data URL and, where the resizing is known, its size after it. To be awaited in one event loop only.

        Raises:
            ImageError: the image cannot be read.
            Refused: its budget cannot be kept.
        """
        key = (image.digest, image.upright, image.budget) if image.digest else object()
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if key not in self._flying:
            self._flying[key] = asyncio.get_running_loop().run_in_executor(self._pool, self._make, image)
            self._flying[key].add_done_callback(partial(self._keep, key))
        return await asyncio.shield(self._flying[key])

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _keep(self, key: Any, made: "asyncio.Future[tuple[str, Size | None]]") -> None:
        del self._flying[key]
        if made.cancelled() or made.exception() or not isinstance(key, tuple):
            return
        self._kept[key] = made.result()
        self._room -= len(made.result()[0])
        while self._room < 0:
            self._room += len(self._kept.popitem(last=False)[1][0])


def encode(image: Image, resizing: Resizing | None = None, form: Form = "PNG") -> tuple[str, Size | None]:
    """The image as a data URL, and its size after the resizing, where there is one.

    Raises:
        ImageError: the image cannot be read, or is too long for its width.
        Refused: its budget cannot be kept.
    """
    if image.budget and image.budget != Budget() and resizing is None:
        raise Refused(
            "an image's budget can be kept over HTTP only where the model's resize is declared, by factor, min_pixels and max_pixels"
        )
    size = resizing.size(image) if resizing else None
    kind, data = original(image, size) or _rewritten(image, size, form)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(data).decode('ascii')}", size


def original(image: Image, size: Size | None = None) -> tuple[str, bytes] | None:
    """The format and the bytes of an image that reads the same with every decoder: a JPEG, PNG or WebP of 8-bit RGB or grey levels,
    whole, still, neither transparent nor turned, and of `size` already where one is wanted. None for any other.
    """
    import PIL.Image

    known = resolve(image).size
    if isinstance(image.source, Image) or known is None or known.width * known.height > LARGEST or size not in (None, known):
        return None
    data = read(image)
    if not _whole(data):
        return None
    try:
        with PIL.Image.open(BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as opened:
            plain = opened.mode in ("RGB", "L") and not opened.has_transparency_data and getattr(opened, "n_frames", 1) == 1
            turned = _tells(data) and opened.getexif().get(ORIENTATION, 1) != 1
            return (str(opened.format), data) if plain and not turned else None
    except Exception:  # noqa: BLE001 - whatever broken bytes make PIL stumble over is told by `decode`
        return None


def smart_resize(size: Size, factor: int, min_pixels: int, max_pixels: int) -> Size:
    """The size that the processors of the Qwen-VL family give an image: sides that are multiples of `factor`, `min_pixels` to
    `max_pixels` in all where the multiples allow, the proportions nearly kept. What it returned it leaves as it is.

    Source: `smart_resize` in transformers' `models/qwen2_vl`.

    Raises:
        ImageError: one side is more than 200 times the other, which the processors refuse.

    >>> smart_resize(Size(640, 480), 28, 56 * 56, 256 * 28 * 28)
    Size(width=504, height=364)
    >>> smart_resize(Size(640, 480), 28, 256 * 28 * 28, 512 * 28 * 28)
    Size(width=644, height=476)
    >>> smart_resize(Size(20, 10), 32, 128 * 128, 1024 * 1024)
    Size(width=192, height=96)
    """
    width, height = size
    if max(size) > 200 * min(size):
        raise ImageError(f"the model's processor takes no image with one side more than 200 times the other, got {width} x {height}")
    across, down = round(width / factor) * factor, round(height / factor) * factor
    if across * down > max_pixels:
        scale = math.sqrt(width * height / max_pixels)
        across, down = (max(factor, math.floor(side / scale / factor) * factor) for side in size)
    elif across * down < min_pixels:
        scale = math.sqrt(min_pixels / (width * height))
        across, down = (math.ceil(side * scale / factor) * factor for side in size)
    return Size(across, down)


def _whole(data: bytes) -> bool:
    """Whether the bytes are of one of the three formats and end as they should; a PNG must be of 8 bits a channel too."""
    if data.startswith(b"\xff\xd8"):
        return data.endswith(b"\xff\xd9")
    if data.startswith(b"\x89PNG"):
        return data.endswith(b"IEND\xaeB`\x82") and data[24] == 8
    return data.startswith(b"RIFF") and len(data) == int.from_bytes(data[4:8], "little") + 8


def _tells(data: bytes) -> bool:
    """Whether there may be EXIF data: of a PNG, PIL would decode all pixels to find out."""
    return not data.startswith(b"\x89PNG") or b"eXIf" in data or b"Raw profile type exif" in data


def _rewritten(image: Image, size: Size | None, form: Form) -> tuple[str, bytes]:
    pixels = decode(image if size is None or size == image.size else resolve(image).derive(Resize(*size)))
    form = "PNG" if max(pixels.size) > LONGEST_WEBP else form
    file = BytesIO()
    pixels.save(file, form, **WAYS[form])
    return form, file.getvalue()
