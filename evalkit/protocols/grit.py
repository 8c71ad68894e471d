"""`grit`: the bare question and GRIT's suffix; boxes anywhere in the reply, the answer after `<answer>`.

Source: eric-ai-lab/GRIT at 44699c9. The suffix and the user turn ("\\nQuestion: " before the question) are those of
`grpo-gr/GRPO_GR.py` and `relationReasoningDataset.py`; the decoding (greedy in effect, 1000 new tokens, `</answer>` as a stop
string) and the box pattern over the whole reply are those of its trainer and rewards. Qwen2.5-VL writes pixels of the
resized image, InternVL and Qwen3-VL thousandths: the model's declared frame says which.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..interfaces import Reading, Rule
from ..parsers import integer_quadruples
from ..types import Budget, Conversation, Generate, Message, ModelInfo, Prediction, Request, Sample, Sampling
from ._reading import TEXT_AND_REGIONS, evidence, given, prediction, shown

SUFFIX = (
    " First, think between <think> and </think> while output necessary coordinates needed to answer the question in JSON with key"
    " 'bbox_2d'. Then, based on the thinking contents and coordinates, rethink between <rethink> </rethink> and then answer the"
    " question after <answer>.\n"
)


@dataclass(frozen=True, slots=True)
class Grit:
    """One turn: think with boxes, rethink, answer."""

    sampling: Sampling = Sampling(max_tokens=1000, stop=("</answer>",))
    budget: Budget | None = None
    name: str = "grit"
    rules: ClassVar[tuple[Rule, ...]] = ()
    gives: ClassVar[frozenset[Reading]] = TEXT_AND_REGIONS

    def converse(self, sample: Sample, model: ModelInfo) -> Conversation[Prediction]:
        """Asks the bare question, options below it where there are some. A reply without `<answer>` has no answer."""
        options = "".join(f"\n({letter}) {text}" for letter, text in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", sample.options, strict=False))
        text = f"\nQuestion: {sample.question}{options}{SUFFIX}"
        response = yield Request(Generate((Message("user", (*shown(sample.images, self.budget), text)),), self.sampling))
        whole = response.reasoning + response.text
        boxes = given(response) or evidence(((box, "") for box in integer_quadruples(whole)), sample, model, response.seen)
        _, tag, after = whole.partition("<answer>")
        if not tag:
            return prediction(response, None, "no <answer>", boxes)
        return prediction(response, after.partition("</answer>")[0].strip(), "", boxes)


def protocol(**sampling: Any) -> Grit:
    """The protocol with these fields of its sampling replaced."""
    return Grit(replace(Grit().sampling, **sampling))
