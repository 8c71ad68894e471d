"""Masks against gold masks, parts of which may not count."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .. import stats
from ..geometry import Mask
from ..rle import FittedMask, empty_mask, fitted_mask, mask_areas
from ..types import Columns, Estimate, Record, Sample

SAMPLE_EPSILON = 1e-5
DATASET_EPSILON = 1e-10
VOLUME_EPSILON = 1e-6

Volume = tuple[Mask, ...]
"""The masks of one object on the frames that are looked at, in their order; empty ones where it is not to be seen."""


@dataclass(frozen=True, slots=True)
class GoldMask:
    """What is to be masked, and where nothing counts, such as what the annotators were not sure of.

    Raises:
        ValueError: a mask is no run-length encoding, or the two differ in size or share pixels.
    """

    mask: Mask
    ignore: Mask | None = None
    area: int = field(init=False, compare=False)
    """The number of pixels to be masked."""

    def __post_init__(self) -> None:
        mask, ignore = _fitted(self.mask, self.mask), self.ignore and _fitted(self.ignore, self.mask)
        area, *shared = mask_areas(mask, *([ignore] if ignore else []))
        if any(shared):
            raise ValueError(f"expected what is to be masked and what is ignored apart, got {shared[0]} pixels in both")
        for name, value in (("mask", mask), ("ignore", ignore), ("area", area)):
            object.__setattr__(self, name, value)

    @property
    def volumes(self) -> tuple[Volume, ...]:
        """The one object, on the one image."""
        return ((self.mask,),)

    @property
    def masks(self) -> tuple[Mask, ...]:
        """The gold as an answer."""
        return (self.mask,)

    @property
    def blank(self) -> FittedMask:
        """The empty mask of the image's size."""
        return empty_mask(self.mask.size)


@dataclass(frozen=True, slots=True)
class MaskIoU:
    """`giou`, the mean of the samples' IoU, and `ciou`, the sum of intersections over that of unions, each in [0, 1].

    The sample's target is a `GoldMask`; pixels that it ignores count nowhere. No mask (None) is an empty one, but not right where
    nothing is to be found. LISA's formulas (dvlab-research/LISA, `train_ds.py: validate`): an IoU is inter / (union + 1e-5), and 1
    where nothing was to be found and nothing was; ciou is the sum of inter over that of union + 1e-10.

    >>> from evalkit.geometry import Size
    >>> from evalkit.types import Wants
    >>> gold = GoldMask(Mask("022", Size(2, 2)))
    >>> sample = Sample("1", "Which?", "Which?", (), Wants("mask"), target=gold)
    >>> MaskIoU(strict=True).measure(Mask("0120", Size(2, 2)), sample)
    {'iou': 0.3333333333333333, 'inter': 1.0, 'union': 3.0}
    """

    strict: bool = False
    """Without epsilons."""

    @property
    def name(self) -> str:
        return "mask_iou"

    def measure(self, value: Mask | None, sample: Sample) -> Record:
        """`iou`, `inter` and `union` (pixels) of the mask and the target.

        Raises:
            ValueError: the mask is no run-length encoding of the target's size; `fitted_mask` tells beforehand.
        """
        gold: GoldMask = sample.target
        inter, union = 0, gold.area
        if value is not None:
            others = [_fitted(other, gold.mask) for other in (gold.mask, gold.ignore) if other is not None]
            area, inter, *ignored = mask_areas(_fitted(value, gold.mask), *others)
            union += area - inter - sum(ignored)
        return {"iou": self._iou(inter, union, value is not None), "inter": float(inter), "union": float(union)}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """`giou` and `ciou`, with clustered bootstrap intervals; each None over no sample, strict `ciou` over empty unions too."""
        import numpy as np

        iou, inter, union = (stats.column(records, name) for name in ("iou", "inter", "union"))
        if self.strict:
            ciou = stats.ratio(inter, union, records.group)
        else:
            sums = stats.cluster_sums(records.group, inter, union, np.ones(len(records)))
            ciou = stats.bootstrap(lambda inter, union, n: inter / (union + DATASET_EPSILON * (n > 0)), sums, len(records))
        return {"giou": stats.mean(iou, records.group, bounded=True), "ciou": ciou}

    def _iou(self, inter: int, union: int, given: bool) -> float:
        return inter / (union if self.strict else union + SAMPLE_EPSILON) if union else float(given)


class GoldAnswer(str):
    """A gold answer in words that comes with gold masks: what it is about, each object as a volume, all of one number of frames."""

    volumes: tuple[Volume, ...]

    def __new__(cls, words: str, volumes: Sequence[Sequence[Mask]]) -> "GoldAnswer":
        made = super().__new__(cls, words)
        made.volumes = tuple(tuple(_fitted(mask, mask) for mask in volume) for volume in volumes)
        return made

    @property
    def masks(self) -> tuple[Mask, ...]:
        """The gold masks as an answer: object by object, each frame by frame."""
        return tuple(mask for volume in self.volumes for mask in volume)


@dataclass(frozen=True, slots=True)
class PixelF1:
    """`j` and `pixel_f1`, the IoU and the F1 score of the pixels, and `j_and_pixel_f1`, their mean: means over all objects of all samples.

    The masks of an object on all frames count as one volume. The F1 score is of pixels, not of boundaries as in DAVIS' F. Each is in
    [0, 1], and 0 where nothing is to be found, whatever was predicted. PixelQA's formulas (PolyU-ChenLab/UniPixel,
    `infer_pixelqa.py`): 1e-6 is added to every denominator. The sample's target is a `GoldAnswer`; no masks (None) are empty ones.

    >>> from evalkit.geometry import Size
    >>> from evalkit.types import Wants
    >>> left, top = Mask("022", Size(2, 2)), Mask("01100", Size(2, 2))
    >>> sample = Sample("1", "Which?", "Which?", (), Wants("choice"), target=GoldAnswer("A", [[left, left]]))
    >>> {name: round(value, 3) for name, value in PixelF1().measure([[left, top]], sample).items()}
    {'j': 0.6, 'pixel_f1': 0.75, 'objects': 1.0}
    """

    @property
    def name(self) -> str:
        return "pixel_f1"

    def measure(self, value: Sequence[Sequence[Mask]] | None, sample: Sample) -> Record:
        """The sums of `j` and `pixel_f1` over the sample's `objects`, and their number.

        Raises:
            ValueError: there are not as many volumes, frames or pixels as the target has.
        """
        gold: tuple[Volume, ...] = sample.target.volumes
        scores = [_volume_scores(*pair) for pair in zip(value, gold, strict=True)] if value is not None else []
        return {"j": sum((j for j, _ in scores), 0.0), "pixel_f1": sum((f1 for _, f1 in scores), 0.0), "objects": float(len(gold))}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """The three means, with clustered bootstrap intervals."""
        j, f1, objects = (stats.column(records, name) for name in ("j", "pixel_f1", "objects"))
        return {
            "j": stats.ratio(j, objects, records.group, bounded=True),
            "pixel_f1": stats.ratio(f1, objects, records.group, bounded=True),
            "j_and_pixel_f1": stats.ratio((j + f1) / 2, objects, records.group, bounded=True),
        }


def _volume_scores(predicted: Sequence[Mask], gold: Sequence[Mask]) -> tuple[float, float]:
    """IoU and pixel F1 of two volumes of as many frames."""
    inter = found = wanted = 0
    for mask, like in zip(predicted, gold, strict=True):
        own, shared = mask_areas(_fitted(mask, like), _fitted(like, like))
        found, inter, wanted = found + own, inter + shared, wanted + mask_areas(_fitted(like, like))[0]
    precision, recall = inter / (found + VOLUME_EPSILON), inter / (wanted + VOLUME_EPSILON)
    return inter / (found + wanted - inter + VOLUME_EPSILON), 2 * precision * recall / (precision + recall + VOLUME_EPSILON)


def _fitted(mask: Mask, like: Mask) -> FittedMask:
    """The mask, of the size of `like`."""
    fitted = fitted_mask(mask, like.size)
    if isinstance(fitted, FittedMask):
        return fitted
    raise ValueError(f"expected a mask of {like.size.width} x {like.size.height} pixels, got {fitted.reason}")
