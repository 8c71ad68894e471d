"""Masks: counts equal those of pixels, LISA's formulas to the last digit, and what the strict reading does not give away."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from evalkit.geometry import Mask, Size
from evalkit.metrics.masks import GoldAnswer, GoldMask, MaskIoU, PixelF1
from evalkit.rle import encode_mask
from evalkit.types import Estimate, Sample

Pixels = Any
Score = Callable[..., Mapping[str, Estimate]]
BOTH = [MaskIoU(), MaskIoU(strict=True)]


def box(x1: int, y1: int, x2: int, y2: int) -> Pixels:
    made = np.zeros((10, 20), dtype=bool)
    made[y1:y2, x1:x2] = True
    return made


def gold(target: Pixels, ignore: Pixels = None) -> GoldMask:
    return GoldMask(encode_mask(target), None if ignore is None else encode_mask(ignore))


NOTHING = box(0, 0, 0, 0)


@pytest.mark.parametrize("seed", range(30))
def test_counts_are_those_of_the_pixels_that_are_not_ignored(seed: int, sample: Callable[..., Sample]) -> None:
    rng = np.random.default_rng(seed)
    labels, predicted = rng.choice([0, 1, 255], size=(37, 23), p=rng.dirichlet([1, 1, 1])), rng.random((37, 23)) < rng.random()
    valid, target = labels != 255, labels == 1
    inter, union = int((predicted & target).sum()), int((valid & (predicted | target)).sum())
    asked = sample(gold(target, ~valid))
    assert MaskIoU().measure(encode_mask(predicted), asked) == {"iou": inter / (union + 1e-5), "inter": inter, "union": union}
    assert MaskIoU(strict=True).measure(encode_mask(predicted), asked) == {"iou": inter / union, "inter": inter, "union": union}


def test_no_mask_misses_the_whole_target_and_nothing_that_is_ignored(sample: Callable[..., Sample]) -> None:
    asked = sample(gold(box(0, 0, 5, 5), box(5, 0, 20, 10)))
    for metric in BOTH:
        assert metric.measure(None, asked) == {"iou": 0.0, "inter": 0.0, "union": 25.0}


def test_where_nothing_is_to_be_found_an_empty_mask_is_right_and_the_lack_of_one_is_not(sample: Callable[..., Sample]) -> None:
    nothing, hidden = sample(gold(NOTHING)), sample(gold(NOTHING, box(0, 0, 5, 5)))
    empty, ignored, wrong = (encode_mask(made) for made in (NOTHING, box(1, 1, 3, 3), box(9, 9, 10, 10)))
    for metric in BOTH:
        assert [metric.measure(value, nothing)["iou"] for value in (None, empty, wrong)] == [0.0, 1.0, 0.0]
        assert metric.measure(ignored, hidden)["iou"] == 1.0


def test_giou_is_the_mean_and_ciou_weighs_by_area(sample: Callable[..., Sample], score: Score) -> None:
    pairs = [
        (encode_mask(box(0, 0, 10, 10)), sample(gold(box(0, 0, 20, 10)))),  # 100 of 200
        (encode_mask(box(0, 0, 1, 1)), sample(gold(box(0, 0, 1, 1)))),  # 1 of 1
        (encode_mask(NOTHING), sample(gold(NOTHING))),
    ]
    lenient, strict = (score(metric, pairs) for metric in BOTH)
    assert lenient["giou"].value == pytest.approx((100 / 200.00001 + 1 / 1.00001 + 1) / 3, abs=1e-15)
    assert lenient["ciou"].value == 101 / (201 + 1e-10)
    assert (strict["giou"].value, strict["ciou"].value) == (pytest.approx(2.5 / 3), 101 / 201)
    for estimate in (*lenient.values(), *strict.values()):
        assert estimate.n == 3
        assert estimate.value is not None
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low <= estimate.value <= estimate.high


def test_perfect_masks_are_exactly_one_strictly_and_one_but_for_an_epsilon_else(sample: Callable[..., Sample], score: Score) -> None:
    pairs = [(encode_mask(made), sample(gold(made))) for made in (box(0, 0, 5, 5), box(2, 3, 4, 9), NOTHING)]
    lenient, strict = (score(metric, pairs) for metric in BOTH)
    assert (strict["giou"].value, strict["ciou"].value) == (1.0, 1.0)
    assert (lenient["giou"].value, lenient["ciou"].value) == (pytest.approx(1, abs=1e-6), pytest.approx(1, abs=1e-11))


@pytest.mark.parametrize("metric", BOTH)
def test_order_leaves_no_trace(metric: MaskIoU, sample: Callable[..., Sample], score: Score) -> None:
    pairs = [(encode_mask(box(0, 0, width, 7)), sample(gold(box(3, 0, 9, 9)))) for width in range(1, 15)]
    groups = [width // 2 for width in range(14)]
    assert score(metric, pairs, groups) == score(metric, pairs[::-1], groups[::-1])


@pytest.mark.parametrize("metric", BOTH)
def test_no_sample_at_all_has_no_number(metric: MaskIoU, score: Score) -> None:
    assert score(metric, []) == dict.fromkeys(("giou", "ciou"), Estimate(None, None, None, None, 0))


def test_only_empty_unions_have_the_authors_zero_and_strictly_no_number(sample: Callable[..., Sample], score: Score) -> None:
    pairs = [(None, sample(gold(NOTHING)))] * 2
    assert [score(metric, pairs)["ciou"].value for metric in BOTH] == [0.0, None]


def test_the_same_image_twice_is_no_more_certain(sample: Callable[..., Sample], score: Score) -> None:
    pairs = [(encode_mask(box(0, 0, width, 7)), sample(gold(box(3, 0, 9, 9)))) for width in range(4, 14)]
    once, twice = score(MaskIoU(), pairs), score(MaskIoU(), pairs * 2, [*range(10), *range(10)])
    for name in ("giou", "ciou"):
        assert twice[name].stderr == pytest.approx(once[name].stderr)


def test_a_mask_of_the_wrong_size_or_no_encoding_is_refused(sample: Callable[..., Sample]) -> None:
    asked = sample(gold(box(0, 0, 5, 5)))
    with pytest.raises(ValueError, match="expected a mask of 20 x 10 pixels, got a mask of 10 x 20"):
        MaskIoU().measure(encode_mask(box(0, 0, 5, 5).T), asked)
    with pytest.raises(ValueError, match="cover 7 pixels of 200"):
        MaskIoU().measure(Mask("7", Size(20, 10)), asked)


def test_gold_masks_fit_each_other() -> None:
    with pytest.raises(ValueError, match="expected a mask of 20 x 10 pixels"):
        gold(box(0, 0, 5, 5), box(6, 6, 7, 7).T)
    with pytest.raises(ValueError, match="got 1 pixels in both"):
        gold(box(0, 0, 5, 5), box(4, 4, 7, 7))
    with pytest.raises(ValueError, match="no compressed run-length encoding"):
        GoldMask(Mask("?!", Size(20, 10)))


def test_unipixels_policy_counts_ignored_pixels_as_background(sample: Callable[..., Sample]) -> None:
    """Its code writes -1 into a mask of uint8, where OpenCV stores 0: what LISA leaves out is background. 10 of 20 pixels, by hand."""
    target, ignored, predicted = box(0, 0, 5, 2), box(5, 0, 10, 2), encode_mask(box(0, 0, 10, 2))
    exclude, background = (MaskIoU(strict=True).measure(predicted, sample(gold(target, ignore))) for ignore in (ignored, None))
    assert exclude == {"iou": 1.0, "inter": 10.0, "union": 10.0}
    assert background == {"iou": 0.5, "inter": 10.0, "union": 20.0}


# ---------------------------------------------------------------- pixel F1


def volumes(*things: list[Pixels]) -> list[list[Mask]]:
    return [[encode_mask(frame) for frame in thing] for thing in things]


@pytest.mark.parametrize("seed", range(10))
def test_pixel_f1_and_j_are_scikit_learns_over_the_whole_volume(seed: int, sample: Callable[..., Sample]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    target, predicted = rng.random((2, 4, 13, 9)) < rng.random(2)[:, None, None, None]
    got = PixelF1().measure(volumes(list(predicted)), sample(GoldAnswer("A", volumes(list(target)))))
    assert got["pixel_f1"] == pytest.approx(metrics.f1_score(target.ravel(), predicted.ravel()), abs=1e-5)
    assert got["j"] == pytest.approx(metrics.jaccard_score(target.ravel(), predicted.ravel()), abs=1e-5)


def test_a_volume_is_not_the_mean_of_its_frames(sample: Callable[..., Sample]) -> None:
    """One frame of 100 pixels found, one of 4 missed: 100 / 104 and 200 / 204, where frames would have 1/2."""
    asked = sample(GoldAnswer("A", volumes([box(0, 0, 10, 10), box(0, 0, 2, 2)])))
    got = PixelF1().measure(volumes([box(0, 0, 10, 10), NOTHING]), asked)
    assert got == {"j": pytest.approx(100 / 104, abs=1e-7), "pixel_f1": pytest.approx(200 / 204, abs=1e-6), "objects": 1.0}


def test_where_nothing_is_to_be_found_the_volume_scores_nothing_whatever_was_masked(sample: Callable[..., Sample]) -> None:
    asked = sample(GoldAnswer("A", volumes([NOTHING, NOTHING])))
    for value in (volumes([NOTHING, NOTHING]), volumes([box(0, 0, 5, 5), NOTHING]), None):
        assert PixelF1().measure(value, asked) == {"j": 0.0, "pixel_f1": 0.0, "objects": 1.0}


def test_pixel_f1_is_the_mean_over_all_objects_of_all_samples(sample: Callable[..., Sample], score: Score) -> None:
    thing = [box(0, 0, 5, 5)]
    two, one = sample(GoldAnswer("A", volumes(thing, thing))), sample(GoldAnswer("B", volumes(thing)))
    estimates = score(PixelF1(), [(volumes(thing, thing), two), (None, one)])
    assert {name: round(estimate.value or 0, 4) for name, estimate in estimates.items()} == dict.fromkeys(
        ("j", "pixel_f1", "j_and_pixel_f1"), 0.6667
    )
    assert all(estimate.n == 2 for estimate in estimates.values())
    assert all(estimate.value is None for estimate in score(PixelF1(), []).values())


def test_volumes_of_another_number_of_objects_frames_or_pixels_are_refused(sample: Callable[..., Sample]) -> None:
    thing = [box(0, 0, 5, 5), NOTHING]
    asked = sample(GoldAnswer("A", volumes(thing)))
    for value in (volumes(thing, thing), volumes(thing[:1]), volumes([frame.T for frame in thing])):
        with pytest.raises(ValueError, match=r"zip|expected a mask of 20 x 10 pixels"):
            PixelF1().measure(value, asked)


def test_a_gold_answer_is_its_words_wherever_words_are_asked_for() -> None:
    answer = GoldAnswer("B", volumes([box(0, 0, 5, 5)]))
    assert (answer, f"{answer}", "ABC".index(answer)) == ("B", "B", 1)
    with pytest.raises(ValueError, match="no compressed run-length encoding"):
        GoldAnswer("B", [[Mask("?!", Size(20, 10))]])
