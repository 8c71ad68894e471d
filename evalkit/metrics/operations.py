"""The visual operations that a model asks for in a conversation: how often, how many, and how close it looks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .. import stats
from ..geometry import region_overlap
from ..types import Columns, Estimate, Operation, Record, Sample


@dataclass(frozen=True, slots=True)
class Operations:
    """`rapr`, the rate of pixel-space reasoning: the share of replies that ask for at least one operation, in [0, 1]; and the mean
    numbers a sample of operations asked for, done and failed, `operations_asked`, `operations_done` and `operations_failed`.

    Every operation asked for is done or failed; one that a limit cut off is failed. A missing reply asks for none. Source of `rapr`:
    Pixel Reasoner (arXiv 2505.15966), `experience_maker.py`, the mean of `ncall > 0`.

    >>> from evalkit.types import Wants
    >>> sample = Sample("1", "How many?", "How many?", (), Wants("count"), target=4)
    >>> Operations().measure([Operation("zoom_in", "{}"), Operation("zoom", "{}", error="'zoom'")], sample)
    {'asked': 2.0, 'failed': 1.0}
    """

    @property
    def name(self) -> str:
        return "operations"

    def measure(self, value: Sequence[Operation] | None, sample: Sample) -> Record:
        """How many operations were `asked` for, and how many of them `failed`."""
        asked = value or ()
        return {"asked": float(len(asked)), "failed": float(sum(bool(operation.error) for operation in asked))}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """The share with Wilson's interval, the means with clustered bootstrap intervals."""
        asked, failed = stats.column(records, "asked"), stats.column(records, "failed")
        return {
            "rapr": stats.share(asked > 0, records.group),
            "operations_asked": stats.mean(asked, records.group),
            "operations_done": stats.mean(asked - failed, records.group),
            "operations_failed": stats.mean(failed, records.group),
        }


@dataclass(frozen=True, slots=True)
class CropArea:
    """`crop_area`: the mean area of the last crop done over that of the gold region, at least 0; 1 is a crop as large as the region.

    The crop as the model was shown it, padding included; the region is the union of the sample's regions. Samples without a region of
    some area, or without a crop done of their first image, do not count.

    >>> from evalkit.geometry import Box
    >>> from evalkit.types import Wants
    >>> sample = Sample("1", "Which?", "Which?", (), Wants("choice"), target="A", regions=(Box(0, 0, 10, 10),))
    >>> CropArea().measure([Operation("zoom_in", "{}", box=Box(0, 0, 40, 20))], sample)
    {'area': 8.0}
    """

    @property
    def name(self) -> str:
        return "crop_area"

    def measure(self, value: Sequence[Operation] | None, sample: Sample) -> Record:
        """The `area` of the last crop done in areas of the gold region; empty where there is no such crop or region."""
        crops = [operation.box for operation in value or () if operation.box and not operation.error]
        region = region_overlap(sample.regions, ()).union if crops else 0.0
        return {"area": crops[-1].area / region} if region else {}

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """`crop_area`, with a clustered bootstrap interval."""
        return {"crop_area": stats.mean(stats.column(records, "area"), records.group)}
