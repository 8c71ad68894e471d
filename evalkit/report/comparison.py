"""Two runs on the same samples: how their numbers differ, sample by sample."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .. import paired
from ..errors import UserError, did_you_mean
from ..paired import Difference
from ..types import Estimate
from .records import CLOSE, Number, Records, code, denominator, numerator
from .runs import LOWER_IS_BETTER, Run
from .table import headlines

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

MARGIN = 0.02
WORK = 4_000_000
"""Bounds the time of a permutation test of a statistic that is no sum: exchanges times records. There are at least `FEWEST`."""
FEWEST = 999
TEXTS = 1_000
"""Of how many flipped samples of a kind the replies are kept; of the others there are the ids."""
LONGEST = 2_000
"""Characters of a reply that are kept."""
RIGHT = 0.5
"""From which score of its own on a sample counts as right, where it is neither 0 nor 1: an IoU, a share of the gold found."""


@dataclass(frozen=True, slots=True)
class Flip:
    """A sample that is right in one run and wrong in the other, its tags and both replies; without texts beyond the first `TEXTS`."""

    sample: str
    draw: int
    tags: tuple[str, ...] = ()
    question: str = ""
    target: Any = None
    base: str = ""
    new: str = ""


@dataclass(frozen=True, slots=True)
class Flipped:
    """The samples that flipped, in the order of their ids."""

    lost: tuple[Flip, ...] = ()
    """Right in the base, wrong in the new run."""
    gained: tuple[Flip, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """One number of both runs and how they differ, over the samples that both answered."""

    task: str
    metric: str
    rule: str
    subset: str
    base: float | None
    new: float | None
    effect: Estimate
    """New less base: paired and clustered, in the unit of the number."""
    n: int
    clusters: int
    margin: float
    alpha: float
    lower_is_better: bool = False
    unpaired: int = 0
    """How many answers count in one of the runs only, and are left out."""
    p: float | None = None
    """Two-sided, of no difference; None where there is nothing to compare."""
    p_holm: float | None = None
    """The same, adjusted for all comparisons of the two runs."""
    test: str = ""
    """Which test that is of."""
    p_inferior: float | None = None
    """One-sided, of the new run being worse by the margin or more: the non-inferiority test. None for a single cluster."""
    detectable: float | None = None
    """The least effect that would be found with power 0.8 on as many samples."""
    needed: int | None = None
    """How many samples would settle an effect of this size, with power 0.8: show it to be worse, or to be within the margin,
    whichever takes fewer. None where none do."""
    flipped: Flipped = Flipped()


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which number of a task is compared, and how; what is left out is the task's headline under its first rule."""

    metric: str = ""
    rule: str = ""
    margin: float | str | None = None
    """See `margin_of`."""
    alpha: float | None = None
    lower_is_better: bool | None = None
    """None: it is for the errors of `LOWER_IS_BETTER`."""
    subset: str = ""
    """One subset or composite; empty for the whole, and where the number has composites each of these."""

    def __post_init__(self) -> None:
        """Raises `UserError` where the margin or alpha is out of its range."""
        margin_of(self.margin, 1.0)
        if self.alpha is not None:
            check_alpha(self.alpha)


def margin_of(said: float | str | None, base: float) -> float:
    """A margin in the unit of the number that is `base`, at least 0: a number is in that unit, "2%" a share of the base's own number.

    Not said, it is 0.02 of a number in [0, 1], two points of a hundred, and 2% of one on another scale.

    >>> margin_of(0.01, 0.6), margin_of("1%", 1500), margin_of(None, 0.6), margin_of(None, 1500)
    (0.01, 15.0, 0.02, 30.0)

    Raises:
        UserError: it is neither, or below 0.
    """
    if said is None:
        return MARGIN * max(1.0, abs(base))
    text = str(said).strip()
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise UserError(f"expected a margin of at least 0, such as 0.02 or 2%, got {said!r}")
    return number / 100 * abs(base) if text.endswith("%") else number


def check_alpha(alpha: float) -> None:
    """Raises `UserError` where it is no level of a test."""
    if not 0 < alpha < 1:
        raise UserError(f"expected alpha above 0 and below 1, such as 0.05, got {alpha}")


def compared(
    base: Run,
    new: Run,
    *,
    alpha: float = 0.05,
    margin: float | str | None = 0.0,
    chosen: Mapping[str, Chosen | Sequence[Chosen]] | None = None,
    tasks: Collection[str] | None = None,
) -> list[Comparison]:
    """How the runs differ in the numbers that stand for each task that both have: what is `chosen` of it by its name, else its headline.

    Where those have composites, in each of these. Over the samples that both answered, whether they are `comparable` or not.
    `margin` is as in `margin_of`; `tasks` are those to look at, all where None.

    Raises:
        UserError: a run lacks a chosen number, its rows are damaged, or they were scored by another version of the task.
    """
    check_alpha(alpha)
    made: list[Comparison] = []
    for named in (named for named in base.tasks if named in new.tasks and (tasks is None or named in tasks)):
        choices = (chosen or {}).get(named, Chosen())
        for choice in [choices] if isinstance(choices, Chosen) else choices:
            full = replace(
                choice, margin=margin if choice.margin is None else choice.margin, alpha=alpha if choice.alpha is None else choice.alpha
            )
            numbers = (Number.of(base, named, row["metric"], row["rule"], row["subset"]) for row in _rows(base, named, full))
            made += [_compared(base, new, number, full) for number in numbers]
    adjusted = paired.holm([item.p for item in made])
    return [replace(item, p_holm=p) for item, p in zip(made, adjusted, strict=True)]


def _rows(run: Run, named: str, choice: Chosen) -> list[dict[str, Any]]:
    """The flat rows of the summary that are compared."""
    numbers = [
        row
        for row in run.summary["numbers"]
        if row["task"] != named or (row["rule"] == choice.rule if choice.rule else row["rule"] != "majority")
    ]
    entries = [{**entry, "headline": choice.metric or entry["headline"]} for entry in run.summary["tasks"] if entry["task"] == named]
    rows = headlines({"tasks": entries, "numbers": numbers}, choice.subset)
    if not rows and choice.subset and (whole := headlines({"tasks": entries, "numbers": numbers})):
        subsets = run.numbers(named, whole[0]["metric"], whole[0]["rule"])
        raise UserError(
            f"run {run.name} has no '{whole[0]['metric']}' of {named} in '{choice.subset}'. {did_you_mean(choice.subset, list(subsets))}"
        )
    if not rows:
        known = sorted({f"{row['metric']} by rule {row['rule']}" for row in run.summary["numbers"] if row["task"] == named})
        rule = f" by rule '{choice.rule}'" if choice.rule else ""
        raise UserError(f"run {run.name} has no '{entries[0]['headline']}'{rule} of {named}. There are: {', '.join(known) or 'none'}")
    return rows


def _compared(base: Run, new: Run, number: Number, choice: Chosen) -> Comparison:
    import numpy as np

    before, after = number.records(base), number.records(new)
    _, mine, others = np.intersect1d(before.key, after.key, assume_unique=True, return_indices=True)
    unpaired = len(before) + len(after) - 2 * len(mine)
    if not unpaired:
        for run, records in ((base, before), (new, after)):
            _check(run, number, records)
    before, after = before.at(mine), after.at(others)
    was, is_now = (number.value(records) if len(records) else math.nan for records in (before, after))
    made = Comparison(
        number.task,
        number.metric,
        number.rule.name,
        number.subset,
        None if math.isnan(was) else was,
        None if math.isnan(is_now) else is_now,
        Estimate(None, None, None, None, len(before)),
        len(before),
        len(np.unique(before.group)),
        0.0 if math.isnan(was) else margin_of(choice.margin, was),
        choice.alpha or 0.05,
        number.metric in LOWER_IS_BETTER if choice.lower_is_better is None else choice.lower_is_better,
        unpaired,
    )
    if made.base is None or made.new is None:
        return made
    pair = number.sums(before, after)
    difference, p, test = _tested(number, before, after, pair, max(1.0, abs(was), abs(is_now)))
    up = -difference if made.lower_is_better else difference
    return replace(
        made,
        effect=difference.estimate,
        p=p,
        test=test,
        detectable=up.detectable(made.alpha),
        needed=_needed(up, made.margin, made.alpha),
        p_inferior=up.above(-made.margin),
        flipped=_flipped(base, new, number, before, after, pair),
    )


def _check(run: Run, number: Number, records: Records) -> None:
    """Checks that the records give the number that the summary has."""
    said = run.numbers(number.task, number.metric, number.rule.name)[number.subset]["value"]
    value = number.value(records) if len(records) else math.nan
    if not (math.isnan(value) if said is None else math.isclose(value, said, rel_tol=CLOSE, abs_tol=CLOSE)):
        raise UserError(
            f"the records of {run.folder.path} give {value:.6g} as {number.metric} of {number.task}, its summary has {said}: "
            f"they were scored by another version. Score them anew with `evalkit score {run.folder.path}`"
        )


def _tested(number: Number, before: Records, after: Records, pair: tuple[str, str] | None, span: float) -> tuple[Difference, float, str]:
    """The difference, the p-value of there being none, and by which test."""
    import numpy as np

    clusters = len(np.unique(before.group))
    exchanged = f"exchange of {clusters:,} clusters"
    if pair is None:
        difference, p = _by_statistic(number, before, after, span)
        return difference, p, exchanged
    first, second = (numerator(run, pair) for run in (before, after))
    binary = not number.composite and not pair[1] and all(np.isin(column, (0, 1)).all() for column in (first, second))
    if binary and clusters == len(before):
        shares = paired.of_shares(first, second, before.group)
        return shares, paired.mcnemar(int((first > second).sum()), int((first < second).sum())), "McNemar's exact test"
    parts = before.parts or (np.ones(len(before), dtype=bool),)
    weight = 1.0 if number.composite and number.composite.how == "sum" else 1 / len(parts)
    was, is_now = ([(numerator(run, pair) * part, denominator(run, pair) * part) for part in parts] for run in (before, after))

    def statistic(*sums: "Array") -> Any:
        return weight * sum(above / below for above, below in zip(sums[::2], sums[1::2], strict=True))

    flat = [[column for ratio in run for column in ratio] for run in (was, is_now)]
    p = paired.permutation(statistic, flat[0], flat[1], before.group)
    if binary:
        return paired.of_shares(first, second, before.group), p, exchanged
    return paired.of_ratios(was, is_now, before.group, weight=weight, span=span), p, exchanged


def _by_statistic(number: Number, before: Records, after: Records, span: float) -> tuple[Difference, float]:
    """The difference and its p-value for a number that is no ratio of sums, computed anew for each group left out and each exchange."""
    import numpy as np

    codes, place = np.unique(before.group, return_inverse=True)

    def without(kept: "Array") -> float:
        return number.value(after.at(kept[place])) - number.value(before.at(kept[place]))

    def exchanged(swapped: "Array") -> float:
        where = swapped[place]
        return number.value(after.exchanged(before, where)) - number.value(before.exchanged(after, where))

    permutations = min(max(WORK // len(before), FEWEST), paired.PERMUTATIONS)
    difference = paired.of_statistic(without, len(codes), len(before), span=span)
    return difference, paired.permutation_of(exchanged, len(codes), permutations)


def _needed(up: Difference, margin: float, alpha: float) -> int | None:
    """How many samples would settle the difference: show that it is below 0, or that it is above -margin, whichever takes fewer."""
    distances = [up.value] * (up.value < 0) + [up.value + margin] * (up.value > -margin)
    found = [n for distance in distances if (n := up.needed(distance, alpha)) is not None]
    return min(found, default=None)


def _flipped(base: Run, new: Run, number: Number, before: Records, after: Records, pair: tuple[str, str] | None) -> Flipped:
    """The samples that are right in one run only, with their replies."""
    first, second = (_scores(records, pair) for records in (before, after))
    if first is None or second is None:
        return Flipped()
    was, is_now = first >= RIGHT, second >= RIGHT
    lost, gained = before.key[was & ~is_now].tolist(), before.key[is_now & ~was].tolist()
    kept = {*lost[:TEXTS], *gained[:TEXTS]}  # keys are in the order of their codes, whatever that of the rows
    texts = {key: row["text"][:LONGEST] for key, row in _answers(new, number.task, kept)}
    flips: dict[int, Flip] = {}
    for key, row in _answers(base, number.task, {*lost, *gained}):
        said = (row["question"][:LONGEST], row["target"], row["text"][:LONGEST], texts[key]) if key in kept else ()
        flips[key] = Flip(row["sample"], row["draw"], tuple(row["tags"]), *said)
    ordered = (
        (flips[key] for key in sorted(keys, key=lambda key: (key not in kept, flips[key].sample, flips[key].draw)))
        for keys in (lost, gained)
    )
    return Flipped(*map(tuple, ordered))


def _answers(run: Run, named: str, keys: Collection[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of predictions.jsonl with these codes."""
    for row in run.predictions(named) if keys else ():
        if (key := code(row["sample"], row["draw"])) in keys:
            yield key, row


def _scores(records: Records, pair: tuple[str, str] | None) -> "Array | None":
    """The score of each answer of its own, in [0, 1]: whether it is correct, else what the number is the mean or the ratio of, else the
    first thing in [0, 1] that is recorded of it; None where nothing is."""
    import numpy as np

    columns = {name: column for name, column in records.values.items() if column.dtype != object}
    first = columns.get("correct", numerator(records, pair) / np.maximum(denominator(records, pair), CLOSE) if pair else None)
    found = [column for column in (first, *columns.values()) if column is not None and ((column >= 0) & (column <= 1)).all()]
    return found[0] if found else None
