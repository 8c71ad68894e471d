"""Detections against gold boxes over a whole data set: average precision as COCO and as OVDEval define it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..errors import DataError
from ..geometry import Box, Mask
from ..rle import fitted_mask
from ..types import Columns, Estimate, Record, Sample, Unparsed, sha256
from . import _matching, _precision
from ._matching import AREAS

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

MOST = 100
"""How many detections of one label in one image are looked at, the highest scores first."""


class GoldBox(NamedTuple):
    """One thing that is in an image. `Sample.target` is a tuple of them."""

    box: Box
    label: str
    area: float | None = None
    """In square pixels, as the annotation says; None: that of the box, or of the mask where masks are compared."""
    crowd: bool = False
    """Whether it stands for many things at once: it is no miss, and whatever lies on it is not counted."""
    mask: Mask | None = None


class Detection(NamedTuple):
    """One thing that a model says is in an image."""

    box: Box
    label: str
    score: float
    mask: Mask | None = None


@lru_cache(maxsize=1 << 16)
def _number(text: str) -> float:
    """A number for a text, the same in every process: the first 52 bits of its hash, which a float holds."""
    return float(int(sha256(text)[:13], 16))


def _shuffled(sample: Sample) -> float:
    return _number(sample.id)


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """`ap`, `ap50`, `ap75`, `ap_small`, `ap_medium`, `ap_large`, `ar1`, `ar10`, `ar100`, `ar_small`, `ar_medium`, `ar_large`, in [0, 1].

    COCO's twelve numbers, as `COCOeval` of pycocotools gives them: per label and IoU threshold, precision where recall reaches
    each of 101 levels, averaged over levels, thresholds .50 to .95 and the labels that have a gold box that counts; recall with
    the first 1, 10 or 100 detections of a label in an image. None where no gold box counts. Intervals are from resampled clusters
    of images, matched once; there are fewer resamples the more detections there are.

    >>> from evalkit.types import Wants
    >>> gold = (GoldBox(Box(0, 0, 10, 10), "cup"),)
    >>> sample = Sample("1", "", "", (), Wants("boxes"), target=gold)
    >>> record = AveragePrecision(order=lambda sample: 1.0).measure((Detection(Box(0, 0, 10, 7), "cup", 0.9),), sample)
    >>> record["recall50"], f"{record['true'][0] & 1023:010b}", f"{record['false'][0] & 1023:010b}"
    (1.0, '0000011111', '1111100000')
    """

    iou: Literal["box", "mask"] = "box"
    ties: Literal["order", "together"] = "order"
    """Equal scores: one after the other, by the image's `order` and the order within it, as COCOeval sorts them; or as one step of
    the curve, so that no order matters."""
    order: Callable[[Sample], float] = _shuffled
    """Where an image comes among those with equal scores, distinct for each: for a COCO file its id; else by the sample id's hash."""

    @property
    def name(self) -> str:
        return "average_precision"

    def measure(self, value: Sequence[Detection] | None, sample: Sample) -> Record:
        """The image's detections and gold boxes, matched.

        Lists hold for each detection, at most 100 of a label, its `label` as a number, `score`, `rank` in its label and the bits of
        IoU thresholds and areas where it is `true` and `false`; for each gold box its `gold_label` and the bits where it is
        `gold_skipped`. `recall50` is the share of the image's gold boxes that are found at IoU .50, 0 where it has none.
        """
        overlap = _overlap(value or (), sample.target, self.iou)
        return _record(value or (), range(len(value or ())), sample.target, overlap, self.order(sample))

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """The twelve estimates; `n` counts the images."""
        return _precision.estimates(records, self.ties, tuple(AREAS))


@dataclass(frozen=True, slots=True)
class NMSAveragePrecision:
    """`nms_ap`, `nms_ap50`, `nms_ap75`, in [0, 1]: average precision after suppression by the gold boxes (OVDEval, arXiv 2308.13177).

    Of the detections that overlap one gold box by an IoU above .5, whatever their labels, only the one with the highest score goes
    on, so that a box given under every label at once gains nothing; see `suppressed`. `AveragePrecision` measures what is left.
    """

    order: Callable[[Sample], float] = _shuffled
    """See `AveragePrecision`."""

    @property
    def name(self) -> str:
        return "nms_average_precision"

    def measure(self, value: Sequence[Detection] | None, sample: Sample) -> Record:
        """The record of `AveragePrecision` for the detections that are left."""
        overlap = _overlap(value or (), sample.target, "box")
        return _record(value or (), _left(value or (), overlap.plain), sample.target, overlap, self.order(sample))

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """The three estimates; `n` counts the images."""
        return {
            f"nms_{name}": estimate for name, estimate in _precision.estimates(records, "order", ("all",)).items() if name.startswith("ap")
        }


def suppressed(detections: Sequence[Detection], gold: Sequence[GoldBox]) -> tuple[Detection, ...]:
    """The detections of one image that outlive the suppression by its gold boxes, in their order; all, where there is no gold box.

    Source: eval.py of om-ai-lab/OVDEval. Of detections with equal scores, as all have that are read in a text, the last stays; where
    only some on a gold box are equal, numpy's argsort decides, by the kind of processor too (measured on AVX2 and without).

    >>> cup, mug = Detection(Box(0, 0, 10, 9), "cup", 0.7), Detection(Box(0, 0, 10, 10), "mug", 0.6)
    >>> [kept.label for kept in suppressed([cup, mug], [GoldBox(Box(0, 0, 10, 10), "mug")])]
    ['cup']
    """
    return tuple(detections[place] for place in _left(detections, _matching.box_iou(_corners(detections), _corners(gold))))


class _Overlap(NamedTuple):
    """How the detections (d,) of one image lie on its gold boxes (g,): IoUs (d, g) by COCO's rule and without that for crowds, areas."""

    iou: "Array"
    plain: "Array"
    areas: "Array"
    gold_areas: "Array"


def _overlap(detections: Sequence[Detection], gold: Sequence[GoldBox], by: Literal["box", "mask"]) -> _Overlap:
    import numpy as np

    crowd = np.array([item.crowd for item in gold], dtype=bool)
    if by == "mask":
        from pycocotools import mask as coco

        masks, targets = _coco(detections), _coco(gold)
        plain = iou = np.reshape(coco.iou(masks, targets, crowd), (len(masks), len(targets)))
        areas, own = np.array(coco.area(masks), dtype=float), coco.area(targets)
    else:
        boxes, corners = _corners(detections), _corners(gold)
        plain = iou = _matching.box_iou(boxes, corners)
        if crowd.any():
            iou = _matching.box_iou(boxes, corners, crowd)
        areas, own = _matching.box_areas(boxes), _matching.box_areas(corners)
    said = [a if item.area is None else item.area for item, a in zip(gold, own, strict=True)]
    return _Overlap(iou, plain, areas, np.array(said, dtype=float))


def _left(detections: Sequence[Detection], iou: "Array") -> list[int]:
    """The places of the detections that outlive the suppression."""
    import numpy as np

    kept = _matching.kept_by_gold(iou, np.array([detection.score for detection in detections], dtype=float))
    places: list[int] = np.flatnonzero(kept).tolist()
    return places


def _record(detections: Sequence[Detection], places: Sequence[int], gold: Sequence[GoldBox], overlap: _Overlap, order: float) -> Record:
    """The record of those detections of one image that are at `places`; see `AveragePrecision.measure`."""
    import numpy as np

    seen: dict[float, int] = {}
    kept, labels, ranks = [], [], []
    for place in sorted(places, key=lambda place: detections[place].score, reverse=True):  # equal scores stay in their order
        label = _number(detections[place].label)
        rank = seen.get(label, 0)
        seen[label] = rank + 1
        if rank < MOST:
            kept.append(place)
            labels.append(label)
            ranks.append(rank)
    gold_labels = [_number(item.label) for item in gold]
    outside = _matching.outside(np.concatenate([overlap.areas[kept], overlap.gold_areas]))
    skipped = [_matching.EVERYWHERE if item.crowd else bits for item, bits in zip(gold, outside[len(kept) :], strict=True)]
    same = np.array(labels, dtype=float)[:, None] == np.array(gold_labels, dtype=float)
    true, false = _matching.match(overlap.iou[kept], same, outside[: len(kept)], skipped, [item.crowd for item in gold])
    counted = sum(not bits & 1 for bits in skipped)
    return {
        "recall50": sum(bits & 1 for bits in true) / counted if counted else 0.0,
        "order": float(order),
        "label": labels,
        "score": [float(detections[place].score) for place in kept],
        "rank": ranks,
        "true": true,
        "false": false,
        "gold_label": gold_labels,
        "gold_skipped": skipped,
    }


def _corners(items: Sequence[Detection] | Sequence[GoldBox]) -> "Array":
    import numpy as np

    return np.fromiter(chain.from_iterable(item.box for item in items), dtype=float, count=4 * len(items)).reshape(-1, 4)


def _coco(items: Sequence[Detection] | Sequence[GoldBox]) -> list[dict[str, Any]]:
    """The masks as pycocotools takes them. Raises `DataError` where there is none, or its runs do not add up to its size."""
    made = []
    for item in items:
        mask = fitted_mask(item.mask, item.mask.size) if item.mask else Unparsed("no mask")
        if isinstance(mask, Unparsed):
            raise DataError(f"expected a mask with each {type(item).__name__} where masks are compared, got: {mask.reason}")
        made.append({"counts": mask.counts, "size": [mask.size.height, mask.size.width]})
    return made
