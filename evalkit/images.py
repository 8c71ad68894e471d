"""Images: their size and digest without their pixels, and the one decoding rule that every engine uses. Videos are in `video`.

The rule: RGB as PIL converts it, EXIF orientation not applied unless the image is `upright` (but for TIFF, which PIL itself turns),
transparency over white, 16-bit and float channels scaled to 8 bit, the first frame of an animation. What a file holds is read from
its bytes, never from its extension.
"""

import hashlib
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING
from zipfile import ZipFile

from .errors import DataError, ImageError
from .geometry import Box, Size
from .types import Crop, Draw, Image, Lazy, Resize, Still

if TYPE_CHECKING:
    import PIL.Image

MAX_PIXELS = 2**28
"""The most pixels an image may have: a gibibyte as PIL holds them. PIL's own limit (a global, 0.09 gigapixel) is below real photographs."""
LARGEST = 2**30
"""The most bytes of an image's file, in a folder or an archive."""

PROGRAMS = {"EPS", "IPTC"}
"""What PIL does not read itself: it hands a stranger's PostScript to Ghostscript, and waits for it without end. IPTC may hold one."""

OUTLINE = (255, 0, 0)
"""The colour of drawn boxes: red, as the benchmarks that draw on images have it."""
THINNEST, THICKNESS = 2, 1 / 200
"""The width of an outline: so much of the image's longer side, and no less than so many pixels."""

ORIENTATION, LYING = 0x0112, (5, 6, 7, 8)  # the EXIF tag, and the values of it that exchange the sides


def resolve(image: Image) -> Image:
    """The image with `size` (original pixels; as turned, where `upright`) and `digest` (sha256 of its bytes) filled in.

    Only the header is decoded, so a file cut further down is found by `decode`. A derived image takes both from its parent, a
    frame from its video.

    Raises:
        ImageError: the bytes are missing, are no image, or declare more than `MAX_PIXELS`.
    """
    if image.size and image.digest:
        return image
    if isinstance(image.source, Image):
        if isinstance(image.operation, Still):
            from . import video

            return video.measured(image.source, image.operation.number).derive(image.operation, image.budget)
        parent = resolve(image.source)
        if image.operation is None:
            return replace(image, source=parent, size=parent.size, digest=parent.digest)
        return parent.derive(image.operation, image.budget)
    data = read(image)
    try:
        header = _open(data, image.name)
        width, height = header.size
        turned = image.upright and header.format != "TIFF" and header.getexif().get(ORIENTATION) in LYING
    except ImageError:
        raise
    except Exception as error:  # PIL's readers raise whatever a broken header makes them stumble over
        raise ImageError(f"{image.name} cannot be read as an image: {error or type(error).__name__}") from error
    return replace(image, size=Size(height, width) if turned else Size(width, height), digest=hashlib.sha256(data).hexdigest())


def decode(image: Image) -> "PIL.Image.Image":
    """The pixels, as an RGB image of (width, height) by the rule above. What derives from a parent is made here, frames by `video`.

    Raises:
        ImageError: the bytes are missing, cut off or no image, declare more than `MAX_PIXELS`, or a crop leaves its parent.
    """
    if isinstance(image.source, Image):
        if isinstance(image.operation, Still):
            from . import video

            return video.decode_still(image.source, image.operation.number)
        return _derived(decode(image.source), image)
    data = read(image)
    try:
        return _rgb(_open(data, image.name), image.upright)
    except ImageError:
        raise
    except Exception as error:  # PIL's decoders raise whatever broken bytes make them stumble over
        raise ImageError(f"{image.name} cannot be decoded, is it cut off? {error or type(error).__name__}") from error


def read(image: Image) -> bytes:
    """The bytes of an image that is not derived, as its file or row holds them.

    Raises:
        ImageError: there are none.
    """
    source = image.source
    if isinstance(source, Image):
        raise ImageError(f"expected an image with bytes of its own, got {image.name}")
    try:
        data = source if isinstance(source, bytes) else source.read() if isinstance(source, Lazy) else _file(source)
    except FileNotFoundError as error:
        raise ImageError(f"no image at {image.name}: complete the data set's folder, or name the one that is whole by --data") from error
    except (OSError, ValueError, DataError) as error:  # a name with a null byte is a value that no file can have
        raise ImageError(f"{image.name} cannot be read: {error}") from error
    if not data:
        raise ImageError(f"{image.name} is empty: expected an image, got 0 bytes")
    return data


def _file(path: Path) -> bytes:
    stat = path.stat()
    if S_ISDIR(stat.st_mode) or S_ISREG(stat.st_mode):
        _bounded(stat.st_size)
        return path.read_bytes()
    raise DataError("expected a file, found a device or a pipe, which may have no end")


def _bounded(size: int) -> None:
    if size > LARGEST:
        raise DataError(f"expected at most {LARGEST:,} bytes, got {size:,}")


@dataclass(frozen=True, slots=True)
class _Member:
    """Reads one file of a zip archive; nothing is unpacked onto the disk."""

    archive: Path
    place: str

    def __call__(self) -> bytes:
        try:
            stat = self.archive.stat()
            opened = _archive(self.archive, stat.st_size, stat.st_mtime_ns)
            _bounded(opened.getinfo(self.place).file_size)
            return opened.read(self.place)
        except KeyError as error:
            raise FileNotFoundError(self.place) from error
        except DataError:
            raise
        except Exception as error:  # whatever broken bytes make the decompressors stumble over
            raise DataError(f"expected a zip file at {self.archive}, got: {error}; is it cut off? Fetch it again") from error


@lru_cache(maxsize=8)
def _archive(path: Path, size: int, changed: int) -> ZipFile:
    return ZipFile(path)


def image_in(folder: Path, place: str, archive: str = "images.zip") -> Image:
    """The image at `place` below the folder or, where it is not there, at that place in the zip archive, where there is one."""
    packed = folder / archive
    if os.path.exists(folder / place) or not packed.exists():  # noqa: PTH110 - of Path, a name that is too long is an error
        return Image(folder / place)
    return Image(Lazy(f"{packed}, {place}", _Member(packed, place)))


def _open(data: bytes, name: str) -> "PIL.Image.Image":
    """The image with its header read, as `PIL.Image.open` finds it but under `MAX_PIXELS`.

    PIL's function checks a limit that is a global of its module: it warns at 0.09 and refuses at 0.18 gigapixel.
    """
    import PIL.Image

    for register in (PIL.Image.preinit, PIL.Image.init):
        register()
        for kind in PIL.Image.ID:
            factory, accept = PIL.Image.OPEN[kind]
            accepted = accept is None or accept(data[:16])
            if not accepted or isinstance(accepted, str) or kind in PROGRAMS:  # a string: this PIL was built without the format
                continue
            try:
                opened = factory(BytesIO(data), "")
            except (SyntaxError, IndexError, TypeError, struct.error):
                continue
            if opened.width * opened.height > MAX_PIXELS:
                raise ImageError(f"{name} has {opened.width} x {opened.height} pixels, expected at most {MAX_PIXELS:,}: make it smaller")
            return opened
    raise ImageError(f"{name} is not an image in any format that PIL reads by itself: fetch it again, or convert it")


def _rgb(opened: "PIL.Image.Image", upright: bool) -> "PIL.Image.Image":
    import PIL.Image
    import PIL.ImageOps

    turns = upright and opened.getexif().get(ORIENTATION, 1) != 1  # else it would be copied, and so it would below: they may be huge
    turned = PIL.ImageOps.exif_transpose(opened) if turns else opened
    if turned.mode == "F" or turned.mode.startswith("I"):
        turned = _eight_bit(turned)
    if not turned.has_transparency_data:
        return turned.convert("RGB")
    clear = turned if turned.mode == "RGBA" else turned.convert("RGBA")
    return PIL.Image.alpha_composite(PIL.Image.new("RGBA", clear.size, "white"), clear).convert("RGB")


def _eight_bit(image: "PIL.Image.Image") -> "PIL.Image.Image":
    """Grey levels of 0 to 255 from integers of 16 or 32 bit or floats, linearly from the range they are stored in.

    Integers are taken for 16-bit where they fit (PIL opens some 16-bit files as 32-bit). Floats declare no range: theirs is
    the smallest of 0 to 1, 255 and 65535 that holds them. Below 0 and not-a-number are black.
    """
    import numpy as np
    import PIL.Image

    levels = np.nan_to_num(np.asarray(image).astype(np.float32), copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    ranges = (1.0, 255.0, 65535.0) if image.mode == "F" else (65535.0, 2147483647.0)
    most = float(levels.max())
    top = next((limit for limit in ranges if most <= limit), most)
    levels.clip(0, top, out=levels)
    levels *= np.float32(255 / top)
    levels += np.float32(0.5)
    return PIL.Image.fromarray(levels.astype(np.uint8))


def _derived(parent: "PIL.Image.Image", image: Image) -> "PIL.Image.Image":
    import PIL.Image

    if image.operation is None:
        return parent
    if isinstance(image.operation, Crop):
        x1, y1, x2, y2 = image.operation.x1, image.operation.y1, image.operation.x2, image.operation.y2
        if not (0 <= x1 < x2 <= parent.width and 0 <= y1 < y2 <= parent.height):
            raise ImageError(f"expected a crop inside {parent.width} x {parent.height} pixels, got {image.name}")
        # `crop` checks PIL's global limit; a resize to the size of its box copies the same pixels and does not.
        return parent.resize((x2 - x1, y2 - y1), PIL.Image.Resampling.NEAREST, box=(x1, y1, x2, y2))
    if isinstance(image.operation, Draw):
        return _outlined(parent, image.operation.boxes)
    assert isinstance(image.operation, Resize)
    return parent.resize((image.operation.width, image.operation.height), PIL.Image.Resampling.BICUBIC)


def _outlined(parent: "PIL.Image.Image", boxes: Iterable[Box]) -> "PIL.Image.Image":
    """A copy with the boxes' outlines, just inside their edges; a box that leaves the image is cut at its border."""
    import PIL.ImageDraw

    canvas, width = parent.copy(), max(THINNEST, round(max(parent.size) * THICKNESS))
    pen = PIL.ImageDraw.Draw(canvas)
    for box in boxes:
        x1, y1, x2, y2 = map(round, box.ordered().clipped(Size(*parent.size)))
        pen.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=OUTLINE, width=width)
    return canvas
