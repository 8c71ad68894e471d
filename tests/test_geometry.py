"""Frames, overlaps and their properties, against shapely."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import box as rectangle
from shapely import unary_union

from evalkit.geometry import Box, Frame, Point, Size, from_original, iou, is_finite, region_overlap, to_original

side = st.one_of(st.integers(-50, 1050).map(float), st.floats(-50, 1050).map(lambda x: round(x, 3)))
anywhere = st.builds(Box, side, side, side, side)
sizes = st.builds(Size, st.integers(1, 4000), st.integers(1, 4000))


@settings(deadline=None)
@given(st.lists(anywhere, max_size=6), st.lists(anywhere, max_size=6))
def test_region_overlap_agrees_with_shapely(first, second):
    one, other = (unary_union([rectangle(*box) for box in boxes]) for boxes in (first, second))
    overlap = region_overlap(first, second)
    assert overlap.inter == pytest.approx(one.intersection(other).area, rel=1e-9, abs=1e-6)
    assert overlap.union == pytest.approx(one.union(other).area, rel=1e-9, abs=1e-6)


@settings(deadline=None)
@given(st.lists(anywhere, max_size=6), st.lists(anywhere, max_size=6))
def test_region_overlap_is_symmetric_and_ignores_order_and_repetition(first, second):
    assert region_overlap(first, second) == region_overlap(second, first) == region_overlap([*reversed(first), *first], second)


@settings(deadline=None)
@given(anywhere, anywhere)
def test_of_single_boxes_region_overlap_gives_their_iou(a, b):
    overlap = region_overlap([a], [b])
    expected = overlap.inter / overlap.union if overlap.union > 0 else 0.0
    assert iou(a.ordered(), b.ordered()) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_region_overlap_of_ten_thousand_boxes_is_exact():
    tiles = [Box(x, y, x + 1.5, y + 1) for x in range(0, 200, 2) for y in range(100)]
    overlap = region_overlap(tiles, [Box(0, 0, 50, 50)])
    assert (overlap.inter, overlap.union) == (25 * 50 * 1.5, 10_000 * 1.5 + 25 * 50 * 0.5)


@settings(deadline=None)
@given(anywhere, anywhere)
def test_iou_is_symmetric_and_between_0_and_1(a, b):
    a, b = a.ordered(), b.ordered()
    assert iou(a, b) == iou(b, a)
    assert 0.0 <= iou(a, b) <= 1.0


@settings(deadline=None)
@given(anywhere)
def test_the_iou_of_a_box_with_itself_is_1_unless_it_has_no_area(box):
    box = box.ordered()
    assert iou(box, box) == (1.0 if box.area > 0 else 0.0)


@settings(deadline=None)
@given(anywhere, anywhere, st.floats(0.01, 100))
def test_iou_ignores_scale(a, b, factor):
    a, b = a.ordered(), b.ordered()
    larger = iou(Box(*(factor * x for x in a)), Box(*(factor * x for x in b)))
    assert larger == pytest.approx(iou(a, b), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("frame", Frame)
@settings(deadline=None)
@given(anywhere, sizes, sizes)
def test_what_a_model_would_write_for_a_box_reads_back_as_the_box(frame, box, original, seen):
    box = box.ordered()
    assert to_original(from_original(box, frame, original, seen), frame, original, seen) == pytest.approx(box, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("frame", Frame)
def test_the_whole_image_is_the_whole_image_in_every_frame(frame):
    original, seen = Size(640, 480), Size(644, 476)
    whole = {
        Frame.ORIGINAL: (0, 0, 640, 480),
        Frame.SEEN: (0, 0, 644, 476),
        Frame.UNIT: (0, 0, 1, 1),
        Frame.THOUSAND: (0, 0, 1000, 1000),
    }[frame]
    assert to_original(whole, frame, original, seen) == pytest.approx(Box(0, 0, 640, 480))


def test_satoris_half_image_box_on_a_resized_photograph_has_the_iou_of_their_script():
    """A 640x480 image seen as 644x476: the predicted numbers, converted, against the same numbers as gold."""
    read = to_original((0, 0, 320, 240), Frame.SEEN, Size(640, 480), Size(644, 476))
    assert iou(read, Box(0, 0, 320, 240)) == pytest.approx(0.98556, abs=1e-5)


def test_the_seen_frame_without_a_size_is_an_error_that_says_so():
    with pytest.raises(ValueError, match="size of the image as the model saw it"):
        to_original((0, 0, 1, 1), Frame.SEEN, Size(640, 480))


def test_corners_written_the_wrong_way_round_are_ordered():
    assert to_original((30, 40, 10, 20), Frame.ORIGINAL, Size(100, 100)) == Box(10, 20, 30, 40)


@settings(deadline=None)
@given(anywhere, sizes)
def test_a_clipped_box_lies_in_the_image_or_has_no_area(box, size):
    clipped = box.ordered().clipped(size)
    inside = clipped.x1 >= 0 and clipped.x2 <= size.width and clipped.y1 >= 0 and clipped.y2 <= size.height
    assert inside or clipped.area == 0
    assert clipped.area == pytest.approx(region_overlap([box], [Box(0, 0, *size)]).inter, rel=1e-9, abs=1e-9)


def test_nan_and_infinities_are_not_finite():
    assert is_finite(Point(1.0, -2.5))
    assert not is_finite((1.0, math.nan)) and not is_finite((math.inf, 0.0))
