"""Run-length encodings: what is made, measured and joined equals what pixels say, and nothing unfit reaches pycocotools."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from evalkit.geometry import Mask, Size
from evalkit.rle import FittedMask, encode_mask, fitted_mask, mask_areas, union_mask
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
