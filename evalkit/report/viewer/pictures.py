"""The pictures of a run's samples: found through the task's data or the run's own rows, decoded, and made anew for the browser.

No byte of a foreign file is passed on: what is sent is what `images.decode` made of it, as PNG where it is small and as JPEG where
it is large.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UserError
from ...images import decode, resolve
from ...types import Image, Sample
from ..runs import Run

if TYPE_CHECKING:
    import PIL.Image

THUMBNAIL, LONGEST = 112, 4096
"""The longest side of a thumbnail, and of a picture: boxes are drawn over it at the image's own size."""
PLAIN = 600 * 600
"""Up to so many pixels a picture is a PNG."""
KEPT = 64 << 20
"""Bytes of encoded pictures that are kept."""


class Pictures:
    """The images of one run's samples. Safe to ask from any thread."""

    def __init__(self, run: Run, data: Path | None = None) -> None:
        """`data` is where the data is now, in place of where the run found it."""
        self._run, self._data = run, data
        self._reading, self._lock = threading.Lock(), threading.Lock()
        self._samples: dict[str, dict[str, Sample]] = {}
        self._rest: dict[str, Iterator[Sample]] = {}
        self._refused: dict[str, str] = {}
        self._made: OrderedDict[tuple[Image, int], tuple[bytes, str]] = OrderedDict()
        self._size = 0

    def sample(self, task: str, name: str) -> Sample:
        """A sample as its data has it.

        Raises:
            UserError: the data is not there, is not what it was, or has no such sample.
        """
        with self._reading:
            if task in self._refused:
                raise UserError(self._refused[task])
            known = self._samples.setdefault(task, {})
            if name in known:
                return known[name]
            try:
                if task not in self._rest:
                    self._rest[task] = self._run.samples(task, self._data)
                for sample in self._rest[task]:
                    known[sample.id] = sample
                    if sample.id == name:
                        return sample
            except (LookupError, ValueError) as error:  # a manifest that does not say what `evalkit run` says
                self._refused[task] = f"the data of {task} cannot be opened by the run's manifest: {error}"
                raise UserError(self._refused[task]) from error
            except UserError as error:
                self._refused[task] = f"{error}"
                raise
            raise UserError(f"the data of {task} has no sample '{name}'")

    def images(self, row: Mapping[str, Any]) -> Sequence[Image]:
        """The images of a prediction's row: the files it names where all are there, else what the task's data says.

        Raises:
            UserError: neither is there.
        """
        told = row.get("images") or []
        if told and self._data is None and all(isinstance(one, dict) and one.get("path") for one in told):
            paths = [Path(one["path"]) for one in told]
            if all(path.suffix.lower() in STILL and path.is_file() for path in paths):
                return [_turned(path, one.get("size")) for path, one in zip(paths, told, strict=True)]
        return self.sample(row["task"], row["sample"]).images

    def picture(self, row: Mapping[str, Any], number: int, longest: int = LONGEST) -> tuple[bytes, str]:
        """An image of a row's sample, encoded, no side longer than that, with its media type.

        Raises:
            UserError: it is not there or cannot be decoded.
        """
        images = self.images(row)
        if number >= len(images):
            raise UserError(f"expected an image from 0 to {len(images) - 1} of {row['task']}/{row['sample']}, got {number}")
        key = (images[number], longest)
        with self._lock:
            if key in self._made:
                self._made.move_to_end(key)
                return self._made[key]
        made = encoded(decode(images[number]), longest)
        with self._lock:
            self._size += len(made[0]) - len(self._made.get(key, (b"",))[0])
            self._made[key] = made
            while self._size > KEPT and len(self._made) > 1:
                self._size -= len(self._made.popitem(last=False)[1][0])
        return made


STILL = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
"""The endings of files that are one image, and no video."""


def encoded(image: "PIL.Image.Image", longest: int) -> tuple[bytes, str]:
    """The image as a file of its own, made smaller where a side is longer than that, and its media type."""
    import PIL.Image

    if max(image.size) > longest:
        ratio = longest / max(image.size)
        image = image.resize((max(1, round(image.width * ratio)), max(1, round(image.height * ratio))), PIL.Image.Resampling.BILINEAR)
    out = BytesIO()
    if longest > THUMBNAIL and image.width * image.height <= PLAIN:
        image.save(out, "PNG")
        return out.getvalue(), "image/png"
    image.save(out, "JPEG", quality=92 if longest > THUMBNAIL else 82, subsampling=0)
    return out.getvalue(), "image/jpeg"


def _turned(path: Path, size: Any) -> Image:
    """The image of a file, turned by its EXIF orientation where the run saw it so."""
    image = Image(path)
    if not size or tuple(size) == resolve(image).size:
        return image
    return Image(path, upright=True)
