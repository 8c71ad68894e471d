"""`grit`: the bare question and GRIT's suffix; boxes anywhere in the reply, the answer after `<answer>`.

Source: eric-ai-lab/GRIT at 44699c9. The words are those of `grpo-gr/GRPO_GR.py` and `relationReasoningDataset.py` ("\\nQuestion: "
before the question); the decoding (greedy in effect, 1000 new tokens, `</answer>` as a stop string), the pixel budget and the box
pattern over the whole reply are those of its trainer and rewards.

Variants, as the rows of the paper's Table 1: `grit`; `one_shot`, with the authors' example in words; `cot`, an untrained model asked
exactly as `grit` is (the authors' zero-shot scripts name no other wording, and the row has boxes); `direct`, the question alone, the
whole reply the answer; `sft`, the wording of the few-shot fine-tuned model.

Frames: Qwen2.5-VL writes pixels of the resized image, InternVL and Qwen3-VL thousandths; the model's declared frame says which. With
`seen` an image is shown in 3,136 to 200,704 pixels, the trainer's budget, unless another is given; where one bound is, the other stays
as far as that leaves room. With any other frame the processor resizes, or cuts tiles, as it is configured to; of thousandths `one_shot`
has the authors' wording for InternVL.

GRIT-InternVL-2B is stored in the layout of InternVL's own remote code, which no engine here loads. Convert it with
`src/transformers/models/internvl/convert_internvl_weights_to_hf.py` of transformers' repository (its wheels lack it), the script that the
`-hf` repositories of InternVL3 were made with: the checkpoint's path, with "InternVL3" in it for its end token, is added there as `qwen2`.
Then set `crop_to_patches` and `max_patches` 2 in the preprocessor's configuration: the authors' trainer's tiles of 448 pixels and the
thumbnail. The converted chat template has no system message where the authors' is InternVL2.5's. Or serve it behind `plugin:`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..geometry import Frame
from ..interfaces import Reading, Rule
from ..metrics.shares import Share
from ..parsers import count, integer_quadruples
from ..types import Budget, Conversation, Generate, Image, Message, ModelInfo, Prediction, Request, Sample, Sampling, Unparsed
from ._reading import TEXT_AND_REGIONS, evidence, given, prediction, shown, whole

VARIANTS = ("grit", "one_shot", "cot", "direct", "sft")
BUDGET = Budget(3136, 256 * 28 * 28)
"""`min_pixels` and `max_pixels` of `GRPO_GRTrainer.py`."""

IN_JSON, BETWEEN_TAGS = "in JSON with key 'bbox_2d'", "between <box> and </box>"
THINK = (
    " First, think between <think> and </think> while output necessary coordinates needed to answer the question {}. Then, based on the"
    " thinking contents and coordinates, rethink between <rethink> </rethink> and then answer the question after <answer>.\n"
)
SUFFIX = THINK.format(IN_JSON)
SFT = (
    "\nFirst, output a lists of all necessary coordinates (bbox_2d) needed to answer the question, then answer the question after"
    " <answer>.\n"
)
EXAMPLE = "\nExample: Question: How many chairs are there?\n<think> Let me check them out "
REST = "</think>\n<rethink>\nBased on the bounding box coordinates, there are 5 chairs in the picture. \n</rethink>\n<answer>\n5\n</answer>"
CHAIRS = ([142, 314, 299, 447], [0, 439, 58, 531], [222, 260, 299, 324], [285, 325, 336, 430], [316, 329, 336, 387])
JSON_CHAIRS = ",\n".join(f'  "bbox_2d": {chair},\n  "label": "chair"' for chair in CHAIRS)
ONE_SHOT = f"{SUFFIX}{EXAMPLE}\n{{\n{JSON_CHAIRS}\n}}\n \n{REST}"
ONE_SHOT_THOUSANDTHS = f"{THINK.format(BETWEEN_TAGS)}{EXAMPLE}<ref>chair</ref> <box>{list(CHAIRS)}</box> {REST}"

TAGS = ("<think>", "</think>", "<rethink>", "</rethink>")
NO_WORD = re.compile(r"[^a-zA-Z0-9\s]")


@dataclass(frozen=True, slots=True)
class Grit:
    """One turn: think with boxes, rethink, answer."""

    sampling: Sampling = Sampling(max_tokens=1000, stop=("</answer>",))
    budget: Budget | None = None
    variant: str = VARIANTS[0]
    gives: ClassVar[frozenset[Reading]] = TEXT_AND_REGIONS

    @property
    def name(self) -> str:
        return "grit" if self.variant == VARIANTS[0] else f"grit:{self.variant}"

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Whether a reply keeps the form that was asked for, and agrees with itself."""
        return {"direct": (), "sft": OF_ANSWERS}.get(self.variant, OF_FORM + OF_ANSWERS)

    def converse(self, sample: Sample, model: ModelInfo) -> Conversation[Prediction]:
        """Asks the bare question, options below it where there are some. A reply without `<answer>` has no answer."""
        content: tuple[str | Image, ...] = (*shown(sample.images, self._budget(model)), self.wording(sample, model))
        response = yield Request(Generate((Message("user", content),), self.sampling))
        whole = response.reasoning + response.text
        boxes = given(response) or evidence(((box, "") for box in integer_quadruples(whole)), sample, model, response.seen)
        if self.variant == "direct":
            return prediction(response, response.text, "", boxes)
        _, tag, after = whole.partition("<answer>")
        if not tag:
            return prediction(response, None, "no <answer>", boxes)
        return prediction(response, after.partition("</answer>")[0].strip(), "", boxes)

    def wording(self, sample: Sample, model: ModelInfo) -> str:
        """The text of the user's turn."""
        options = "".join(f"\n({letter}) {text}" for letter, text in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", sample.options, strict=False))
        one_shot = ONE_SHOT_THOUSANDTHS if model.frame is Frame.THOUSAND else ONE_SHOT
        suffix = {"direct": "", "sft": SFT, "one_shot": one_shot}.get(self.variant, SUFFIX)
        return f"\nQuestion: {sample.question}{options}{suffix}"

    def shows(self, model: ModelInfo, own: Budget) -> Budget:
        """At how many pixels an image is shown to a model whose processor does `own` by itself."""
        return whole(self._budget(model), own)

    def _budget(self, model: ModelInfo) -> Budget | None:
        return whole(self.budget, BUDGET) if model.frame is Frame.SEEN else self.budget


def protocol(variant: str = VARIANTS[0], **sampling: Any) -> Grit:
    """The protocol in a variant, with these fields of its sampling replaced."""
    return Grit(replace(Grit().sampling, **sampling), variant=variant)


# ---------------------------------------------------------------- readings of its own


def keeps_thoughts(text: str) -> bool:
    """Whether the four tags of thinking and rethinking come one after the other, with two words or more of thoughts.

    The condition for the whole of `think_and_rethink_format_reward` (`grpo-gr/rewards.py`), which looks for each tag behind the
    last of the one before. What is no letter or digit there makes a word of what it parts.

    >>> keeps_thoughts("<think> two dogs </think> <rethink> so </rethink>"), keeps_thoughts("<think> dogs </think> <rethink> so")
    (True, False)
    """
    rest = text
    for tag in TAGS:
        if tag not in rest:
            return False
        rest = rest.rpartition(tag)[2]
    thoughts = text.rpartition(TAGS[0])[2].partition(TAGS[1])[0].strip()
    return len(thoughts) > 1 and len(NO_WORD.sub(" ", thoughts).split(" ")) > 1


def keeps_answer(text: str) -> bool:
    """Whether `<answer>` comes once: the condition for the whole of `answer_format_reward`.

    >>> keeps_answer("<answer> yes"), keeps_answer("<answer> yes <answer> no"), keeps_answer("yes")
    (True, False, False)
    """
    return text.count("<answer>") == 1


def boxes_before(text: str) -> int:
    """How many boxes a reply writes before its first `<rethink>`, or in all where there is none, each as often as it is written.

    What `grounded_region_specific_thinking_format_reward_think_rethink` counts, and rewards if there is one, and if there are as
    many as the gold count says.

    >>> boxes_before("<think> (1,2,3,4) 5,6,7,8 </think> <rethink> [1,2,3,4]")
    2
    """
    return len(integer_quadruples(text.partition("<rethink>")[0]))


def keeps_boxes(text: str) -> bool:
    """Whether there is a box before `<rethink>`, and a `<rethink>`.

    >>> keeps_boxes("[1, 2, 3, 4] <rethink>"), keeps_boxes("[1, 2, 3, 4]")
    (True, False)
    """
    return "<rethink>" in text and boxes_before(text) > 0


def _of_text(kept: Callable[[str], bool]) -> Callable[[Prediction, Sample], bool]:
    return lambda prediction, sample: kept(prediction.text)


def _consistent(prediction: Prediction, sample: Sample) -> bool | Unparsed:
    """Whether as many boxes are written before `<rethink>` as the answer says there are."""
    said = Unparsed(prediction.failure) if prediction.answer is None else count(prediction.answer)
    return said if isinstance(said, Unparsed) else boxes_before(prediction.text) == said


def _rule(name: str, parse: Callable[[Prediction, Sample], Any], metric: Share) -> Rule:
    return Rule(name, parse, metric, subsets=("overall",), optional=True)


OF_FORM = (
    _rule("official", _of_text(lambda text: keeps_thoughts(text) and keeps_answer(text)), Share("format")),
    _rule("official", _of_text(keeps_thoughts), Share("format_think")),
    _rule("official", _of_text(keeps_answer), Share("format_answer")),
    _rule("official", _of_text(keeps_boxes), Share("format_boxes")),
)
OF_ANSWERS = (_rule("strict", _consistent, Share("count_consistency", ("count",))),)
