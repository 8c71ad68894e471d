"""The interfaces, whole: who answers, who asks, who grades, who measures; and the rule that binds a parser to a metric."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from .types import Columns, Conversation, Estimate, ModelInfo, Prediction, Record, Request, Response, Sample

Reading = Literal["text", "boxes", "masks", "likelihoods"]
"""What of a prediction a rule reads, and what a protocol's predictions hold."""


class Engine(Protocol):
    """Who answers requests. Batching, retries and devices are behind the one method.

    An engine may have more, which is looked for by name:
        close(): ends the threads and processes that it started; whoever still waits gets a gap.
        room: how many requests it holds at a time; a run keeps more conversations than that under way.
        sampling: how the checkpoint's own generation_config decodes, for `--sampling checkpoint`.
        died: why it answers no more, empty while it does; a replica that says so is started again.
        roles: to which other roles it answers too, as a replay of a judge's replies does.
        reused: how many of its answers came from the store, for the log.
        unknown(): the samples that it holds replies for and was not asked about, for the notes; a replay's.
    """

    info: ModelInfo

    async def answer(self, request: Request) -> Response:
        """The response. Raises `Gap` where none came."""
        ...


class AnswerProtocol(Protocol):
    """How a sample is asked and how the reply is read."""

    @property
    def name(self) -> str:
        """The name on the command line and in every table."""
        ...

    @property
    def gives(self) -> frozenset[Reading]:
        """What its predictions hold: a run has the numbers of those rules that read it."""
        ...

    @property
    def rules(self) -> "tuple[Rule, ...]":
        """Readings of its own kind of reply, such as whether it keeps the form: every task that is asked so has them too."""
        ...

    def converse(self, sample: Sample, model: ModelInfo) -> Conversation[Prediction]:
        """The conversation about one sample."""
        ...


class Grader(Protocol):
    """A second conversation, about a finished prediction: a judge, an answer extractor, a probe."""

    @property
    def name(self) -> str:
        """The key of its verdict in `Prediction.verdicts`."""
        ...

    @property
    def to(self) -> str:
        """The role that it asks: `judge`, `model`."""
        ...

    def grade(self, sample: Sample, prediction: Prediction) -> Conversation[Any]:
        """The conversation that ends in a verdict."""
        ...


class Metric(Protocol):
    """A pure pair. Order never matters."""

    @property
    def name(self) -> str:
        """What its records are filed under; unique among a task's rules of one name."""
        ...

    def measure(self, value: Any | None, sample: Sample) -> Record:
        """The record of one sample; `value` is None where the parser failed. An empty record: the sample does not count."""
        ...

    def summarise(self, records: Columns) -> Mapping[str, Estimate]:
        """The named estimates of a set of records."""
        ...


@dataclass(frozen=True, slots=True)
class Rule:
    """How one reading turns a prediction into a record: a name, a parser and a metric. Every number names its rule."""

    name: str
    parse: Callable[[Prediction, Sample], Any]
    """Returns the value that the metric measures, or `Unparsed`."""
    metric: "Metric"
    reads: Reading = "text"
    """`boxes`: the model's frame must be declared."""
    subsets: tuple[str, ...] | None = None
    """The subsets its numbers are given for; None: all."""
    optional: bool = False
    """Whether it has no row where no sample counts, as a protocol's or a probe's rule does on tasks it says nothing about."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A grader that can be sent after any task's predictions, and the rules that read its verdict."""

    grader: Grader
    rules: tuple[Rule, ...]
    asks: frozenset[str] = frozenset({"generate"})
    """The request kinds that the grader's role must answer, as `ModelInfo.answers` has them."""
