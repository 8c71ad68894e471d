"""`direct`: the images, then the benchmark's own wording; the whole reply is the answer."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..interfaces import Reading, Rule
from ..parsers import labelled_quadruples
from ..types import Budget, Conversation, Generate, Message, ModelInfo, Prediction, Request, Sample, Sampling
from ._reading import TEXT_AND_REGIONS, evidence, given, prediction, shown


@dataclass(frozen=True, slots=True)
class Direct:
    """One turn. Boxes are read only where the sample asks for them."""

    sampling: Sampling = Sampling()
    budget: Budget | None = None
    name: str = "direct"
    rules: ClassVar[tuple[Rule, ...]] = ()
    gives: ClassVar[frozenset[Reading]] = TEXT_AND_REGIONS

    def converse(self, sample: Sample, model: ModelInfo) -> Conversation[Prediction]:
        """Asks `sample.prompt` and takes the reply as it is."""
        response = yield Request(Generate((Message("user", (*shown(sample.images, self.budget), sample.prompt)),), self.sampling))
        boxes = given(response)
        if not boxes and "boxes" in sample.wants:
            boxes = evidence(labelled_quadruples(response.text), sample, model, response.seen)
        return prediction(response, response.text, "", boxes)


def protocol(**sampling: Any) -> Direct:
    """The protocol with these fields of its sampling replaced."""
    return Direct(replace(Direct().sampling, **sampling))
