"""Zooming and frames: the authors' rule to the pixel; and conversations that zoom, many at a time."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit import runner
from evalkit.data import decode, resolve
from evalkit.engines.transformers import Transformers
from evalkit.errors import ImageError
from evalkit.geometry import Box, Size
from evalkit.interfaces import Reading
from evalkit.tools import LONGEST_PADDING, ToolError, fit, place, select_frames, smart_resize, zoom
from evalkit.types import (
    Budget,
    Conversation,
    Crop,
    Generate,
    Image,
    Message,
    ModelInfo,
    Prediction,
    Request,
    Response,
    Sample,
    Sampling,
    Wants,
)

PICTURE = Image(b"", size=Size(640, 480), digest="d")


@pytest.mark.parametrize(
    ("box", "crop"),
    [
        ([0.5, 0.5, 0.6, 0.6], (256, 192, 448, 336)),
        ([320, 240, 384, 288], (256, 192, 448, 336)),
        ([0.0, 0.0, 0.9, 0.9], (0, 0, 640, 480)),
        ([0.0, 0.0, 1.0, 1.0], (0, 0, 65, 49)),  # a border at exactly 1 is a pixel
        ([0.95, 0.95, 0.99, 0.99], (544, 408, 640, 480)),
        ([0, 0, 640, 480], (0, 0, 640, 480)),
        ([-0.5, -0.5, 0.2, 0.2], (0, 0, 192, 144)),
        ([0.2, 0.2, 0.9999, 640], (0, 0, 65, 480)),
        ([600, 0, 5000, 480], (536, 0, 640, 480)),
    ],
)
def test_a_crop_is_padded_and_cut_at_the_edges(box: list[float], crop: tuple[int, ...]) -> None:
    operation = zoom(PICTURE, box).operation
    assert (operation.x1, operation.y1, operation.x2, operation.y2) == crop  # type: ignore[union-attr]


@pytest.mark.parametrize("box", [[0.5, 0.5, 0.5], [1, 2, float("nan"), 4], ["a", 1, 2, 3], [0.9, 0.9, 0.2, 0.2], [630, 470, 0, 0]])
def test_a_call_that_cannot_be_done_is_told_to_the_model(box: list[float]) -> None:
    with pytest.raises(ToolError, match=r"four numbers|Coordinate 'right' is less than 'left'"):
        zoom(PICTURE, box)


def test_the_smallest_crop_is_29_pixels() -> None:
    small = Image(b"", size=Size(100, 100))
    assert zoom(small, [0.1, 0.1, 0.19, 0.19], padding=0.1).size == Size(29, 29)
    with pytest.raises(ToolError, match="Cropped image is too small: 28x28"):
        zoom(small, [0.1, 0.1, 0.18, 0.18], padding=0.1)


def test_a_box_beyond_the_border_leaves_what_the_padding_reaches() -> None:
    with pytest.raises(ToolError, match=r"^Cropped image is too small: 0x0$"):
        zoom(PICTURE, [5000, 5000, 6000, 6000])
    assert zoom(PICTURE, [640, 0, 700, 1]).operation == Crop(576, 0, 640, 49)


def test_corners_the_wrong_way_round_are_told_in_pillows_words() -> None:
    from PIL import Image as Pillow

    for box, crop in (([0.9, 0.1, 0.2, 0.9], (576, 0, 192, 480)), ([0.1, 0.9, 0.9, 0.2], (0, 432, 640, 96))):
        with pytest.raises(ValueError, match=r"^Coordinate '(right|lower)' is less than") as said:
            Pillow.new("RGB", (640, 480)).crop(crop)
        with pytest.raises(ToolError) as told:
            zoom(PICTURE, box)
        assert str(told.value) == str(said.value)


@pytest.mark.parametrize(
    ("size", "box", "crop"),
    [
        ((640, 480), [0.5, 0.5, 0.6, 0.6], (256, 192, 448, 336)),
        ((644, 476), [0.5, 0.5, 0.6, 0.6], (257, 190, 450, 333)),  # fractions of a pixel are dropped
        ((12000, 400), [0.5, 0.5, 0.6, 0.6], (5400, 160, 7800, 280)),
        ((12000, 8000), [6000, 4000, 7200, 4800], (5400, 3400, 7800, 5399)),  # 0.6 + 0.075 is a hair below 0.675
    ],
)
def test_the_demos_border_is_no_more_than_600_pixels(size: tuple[int, int], box: list[float], crop: tuple[int, ...]) -> None:
    assert zoom(Image(b"", size=Size(*size)), box, longest=LONGEST_PADDING).operation == Crop(*crop)


@given(st.lists(st.floats(-2, 3), min_size=4, max_size=4), st.sampled_from([None, 50, LONGEST_PADDING]))
def test_a_crop_never_leaves_the_image(box: list[float], longest: int | None) -> None:
    try:
        cut = zoom(PICTURE, box, longest=longest)
    except ToolError:
        return
    operation = cut.operation
    assert 0 <= operation.x1 < operation.x2 <= 640  # type: ignore[union-attr]
    assert 0 <= operation.y1 < operation.y2 <= 480  # type: ignore[union-attr]


def test_frames_come_in_the_order_asked_for_and_no_more_than_eight() -> None:
    frames = [Image(bytes([i])) for i in range(16)]
    assert select_frames(frames, [16, 1, 1]) == [frames[15], frames[0], frames[0]]
    for wrong in ([], [0], [17], list(range(1, 10)), [1.5]):
        with pytest.raises(ToolError):
            select_frames(frames, wrong)  # type: ignore[arg-type]


def test_frames_that_cannot_be_had_are_told_in_the_authors_words() -> None:
    frames = [Image(bytes([i])) for i in range(16)]
    with pytest.raises(ToolError) as told:
        select_frames(frames, list(range(1, 12)))
    assert str(told.value) == (
        "Execution Error: You have selected 11 frames in total. Think again which frames you need to check in details"
        " (no more than 8 frames)"
    )
    with pytest.raises(ToolError) as told:
        select_frames(frames, [16, 17])
    assert str(told.value) == (
        "Execution Error: There are 16 frames numbered in range [1,16]. Your selection `target_frames=[16, 17]` is out of range."
    )


def test_sizes_are_resized_as_transformers_does() -> None:
    reference = pytest.importorskip("transformers.models.qwen2_vl.image_processing_qwen2_vl", reason="transformers is not installed")
    rng = random.Random(0)
    for _ in range(2_000):
        size, least, more = Size(rng.randint(20, 6000), rng.randint(20, 6000)), rng.randint(1, 600), rng.randint(1, 9000)
        bounds = least * 784, (least + more) * 784
        if max(size) <= 200 * min(size):
            height, width = reference.smart_resize(size.height, size.width, 28, *bounds)
            assert smart_resize(size, 28, *bounds) == (width, height)


@pytest.mark.parametrize("size", [Size(1, 201), Size(8041, 40)])
def test_an_image_too_long_for_its_width_cannot_be_resized(size: Size) -> None:
    assert smart_resize(Size(10, 2000), 28, 784, 784 * 784).height > 0
    with pytest.raises(ImageError, match=r"absolute aspect ratio must be smaller than 200, got 20\d"):
        smart_resize(size, 28, 784, 784 * 784)


def test_an_image_of_a_fitting_or_an_unknown_size_is_left_as_it_is() -> None:
    budget = Budget(256 * 784, 5120 * 784)
    for image in (Image(b"", size=Size(644, 476)), Image(b"")):
        assert fit(image, budget) is image
    assert fit(fit(PICTURE, budget), budget) == fit(PICTURE, budget)


def test_a_box_finds_its_way_back_through_crops_and_resizes() -> None:
    crop = zoom(fit(PICTURE, Budget(256 * 784, 8000 * 784)), [0.5, 0.5, 0.6, 0.6])
    closer = zoom(fit(crop, Budget(256 * 784, 5120 * 784)), [0.0, 0.0, 0.9, 0.9])
    assert place(Box(0, 0, *(closer.size or ())), closer, PICTURE) == pytest.approx(
        (258 / 644 * 640, 190 / 476 * 480, 451 / 644 * 640, 333 / 476 * 480)
    )
    assert place(Box(0, 0, 1, 1), closer, Image(b"another")) is None


@dataclass(frozen=True)
class ZoomsTwice:
    """Three turns: the image, its middle, and the middle of that."""

    name: str = "zooms twice"
    gives: ClassVar[frozenset[Reading]] = frozenset({"text"})

    def converse(self, sample: Sample, model: ModelInfo) -> Conversation[Prediction]:
        messages: tuple[Message, ...] = (Message("user", (*sample.images, sample.prompt)),)
        image, texts = sample.images[0], []
        for turn in range(3):
            response = yield Request(Generate(messages, Sampling(max_tokens=4)))
            texts.append(response.text)
            if turn < 2:
                image = zoom(image, [0.3, 0.3, 0.7, 0.7])
                messages += (Message("assistant", (response.text,)), Message("user", (image, "Look closer.")))
        return Prediction("|".join(texts), texts[-1])


class Watched:
    """An engine that notes how many requests of how many turns are in it at a time."""

    def __init__(self, engine: Transformers) -> None:
        self.engine, self.info = engine, engine.info
        self.inside: Counter[int] = Counter()
        self.mixed = self.most = 0

    async def answer(self, request: Request) -> Response:
        self.inside[request.turn] += 1
        self.most = max(self.most, self.inside.total())
        self.mixed += len(+self.inside) > 1
        try:
            return await self.engine.answer(request)
        finally:
            self.inside[request.turn] -= 1


def test_conversations_that_zoom_run_side_by_side_and_reply_as_they_do_alone() -> None:
    """Turns of different conversations share batches: none waits for the others to get so far."""
    demo = Path(__file__).parents[1] / "evalkit" / "demo" / "checkpoints" / "demo"
    from evalkit import task as tasks

    drawn = [sample for _, sample in zip(range(48), tasks.find("shapes").samples(), strict=False)]
    samples = [Sample(s.id, s.question, s.prompt, tuple(resolve(i) for i in s.images), Wants("text"), s.target) for s in drawn]
    engine = Watched(Transformers(demo, batch_size=8))
    try:
        replies: dict[str, str] = {}
        job = runner.Job("t", iter(samples), ZoomsTwice())

        def ended(outcome: runner.Outcome) -> None:
            assert outcome.prediction, outcome.gap
            replies[outcome.sample.id] = outcome.prediction.text

        runner.run([job], {"model": engine}, lambda *_: None, ended)
        assert len(replies) == 48
        assert all(text.count("|") == 2 for text in replies.values())
        assert engine.most == 48
        assert engine.mixed > 24
        alone = {
            sample.id: asyncio.run(runner.drive(ZoomsTwice().converse(sample, engine.info), engine.engine.answer)).text
            for sample in samples[:4]
        }
        assert alone == {name: replies[name] for name in alone}
    finally:
        engine.engine.close()


def test_a_crop_of_a_crop_is_cut_from_the_original(picture: Callable[[int, int], Image]) -> None:
    original = picture(200, 100)
    twice = zoom(zoom(original, [0.2, 0.2, 0.8, 0.8]), [0.4, 0.4, 0.6, 0.6])
    once = decode(original).crop((20, 10, 180, 90))
    assert decode(twice).tobytes() == once.crop((48, 24, 112, 56)).tobytes()


@pytest.fixture
def picture() -> Callable[[int, int], Image]:
    """Makes a PNG of noise in memory."""
    import io

    import numpy as np
    from PIL import Image as Pillow

    def make(width: int, height: int) -> Image:
        file = io.BytesIO()
        Pillow.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)).save(file, "PNG")
        return resolve(Image(file.getvalue()))

    return make
