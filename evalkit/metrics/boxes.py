"""Boxes against gold boxes: overlap as regions, and one by one."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from .. import stats
from ..geometry import Box, iou, region_overlap
from ..types import Columns, Estimate, Record, Sample


@dataclass(frozen=True, slots=True)
class GroundingIoU:
    """`grounding_iou`: the mean IoU of the predicted and the gold boxes, each set taken as one region, in [0, 1].

    The union-area IoU of GRIT (arXiv 2505.15879; `extract_eval_results.py`), where there is no matching: no
    predicted box counts 0, two regions without area count 0, and a sample without gold boxes does not count.

    >>> from evalkit.types import Wants
    >>> sample = Sample("1", "Where?", "Where?", (), Wants("boxes"), target=None, regions=(Box(0, 0, 10, 10),))
    >>> GroundingIoU().measure([Box(0, 0, 10, 10), Box(20, 20, 30, 30)], sample)
    {'iou': 0.5}
    """

    @property
    def name(self) -> str:
        return "grounding_iou"

    def measure(self, value: Sequence[Box] | None, sample: Sample) -> Record:
        """`iou` of the boxes with the sample's regions, both in original pixels; empty where there are no regions."""
        if not sample.regions:
            return {}
        overlap = region_overlap(value or (), sample.regions)
        return {"iou": overlap.inter / overlap.union if overlap.union > 0 else 0.0}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """`grounding_iou`, with a clustered bootstrap interval."""
        return {"grounding_iou": stats.mean(stats.column(records, "iou"), records.group, bounded=True)}


@dataclass(frozen=True, slots=True)
class BoxMatch:
    """`box_precision`, `box_recall` and `box_f1`, each in [0, 1]: boxes matched one to one, counted over the data set.

    As many pairs as can be of a predicted and a gold box whose IoU is at least `threshold`. A second box on a gold box that
    has its match is false, so a reply that sprays boxes loses precision with each. A sample without gold boxes does not count.

    >>> from evalkit.types import Wants
    >>> sample = Sample("1", "Where?", "Where?", (), Wants("boxes"), target=None, regions=(Box(0, 0, 10, 10),))
    >>> BoxMatch().measure([Box(0, 0, 10, 9), Box(0, 0, 10, 10)], sample)
    {'matched': 1.0, 'predicted': 2.0, 'gold': 1.0}
    """

    threshold: float = 0.5
    """The least IoU of a match, above 0."""

    @property
    def name(self) -> str:
        return "box_match"

    def measure(self, value: Sequence[Box] | None, sample: Sample) -> Record:
        """How many boxes are `matched`, `predicted` and `gold`; empty where the sample has no regions."""
        if not sample.regions:
            return {}
        predicted = value or ()
        matched = matches(predicted, sample.regions, self.threshold)
        return {"matched": float(matched), "predicted": float(len(predicted)), "gold": float(len(sample.regions))}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """Precision (None where nothing was predicted at all), recall and F1, with clustered bootstrap intervals."""
        matched, predicted, gold = (stats.column(records, name) for name in ("matched", "predicted", "gold"))
        return {
            "box_precision": stats.ratio(matched, predicted, records.group, bounded=True),
            "box_recall": stats.ratio(matched, gold, records.group, bounded=True),
            "box_f1": stats.ratio(2 * matched, predicted + gold, records.group, bounded=True),
        }


@dataclass(frozen=True, slots=True)
class AccuracyAt:
    """`accuracy_at_THRESHOLD`, such as `accuracy_at_0.5`: the share of samples whose one box meets the gold box, in [0, 1].

    It does where their IoU is at least `threshold`. The gold box is the first of the sample's regions; no box is a miss. What the
    field calls Acc@0.5 or precision@0.5 of referring expression comprehension.

    >>> from evalkit.types import Wants
    >>> sample = Sample("1", "Where?", "Where?", (), Wants("boxes"), target=None, regions=(Box(0, 0, 10, 10),))
    >>> AccuracyAt(0.5).measure(Box(0, 0, 10, 5), sample), AccuracyAt(0.5).measure(None, sample)
    ({'hit': 1.0}, {'hit': 0.0})
    """

    threshold: float = 0.5

    @property
    def name(self) -> str:
        return f"accuracy_at_{self.threshold:g}"

    def measure(self, value: Box | None, sample: Sample) -> Record:
        """`hit`: 1 where the box, in original pixels and its corners in any order, meets the gold one, else 0."""
        return {"hit": float(value is not None and iou(value.ordered(), sample.regions[0]) >= self.threshold)}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """The share, with Wilson's interval on the effective n."""
        return {self.name: stats.share(stats.column(records, "hit"), records.group)}


def matches(predicted: Sequence[Box], gold: Sequence[Box], threshold: float) -> int:
    """The most one-to-one pairs of a predicted and a gold box with IoU >= threshold, at most the shorter list's length.

    Exact, by augmenting paths (Berge, 1957). Each gold box keeps no more candidates than there are gold boxes: the others
    cannot use them all up, so no pair is lost. Thus time is that of the IoUs plus the cube of the number of gold boxes,
    however many boxes a reply holds.

    >>> matches([Box(0, 0, 10, 10), Box(0, 0, 10, 6)], [Box(0, 0, 10, 6), Box(0, 0, 10, 10)], 0.5)
    2
    >>> matches([Box(0, 0, 10, 10)] * 3, [Box(0, 0, 10, 10)], 0.5)
    1
    """
    boxes, targets = [box.ordered() for box in predicted], [box.ordered() for box in gold]
    candidates = [list(islice((j for j, box in enumerate(boxes) if iou(box, target) >= threshold), len(gold))) for target in targets]
    owner: dict[int, int] = {}
    return sum(_augment(i, candidates, owner) for i in range(len(gold)))


def _augment(start: int, candidates: Sequence[Sequence[int]], owner: dict[int, int]) -> bool:
    """Whether gold box `start` found a prediction, other gold boxes making room; `owner` says whose each prediction is."""
    asked_by: dict[int, int] = {}
    held = {gold: prediction for prediction, gold in owner.items()}
    queue = deque([start])
    while queue:
        gold = queue.popleft()
        for prediction in candidates[gold]:
            if prediction in asked_by:
                continue
            asked_by[prediction] = gold
            if prediction in owner:
                queue.append(owner[prediction])
                continue
            free: int | None = prediction
            while free is not None:
                owner[free] = asked_by[free]
                free = held.get(asked_by[free])
            return True
    return False
