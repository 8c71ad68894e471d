"""SAM 2 of the Hugging Face layout (`facebook/sam2.1-hiera-large`), as transformers' own `Sam2Model`: masks of boxes and points.

Of the requests that wait, those about one image share a batch or follow each other. An image is decoded and encoded once, and its embedding
kept while there is room; the objects of a batch, of whatever images, are decoded together where their prompts are alike (a box or none, so
many points), so that nothing is padded and no mask depends on its neighbours. Of the three masks that the model proposes for an object the
one of the highest predicted IoU is taken, as by the authors' `SAM2ImagePredictor` and those who sort its masks by score; it is scaled to
the image's own size (bilinear) and cut above 0. Points are in the object; what lies outside the image is moved to its border.
"""

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from ..data import decode, resolve
from ..errors import Gap, Refused, UserError
from ..geometry import Box, Mask, Point, Size
from ..rle import encode_mask
from ..types import Image, ModelInfo, Request, Response, Segment, sha256
from . import checkpoint
from .batching import POOL, Batcher, within_memory
from .common import admit

TYPES = ("sam2", "sam2_video")
"""The architectures whose checkpoints hold a `Sam2Model`; the second is what the hub's say, since they hold a tracker for videos too."""
KEPT = 32
"""How many images' embeddings are kept, 16 MiB each at 1024 x 1024 pixels."""
INSIDE = 1
"""The label of a point in the object."""

Part = Box | Point


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests, with their images as they are known by now."""

    requests: list[Request]
    images: list[Image]


@dataclass(frozen=True, slots=True)
class Object:
    """What one mask is to be made of: its place in the batch, its image, a box or none, and points, all inside the image."""

    request: int
    image: Image
    box: Box | None
    points: tuple[Point, ...]


class Sam2:
    """An engine that answers `Segment` with a mask for each prompt, of the image's size, in the prompts' order.

    Args:
        source: a directory or hub id.
        dtype: "bfloat16", ...; None: the checkpoint's own on a GPU, float32 on a CPU.
        device: "cuda", "mps", "cpu"; None: the first of them that there is.
        batch_size: the most requests in a batch, and objects decoded at a time; halved where memory runs out.
        cache: where hashes of weights are kept; None: nowhere.

    Raises:
        UserError: there is no such checkpoint, it has no weights or not all, or it is of another architecture.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        dtype: Any = None,
        device: str | None = None,
        batch_size: int = 16,
        cache: Path | None = None,
    ) -> None:
        torch, transformers = checkpoint.libraries()
        place = checkpoint.folder(source)
        weights = checkpoint.files_hash(_files(place), cache)
        device = device or checkpoint.best_device(torch)
        self.model, self.processor = _loaded(place, dtype or ("float32" if device == "cpu" else "auto"), device)
        details = {
            "engine": "sam2",
            "model_type": self.model.config.model_type,
            "device": str(self.model.device),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "attn_implementation": getattr(self.model.config, "_attn_implementation", None),
            "weights": weights,
            "processor": sha256(json.dumps(self.processor.image_processor.to_dict(), sort_keys=True, default=str)),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
        changing = {key: details[key] for key in ("engine", "dtype", "attn_implementation", "weights", "processor")}
        changing["version"] = ".".join(transformers.__version__.split(".")[:2])
        fingerprint = sha256(json.dumps(changing, sort_keys=True))
        self.info = ModelInfo(Path(source).name, fingerprint, answers=frozenset({"segment"}), details=details)
        self.room = POOL * batch_size
        self._embeddings: OrderedDict[str, list[Any]] = OrderedDict()
        self._pixels: dict[str, Any] = {}  # of images that are made ready and not encoded yet
        self._batcher = Batcher(group=lambda _: None, length=_neighbourhood, prepare=self._prepare, run=self._run, size=batch_size)

    async def answer(self, request: Request) -> Response:
        """The response, its `masks` one for each prompt.

        Raises:
            Gap: memory ran out on this request alone, or the model raised or gave scores that are no numbers.
            ImageError: the image cannot be read.
            Refused: the request's kind is not served, or one object has more than one box, or nothing at all.
        """
        admit(self.info, request)
        assert isinstance(request.kind, Segment)
        for prompt in request.kind.prompts:
            _parts(prompt)
        return await asyncio.wrap_future(self._batcher.submit(request))

    def close(self) -> None:
        """Ends the threads."""
        self._batcher.close()

    def _prepare(self, requests: list[Request]) -> Batch:
        """Decodes and resizes the images that are not encoded yet."""
        images = [resolve(request.kind.image) for request in requests if isinstance(request.kind, Segment)]
        for key, image in {_key(image): image for image in images}.items():
            # In this order: a batch puts the embedding in its place before it lets the pixels go.
            if key not in self._pixels and key not in self._embeddings:
                self._pixels[key] = self._decode(image)
        return Batch(requests, images)

    def _decode(self, image: Image) -> Any:
        return self.processor.image_processor(images=[decode(image)], return_tensors="pt")["pixel_values"]

    def _run(self, batch: Batch) -> list[Response]:
        """The responses.

        Raises:
            MemoryError: the device has not the memory for a batch of this size.
        """
        began = time.perf_counter()
        try:
            masks = within_memory(lambda: self._masks(batch))
        except MemoryError:
            self._embeddings.clear()
            raise
        finally:
            for image in batch.images:
                self._pixels.pop(_key(image), None)
        seconds, side = (time.perf_counter() - began) / len(masks), self.processor.target_size
        return [Response(seen=(Size(side, side),), seconds=seconds, masks=found) for found in masks]

    def _masks(self, batch: Batch) -> list[tuple[Mask, ...]]:
        """Each request's masks. Objects with like prompts are decoded together, as many at a time as a batch may have requests."""
        embeddings = self._encoded(batch)
        objects = [
            made
            for number, (request, image) in enumerate(zip(batch.requests, batch.images, strict=True))
            for made in _objects(number, request, image)
        ]
        found: list[Mask | None] = [None] * len(objects)
        alike = sorted(range(len(objects)), key=lambda place: _form(objects[place]))
        for _, members in groupby(alike, key=lambda place: _form(objects[place])):
            places = list(members)
            for start in range(0, len(places), self._batcher.size):
                chosen = places[start : start + self._batcher.size]
                for place, mask in zip(chosen, self._decoded([objects[place] for place in chosen], embeddings), strict=True):
                    found[place] = mask
        return [
            tuple(mask for made, mask in zip(objects, found, strict=True) if made.request == number and mask is not None)
            for number in range(len(batch.requests))
        ]

    def _encoded(self, batch: Batch) -> dict[str, list[Any]]:
        """The embeddings of the batch's images, by digest; those that are new are made together, and kept."""
        import torch

        images = {_key(image): image for image in batch.images}
        known = {key: self._embeddings[key] for key in images if key in self._embeddings}
        new = [key for key in images if key not in known]
        if new:
            pixels = [self._pixels[key] if key in self._pixels else self._decode(images[key]) for key in new]  # let go since
            made = self.model.get_image_embeddings(torch.cat(pixels).to(self.model.device, self.model.dtype))
            known |= {key: [level[row : row + 1].clone() for level in made] for row, key in enumerate(new)}
        for key in images:
            self._embeddings[key] = known[key]
            self._embeddings.move_to_end(key)
        while len(self._embeddings) > KEPT:
            self._embeddings.popitem(last=False)
        return known

    def _decoded(self, objects: Sequence[Object], embeddings: Mapping[str, list[Any]]) -> Iterator[Mask]:
        """The best mask of each of the objects, whose prompts are alike.

        Raises:
            Gap: a predicted IoU is no number.
        """
        import torch

        levels = zip(*(embeddings[_key(made.image)] for made in objects), strict=True)
        answered = self.model(image_embeddings=[torch.cat(level) for level in levels], multimask_output=True, **self._prompts(objects))
        scores = answered.iou_scores[:, 0].float()
        if not torch.isfinite(scores).all():
            raise Gap(f"the scores of {self.info.name} are no numbers (NaN): are its weights whole, is {self.model.dtype} wide enough?")
        for made, masks, best in zip(objects, answered.pred_masks[:, 0].float(), scores.argmax(-1).tolist(), strict=True):
            assert made.image.size
            width, height = made.image.size
            [[[inside]]] = self.processor.post_process_masks([masks[None, best : best + 1]], [(height, width)])
            yield encode_mask(inside.cpu().numpy())

    def _prompts(self, objects: Sequence[Object]) -> dict[str, Any]:
        """The prompts as the model takes them, in pixels of the resized image: one object an image, all with a box or none."""
        sizes = [(made.image.size.height, made.image.size.width) for made in objects if made.image.size]
        given: dict[str, Any] = {}
        if objects[0].box:
            given["input_boxes"] = [[[float(side) for side in made.box]] for made in objects if made.box]
        if objects[0].points:
            given["input_points"] = [[[[float(point.x), float(point.y)] for point in made.points]] for made in objects]
            given["input_labels"] = [[[INSIDE] * len(made.points)] for made in objects]
        inputs = self.processor(original_sizes=sizes, return_tensors="pt", **given)
        return {name: inputs[name].to(self.model.device) for name in given}


def _neighbourhood(request: Request) -> int:
    """A number that requests about one image have in common, so that the batcher puts them side by side."""
    assert isinstance(request.kind, Segment)
    return int.from_bytes(request.kind.image.digest.encode()[:8], "big")


def _key(image: Image) -> str:
    return f"{image.digest} {image.upright}"


def _parts(prompt: Part | tuple[Part, ...]) -> tuple[Box | None, tuple[Point, ...]]:
    """The box of an object, or None, and its points.

    Raises:
        Refused: there is more than one box, or nothing at all.
    """
    parts: tuple[Part, ...] = (prompt,) if isinstance(prompt, Box | Point) else prompt
    boxes = [part for part in parts if isinstance(part, Box)]
    if not parts or len(boxes) > 1:
        raise Refused(f"expected one box, points, or both for each object to segment, got {parts!r:.80}")
    return (boxes[0] if boxes else None), tuple(part for part in parts if isinstance(part, Point))


def _objects(number: int, request: Request, image: Image) -> Iterator[Object]:
    assert isinstance(request.kind, Segment) and image.size
    for prompt in request.kind.prompts:
        box, points = _parts(prompt)
        inside = tuple(Point(*_inside(point, image.size)) for point in points)
        yield Object(number, image, box and Box(*_inside(box.ordered(), image.size)), inside)


def _inside(numbers: Sequence[float], size: Size) -> list[float]:
    """Coordinates x, y, x, y, ... moved to the image's border where they lie outside of it.

    >>> _inside(Box(-5, 10, 700, 20), Size(640, 480)), _inside(Point(1, 900), Size(640, 480))
    ([0, 10, 640, 20], [1, 480])
    """
    return [min(max(number, 0), size[place % 2]) for place, number in enumerate(numbers)]


def _form(made: Object) -> tuple[bool, int]:
    """What objects that are decoded together have in common."""
    return made.box is not None, len(made.points)


def _files(place: Path) -> list[Path]:
    """The weights of a segmenter's directory and its config.

    Raises:
        UserError: there are none, the config cannot be read, or it is of another architecture.
    """
    config = place / "config.json"
    if not config.is_file():
        raise UserError(
            f"expected a SAM 2 checkpoint in {place}, found no config.json: name the directory of one in transformers' layout, or a hub "
            "id such as facebook/sam2.1-hiera-large"
        )
    kind = checkpoint.settings(place).get("model_type")
    if kind not in TYPES:
        raise UserError(
            f"expected a SAM 2 checkpoint in {place}, got one of type {kind!r:.80}: name one such as facebook/sam2.1-hiera-large"
        )
    return [*checkpoint.weight_files(place), config]


def _loaded(place: Path, dtype: Any, device: str) -> tuple[Any, Any]:
    """The model and its processor.

    Raises:
        UserError: one of them does not load, or weights are missing.
    """
    from transformers import Sam2Model, Sam2Processor

    try:
        processor = Sam2Processor.from_pretrained(place)
        model, found = Sam2Model.from_pretrained(place, dtype=dtype, use_safetensors=True, output_loading_info=True)
        model = model.to(device).eval()
    except Exception as error:  # whatever files, dtype or device make the loaders stumble over
        raise UserError(f"the segmenter {place} does not load on {device} as {dtype}: {checkpoint.first_line(error)}") from error
    absent = sorted(map(str, found["missing_keys"]))
    if absent:  # transformers would fill them with random numbers, and say so in a log
        raise UserError(
            f"expected all weights in {place}, found none for {len(absent)} tensors such as {absent[0]}: is the download complete?"
        )
    return model, processor
