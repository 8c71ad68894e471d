"""The scenes are the same everywhere, balanced, and their boxes are tight around what is drawn."""

import dataclasses
import hashlib
import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageChops

from evalkit.errors import UserError
from evalkit.geometry import Box, Frame, iou
from evalkit.rle import decode_mask, mask_box
from evalkit.task import find, module, variants
from evalkit.types import Evidence, Lazy, Prediction, Unparsed

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


def test_any_number_of_rows_is_a_variant_and_one_of_each_kind_is_listed() -> None:
    assert variants("shapes") == ("960", "mask-240")
    task = find("shapes:500")
    assert (task.name, task.published["rows"], sum(1 for _ in task.samples())) == ("shapes:500", 500, 500)
    assert (find("shapes").name, find("shapes:960").name) == ("shapes", "shapes")
    masked = find("shapes:mask-7")
    assert (masked.name, masked.published["rows"], sum(1 for _ in masked.samples())) == ("shapes:mask-7", 7, 7)


def test_a_mask_is_exactly_what_is_drawn_of_the_object_that_is_asked_for() -> None:
    for sample in find("shapes:mask-24").samples():
        drawn = shapes.scene("test", int(sample.id))
        [asked] = (drawn.objects[place] for place in drawn.evidence)
        empty = Image.new("RGB", (drawn.width, drawn.height), drawn.background)
        alone = shapes.render(dataclasses.replace(drawn, objects=(asked,)))
        assert (decode_mask(sample.target.mask) == (np.asarray(alone) != np.asarray(empty)).any(-1)).all()
        assert mask_box(sample.target.mask) == sample.regions[0] == Box(*asked.box)
        assert (sample.wants.kind, sample.wants.phrase) == ("mask", f"the {asked.name}")
        assert sample.question == f"Where is the {asked.name}?"


@pytest.mark.parametrize("variant", ["0", "x", "-3", "1.5", "007", "٣", " 5", "9" * 5000, "mask", "mask-", "mask-0", "mask-mask-3"])
def test_a_variant_that_is_no_number_of_rows_is_told_what_is_expected(variant: str) -> None:
    with pytest.raises(
        UserError, match="expected a number of rows above 0 as variant of shapes, such as shapes:500 or shapes:mask-500, got"
    ):
        find(f"shapes:{variant}")


def test_a_reply_without_a_box_or_with_boxes_of_an_unknown_frame_is_unparsed_and_scores_nothing() -> None:
    task = find("shapes")
    empty = next(sample for sample in task.samples() if not sample.regions)
    asked = next(sample for sample in task.samples() if sample.wants.kind == "boxes")
    one = Evidence((1, 2, 3, 4), Frame.ORIGINAL, Box(1, 2, 3, 4))
    for rule in (rule for rule in task.rules if rule.reads == "boxes"):
        assert rule.parse(Prediction("", ""), asked) == Unparsed("no box")
        for evidence in ((Evidence((1, 2, 3, 4), None, None),), (one, Evidence((1, 2, 3, 4), None, None))):
            assert rule.parse(Prediction("", "", evidence=evidence), asked) == Unparsed("boxes in an unknown frame")
        assert rule.parse(Prediction("", "", evidence=(one, one)), asked) == (Box(1, 2, 3, 4),)
        assert rule.metric.measure(None, asked) in ({"iou": 0.0}, {"matched": 0.0, "predicted": 0.0, "gold": 1.0})
        assert rule.metric.measure(None, empty) == {}
