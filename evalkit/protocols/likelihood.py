"""`likelihood`: the bare question; the answer is the option that the model finds likeliest as its reply.

Source: penghao-wu/vstar at 4ede664, `vstar_bench_eval.py`, `VQA_LLM.multiple_choices_inference`: the mean token cross-entropy of each
option text as the assistant's turn, its end included; the lowest wins, of equal ones the first. No text is generated or read.
"""

from dataclasses import dataclass
from typing import ClassVar

from ..errors import Gap, Refused
from ..interfaces import Reading, Rule
from ..types import Budget, Conversation, Likelihood, Message, ModelInfo, Prediction, Request, Sample
from ._reading import shown

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True)
class OfLikelihood:
    """One request for the likelihood of every option."""

    budget: Budget | None = None
    name: str = "likelihood"
    rules: ClassVar[tuple[Rule, ...]] = ()
    gives: ClassVar[frozenset[Reading]] = frozenset({"likelihoods"})

    def converse(self, sample: Sample, model: ModelInfo) -> Conversation[Prediction]:
        """Compares the sample's statements, or its options where it has none.

        Raises:
            Refused: the sample has neither.
            Gap: the engine gave another number of likelihoods.
        """
        options = sample.statements or sample.options
        if not options:
            raise Refused(f"protocol likelihood compares options, and sample '{sample.id}' has none: choose another --protocol")
        response = yield Request(Likelihood((Message("user", (*shown(sample.images, self.budget), sample.question)),), options))
        if response.missing:
            return Prediction("", None, "missing", missing=True)
        if len(response.likelihoods) != len(options):
            raise Gap(f"expected {len(options)} likelihoods, one an option, got {len(response.likelihoods)}")
        best = max(range(len(options)), key=lambda i: response.likelihoods[i])
        return Prediction(options[best], LETTERS[best], likelihoods=response.likelihoods)


def protocol(**sampling: object) -> OfLikelihood:
    """The protocol.

    Raises:
        Refused: a field of the sampling is to be replaced, where nothing is sampled.
    """
    if sampling:
        raise Refused(f"protocol likelihood samples nothing: leave out {', '.join(sorted(sampling))}")
    return OfLikelihood()
