"""The box-erasure probe of one run: attention to the image with the boxes in the context and without, and where it lies in one sample."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...errors import UserError, did_you_mean
from ...images import decode
from ..runs import OVERALL, Run, heading, notes, rule_of, task_of
from . import Asked, Plot, paper

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

METRIC, VERDICT = "box_erasure", "box_erasure"
CONTEXTS = {"with_boxes": "with boxes", "without_boxes": "boxes erased"}
MOST = 300
"""So many samples are drawn as lines, evenly spread over all; the means are of all."""

Pair = tuple[str, float, float]
"""A sample, and the attention to its image with boxes and without."""


def plot(runs: Sequence[Run], asked: Asked) -> Plot:
    """Above, one sample's attention over its image, with boxes and without; below, every sample's two shares, joined, and the means."""
    import numpy as np

    if len(runs) > 1:
        raise UserError(f"expected one run for --kind attention, got {len(runs)}: {', '.join(run.name for run in runs)}")
    run, task = runs[0], task_of(runs, asked.task)
    if not run.numbers(task, METRIC):
        raise UserError(
            f"run {run.name} has no box-erasure probe of {task}. Run it with --protocol grit --probe box-erasure --engine transformers, "
            f"and with --reuse {run.folder.path}, which keeps its answers"
        )
    rule = rule_of(runs, task, METRIC, asked.rule)
    pairs = [_pair(row) for row, _ in run.rows(task) if row.get("verdicts", {}).get(VERDICT)]
    if not pairs:
        raise UserError(
            f"no reply of {run.name} to {task} has boxes before <rethink>, so that none could be erased. Choose another with --task"
        )
    name = _shown(pairs, asked.sample)
    shown = next(row for row, _ in run.rows(task) if row["sample"] == name and row.get("verdicts", {}).get(VERDICT))
    image, lacking = _image(run, task, name, asked)
    grids = [np.array(shown["verdicts"][VERDICT][context]["grids"][0], dtype=float) for context in CONTEXTS]
    height, width = (grids[0] if image is None else image).shape
    high = 0.6 + min(1.35 * height / width, 1.7)
    made = paper.figure(high + 1.5)
    paper.legend(made, heading(runs, task, rule))
    parts: Any = made.subfigures(2, 1, height_ratios=(high, 1.5))
    _maps(parts[0], shown, grids, image)
    _paired(parts[1].subplots(), run, task, rule, pairs)
    present, erased, difference = (
        paper.ranged(run.numbers(task, number, rule)[OVERALL], True)
        for number in ("attention_with_boxes", "attention_without_boxes", METRIC)
    )
    caption = (
        f"Attention of the next tokens to the image, as a share of all, on {task}: with boxes {present}, boxes erased {erased}, "
        f"difference {difference}, n {len(pairs)}. Above: sample {name}. Points: means, bars: 95% intervals."
    )
    few = [f"{MOST} of {len(pairs):,} samples are drawn as lines; means and intervals are of all"] if len(pairs) > MOST else []
    return Plot(made, caption, (*notes(runs, task), *few, *lacking))


def _pair(row: Mapping[str, Any]) -> Pair:
    present, erased = (float(row["verdicts"][VERDICT][context]["attention"]) for context in CONTEXTS)
    return row["sample"], present, erased


def _shown(pairs: Sequence[Pair], named: str | None) -> str:
    """The sample that is named, else the one whose difference is the median; of an even number the lower.

    Raises:
        UserError: there is no such sample among those that count.
    """
    if named is None:
        return sorted((present - erased, name) for name, present, erased in pairs)[(len(pairs) - 1) // 2][1]
    known = [name for name, _, _ in pairs]
    found = named if named in known else named.rpartition("/")[2]
    if found not in known:
        raise UserError(f"no sample '{named}' that the box-erasure probe counts. {did_you_mean(named, known[:1000])}")
    return found


def _image(run: Run, task: str, name: str, asked: Asked) -> "tuple[np.ndarray[Any, Any] | None, list[str]]":
    """The sample's first image in grey, (height, width); None and why, where it is not there."""
    import numpy as np

    try:
        for sample in run.samples(task, asked.data):
            if sample.id == name and sample.images:
                return np.asarray(decode(sample.images[0]).convert("L")), []
        reason = f"the data of {task} has no such sample with an image"
    except UserError as error:
        reason = f"{error}"
    return None, [f"the image of sample {name} is not drawn: {reason}"]


def _maps(made: "SubFigure", row: dict[str, Any], grids: "Sequence[np.ndarray[Any, Any]]", image: "np.ndarray[Any, Any] | None") -> None:
    """Draws the two grids of a sample over its image, on one scale."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    most = max(float(grid.max()) for grid in grids)
    colours = LinearSegmentedColormap.from_list("attention", ["white", paper.COLOURS[0]])
    height, width = (grids[0] if image is None else image).shape
    both = made.subplots(1, 2)
    for axes, grid, title in zip(both, grids, CONTEXTS.values(), strict=True):
        if image is not None:
            axes.imshow(image, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0), label="image")
        veil = 0.85 * grid / most if image is not None and most else None  # where little attention lies the image shows through
        axes.imshow(grid, cmap=colours, vmin=0, vmax=most, extent=(0, width, height, 0), alpha=veil, label="attention")
        axes.set_title(f"{title}: {grid.sum():.1%}", fontsize=7.5)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(visible=False)
    if image is not None:
        _outline(both[0], [item["box"] for item in row.get("evidence", ()) if item["box"]])
    bar = made.colorbar(ScalarMappable(Normalize(0, most), colours), ax=list(both), shrink=0.9, aspect=12, pad=0.02)
    paper.share_axis(bar.ax)
    bar.set_label("% of all, a cell", fontsize=7)
    bar.outline.set_linewidth(0.4)
    made.supxlabel(f"sample {row['sample']}: {paper.short(str(row['question']), 60)}", fontsize=6.5, color=paper.GREY)


def _outline(axes: "Axes", boxes: Sequence[Sequence[float]]) -> None:
    """Draws the boxes of the reply."""
    from matplotlib.patches import Rectangle

    for x1, y1, x2, y2 in dict.fromkeys(map(tuple, boxes)):
        place = (min(x1, x2), min(y1, y2))
        for colour, width in (("white", 1.8), (paper.COLOURS[1], 1.0)):
            axes.add_patch(Rectangle(place, abs(x2 - x1), abs(y2 - y1), fill=False, edgecolor=colour, linewidth=width, label="box"))


def _paired(axes: "Axes", run: Run, task: str, rule: str, pairs: Sequence[Pair]) -> None:
    """Draws a line a sample from its share with boxes to that without, and the means beside them."""
    from matplotlib.collections import LineCollection

    drawn = pairs if len(pairs) <= MOST else [pairs[place * len(pairs) // MOST] for place in range(MOST)]
    lines = LineCollection(
        [[(0, present), (1, erased)] for _, present, erased in drawn], colors=paper.GREY, linewidths=0.5, alpha=0.5, label="samples"
    )
    axes.add_collection(lines)
    for place, (name, title) in enumerate(CONTEXTS.items()):
        row = run.numbers(task, f"attention_{name}", rule)[OVERALL]
        x, colour = (-0.12, 1.12)[place], paper.COLOURS[place]
        axes.plot([x], [row["value"]], marker=paper.MARKERS[place], color=colour, label=f"mean {title}", zorder=3)
        if row["low"] is not None:
            axes.vlines([x], row["low"], row["high"], color=colour, linewidth=1.2, label=f"95% interval {title}")
    difference = run.numbers(task, METRIC, rule)[OVERALL]
    axes.set_xlim(-0.35, 1.35)
    axes.set_ylim(bottom=0, top=1.05 * max(max(present, erased) for _, present, erased in pairs))
    axes.set_xticks([0, 1], list(CONTEXTS.values()))
    axes.grid(visible=False, axis="x")
    axes.set_ylabel("attention to\nthe image (%)")
    paper.share_axis(axes)
    points = {key: None if difference[key] is None else 100 * difference[key] for key in ("value", "low", "high")}
    interval = f" ({points['low']:+.1f} to {points['high']:+.1f})" if points["low"] is not None else ""
    said = f"difference {points['value']:+.1f}{interval} points, n = {difference['n']:,}"
    axes.set_xlabel(said.replace("-", "−"), fontsize=7)
