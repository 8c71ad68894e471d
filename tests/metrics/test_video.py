"""J and F of videos: DAVIS' numbers to the last digit, derived by hand and by two other codes, and what a frame without a mask is."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from evalkit.errors import DataError
from evalkit.geometry import Mask, Size
from evalkit.metrics.video import GoldVideo, JAndF, Robustness, VideoMasks, region_and_boundary
from evalkit.rle import encode_mask
from evalkit.types import Estimate, Sample

Pixels = Any
Score = Callable[..., Mapping[str, Estimate]]
WIDTH, HEIGHT = 20, 10
SIZE = Size(WIDTH, HEIGHT)


def box(x1: int, y1: int, x2: int, y2: int, size: tuple[int, int] = SIZE) -> Mask:
    made = np.zeros(size[::-1], dtype=bool)
    made[y1:y2, x1:x2] = True
    return encode_mask(made)


NOTHING, EVERYTHING = box(0, 0, 0, 0), box(0, 0, WIDTH, HEIGHT)


def video(*masks: Mask | None, **more: Any) -> GoldVideo:
    return GoldVideo(len(masks), (masks,), SIZE, **more)


def measured(value: Sequence[Any] | None, gold: GoldVideo, sample: Callable[..., Sample]) -> Any:
    return JAndF().measure(None if value is None else VideoMasks(value), sample(gold))


# ---------------------------------------------------------------- one frame


def test_a_square_beside_its_gold_shares_no_region_and_five_of_eight_boundary_pixels() -> None:
    """The boundary of a 2 x 2 square is the ring of the 8 pixels around its first one. Two rings 2 apart share a column of 3, and
    2 more pixels of each lie 1 beside one of the other's; a tolerance of 0.008 * sqrt(20² + 10²) pixels is 1 when rounded up."""
    assert region_and_boundary(box(4, 2, 6, 4), box(2, 2, 4, 4)) == (0.0, 5 / 8)  # type: ignore[arg-type]


def test_a_boundary_may_be_off_by_0008_of_the_diagonal_rounded_up() -> None:
    """0.008 * sqrt(854² + 480²) is 7.84: 8 pixels are forgiven, 9 are not."""
    frame = (854, 480)
    gold = box(100, 100, 400, 300, frame)
    assert [region_and_boundary(box(100 + n, 100, 400 + n, 300, frame), gold)[1] == 1 for n in (0, 8, 9)] == [True, True, False]  # type: ignore[arg-type]


def test_an_empty_mask_is_right_where_nothing_is_to_be_found_and_none_is_an_empty_one() -> None:
    for nothing in (NOTHING, None):
        for empty in (NOTHING, None):
            assert region_and_boundary(nothing, empty) == (1.0, 1.0)  # type: ignore[arg-type]
        assert region_and_boundary(nothing, box(3, 3, 9, 9)) == region_and_boundary(box(3, 3, 9, 9), nothing) == (0.0, 0.0)  # type: ignore[arg-type]


def test_a_mask_of_everything_has_no_boundary_as_with_davis() -> None:
    assert region_and_boundary(EVERYTHING, EVERYTHING) == (1.0, 1.0)  # type: ignore[arg-type]
    assert region_and_boundary(EVERYTHING, None) == (0.0, 1.0)  # type: ignore[arg-type]
    assert region_and_boundary(EVERYTHING, box(0, 0, 10, 10)) == (0.5, 0.0)  # type: ignore[arg-type]


def pairs(count: int, seed: int) -> Iterator[tuple[Pixels, Pixels]]:
    """Masks of any size: noise, blocks that reach the borders, and either of them moved a little."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        height, width = rng.integers(1, 140, 2)
        first = rng.random((height, width)) < rng.random()
        if number % 3:
            first = np.kron(rng.random((height // 9 + 1, width // 9 + 1)) < 0.3, np.ones((9, 9), dtype=bool))[:height, :width]
        other = rng.random((height, width)) < 0.1 if number % 4 == 0 else np.roll(first, rng.integers(-4, 5, 2), (0, 1))
        yield first, other


def literal(first: Pixels, second: Pixels) -> float:
    """DAVIS' F as its definition reads: the boundaries are dilated by a disk, and each is compared with the other's dilation."""
    from scipy.ndimage import binary_dilation

    def boundary(pixels: Pixels) -> Pixels:
        height, width = pixels.shape
        edge = np.zeros_like(pixels)
        for y in range(height):
            for x in range(width):
                beside = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
                edge[y, x] = any(v < height and u < width and pixels[y, x] != pixels[v, u] for v, u in beside)
        return edge

    radius = math.ceil(0.008 * math.hypot(*first.shape))
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disk, one, other = x * x + y * y <= radius * radius, boundary(first), boundary(second)
    if not one.any() or not other.any():
        return float(one.any() == other.any())
    precision = (one & binary_dilation(other, disk)).sum() / one.sum()
    recall = (other & binary_dilation(one, disk)).sum() / other.sum()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def test_f_is_that_of_dilated_boundaries() -> None:
    for first, second in pairs(24, 0):
        j, f = region_and_boundary(encode_mask(first), encode_mask(second))
        union = (first | second).sum()
        assert j == ((first & second).sum() / union if union else 1.0)
        assert f == pytest.approx(literal(first, second), abs=1e-15)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_f_is_that_of_trackeval() -> None:
    reference = pytest.importorskip("trackeval.metrics.j_and_f", exc_type=ImportError).JAndF
    for first, second in pairs(150, 1):
        masks = [encode_mask(pixels) for pixels in (first, second)]
        gold, predicted = (
            [[{"size": [*pixels.shape], "counts": mask.counts}]] for pixels, mask in zip((second, first), masks, strict=True)
        )
        assert region_and_boundary(*masks)[1] == reference._compute_f(gold, predicted, 0, 0, 0.008)[0]


def test_j_and_f_do_not_tell_a_mask_from_its_gold() -> None:
    for first, second in pairs(20, 2):
        one, other = encode_mask(first), encode_mask(second)
        assert region_and_boundary(one, other) == pytest.approx(region_and_boundary(other, one), abs=1e-15)


def test_masks_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="expected masks of one size in a frame, got 5 x 4 and 20 x 10 pixels"):
        region_and_boundary(box(0, 0, 2, 2, (5, 4)), NOTHING)  # type: ignore[arg-type]


# ---------------------------------------------------------------- a video


def test_a_video_is_the_mean_over_its_frames(sample: Callable[..., Sample]) -> None:
    gold = video(box(2, 2, 4, 4), box(2, 2, 4, 4), None, box(2, 2, 4, 4))
    record = measured((box(2, 2, 4, 4), box(4, 2, 6, 4), None, None), gold, sample)
    assert record == {"j_and_f": (2 / 4 + (2 + 5 / 8) / 4) / 2, "j": 2 / 4, "f": (2 + 5 / 8) / 4}
    assert next(iter(record)) == "j_and_f"


def test_silence_scores_nothing_even_where_nothing_is_to_be_found(sample: Callable[..., Sample]) -> None:
    for gold in (video(None, None), video(NOTHING, NOTHING)):
        assert measured(None, gold, sample)["j_and_f"] == 0.0
        assert measured((None, NOTHING), gold, sample)["j_and_f"] == 1.0


def test_hidden_gold_measures_nothing(sample: Callable[..., Sample]) -> None:
    hidden = GoldVideo(2, hidden=True)
    for value in (None, VideoMasks((NOTHING, None))):  # type: ignore[arg-type]
        assert JAndF().measure(value, sample(hidden)) == {}
        assert Robustness().measure(value, sample(hidden)) == {}


def test_masks_that_are_not_as_many_as_the_frames_are_refused(sample: Callable[..., Sample]) -> None:
    for metric in (JAndF(), Robustness()):
        with pytest.raises(ValueError, match="expected 2 masks for clip/7, one a frame, got 1"):
            metric.measure(VideoMasks((None,)), sample(video(None, None, name="clip/7", foreground=(None, None))))


def test_objects_that_lie_over_each_other_are_one_region_however_many(sample: Callable[..., Sample]) -> None:
    """Added up as bytes, 256 of them would be none at all."""
    here, beside = box(2, 2, 6, 6), box(4, 2, 8, 6)
    gold = GoldVideo(2, (*[(here, here)] * 256, (beside, None)), SIZE)
    assert measured((box(2, 2, 8, 6), here), gold, sample) == {"j_and_f": 1.0, "j": 1.0, "f": 1.0}
    assert gold.masks == (box(2, 2, 8, 6), here)


def test_the_gold_as_an_answer_is_right(sample: Callable[..., Sample]) -> None:
    for gold in (video(box(2, 2, 4, 4), None, EVERYTHING), GoldVideo(2, (), None), GoldVideo(3, hidden=True)):
        assert len(gold.masks) == gold.count
        assert measured(gold.masks, gold, sample) in ({"j_and_f": 1.0, "j": 1.0, "f": 1.0}, {})


class Noting(Sequence[Mask | None]):
    """Makes its masks when asked, and notes for which frames it was."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __len__(self) -> int:
        return 4

    def __getitem__(self, number: Any) -> Any:
        self.asked.append(number)
        return box(number, 2, number + 4, 6)


def test_gold_is_read_when_it_is_measured_and_each_frame_once(sample: Callable[..., Sample]) -> None:
    masks = Noting()
    gold = GoldVideo(4, (masks,), SIZE)
    asked = sample(gold)
    assert masks.asked == []
    assert "box" not in repr(gold)
    assert measured([box(n, 2, n + 4, 6) for n in range(4)], gold, sample)["j"] == 1
    assert asked.target is gold
    assert masks.asked == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("mask", "said"),
    [(box(0, 0, 1, 1, (5, 4)), "a mask of 5 x 4 pixels for an image of 20 x 10"), (Mask("7", SIZE), "cover 7 pixels of 200")],
)
def test_an_annotation_that_does_not_fit_is_named_with_its_frame(mask: Mask, said: str, sample: Callable[..., Sample]) -> None:
    with pytest.raises(DataError, match=f"expected an annotation that fits clip/7, got for frame 1 .*{said}"):
        measured((None, None), video(None, mask, name="clip/7"), sample)


def test_estimates_are_means_over_videos_and_order_leaves_no_trace(sample: Callable[..., Sample], score: Score) -> None:
    golds = [video(box(2, 2, 2 + width, 9), None) for width in range(1, 13)]
    made = [(VideoMasks((box(2, 2, 8, 9), None)), sample(gold)) for gold in golds]  # type: ignore[arg-type]
    groups = [place // 2 for place in range(12)]
    numbers = score(JAndF(), made, groups)
    assert list(numbers) == ["j_and_f", "j", "f"]
    assert numbers["j"].value == pytest.approx(np.mean([(min(w, 6) / max(w, 6) + 1) / 2 for w in range(1, 13)]))
    assert numbers["j_and_f"].value == pytest.approx((numbers["j"].value + numbers["f"].value) / 2)  # type: ignore[operator]
    assert numbers["j"].low < numbers["j"].value < numbers["j"].high  # type: ignore[operator]
    assert score(JAndF(), made[::-1], groups[::-1]) == numbers
    assert score(JAndF(), [])["j"] == Estimate(None, None, None, None, 0)


# ---------------------------------------------------------------- accuracy and robustness


def test_a_perfect_mask_of_a_fifth_of_the_image_is_accurate_to_four_fifths_as_revos_codes_it(sample: Callable[..., Sample]) -> None:
    gold = video(box(0, 0, 4, 10), foreground=(box(0, 0, 8, 10),))
    value = VideoMasks((box(0, 0, 4, 10),))  # type: ignore[arg-type]
    assert Robustness().measure(value, sample(gold)) == {"pixel_accuracy": 1.0, "robustness": 1.0}
    assert Robustness(coded=True).measure(value, sample(gold)) == {"pixel_accuracy": 0.8, "robustness": 1.0}


def test_a_pixel_too_many_costs_all_robustness_as_coded_and_its_share_as_meant(sample: Callable[..., Sample]) -> None:
    """A foreground of 40 pixels and 1 in excess: 1 - 1 / 40 = 0.975; as coded 1 - 255 / 40 is cut at 0."""
    gold = video(box(0, 0, 4, 10), foreground=(box(0, 0, 4, 10),))
    more = np.zeros((HEIGHT, WIDTH), dtype=bool)
    more[:, :4], more[0, 4] = True, True
    value = VideoMasks((encode_mask(more),))
    assert Robustness().measure(value, sample(gold))["robustness"] == pytest.approx(0.975, abs=1e-8)
    assert Robustness(coded=True).measure(value, sample(gold))["robustness"] == 0.0


def test_accuracy_and_robustness_are_those_of_pixels(sample: Callable[..., Sample]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        target, there, masked = (rng.random((3, HEIGHT, WIDTH)) < rng.random() for _ in range(3))
        gold = video(*map(encode_mask, target), foreground=tuple(map(encode_mask, there)))
        value = VideoMasks(tuple(map(encode_mask, masked)))
        for coded, white in ((False, 1), (True, 255)):
            accuracy = np.mean(target.astype(int) == masked * white)
            robustness = np.mean(
                [max(1 - white * (~t & m).sum() / (f.sum() + 1e-6), 0) for t, f, m in zip(target, there, masked, strict=True)]
            )
            record = Robustness(coded).measure(value, sample(gold))
            assert record == {"pixel_accuracy": pytest.approx(accuracy), "robustness": pytest.approx(robustness)}


def test_robustness_has_no_record_without_a_foreground_and_is_nothing_for_silence(sample: Callable[..., Sample]) -> None:
    assert Robustness().measure(VideoMasks((None,)), sample(video(None))) == {}
    known = sample(video(None, foreground=(None,)))
    assert Robustness().measure(None, known) == {"pixel_accuracy": 0.0, "robustness": 0.0}
    assert Robustness().measure(VideoMasks((None,)), known) == {"pixel_accuracy": 1.0, "robustness": 1.0}
