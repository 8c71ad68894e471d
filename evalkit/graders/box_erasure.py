"""`box-erasure`: what a reply's boxes do for the attention that its second thoughts pay to the image.

GRIT's experiment (arXiv 2505.15879, figure 5): the reply is split at `<rethink>`, its boxes are erased from the first part, and the
model goes on from either part; compared is the attention of the new tokens to the visual tokens. There is no code of it. From
the paper are the split, the 50 new tokens and the mean over the layers; ours is what it leaves open:

- A context is the part before the first `<rethink>`, without blanks at its end; the tag is the model's to write.
- Boxes are erased by `_chain.without_boxes`: what is where goes, what is there stays. A reply without `<rethink>`, without a box before
  it, or with a context after which the model says nothing, does not count.
- The model goes on greedily, asked as it was, for 50 tokens or until it ends; what it says is given to it as a continuation, whose
  attention the mean is of: over its tokens, the heads and the layers (engines/attending.py).
- The estimates are shares of all attention: the sum over the visual tokens of the sample's first image, which the boxes are about. The
  paper plots the mean over them, `per_token` of the verdict; both contexts have the same image, so that one is a multiple of the other.
"""

from dataclasses import dataclass
from typing import Any

from ..interfaces import Probe, Rule
from ..metrics.faithfulness import BoxErasure
from ..types import Attend, Conversation, Generate, Prediction, Request, Sample, Sampling, Unparsed
from ._attention import rounded, whole
from ._chain import without_boxes

TOKENS = 50
CONTEXTS = ("with_boxes", "without_boxes")


@dataclass(frozen=True, slots=True)
class Erasure:
    """For `with_boxes` and `without_boxes` how the model went on and what attention it paid; None where there is nothing to compare.

    Each holds the `continuation`, the `attention` that the first image got as a share of all, the same `per_token`, and the `grids` of all
    images shown, row by row, to 6 significant digits.
    """

    name: str = "box_erasure"
    to: str = "model"

    def grade(self, sample: Sample, prediction: Prediction) -> Conversation[dict[str, Any] | None]:
        """Lets the model go on from each context, and asks what attention it paid."""
        context, tag, _ = prediction.text.partition("<rethink>")
        context = context.rstrip()
        erased, asked = without_boxes(context).rstrip(), prediction.asked
        if asked is None or not sample.images or not tag or erased == context:
            return None
        verdict = {}
        for name, begun in zip(CONTEXTS, (context, erased), strict=True):
            prefill = asked.prefill + begun
            reply = yield Request(Generate(asked.messages, Sampling(max_tokens=TOKENS), prefill), to=self.to)
            if not reply.text:
                return None
            attended = yield Request(Attend(asked.messages, reply.text, prefill), to=self.to)
            first = attended.attention[0]
            share, tokens = whole(first), sum(map(len, first))
            grids = rounded(attended.attention)
            verdict[name] = {"continuation": reply.text, "attention": share, "per_token": share / tokens, "grids": grids}
        return verdict


def shares(prediction: Prediction, sample: Sample) -> dict[str, float] | Unparsed:
    """The first image's share of the attention from each context."""
    verdict = prediction.verdicts.get("box_erasure")
    return {name: verdict[name]["attention"] for name in CONTEXTS} if verdict else Unparsed("no boxes before <rethink>, or no way on")


def probe() -> Probe:
    """The probe; it needs an engine that tells attention."""
    return Probe(Erasure(), (Rule("evalkit", shares, BoxErasure(), optional=True),), asks=frozenset({"generate", "attend"}))
