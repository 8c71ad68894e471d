"""Average precision agrees with pycocotools to rounding, and suppression by gold boxes with its literal restatement."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from evalkit.errors import DataError
from evalkit.geometry import Box, Mask, Size
from evalkit.metrics.detection import AveragePrecision, Detection, GoldBox, NMSAveragePrecision, suppressed
from evalkit.types import Columns, Estimate, Sample, Wants

NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large")
SIZE = Size(320, 240)
Images = Mapping[int, tuple[Sequence[Detection], Sequence[GoldBox]]]


def by_id(sample: Sample) -> float:
    return float(sample.id)


def sample(number: int, gold: Sequence[GoldBox]) -> Sample:
    return Sample(str(number), "", "", (), Wants("boxes"), tuple(gold))


def scored(metric: Any, images: Images, group: Mapping[int, int] | None = None) -> Mapping[str, Estimate]:
    """The estimates, the images in the order in which they come, each a cluster of its own unless `group` says."""
    records = [metric.measure(found, sample(number, gold)) for number, (found, gold) in images.items()]
    values = {}
    for name in records[0]:
        column = [record[name] for record in records]
        values[name] = np.array(column, dtype=float) if isinstance(column[0], float) else np.empty(len(column), dtype=object)
        if values[name].dtype == object:
            values[name][:] = [np.array(cell, dtype=float) for cell in column]
    return metric.summarise(Columns(values, np.array([group[number] if group else number for number in images])))


def xywh(box: Box) -> list[float]:
    return [box.x1, box.y1, box.x2 - box.x1, box.y2 - box.y1]


def coco(mask: Mask) -> dict[str, Any]:
    return {"counts": mask.counts, "size": [mask.size.height, mask.size.width]}


def official(images: Images, kind: str = "bbox") -> list[float | None]:
    """The twelve numbers of pycocotools, None for -1."""
    labels = sorted({item.label for found, gold in images.values() for item in (*found, *gold)})
    gold = [
        {"image_id": number, "category_id": labels.index(item.label), "bbox": xywh(item.box), "area": item.area, "iscrowd": int(item.crowd)}
        | ({"segmentation": coco(item.mask)} if item.mask else {})
        for number, (_, boxes) in images.items()
        for item in boxes
    ]
    results = [
        {"image_id": number, "category_id": labels.index(item.label), "score": item.score}
        | ({"segmentation": coco(item.mask)} if item.mask else {"bbox": xywh(item.box)})
        for number, (found, _) in images.items()
        for item in found
    ]
    truth = COCO()
    truth.dataset = {
        "images": [{"id": number, "width": SIZE.width, "height": SIZE.height} for number in images],
        "categories": [{"id": place, "name": label} for place, label in enumerate(labels)],
        "annotations": [row | {"id": place} for place, row in enumerate(gold, 1)],
        "info": {},
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [None if value == -1 else float(value) for value in evaluation.stats]


def twelve(estimates: Mapping[str, Estimate]) -> list[float | None]:
    return [estimates[name].value for name in NAMES]


def same(ours: Sequence[float | None], theirs: Sequence[float | None]) -> bool:
    return [value is None for value in ours] == [value is None for value in theirs] and all(
        a == pytest.approx(b, abs=1e-9) for a, b in zip(ours, theirs, strict=True) if a is not None
    )


def drawn(
    seed: int, images: int = 12, labels: int = 4, most: int = 6, whole: bool = False
) -> dict[int, tuple[list[Detection], list[GoldBox]]]:
    """Gold boxes of every size, a few of them crowds, and detections near them; scores, and with `whole` corners, that often tie."""
    rng = np.random.default_rng(seed)

    def box(scale: float) -> Box:
        x, y, width, height = rng.random(4) * (200, 140, scale, scale) + (0, 0, 4, 4)
        numbers = (x, y, x + width, y + height)
        return Box(*(map(round, numbers) if whole else numbers))

    made = {}
    for number in rng.permutation(images).tolist():
        gold = [
            GoldBox(
                item := box(rng.choice([30.0, 80.0, 130.0])),
                str(rng.integers(labels)),
                item.area * rng.choice([0.6, 1.0]),
                rng.random() < 0.1,
            )
            for _ in range(rng.integers(most))
        ]
        found = [Detection(box(100), str(rng.integers(labels + 1)), round(rng.random(), 1)) for _ in range(rng.integers(most))]
        for item in [item for item in gold if rng.random() < 0.8]:
            shift = rng.normal(0, 0.08, 4) * (item.box.x2 - item.box.x1)
            near = Box(*(item.box + shift)) if not whole else Box(*map(round, item.box + shift * 0.5))
            found.append(Detection(near.ordered(), item.label if rng.random() < 0.9 else str(rng.integers(labels)), round(rng.random(), 1)))
        made[number] = ([found[place] for place in rng.permutation(len(found))], gold)
    return made


@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=25, deadline=None)
def test_the_twelve_numbers_are_those_of_pycocotools(seed: int, whole: bool) -> None:
    images = drawn(seed, whole=whole)
    if any(found for found, _ in images.values()):
        assert same(twelve(scored(AveragePrecision(order=by_id), images)), official(images))


def test_the_twelve_numbers_of_masks_are_those_of_pycocotools() -> None:
    def masked(item: Any) -> Any:
        pixels = np.zeros((SIZE.height, SIZE.width), dtype=np.uint8, order="F")
        x1, y1, x2, y2 = (int(number) for number in item.box)
        pixels[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] = (
            np.eye(SIZE.height, SIZE.width)[: max(y2, 0) - max(y1, 0), : max(x2, 0) - max(x1, 0)] + 1 > 0
        )
        pixels[max(y1, 0) : (y1 + y2) // 2 : 3] = 0
        return item._replace(mask=Mask(rle.encode(pixels)["counts"].decode(), SIZE))

    images = {number: ([*map(masked, found)], [*map(masked, gold)]) for number, (found, gold) in drawn(5, images=20).items()}
    ours = twelve(scored(AveragePrecision("mask", order=by_id), images))
    assert same(ours, official(images, "segm"))
    assert not same(ours, official(images))


@pytest.mark.parametrize("mask", [None, Mask("12", SIZE)], ids=["none", "runs that do not fill it"])
def test_masks_that_cannot_be_compared_are_an_error(mask: Mask | None) -> None:
    gold = GoldBox(Box(0, 0, 9, 9), "cup", mask=Mask(rle.encode(np.ones((240, 320), dtype=np.uint8, order="F"))["counts"].decode(), SIZE))
    with pytest.raises(DataError, match="mask with each Detection"):
        AveragePrecision("mask").measure([Detection(gold.box, "cup", 1.0, mask)], sample(1, [gold]))


def test_of_more_than_a_hundred_detections_of_a_label_in_an_image_the_highest_scores_count() -> None:
    gold = [GoldBox(Box(0, 0, 10, 10), "cup"), GoldBox(Box(50, 50, 60, 60), "mug")]
    sure = [Detection(Box(100, 100 + i / 10, 110, 110), "cup", 0.5 + i / 1000) for i in range(100)]
    images = {
        1: ([Detection(gold[0].box, "cup", 0.4), *sure, Detection(gold[1].box, "mug", 0.1)], [item._replace(area=100.0) for item in gold])
    }
    assert twelve(scored(AveragePrecision(order=by_id), images)) == [
        pytest.approx(value) if value is not None else None for value in official(images)
    ]
    assert scored(AveragePrecision(), images)["ap"].value == pytest.approx(0.5)


def test_an_area_that_no_annotation_gives_is_the_boxs_own() -> None:
    images = drawn(3)
    own = {number: (found, [item._replace(area=item.box.area) for item in gold]) for number, (found, gold) in images.items()}
    none = {number: (found, [item._replace(area=None) for item in gold]) for number, (found, gold) in images.items()}
    metric = AveragePrecision(order=by_id)
    assert twelve(scored(metric, none)) == twelve(scored(metric, own)) != twelve(scored(metric, images))


@pytest.mark.parametrize("metric", [AveragePrecision(), AveragePrecision(ties="together"), NMSAveragePrecision(order=by_id)])
def test_neither_the_order_of_records_nor_the_codes_of_clusters_change_an_estimate(metric: Any) -> None:
    images = drawn(7)
    backwards = dict(reversed(images.items()))
    codes = {number: 1000 - 7 * number for number in images}
    assert scored(metric, images) == scored(metric, backwards) == scored(metric, images, codes)


def test_the_names_of_labels_do_not_matter() -> None:
    images = drawn(8)
    other = {
        number: (
            [item._replace(label=f"z{9 - int(item.label)}") for item in found],
            [item._replace(label=f"z{9 - int(item.label)}") for item in gold],
        )
        for number, (found, gold) in images.items()
    }
    metric = AveragePrecision(order=by_id)
    assert twelve(scored(metric, images)) == pytest.approx(twelve(scored(metric, other)), abs=1e-12)


def one_label(right: int, wrong: int, gold: int) -> dict[int, tuple[list[Detection], list[GoldBox]]]:
    """One image for each detection or gold box, all scores equal, the right detections first."""
    cup = GoldBox(Box(0, 0, 10, 10), "cup")
    found = [[Detection(cup.box, "cup", 1.0)]] * right + [[]] * (gold - right) + [[Detection(Box(50, 50, 60, 60), "cup", 1.0)]] * wrong
    return {number: (boxes, [cup] if number < gold else []) for number, boxes in enumerate(found)}


def test_equal_scores_come_in_the_order_of_their_images_or_all_at_once() -> None:
    images = one_label(right=3, wrong=3, gold=4)
    backwards = {-number: content for number, content in images.items()}
    for shown, first in ((images, 1.0), (backwards, 0.5)):
        assert scored(AveragePrecision(order=by_id), shown)["ap"].value == pytest.approx(first * 76 / 101)
        assert scored(AveragePrecision(order=by_id, ties="together"), shown)["ap"].value == pytest.approx(0.5 * 76 / 101)


def test_distinct_scores_make_the_same_curve_either_way() -> None:
    rng = np.random.default_rng(4)
    images = {number: ([item._replace(score=rng.random()) for item in found], gold) for number, (found, gold) in drawn(9).items()}
    apart, together = (twelve(scored(AveragePrecision(ties=ties, order=by_id), images)) for ties in ("order", "together"))
    assert apart == pytest.approx(together, abs=1e-12)


def test_a_resample_is_the_data_set_with_its_images_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    images = drawn(11, images=6)
    weights = {1: [3, 0, 2, 0, 1, 0], 2: [0, 1, 1, 2, 0, 2]}
    monkeypatch.setattr("evalkit.stats.resample_weights", lambda group, *columns, resamples: np.array(list(weights.values())))
    estimates = scored(AveragePrecision(order=by_id), images)
    repeated = [
        official({10 * number + copy: images[number] for number in sorted(images) for copy in range(times[number])})
        for times in weights.values()
    ]
    expected = [abs(a - b) / 2**0.5 if a is not None and b is not None else None for a, b in zip(*repeated, strict=True)]
    assert [None if wanted is None else estimates[name].stderr for name, wanted in zip(NAMES, expected, strict=True)] == [
        None if wanted is None else pytest.approx(wanted, abs=1e-9) for wanted in expected
    ]
    assert expected[0]


def test_the_interval_holds_the_value_and_is_not_one_sided() -> None:
    estimate = scored(AveragePrecision(order=by_id), drawn(12, images=60))["ap"]
    assert 0 < estimate.low < estimate.value - 0.01 < estimate.value + 0.01 < estimate.high < 1
    assert estimate.n == 60


def test_a_single_cluster_has_a_value_and_no_interval() -> None:
    images = drawn(13)
    estimate = scored(AveragePrecision(), images, dict.fromkeys(images, 5))["ap"]
    assert estimate.value is not None
    assert (estimate.stderr, estimate.low, estimate.high, estimate.n) == (None, None, None, 12)


def test_without_a_gold_box_that_counts_there_is_no_value() -> None:
    crowd = GoldBox(Box(0, 0, 10, 10), "cup", crowd=True)
    found = [Detection(crowd.box, "cup", 1.0)]
    estimates = scored(AveragePrecision(), {1: (found, []), 2: (found, [crowd]), 3: ([], [])})
    assert {(estimate.value, estimate.n) for estimate in estimates.values()} == {(None, 3)}


def test_where_there_is_no_record_there_is_no_value() -> None:
    for metric in (AveragePrecision(), NMSAveragePrecision()):
        estimates = metric.summarise(Columns({}, np.zeros(0, dtype=np.int64)))
        assert {(estimate.value, estimate.n) for estimate in estimates.values()} == {(None, 0)}


def test_an_unparsed_reply_misses_every_gold_box_of_its_image() -> None:
    cup = GoldBox(Box(0, 0, 10, 10), "cup")
    found = [Detection(cup.box, "cup", 1.0)]
    assert scored(AveragePrecision(), {1: (found, [cup]), 2: (None, [cup])})["ar100"].value == pytest.approx(0.5)


def literal(found: Sequence[Detection], gold: Sequence[GoldBox]) -> list[int]:
    """Which detections stay, in the words of the authors' eval.py."""
    kept, removed = set(), set()
    for item in gold:
        over = []
        for place, detection in enumerate(found):
            width = min(item.box.x2, detection.box.x2) - max(item.box.x1, detection.box.x1)
            height = min(item.box.y2, detection.box.y2) - max(item.box.y1, detection.box.y1)
            inter = max(width, 0) * max(height, 0)
            union = item.box.area + detection.box.area - inter
            if union and inter / union > 0.5:
                over.append(place)
        order = np.argsort([found[place].score for place in over])[::-1]
        kept |= {over[place] for place in order[:1]}
        removed |= {over[place] for place in order[1:]}
    return [place for place in range(len(found)) if place in kept or place not in removed]


@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=60, deadline=None)
def test_suppression_keeps_what_its_literal_restatement_keeps(seed: int, whole: bool) -> None:
    for found, gold in drawn(seed, images=4, most=9, whole=whole).values():
        crowded = [*found, *found[::2]]
        assert suppressed(crowded, gold) == tuple(crowded[place] for place in literal(crowded, gold))


CUP, MUG = GoldBox(Box(0, 0, 100, 100), "cup"), GoldBox(Box(30, 0, 130, 100), "mug")


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        ([(0, 0, 100, 100, 0.9), (0, 0, 100, 99, 0.8)], [0]),
        ([(0, 0, 100, 100, 0.8), (0, 0, 100, 99, 0.8)], [1]),
        ([(0, 0, 100, 50, 0.9), (0, 0, 100, 100, 0.1)], [0, 1]),
        ([(200, 0, 300, 100, 0.9), (200, 0, 300, 100, 0.9)], [0, 1]),
        ([(15, 0, 115, 100, 0.9), (0, 0, 100, 100, 0.5), (30, 0, 130, 100, 0.4)], [0]),
        ([(15, 0, 115, 100, 0.5), (0, 0, 100, 100, 0.9), (30, 0, 130, 100, 0.4)], [1]),
        ([(15, 0, 115, 100, 0.7), (-20, 0, 80, 100, 0.9)], [0, 1]),
        ([(0, 0, 0, 0, 0.9)], [0]),
        ([], []),
    ],
    ids=[
        "the surer of two on one gold box",
        "of equals the last",
        "an IoU of exactly .5 is no overlap",
        "what lies on no gold box stays, twice too",
        "one box may be the surest on two gold boxes",
        "the surest on two gold boxes that overlap each other",
        "what another gold box keeps stays",
        "a box without area",
        "nothing",
    ],
)
def test_of_the_boxes_on_a_gold_box_only_the_surest_goes_on(found: list[tuple[float, ...]], kept: list[int]) -> None:
    detections = [Detection(Box(*numbers[:4]), f"label {place}", numbers[4]) for place, numbers in enumerate(found)]
    assert suppressed(detections, [CUP, MUG]) == tuple(detections[place] for place in kept)
    assert suppressed(detections, []) == tuple(detections)


def test_a_box_under_every_label_gains_average_precision_but_not_after_suppression() -> None:
    images = {
        number: (
            [Detection(CUP.box, label, score) for label, score in (("cup", 0.5), ("mug", 0.6), ("jug", 0.4))],
            [CUP._replace(label=label)],
        )
        for number, label in enumerate(["cup", "mug", "jug"] * 5)
    }
    plain, after = scored(AveragePrecision(order=by_id), images), scored(NMSAveragePrecision(order=by_id), images)
    assert set(after) == {"nms_ap", "nms_ap50", "nms_ap75"}
    assert plain["ar100"].value == pytest.approx(1.0)
    assert plain["ap"].value == pytest.approx(1 / 3, abs=0.15)
    assert after["nms_ap"].value == pytest.approx(plain["ap"].value / 3, abs=0.1)
