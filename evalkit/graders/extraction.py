"""`extraction`: a judge reads the short answer out of a reply; replies that are a short answer already ask nobody."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..metrics.anls import distance
from ..types import Conversation, Generate, Message, Prediction, Request, Sample, Sampling


@dataclass(frozen=True, slots=True)
class Extraction:
    """The extracted answer as its verdict: the judge's words, stripped, "" where it says nothing; None where there is nothing to read.

    Nothing to read is a missing reply, a reply without the answer that its protocol looks for, or a replay without the judge's
    reply. The benchmark's own wording and its rule for short replies come from the task, and so does what a results file stores.

    >>> from evalkit.types import Prediction, Response, Sample, Wants
    >>> sample = Sample("1", "How many?", "How many?", (), Wants("number"), target="4")
    >>> grader = Extraction(lambda sample, reply: f"{sample.prompt} {reply} Short answer:")
    >>> conversation = grader.grade(sample, Prediction("It is four.", "It is four."))
    >>> next(conversation).kind.messages[0].content
    ('How many? It is four. Short answer:',)
    >>> try:
    ...     conversation.send(Response(" 4"))
    ... except StopIteration as end:
    ...     end.value
    '4'
    """

    wording: Callable[[Sample, str], str]
    """The whole text that the judge is asked, from the sample and the reply."""
    quick: Callable[[Sample, str], str | None] = lambda sample, reply: None
    """The answer of a reply that needs no judge, None where it needs one."""
    stored: Callable[[Sample], str | None] = lambda sample: None
    """The extraction that a results file holds. It goes before `quick` where the judge says it, being that file; None where none."""
    sampling: Sampling = Sampling(max_tokens=1024, temperature=0.0)
    name: str = "extraction"
    to: str = "judge"

    def grade(self, sample: Sample, prediction: Prediction) -> Conversation[str | None]:
        """Asks for the answer in one turn, without images."""
        if prediction.answer is None:
            return None
        known, stored = self.quick(sample, prediction.answer), self.stored(sample)
        if known is not None and stored is None:
            return known
        message = Message("user", (self.wording(sample, prediction.answer),))
        response = yield Request(Generate((message,), self.sampling), to=self.to)
        if known is not None and (response.missing or response.text != stored):
            return known
        return None if response.missing else response.text.strip()


def nearest(extraction: str, options: Sequence[str]) -> str:
    """The option with the least `distance` to the extraction, the first of several. It is always one, even for an empty text.

    >>> nearest("greenish", ["red", "blue", "green"]), nearest("", ["blue", "red", "tan"])
    ('green', 'red')
    """
    return min(options, key=lambda option: distance(extraction, option))
