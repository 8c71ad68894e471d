"""Images that are drawn on: where the outline is, to the pixel, and what stays as it was."""

import io

import numpy as np
import PIL.Image
import pytest

from evalkit.geometry import Box, Size
from evalkit.images import OUTLINE, decode, resolve
from evalkit.types import Draw, Image

GRAY = (90, 90, 90)


def gray(width: int, height: int) -> Image:
    file = io.BytesIO()
    PIL.Image.new("RGB", (width, height), GRAY).save(file, "PNG")
    return Image(file.getvalue())


def drawn(image: Image, *boxes: Box) -> np.ndarray:
    """Which pixels have the outline's colour, bool (height, width); the others must be as they were."""
    pixels = np.asarray(decode(image.derive(Draw(boxes))))
    red = (pixels == OUTLINE).all(axis=2)
    assert (pixels[~red] == GRAY).all()
    return red


def frame(width: int, height: int, outer: tuple[int, int, int, int], thick: int) -> np.ndarray:
    """The outline of a box just inside its edges, x2 and y2 exclusive, pixel by pixel."""
    x1, y1, x2, y2 = outer
    expected = np.zeros((height, width), bool)
    expected[y1:y2, x1:x2] = True
    expected[y1 + thick : y2 - thick, x1 + thick : x2 - thick] = False
    return expected


def test_a_box_is_outlined_in_red_two_pixels_wide_just_inside_its_edges() -> None:
    assert OUTLINE == (255, 0, 0)
    assert (drawn(gray(60, 40), Box(10, 5, 30, 25)) == frame(60, 40, (10, 5, 30, 25), 2)).all()


def test_the_outline_grows_with_the_longer_side() -> None:
    assert (drawn(gray(1000, 200), Box(100, 20, 400, 120)) == frame(1000, 200, (100, 20, 400, 120), 5)).all()


def test_corners_in_any_order_and_between_pixels_are_rounded_to_the_same_box() -> None:
    assert (drawn(gray(60, 40), Box(29.6, 25.4, 10.4, 4.6)) == frame(60, 40, (10, 5, 30, 25), 2)).all()


def test_a_box_that_leaves_the_image_is_cut_at_its_border() -> None:
    assert (drawn(gray(60, 40), Box(-20, -3, 30, 25)) == frame(60, 40, (0, 0, 30, 25), 2)).all()
    assert (drawn(gray(60, 40), Box(-9, -9, 999, 999)) == frame(60, 40, (0, 0, 60, 40), 2)).all()


def test_a_box_outside_the_image_marks_no_more_than_its_border() -> None:
    marked = drawn(gray(60, 40), Box(100, 100, 120, 130))
    assert not marked[:38, :58].any()


def test_several_boxes_are_all_drawn() -> None:
    both = drawn(gray(60, 40), Box(10, 5, 30, 25), Box(20, 10, 50, 35))
    assert (both == frame(60, 40, (10, 5, 30, 25), 2) | frame(60, 40, (20, 10, 50, 35), 2)).all()


def test_the_parent_stays_as_it_was() -> None:
    parent = gray(60, 40)
    before = decode(parent).tobytes()
    decode(parent.derive(Draw((Box(0, 0, 60, 40),))))
    assert decode(parent).tobytes() == before


@pytest.mark.parametrize("boxes", [(), (Box(1, 2, 3, 4),)])
def test_a_drawn_image_has_its_parents_size_and_a_digest_of_its_own(boxes: tuple[Box, ...]) -> None:
    parent = resolve(gray(60, 40))
    image = resolve(gray(60, 40).derive(Draw(boxes)))
    other = resolve(gray(60, 40).derive(Draw((Box(1, 2, 3, 5),))))
    assert image.size == Size(60, 40)
    assert len({image.digest, parent.digest, other.digest}) == 3
