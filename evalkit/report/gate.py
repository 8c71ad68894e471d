"""Whether a new run may take the place of a base: PASS, REGRESSION or INCONCLUSIVE, of each number and of all.

The logic is that of a non-inferiority trial (G. Piaggio et al., CONSORT 2010 extension, JAMA 308, 2012). With a margin, the loss that
would be put up with, and a level alpha:

    PASS            the new run is shown not to be worse by the margin: the interval of level 1 - alpha of the paired effect lies above
                    -margin. A loss within the margin passes, even one that is certain.
    REGRESSION      it does not pass, and it is shown to be worse: the paired test finds a loss at alpha, adjusted by Holm over all
                    numbers of the gate.
    INCONCLUSIVE    neither: there are too few samples to tell.

All pass where each does; that no loss of the margin slips through anywhere at more than alpha / 2 needs no adjustment (R. L. Berger,
Technometrics 24, 1982). One regression is a regression of all; the chance of one where nothing has changed is at most alpha, by Holm.
With margin 0 only what is shown to be better passes. Where runs are not comparable or lack answers there is no verdict.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum

from ..errors import UserError, did_you_mean
from .comparable import comparable, kinds
from .comparison import Chosen, Comparison, compared
from .runs import Run


class Verdict(StrEnum):
    """What the gate says, in the order of their exit codes."""

    PASS = "PASS"
    REGRESSION = "REGRESSION"
    INCONCLUSIVE = "INCONCLUSIVE"
    NOT_COMPARABLE = "NOT COMPARABLE"

    @property
    def code(self) -> int:
        return list(Verdict).index(self)


@dataclass(frozen=True, slots=True)
class GateTask:
    """A table `[[tasks]]` of a gate.toml: a number of a task that is to be looked at, and how; see `Chosen`."""

    task: str
    metric: str = ""
    rule: str = ""
    margin: float | str | None = None
    alpha: float | None = None
    lower_is_better: bool | None = None
    subset: str = ""

    @property
    def chosen(self) -> Chosen:
        return Chosen(self.metric, self.rule, self.margin, self.alpha, self.lower_is_better, self.subset)


@dataclass(frozen=True, slots=True)
class GateConfig:
    """A gate.toml: the margin and level of all tasks, and tables of those that have their own, a task's headline where none is named."""

    margin: float | str | None = None
    alpha: float | None = None
    across: tuple[str, ...] = ()
    """What the runs may differ in: `protocol`, `sampling`, `pixels`, `judge`."""
    tasks: tuple[GateTask, ...] = field(default=(), metadata={"of": GateTask})

    def __post_init__(self) -> None:
        """Raises `UserError` where a value is out of its range."""
        Chosen(margin=self.margin, alpha=self.alpha)
        kinds(",".join(self.across))


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict on one number, or on a task that has none."""

    task: str
    verdict: Verdict
    comparison: Comparison | None = None
    reasons: tuple[str, ...] = ()
    """Why there is no comparison."""


@dataclass(frozen=True, slots=True)
class Gate:
    """The verdict on two runs, and on each of their numbers."""

    base: Run
    new: Run
    verdict: Verdict
    judged: tuple[Judged, ...]


def gate(base: Run, new: Run, config: GateConfig | None = None) -> Gate:
    """The verdict on the new run; see the head of this file.

    Raises:
        UserError: the configuration names a task or a number that there is not, or the rows of a run are damaged.
    """
    config = config or GateConfig()
    for item in config.tasks:
        if item.task not in {*base.tasks, *new.tasks}:
            raise UserError(f"no task '{item.task}' in either run. {did_you_mean(item.task, base.tasks)}")
    reasons = comparable(base, new, config.across)
    for named in set(base.tasks) & set(new.tasks):
        reasons[named] += [text for which, run in (("base", base), ("new", new)) for text in _lacking(which, run, named)]
    found = compared(
        base,
        new,
        alpha=0.05 if config.alpha is None else config.alpha,
        margin=config.margin,
        chosen={item.task: [other.chosen for other in config.tasks if other.task == item.task] for item in config.tasks},
        tasks=[named for named, told in reasons.items() if not told],
    )
    judged: list[Judged] = []
    for named, told in reasons.items():
        if told:
            judged.append(Judged(named, Verdict.NOT_COMPARABLE, reasons=tuple(told)))
        judged += [_judged(comparison) for comparison in found if comparison.task == named]
    return Gate(base, new, overall([item.verdict for item in judged]), tuple(judged))


def _lacking(which: str, run: Run, named: str) -> list[str]:
    gaps = run.entry(named)["gaps"]
    if not gaps:
        return []
    return [
        f"the {which} run lacks {len(gaps):,} answers, such as to {gaps[0]['sample']} ({gaps[0]['reason']}): run it again to fill the gaps"
    ]


def _judged(comparison: Comparison) -> Judged:
    if comparison.unpaired:
        told = f"{comparison.unpaired:,} answers count in one of the runs only: they are not of the same samples"
        return Judged(comparison.task, Verdict.NOT_COMPARABLE, comparison, (told,))
    return Judged(comparison.task, verdict(comparison), comparison)


def verdict(comparison: Comparison) -> Verdict:
    """The verdict on one number of runs that are comparable."""
    effect, inferior, p = comparison.effect.value, comparison.p_inferior, comparison.p_holm
    if inferior is not None and inferior <= comparison.alpha / 2:
        return Verdict.PASS
    if effect is not None and p is not None and p <= comparison.alpha and (effect > 0) == comparison.lower_is_better:
        return Verdict.REGRESSION
    return Verdict.INCONCLUSIVE


def overall(verdicts: Collection[Verdict]) -> Verdict:
    """The verdict on all: a regression whatever the others say, else that there is none where a task is not comparable, else the
    worst; without any number none.

    >>> str(overall([Verdict.PASS, Verdict.INCONCLUSIVE]))
    'INCONCLUSIVE'
    """
    for worst in (Verdict.REGRESSION, Verdict.NOT_COMPARABLE, Verdict.INCONCLUSIVE):
        if worst in verdicts:
            return worst
    return Verdict.PASS if verdicts else Verdict.NOT_COMPARABLE
