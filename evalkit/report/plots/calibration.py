"""Whether replies point at as many things as they count: the number of boxes in a reply against the number that it answers."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ... import stats
from ...errors import UserError
from ...scoring import cluster
from ...types import Estimate
from ..comparable import same_task
from ..runs import Run, heading, notes, task_of, titles
from . import Asked, Plot, paper

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FARTHEST = 15
"""Where both axes end: a larger number is drawn there."""
LARGEST = 110.0
"""The area of the bubble of most replies, in square points."""


def plot(runs: Sequence[Run], asked: Asked) -> Plot:
    """Bubbles of replies for a single run; for each run the mean number of boxes by answer, with its 95% interval."""
    task = task_of(runs, asked.task)
    same_task(runs, task)
    names = paper.distinct(titles(runs))
    counted = [_pairs(run, task, asked.rule) for run in runs]
    rules = sorted({rule for _, rule in counted})
    made = paper.figure(2.7)
    axes = made.subplots()
    most = max(min(max(answer, boxes), FARTHEST) for pairs, _ in counted for answer, boxes, _ in pairs)
    handles: list[Any] = [
        axes.plot([0, most], [0, most], color=paper.GREY, linestyle=":", linewidth=0.9, label="as many boxes", zorder=1)[0]
    ]
    shown, told = ["as many boxes as the answer says"], []
    beyond = 0
    for place, (name, (pairs, _)) in enumerate(zip(names, counted, strict=True)):
        if len(runs) == 1:
            _bubbles(axes, Counter((min(answer, FARTHEST), min(boxes, FARTHEST)) for answer, boxes, _ in pairs))
        beyond += sum(max(answer, boxes) > FARTHEST for answer, boxes, _ in pairs)
        handles.append(_means(axes, pairs, most, place, len(runs), name))
        groups = [cluster(group) for _, _, group in pairs]
        share = stats.share([float(answer == boxes) for answer, boxes, _ in pairs], groups)
        shown.append(f"{paper.short(name, 24)}: mean; equal in {share.value:.0%}, n = {len(pairs):,}")
        told.append(f"{name}: as many boxes as answered in {paper.ranged(share, True)} of {len(pairs)} replies.")
    axes.set_xlim(-0.6, most + 0.6)
    axes.set_ylim(-0.6, most + 0.6)
    axes.set_aspect("equal")
    ticks = range(0, most + 1, 1 if most <= 10 else 3)
    labels = [f"≥ {tick}" if tick == FARTHEST and beyond else f"{tick}" for tick in ticks]
    axes.set_xticks(ticks, labels)
    axes.set_yticks(ticks, labels)
    axes.set_xlabel("count that the reply answers")
    axes.set_ylabel("different boxes in the reply")
    paper.legend(made, heading(runs, task, " and ".join(rules)), handles, shown)
    area = " Area of a disc: number of replies." if len(runs) == 1 else ""
    points = "Points: mean number of boxes, bars: 95% intervals."
    said = f"Boxes in the reply against the count it answers, on {task}. {' '.join(told)}{area} {points}"
    ends = [f"{beyond} replies with more than {FARTHEST} are drawn at the end of the axes"] if beyond else []
    return Plot(made, said, (*notes(runs, task), *ends))


def _pairs(run: Run, task: str, rule: str | None) -> tuple[list[tuple[int, int, str]], str]:
    """Of each reply to a counting question that was read: its answer, how many different boxes it holds, its group; and the rule.

    Raises:
        UserError: no reply gives a count, or none of those that do has a box.
    """
    pairs: list[tuple[int, int, str]] = []
    for row, records in run.rows(task):
        if type(row["target"]) is not int:
            continue
        for record in records:
            value = record["value"]
            if "correct" in record and (rule is None or record["rule"] == rule) and type(value) is int and value >= 0:
                rule = record["rule"]
                boxes = {tuple(item["written"]) for item in row.get("evidence", ())}
                pairs.append((value, len(boxes), row["group"] or row["sample"]))
                break
    if not pairs:
        by = f" by rule '{rule}'" if rule else ""
        raise UserError(
            f"no reply of {run.name} to {task} gives a count{by}: choose a task that counts with --task, such as tallyqa or shapes"
        )
    if not any(boxes for _, boxes, _ in pairs):
        raise UserError(
            f"no reply of {run.name} to a counting question of {task} holds a box: run it with --protocol grit, which asks for boxes"
        )
    return pairs, rule or ""


def _bubbles(axes: "Axes", replies: Counter[tuple[int, int]]) -> None:
    most = max(replies.values())
    places = sorted(replies)
    areas = [LARGEST * replies[place] / most for place in places]
    answers, boxes = zip(*places, strict=True)
    axes.scatter(answers, boxes, areas, color=paper.COLOURS[5], alpha=0.6, linewidth=0, label="replies", zorder=2)


def _means(axes: "Axes", pairs: Sequence[tuple[int, int, str]], most: int, place: int, of: int, name: str) -> Any:
    """The mean number of boxes at each answer."""
    by: dict[int, tuple[list[float], list[int]]] = defaultdict(lambda: ([], []))
    for answer, boxes, group in pairs:
        by[min(answer, FARTHEST)][0].append(min(boxes, FARTHEST))
        by[min(answer, FARTHEST)][1].append(cluster(group))
    estimates: list[Estimate | None] = [stats.mean(*by[answer]) if answer in by else None for answer in range(most + 1)]
    return paper.points(axes, estimates, place, of, name)
