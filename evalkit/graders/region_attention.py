"""`region-attention`: how much denser than elsewhere a reply's attention is on the regions that its question is about.

SATORI-R1's region attention density, RAD (arXiv 2505.19094), whose formula is not given and which no code holds. Ours, and so its rule
is `evalkit`:

    RAD = (attention inside the gold regions / attention on the image) / (area of the regions / area of the image)

1 is attention that does not care for the regions, 2 twice as much on them as their size explains; 0 none of it.

The attention is that of all tokens of the reply (of its first 8,192 characters, where it is longer) to the visual tokens of the first
image: the mean over the tokens, the heads and the layers (engines/attending.py). The reply is what the model said, taken for its
continuation of what it was asked. A visual token is a cell of a grid that lies evenly over the whole image, and counts by the share of
its area that the regions cover; regions are cut at the image's border, and where they overlap count once. A sample without a
region in its image, or without a reply, does not count. An image that the processor crops or pads has no such grid; those of the
Qwen-VL family do neither.
"""

from dataclasses import dataclass
from typing import Any

from ..interfaces import Probe, Rule
from ..metrics.faithfulness import RegionAttentionDensity, density
from ..types import Attend, Conversation, Prediction, Request, Sample, Unparsed
from ._attention import rounded

LONGEST = 8_192


@dataclass(frozen=True, slots=True)
class RegionAttention:
    """The `rad` of a reply and the `grid` of its attention to the first image, to 6 significant digits; None where there is none."""

    name: str = "region_attention"
    to: str = "model"

    def grade(self, sample: Sample, prediction: Prediction) -> Conversation[dict[str, Any] | None]:
        """Asks for the attention of the reply, once."""
        asked, text = prediction.asked, prediction.text[:LONGEST]
        size = sample.images[0].size if sample.images else None
        if asked is None or size is None or not text or not any(region.ordered().clipped(size).area for region in sample.regions):
            return None
        response = yield Request(Attend(asked.messages, text, asked.prefill), to=self.to)
        grid = response.attention[0]
        return {"rad": density(grid, sample.regions, size), "grid": rounded([grid])[0]}


def rad(prediction: Prediction, sample: Sample) -> float | Unparsed:
    """The RAD of the reply, at least 0."""
    verdict = prediction.verdicts.get("region_attention")
    return float(verdict["rad"]) if verdict else Unparsed("no regions, or no reply")


def probe() -> Probe:
    """The probe; it needs an engine that tells attention."""
    return Probe(RegionAttention(), (Rule("evalkit", rad, RegionAttentionDensity(), optional=True),), asks=frozenset({"attend"}))
