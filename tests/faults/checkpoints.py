"""Checkpoints whose files are damaged or lie: each is loaded, or is one error of evalkit's that names it."""

import asyncio
import json
import random
import shutil
from collections.abc import Iterator
from contextlib import redirect_stderr
from io import StringIO
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import evalkit.demo
from evalkit.geometry import Box
from evalkit.types import Generate, Image, Message, Request, Sampling, Segment
from tests.faults.files import DEEP, places, replaced, wrong
from tests.faults.images import picture, saved
from tests.faults.tally import Tally

DEMO = Path(evalkit.demo.__file__).parent / "checkpoints" / "demo"
VALUES: tuple[Any, ...] = (None, True, 0, -1, 7, 2.5, float("nan"), 10**30, "", "a", "\x1b[2J\ud800", [], {}, [[]], [7], ["a"], {"a": 7})
"""What stands in place of a value."""
HABITS = {"eos_token_id": [2, 0], "do_sample": True, "temperature": 0.7, "top_p": 0.9, "top_k": 5, "repetition_penalty": 1.3}
"""How a checkpoint decodes by itself."""
EVERY = 2000
"""How many ways are tried at most, of some thousands: the first of each file, and fewer drawn from them."""
Case = tuple[Path, str, bytes]
"""A file of a checkpoint, what is done to it, and what it holds then."""


def demo(place: Path) -> Path:
    """The demo's checkpoint as transformers saves it today."""
    return Path(shutil.copytree(DEMO, place))


def older(place: Path) -> Path:
    """The same in more files, as most of the hub's are: weights with an index, a template in JSON, a config for each processor."""
    demo(place)
    decodes = json.loads((place / "generation_config.json").read_bytes()) | HABITS
    (place / "generation_config.json").write_text(json.dumps(decodes))
    held = json.loads((place / "processor_config.json").read_bytes())
    (place / "preprocessor_config.json").write_text(json.dumps(held["image_processor"] | {"processor_class": held["processor_class"]}))
    (place / "video_preprocessor_config.json").write_text(json.dumps(held["video_processor"]))
    template = place / "chat_template.jinja"
    (place / "chat_template.json").write_text(json.dumps({"chat_template": template.read_text("utf-8")}))
    template.unlink()
    (place / "processor_config.json").unlink()
    weights = (place / "model.safetensors").rename(place / "model-00001-of-00001.safetensors")
    names = [name for name in json.loads(_header(weights.read_bytes())) if name != "__metadata__"]
    index = {"metadata": {"total_size": weights.stat().st_size}, "weight_map": dict.fromkeys(names, weights.name)}
    (place / "model.safetensors.index.json").write_text(json.dumps(index))
    return place


def segmenter(place: Path) -> Path:
    from tests.contract.segmenters import tiny_sam2

    return tiny_sam2(place)


def _header(weights: bytes) -> bytes:
    return weights[8 : 8 + int.from_bytes(weights[:8], "little")]


def damaged(whole: bytes) -> Iterator[tuple[str, bytes]]:
    """A JSON text spoilt as a whole, then with each value of the outermost object replaced, in turn by each of `VALUES`."""
    yield "empty", b""
    yield "cut off", whole[: len(whole) // 2]
    yield "lists in lists", b"[" * DEEP
    yield "objects in objects", b'{"a":' * DEEP + b"1" + b"}" * DEEP
    yield from ((text, text.encode()) for text in ("[]", "{}", "7", "NaN", "null", '"a"'))
    yield "no UTF-8", b"\xff\xfe" + whole
    value = json.loads(whole)
    ways = [path for path in places(value) if len(path) == 1]
    for turn in range(len(VALUES)):
        for number, path in enumerate(ways):
            by = VALUES[(turn + number) % len(VALUES)]
            yield f"{path[0]!s:.40} = {by!r:.20}", json.dumps(replaced(value, path, by)).encode()
    deeper, rng = [path for path in places(value) if len(path) > 1], random.Random(17)
    for path in rng.sample(deeper, min(len(deeper), 300)):
        by = rng.choice(VALUES)
        yield f"{'.'.join(map(str, path)):.40} = {by!r:.20}", json.dumps(replaced(value, path, by)).encode()


def of_weights(whole: bytes) -> Iterator[tuple[str, bytes]]:
    """A safetensors file cut off, of a header that lies about its length, and of a spoilt header."""
    header = _header(whole)
    rest = whole[8 + len(header) :]
    for end in (0, 4, 8, 8 + len(header) // 2, 8 + len(header), len(whole) - 1):
        yield f"cut off at {end}", whole[:end]
    for length in (0, 1, len(header) + 8, 2**31, 2**63, 2**64 - 1):
        yield f"a header of {length} bytes", length.to_bytes(8, "little") + whole[8:]
    for name, spoilt in damaged(header):
        yield f"in the header, {name}", len(spoilt).to_bytes(8, "little") + spoilt + rest


def cases(wholes: list[Path]) -> Iterator[Case]:
    """Every file of these checkpoints spoilt in one way after another; the files take turns."""
    files = [path for place in wholes for path in sorted(place.iterdir()) if path.suffix in (".json", ".safetensors")]
    spoilt = [(damaged if path.suffix == ".json" else of_weights)(path.read_bytes()) for path in files]
    for turn in zip_longest(*spoilt):
        yield from ((path, *case) for path, case in zip(files, turn, strict=True) if case)


def opened(place: Path) -> None:
    """Loads a checkpoint, reads how it decodes, and asks it one question; a gap is an answer."""
    from evalkit.engines.sam2 import Sam2
    from evalkit.engines.transformers import Transformers

    image = Image(saved(picture("RGB", (64, 64)), "PNG"))
    if place.name == "segmenter":
        engine: Any = Sam2(place, device="cpu")
        asked = Request(Segment(image, (Box(1, 1, 30, 30),)))
    else:
        engine = Transformers(place, device="cpu")
        asked = Request(Generate((Message("user", (image, "How many?")),), Sampling(max_tokens=1)))
    try:
        repr((engine.info, getattr(engine, "sampling", None)))
        asyncio.run(_answered(engine, asked))
    finally:
        engine.close()


async def _answered(engine: Any, asked: Request) -> None:
    """Waits for an answer, or for an error, which the runner makes a gap."""
    if not (await asyncio.wait({asyncio.ensure_future(engine.answer(asked))}, timeout=60))[0]:
        raise TimeoutError("no answer within a minute")


def damaged_checkpoints(folder: Path, times: int) -> Tally:
    """So many of the ways to damage a checkpoint, drawn by chance; each is undone after it."""
    told = Tally()
    with redirect_stderr(StringIO()):
        wholes = [make(folder / make.__name__) for make in (demo, older, segmenter)]
    chosen = set(random.Random(5).sample(range(EVERY), times))
    for number, (path, name, data) in enumerate(islice(cases(wholes), EVERY)):
        if number not in chosen:
            continue
        place, whole = path.parent, path.read_bytes()
        path.write_bytes(data)
        with redirect_stderr(StringIO()):
            said = wrong(lambda place=place: opened(place), place)  # type: ignore[misc]
        path.write_bytes(whole)
        told.tried += 1
        if said:
            told.crashed(f"{place.name}/{path.name}, {name}: {said}")
    return told
