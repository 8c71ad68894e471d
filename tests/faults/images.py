"""Images of strangers: each is shown to the model or is one clear error, and none takes the machine's memory.

What decodes runs in a process of its own with an address space of a few gibibytes, so that what breaks a C library is seen too.
"""

import io
import os
import random
import resource
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import PIL.Image

from evalkit.errors import ImageError
from evalkit.images import MAX_PIXELS, decode, resolve
from evalkit.types import Image
from tests.faults.child import memory
from tests.faults.tally import Fault, Tally

KINDS = (
    "PNG",
    "JPEG",
    "WEBP",
    "GIF",
    "BMP",
    "TIFF",
    "AVIF",
    "JPEG2000",
    "ICO",
    "PPM",
    "TGA",
    "PCX",
    "DDS",
    "SGI",
    "IM",
    "MPO",
    "XBM",
    "QOI",
)
MODES = (
    *("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "PA", "RGBX", "RGBa", "La", "I;16", "I;16B", "I;16L"),
    *("I;16N",),
)
MEMORY = 5 << 30
"""Bytes of address space that a decoding process has."""
MOST_MEGABYTES = {"a bomb": 3600, "another": 400}
"""What a process may have held at once: of the most pixels that an image may have three copies in RGBA, a gibibyte each."""


# ---------------------------------------------------------------- how it is judged


def ended(data: bytes | Path, upright: bool = False) -> str:
    """ "" where the image is shown or refused by one clear error; else what is wrong."""
    image = Image(data, upright=upright)
    try:
        resolved = resolve(image)
        pixels = decode(resolved)
    except ImageError as error:
        said = str(error)
        return "" if said and len(said) < 2000 and image.name in said else f"the error does not name the image, or is too long: {said:.100}"
    except BaseException as error:  # noqa: BLE001 - a crash is what is looked for
        return f"{type(error).__name__}: {error}"
    return "" if pixels.mode == "RGB" and pixels.size == resolved.size else f"{pixels.mode} of {pixels.size}, {resolved.size} was told"


def shown_or_refused(data: bytes) -> str:
    """What is wrong with how an image ends, as it is and turned upright."""
    return ended(data) or ended(data, upright=True)


def _work(pipe: Any, judge: Callable[[Any], str], make: Callable[..., Iterator[tuple[str, Any]]], arguments: tuple[Any, ...]) -> None:
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    for name, data in make(*arguments):
        pipe.send((name, None))
        pipe.send((name, judge(data)))
    pipe.send(("", int(memory()) // 1024))


def in_a_process(most: int, judge: Callable[[Any], str], make: Callable[..., Iterator[tuple[str, Any]]], *arguments: Any) -> Tally:
    """The tally of all that `make(*arguments)` yields with a name, judged in a process that may hold `most` megabytes.

    `judge` says what is wrong with how it ends, nothing where it ends well.
    """
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_work, args=(theirs, judge, make, arguments))
    process.start()
    theirs.close()
    told, last = Tally(), "the beginning"
    while True:
        try:
            name, wrong = ours.recv()
        except EOFError:
            process.join()
            told.crashed(f"the process ended at {last}: exit code {process.exitcode}")
            return told
        if not name:
            break
        if wrong is None:
            last = name
            continue
        told.tried += 1
        if wrong:
            told.crashed(f"{name}: {wrong}")
    process.join()
    if wrong > most:
        told.crashed(f"{wrong} MB were held, expected at most {most}")
    return told


# ---------------------------------------------------------------- what is tried


def saved(picture: PIL.Image.Image, kind: str, **options: Any) -> bytes:
    """The file, empty where the format has no such mode."""
    file = io.BytesIO()
    try:
        picture.save(file, kind, **options)
    except (OSError, ValueError, KeyError, SystemError, SyntaxError, struct.error):
        return b""
    return file.getvalue()


def picture(mode: str, size: tuple[int, int] = (48, 32)) -> PIL.Image.Image:
    """A picture of a mode with something in it; blank where PIL cannot convert to it."""
    base = PIL.Image.effect_noise(size, 60).convert("RGB")
    for through in ("RGB", "RGBA", "L", "I", "LA", "P"):
        with suppress(ValueError):
            return base.convert(through).convert(mode)
    return PIL.Image.new(mode, size)


def every_mode(sizes: int) -> Iterator[tuple[str, bytes]]:
    """Every mode in every format that can hold it, still and, where there is such a thing, animated."""
    sides = ((48, 32), (1, 1), (1, 300), (257, 3), (1024, 768), (16, 16), (5, 5), (255, 256))
    for size in sides[:sizes]:
        for mode in MODES:
            for kind in KINDS:
                if data := saved(picture(mode, size), kind):
                    yield f"{mode} of {size} as {kind}", data
            frames = [picture(mode, size) for _ in range(3)]
            for kind in ("GIF", "WEBP", "PNG", "TIFF", "AVIF", "MPO"):
                if data := saved(frames[0], kind, save_all=True, append_images=frames[1:]):
                    yield f"{mode} of {size}, animated, as {kind}", data


def tagged(times: int) -> Iterator[tuple[str, bytes]]:
    """So many images of every EXIF orientation and values that are none, and of colour profiles that are none."""
    return islice(_tagged(), times)


def _tagged() -> Iterator[tuple[str, bytes]]:
    """Not every kind can be saved with every tag."""
    rng = random.Random(7)
    for place in count():
        exif = PIL.Image.Exif()
        exif[0x0112] = (1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 65535)[place % 11]
        exif[rng.randrange(1, 65000)] = rng.choice(["a" * 3000, b"\0" * 50, 7, "é\n\x1b[2J"])
        body = exif.tobytes()
        broken = bytes(byte ^ (rng.random() < 0.02) * rng.randrange(256) for byte in body)
        for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF"):
            for name, told in (("whole", body), ("broken", broken), ("random", rng.randbytes(200))):
                if data := saved(picture("RGB"), kind, exif=told):
                    yield f"{name} EXIF {place} as {kind}", data
            if data := saved(picture("RGB"), kind, icc_profile=rng.randbytes(rng.randrange(1, 5000))):
                yield f"profile {place} as {kind}", data


def damaged(times: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Files that are cut off, changed in some bytes, stretched, or joined with another."""
    rng = random.Random(seed)
    wholes = [data for kind in KINDS for mode in ("RGB", "RGBA", "P", "L", "1", "I;16") if (data := saved(picture(mode), kind))]
    wholes += [
        data for kind in ("GIF", "WEBP", "PNG") if (data := saved(picture("RGB"), kind, save_all=True, append_images=[picture("L")]))
    ]
    for place in range(times):
        data = bytearray(rng.choice(wholes))
        for _ in range(rng.choice((0, 1, 1, 2, 4, 16))):
            at = rng.randrange(min(len(data), rng.choice((16, 64, 100_000))))
            data[at : at + rng.choice((0, 1, 1, 1, 4))] = rng.choice(
                (b"\0", b"\xff", rng.randbytes(1), rng.randbytes(4), b"\xff\xff\xff\xff")
            )
        way = rng.random()
        if way < 0.3:
            del data[rng.randrange(len(data) + 1) :]
        elif way < 0.4:
            data += rng.choice(wholes)
        yield f"damaged {place} of seed {seed}", bytes(data)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, pixels: bytes, before: bytes = b"", colour: int = 0, depth: int = 8) -> bytes:
    """A PNG file of what it says it is, whether or not it is."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + before + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def zeros(size: int) -> bytes:
    """So many bytes of zero, deflated to a thousandth."""
    packer = zlib.compressobj(9)
    return b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)), packer.compress(bytes(size & 0xFFFFF)), packer.flush()])


def odd() -> Iterator[tuple[str, bytes]]:
    """Sizes at the edges, headers that lie, and what is no image at all."""
    for width, height in ((0, 0), (0, 10), (10, 0), (60_000, 10), (10, 60_000), (1, 100_000), (2**31 - 1, 1), (2**32 - 1, 2**32 - 1)):
        rows = (width + 1) * height
        yield f"PNG of {width} x {height}", png(width, height, zeros(rows if rows < 1 << 24 else 0))
    for kind in ("JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"):
        if data := saved(PIL.Image.new("RGB", (60_000, 10)), kind):
            yield f"{kind} of 60000 x 10", data
    yield "a PPM of no size", b"P6\n0 0\n255\n"
    yield "a PPM of a negative size", b"P6\n-5 10\n255\n" + bytes(150)
    yield "a PPM that says it is huge", b"P6\n99999999 99999999\n255\n"
    yield "a GIF of no size", b"GIF89a" + bytes(7) + b";"
    yield "a GIF whose canvas is 65535 x 65535", b"GIF89a\xff\xff\xff\xff\x00\x00\x00,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;"
    yield (
        "a BMP that says it is huge",
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 99, 0, 0, 54, 40, 2**31 - 1, 2**31 - 1, 1, 24, 0, 0, 0, 0, 0, 0),
    )
    whole = saved(picture("RGB"), "PNG")
    for name in ("jpg", "svg", "html", "zip", "gzip", "pdf", "eps", "empty"):
        bodies = {
            "jpg": whole,
            "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>1</script></svg>',
            "html": b"<!doctype html><title>404</title>",
            "zip": b"PK\x03\x04" + bytes(40),
            "gzip": b"\x1f\x8b\x08" + bytes(40),
            "pdf": b"%PDF-1.7\n" + bytes(40),
            "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\n(x) run\nshowpage\n%%EOF\n",
            "empty": b"",
        }
        yield name, bodies[name]


def bombs(side: int) -> Iterator[tuple[str, bytes]]:
    """Small files of very many pixels or bytes: `side` squared, and more than are taken."""
    pad = zeros(2 * side * side)
    whole = png(10, 10, zlib.compress(bytes(110)))
    yield "pixels that do not end", png(10, 10, pad)
    for kind, body in (
        ("zTXt", b"a\0\0" + pad),
        ("iCCP", b"a\0\0" + pad),
        ("iTXt", b"a\0\1\0\0\0" + pad),
        ("tEXt", b"a\0" + bytes(side * side // 4)),
    ):
        yield f"a {kind} chunk without end", png(10, 10, zlib.compress(bytes(110)), chunk(kind.encode(), body))
    yield "chunks and chunks of nothing", whole[:33] + chunk(b"abCd", b"") * (4 * side) + whole[33:]
    most = int(MAX_PIXELS**0.5)
    yield "a PNG of one pixel too many", png(most + 1, most + 1, zeros(1 << 20))
    yield f"a PNG of {side} x {side} grey pixels", png(side, side, zeros(side * (side + 1)))
    yield f"a PNG of {side} x {side} pixels with alpha", png(side, side, zeros(side * (4 * side + 1)), colour=6)
    yield f"a PNG of {side} x {side} grey pixels of 16 bit", png(side, side, zeros(side * (2 * side + 1)), depth=16)
    yield f"a PNG that says it has {most} x {most} pixels and has none", png(most, most, zlib.compress(b""))
    yield f"a JPEG that says it has 65500 x {side // 4} pixels", _claimed(saved(picture("RGB"), "JPEG"), 65500, side // 4)
    yield "a JPEG that says it has 65500 x 65500 pixels", _claimed(saved(picture("RGB"), "JPEG"), 65500, 65500)
    frames = [PIL.Image.new("L", (64, 64), place % 256) for place in range(300)]
    yield "a GIF of 300 frames", saved(frames[0], "GIF", save_all=True, append_images=frames[1:])


def _claimed(jpeg: bytes, width: int, height: int) -> bytes:
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


# ---------------------------------------------------------------- the rows


def _modes(folder: Path, times: int) -> Tally:
    return in_a_process(MOST_MEGABYTES["another"], shown_or_refused, every_mode, -(-times // 200))


def _tags(folder: Path, times: int) -> Tally:
    return in_a_process(MOST_MEGABYTES["another"], shown_or_refused, tagged, times)


def _odd(folder: Path, times: int) -> Tally:
    return in_a_process(MOST_MEGABYTES["another"], shown_or_refused, odd)


def _damaged(folder: Path, times: int) -> Tally:
    parts = -(-times // 2500)
    return sum(
        (in_a_process(MOST_MEGABYTES["a bomb"], shown_or_refused, damaged, -(-times // parts), seed) for seed in range(parts)), Tally()
    )


def _bombs(folder: Path, times: int) -> Tally:
    return in_a_process(MOST_MEGABYTES["a bomb"], shown_or_refused, bombs, 16_380 if times > 13 else 2_000)


def _no_files(folder: Path, times: int) -> Tally:
    told = Tally()
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "gone").symlink_to(folder / "nowhere")
    with (folder / "sparse.png").open("wb") as file:
        file.truncate(1 << 40)
    for name in ("/dev/zero", "/dev/full", "pipe", ".", "loop", "gone", "x" * 300, "a\0b", "sparse.png", "\udcff.png"):
        told.tried += 1
        if wrong := ended(folder / name):
            told.crashed(f"{name!r}: {wrong}")
    return told


FAULTS = (
    Fault("images of every mode in every format, still and animated", _modes, 1600, 200),
    Fault("images with any EXIF and any colour profile, whole and broken", _tags, 2000, 200),
    Fault("images of odd sizes (none, 60,000 x 10), lying headers, no images", _odd, 20, 20),
    Fault("images that are cut off or changed in some bytes", _damaged, 20_000, 400),
    Fault("image bombs: pixels, text chunks, profiles, frames", _bombs, 14, 13),
    Fault("image names that lead to a device, a pipe, a loop, 1 TB", _no_files, 10, 10),
)
