"""Run-length encodings: what is made, measured and joined equals what pixels say, and nothing unfit reaches pycocotools."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from evalkit.geometry import Box, Mask, Size
from evalkit.rle import FittedMask, coco_mask, empty_mask, encode_mask, fitted_mask, mask_areas, mask_box, union_mask
from evalkit.types import Unparsed


def pixels(seed: int, height: int = 13, width: int = 40) -> "np.ndarray[Any, Any]":
    """Runs of all lengths: noise and blocks."""
    rng = np.random.default_rng(seed)
    return rng.random((height, width)) < rng.choice([0.02, 0.5, 0.98])


def written(*runs: int) -> str:
    """Runs as the compressed string, whether or not they make sense."""
    text = ""
    for place, run in enumerate(runs):
        number = run - runs[place - 2] if place > 2 else run
        more = True
        while more:
            digit, number = number & 31, number >> 5
            more = number != (-1 if digit & 16 else 0)
            text += chr(48 + digit + 32 * more)
    return text


@pytest.mark.parametrize("seed", range(20))
def test_areas_shared_pixels_and_unions_are_those_of_the_pixels(seed: int) -> None:
    a, b, c = (pixels(3 * seed + place) for place in range(3))
    masks = [encode_mask(each) for each in (a, b, c)]
    assert mask_areas(*masks) == [a.sum(), (a & b).sum(), (a & c).sum()]
    assert union_mask(masks) == encode_mask(a | b | c)
    assert union_mask(masks[:1]) == masks[0]


@pytest.mark.parametrize("height", [1, 7, 700, 40_000])
def test_what_pycocotools_writes_fits_and_stays_as_it_is(height: int) -> None:
    for made in (pixels(height, height, 3), np.zeros((height, 3)), np.ones((height, 3))):
        told = coco.encode(np.asfortranarray(made, dtype=np.uint8))["counts"].decode()
        fitted = fitted_mask(Mask(told, Size(3, height)), Size(3, height))
        assert fitted == encode_mask(made) == (told, (3, height))
        assert isinstance(fitted, FittedMask)


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ("", "no compressed"),
        ("nonsense", "no compressed"),
        ("o", "no compressed"),
        ("4\u2009", "no compressed"),
        ("é", "no compressed"),
        (None, "no compressed"),
        ([4], "no compressed"),
        (written(30, -20, 2), "no compressed"),
        ("`" * 40 + "0", "no compressed"),
        (written(6, 5), "cover 11 pixels of 12"),
        (written(2**31, 12), "pixels of 12"),
    ],
)
def test_what_is_no_encoding_of_the_size_is_told_apart(counts: Any, reason: str) -> None:
    told = fitted_mask(Mask(counts, Size(4, 3)), Size(4, 3))
    assert isinstance(told, Unparsed)
    assert reason in told.reason


def test_a_mask_of_another_size_is_told_apart_whatever_its_runs() -> None:
    told = fitted_mask(encode_mask(np.ones((4, 3))), Size(4, 3))
    assert told == Unparsed("a mask of 3 x 4 pixels for an image of 4 x 3")


def test_empty_runs_are_joined() -> None:
    size = Size(4, 3)
    assert fitted_mask(Mask(written(2, 3, 0, 4, 3), size), size) == (written(2, 7, 3), size)
    assert fitted_mask(Mask(written(2, 10, 0), size), size) == (written(2, 10), size)
    assert fitted_mask(Mask(written(0, 0, 12), size), size) == (written(12), size)
    assert fitted_mask(Mask(written(12, *[0] * 5000), size), size) == (written(12), size)


CHARACTERS = st.text(st.characters(min_codepoint=48, max_codepoint=111))
SMALL_RUNS = st.lists(st.integers(-2, 9)).map(lambda runs: written(*runs))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' decode under NumPy 2
@settings(max_examples=300, deadline=None)
@given(CHARACTERS | SMALL_RUNS)
def test_any_text_is_either_told_apart_or_safe_to_measure(counts: str) -> None:
    size = Size(4, 3)
    told = fitted_mask(Mask(counts, size), size)
    if isinstance(told, FittedMask):
        decoded = coco.decode({"size": [3, 4], "counts": counts})
        assert encode_mask(decoded) == told
        assert mask_areas(told, encode_mask(np.ones((3, 4)))) == [decoded.sum()] * 2
    else:
        assert told.reason


# ---------------------------------------------------------------- COCO's segmentations


def test_polygons_are_drawn_as_pycocotools_draws_them() -> None:
    polygons = [[1.2, 0.7, 9.5, 1.1, 7.3, 8.8], [20.0, 2.0, 31.0, 2.0, 31.0, 12.0, 20.0, 12.0], [-5, -5, 4, -5, 4, 4]]
    made = coco_mask(polygons, Size(40, 13))
    assert made == FittedMask(coco.merge(coco.frPyObjects(polygons, 13, 40))["counts"].decode(), Size(40, 13))
    assert mask_areas(made)[0] > 110


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.floats(-30, 60, width=16), min_size=6, max_size=12).filter(lambda p: len(p) % 2 == 0), min_size=1, max_size=3))
def test_any_polygon_gives_a_mask_whose_runs_fit(polygons: list[list[float]]) -> None:
    made = coco_mask(polygons, Size(17, 11))
    assert isinstance(made, FittedMask)
    assert fitted_mask(Mask(*made), Size(17, 11)) == made


def test_run_lengths_are_read_as_a_list_and_as_a_string() -> None:
    made = encode_mask(pixels(3))
    assert coco_mask({"counts": made.counts, "size": [13, 40]}, Size(40, 13)) == made
    assert coco_mask({"counts": [520], "size": [13, 40]}, Size(40, 13)) == encode_mask(np.zeros((13, 40)))


# ---------------------------------------------------------------- boxes of masks


@pytest.mark.parametrize("seed", range(30))
def test_the_box_of_the_large_parts_is_scipys(seed: int) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    seen, least = pixels(seed), 1 + seed % 12
    labels, _ = ndimage.label(seen, np.ones((3, 3)))
    large = np.isin(labels, [part for part in range(1, labels.max() + 1) if (labels == part).sum() >= least])
    ys, xs = np.nonzero(large)
    expected = Box(xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) if len(xs) else None
    assert mask_box(encode_mask(seen), least) == expected


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 12).flatmap(lambda height: st.lists(st.lists(st.booleans(), min_size=height, max_size=height), min_size=1, max_size=12)),
    st.integers(1, 6),
)
def test_the_box_of_any_mask_is_that_of_its_pixels_filled_part_by_part(columns: list[list[bool]], least: int) -> None:
    seen = np.array(columns).T
    left, large = set(map(tuple, np.argwhere(seen).tolist())), list[tuple[int, int]]()
    while left:
        part, edge = list[tuple[int, int]](), [left.pop()]
        while edge:
            y, x = edge.pop()
            part.append((y, x))
            near = {(y + down, x + right) for down in (-1, 0, 1) for right in (-1, 0, 1)} & left
            left -= near
            edge += near
        large += part if len(part) >= least else []
    ys, xs = zip(*large, strict=True) if large else ((), ())
    assert mask_box(encode_mask(seen), least) == (Box(min(xs), min(ys), max(xs) + 1, max(ys) + 1) if large else None)


def test_a_part_that_winds_through_the_whole_image_is_one() -> None:
    """A spiral and a comb, whose pieces meet late: each its whole area, and one pixel more is none."""
    height = 41
    comb = np.zeros((height, height), dtype=bool)
    comb[::2], comb[-1] = True, True
    comb[:, 0] = True
    spiral = np.zeros((height, height), dtype=bool)
    y = x = 0
    for turn, length in enumerate(sorted([*range(height - 1, 0, -2)] * 2, reverse=True)):
        down, right = ((0, 1), (1, 0), (0, -1), (-1, 0))[turn % 4]
        for _ in range(length):
            spiral[y, x] = True
            y, x = y + down, x + right
    for winding in (comb, comb.T, comb[::-1, ::-1], spiral, spiral.T):
        area = int(winding.sum())
        ys, xs = np.nonzero(winding)
        assert mask_box(encode_mask(winding), area) == Box(xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        assert mask_box(encode_mask(winding), area + 1) is None


def test_an_empty_mask_is_that_of_no_pixel() -> None:
    assert empty_mask(Size(40, 13)) == encode_mask(np.zeros((13, 40)))
    assert empty_mask(Size(1, 1)) == encode_mask(np.zeros((1, 1)))


def test_pixels_that_touch_by_a_corner_are_one_part_and_the_foot_of_a_column_does_not_touch_the_next_ones_head() -> None:
    diagonal, wrapped = np.eye(6, 8), np.zeros((6, 8))
    wrapped[5, 2] = wrapped[0, 3] = 1
    assert mask_box(encode_mask(diagonal), 6) == Box(0, 0, 6, 6)
    assert (mask_box(encode_mask(wrapped), 1), mask_box(encode_mask(wrapped), 2)) == (Box(2, 0, 4, 6), None)
    assert mask_box(encode_mask(np.zeros((6, 8)))) is None
    assert mask_box(encode_mask(np.ones((6, 8)))) == Box(0, 0, 8, 6)
