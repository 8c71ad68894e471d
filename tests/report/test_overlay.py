"""Boxes and masks on an image: where the colour is, and where the image stays as it was."""

import numpy as np
import pytest
from PIL import Image

from evalkit.geometry import Box, Mask, Size
from evalkit.report.overlay import GOLD, OPACITY, PREDICTED, THINNEST, overlay
from evalkit.rle import encode_mask

SIZE = Size(60, 40)
WHITE = Image.new("RGB", SIZE, "white")


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def square(x1: int, y1: int, x2: int, y2: int) -> np.ndarray:
    inside = np.zeros((SIZE.height, SIZE.width), bool)
    inside[y1:y2, x1:x2] = True
    return inside


def test_a_mask_is_tinted_inside_outlined_at_its_edge_and_nothing_else_changes() -> None:
    inside, core = square(10, 5, 40, 30), square(10 + THINNEST, 5 + THINNEST, 40 - THINNEST, 30 - THINNEST)
    drawn = pixels(overlay(WHITE, masks=[encode_mask(inside)], colour=GOLD))
    tint = np.rint(255 * (1 - OPACITY) + OPACITY * np.array(GOLD)).astype(int)
    assert (drawn[~inside] == 255).all()
    assert (drawn[inside & ~core] == GOLD).all()
    assert (drawn[core] == tint).all()


def test_a_box_is_an_outline_just_inside_its_corners_cut_at_the_images_edge() -> None:
    drawn = pixels(overlay(WHITE, boxes=[Box(30, 20, 99, 35)]))
    coloured = (drawn == PREDICTED).all(-1)
    assert (coloured | (drawn == 255).all(-1)).all()
    expected = square(30, 20, 60, 35) & ~square(30 + THINNEST, 20 + THINNEST, 60 - THINNEST, 35 - THINNEST)
    assert (coloured == expected).all()


def test_masks_over_each_other_are_tinted_once_and_an_edge_at_the_images_border_has_no_outline() -> None:
    whole = encode_mask(square(0, 0, *SIZE))
    once, twice = overlay(WHITE, masks=[whole]), overlay(WHITE, masks=[whole, whole])
    assert (pixels(once) == pixels(twice)).all()
    assert len(np.unique(pixels(once).reshape(-1, 3), axis=0)) == 1


def test_gold_and_predicted_are_told_apart_and_the_image_given_is_left_alone() -> None:
    image = Image.new("L", SIZE, 128)
    both = pixels(overlay(overlay(image, [Box(2, 2, 20, 20)], colour=GOLD), [Box(30, 2, 50, 20)]))
    assert [tuple(both[2, 2]), tuple(both[2, 30])] == [GOLD, PREDICTED]
    assert image.mode == "L"
    assert set(image.tobytes()) == {128}


def test_what_has_no_part_in_the_image_is_not_drawn() -> None:
    nothing = [Box(70, 0, 90, 20), Box(5, 5, 5, 30), Box(10, 10, 10.3, 10.3)]
    assert (pixels(overlay(WHITE, nothing, [encode_mask(square(0, 0, 0, 0))])) == 255).all()


@pytest.mark.parametrize("mask", [Mask("0120", Size(2, 2)), Mask("no runs", SIZE)])
def test_a_mask_of_another_size_or_of_no_runs_is_told(mask: Mask) -> None:
    with pytest.raises(ValueError, match="expected a mask of 60 x 40 pixels, got a mask"):
        overlay(WHITE, masks=[mask])
