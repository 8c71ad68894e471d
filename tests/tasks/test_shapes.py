"""The scenes are the same everywhere, balanced, and their boxes are tight around what is drawn."""

import dataclasses
import hashlib
import io
from collections import Counter

import pytest
from PIL import Image, ImageChops

from evalkit.geometry import Box, iou
from evalkit.task import find, module
from evalkit.types import Lazy

shapes = module("shapes")


def test_scenes_are_the_same_on_every_machine() -> None:
    """The demo checkpoint and its card were made with these; a change here is a change of the task's version."""
    text = "\n".join(repr(shapes.scene(split, index)) for split in ("train", "test") for index in range(48))
    assert hashlib.sha256(text.encode()).hexdigest() == "73f62cfb8811cd1e068a4c0bc6ba91495999ead6a2444895d432c82af4b4ea06"


@pytest.mark.parametrize("start", [0, 24, 24 * 40])
def test_any_block_of_24_rows_is_balanced(start: int) -> None:
    rows = [shapes.scene("test", start + i) for i in range(24)]
    assert Counter(row.kind for row in rows) == dict.fromkeys(shapes.KINDS, 6)
    assert Counter(row.answer for row in rows if row.kind == "count") == dict.fromkeys("012345", 1)
    assert Counter(row.answer for row in rows if row.kind == "yes_no") == {"Yes": 3, "No": 3}


def test_letters_are_even_over_four_blocks() -> None:
    rows = [shapes.scene("test", i) for i in range(96)]
    assert Counter(row.answer for row in rows if row.kind == "choice") == dict.fromkeys("ABCD", 6)


@pytest.mark.parametrize("index", range(12))
def test_boxes_are_tight_around_what_is_drawn(index: int) -> None:
    drawn = shapes.scene("test", index)
    for shape in drawn.objects:
        alone = dataclasses.replace(drawn, objects=(shape,))
        empty = Image.new("RGB", (drawn.width, drawn.height), drawn.background)
        assert ImageChops.difference(shapes.render(alone), empty).getbbox() == shape.box


@pytest.mark.parametrize("index", range(0, 40, 4))
def test_a_count_is_the_number_of_its_evidence(index: int) -> None:
    drawn = shapes.scene("test", index)
    assert drawn.kind == "count"
    assert int(drawn.answer) == len(drawn.evidence)


def test_objects_keep_apart() -> None:
    for index in range(60):
        boxes = [Box(*shape.box) for shape in shapes.scene("test", index).objects]
        assert all(iou(a, b) == 0 for i, a in enumerate(boxes) for b in boxes[:i])


def test_images_differ_in_size_and_aspect_and_are_drawn_when_read() -> None:
    sizes = set()
    for _, sample in zip(range(20), find("shapes:9600").samples(), strict=False):
        (image,) = sample.images
        assert isinstance(image.source, Lazy)
        sizes.add(Image.open(io.BytesIO(image.source.read())).size)
    ratios = [width / height for width, height in sizes]
    assert len(sizes) == 20
    assert min(ratios) < 0.8
    assert max(ratios) > 1.25
