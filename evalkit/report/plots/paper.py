"""How the plots look: one column of a paper wide, colours that the colour-blind tell apart, and the same bytes for the same input."""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UserError
from ...types import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 3.3
"""Inches: a column of the usual two-column papers."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, without the yellow, which is too faint for a line on white."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1.5, 1)), (0, (5, 1, 1, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (2, 3)))
GREY = "#666666"
FORMATS = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}, ".png": {}}
"""What a file holds besides the picture: no dates."""
STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.unicode_minus": True,
    "errorbar.capsize": 0,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.04,
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.4,
    "legend.borderaxespad": 0,
    "legend.borderpad": 0.2,
    "legend.columnspacing": 1.2,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.handletextpad": 0.5,
    "legend.labelspacing": 0.3,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "patch.linewidth": 0.6,
    "pdf.fonttype": 42,
    "savefig.dpi": 300,
    "svg.fonttype": "path",
    "svg.hashsalt": "evalkit",
    "text.parse_math": False,
    "xtick.labelsize": 7,
    "xtick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "xtick.minor.size": 1.5,
    "xtick.minor.width": 0.4,
    "ytick.labelsize": 7,
    "ytick.major.size": 2.5,
    "ytick.major.width": 0.6,
    "ytick.minor.size": 1.5,
    "ytick.minor.width": 0.4,
}


@contextmanager
def styled() -> Iterator[None]:
    """While it is entered, figures are made and saved in the style of this file, whatever the user's own settings are."""
    import matplotlib.style

    with matplotlib.style.context(["default", STYLE]):
        yield


def figure(height: float) -> "Figure":
    """An empty figure one column wide and `height` inches high."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height))


def legend(made: "Figure", heading: str, handles: Sequence[Any] = (), names: Sequence[str] = (), columns: int = 1) -> None:
    """Adds the legend above the axes, headed by a line that says what the figure is of; the figure grows by what they take."""
    lines = textwrap.wrap(heading, 66)
    told = made.legend(
        handles,
        [short(name, 58) for name in names],
        loc="outside upper left",
        ncols=columns,
        title="\n".join(lines),
        title_fontsize=6.5,
        alignment="left",
    )
    told.get_title().set_color(GREY)
    rows = -(-len(handles) // columns)
    made.set_figheight(made.get_figheight() + 0.11 * len(lines) + 0.13 * rows)


def share_axis(axes: "Axes", which: str = "y") -> None:
    """Shows shares from 0 to 1 as percent."""
    from matplotlib.ticker import FuncFormatter

    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))


def shift(place: int, of: int, span: float) -> float:
    """How far from the middle the mark of run number `place` is, where `of` runs share `span`.

    >>> shift(0, 1, 0.6), shift(0, 2, 0.6), shift(1, 2, 0.6)
    (0.0, -0.15, 0.15)
    """
    return round(span * ((place + 0.5) / of - 0.5), 9)


def points(axes: "Axes", estimates: Sequence[Estimate | None], place: int, of: int, name: str, sideways: bool = False) -> Any:
    """Draws the estimates at 0, 1, ... with their intervals, beside those of other runs; returns the handle for a legend."""
    there = [(at + shift(place, of, 0.5), found) for at, found in enumerate(estimates) if found and found.value is not None]
    at, values = [spot for spot, _ in there], [found.value for _, found in there]
    spans = [(spot, found.low, found.high) for spot, found in there if found.low is not None]
    lines = axes.hlines if sideways else axes.vlines
    columns: Any = list(zip(*spans, strict=True)) or [[], [], []]
    lines(*columns, color=COLOURS[place], linewidth=1, label=f"95% interval of {name}")
    pair: Any = (values, at) if sideways else (at, values)
    return axes.plot(*pair, linestyle="", marker=MARKERS[place], color=COLOURS[place], label=name, zorder=3)[0]


def distinct(names: Sequence[str]) -> Sequence[str]:
    """The names of runs, where there are colours enough for them.

    Raises:
        UserError: there are more.
    """
    if len(names) > len(COLOURS):
        raise UserError(f"expected at most {len(COLOURS)} runs in one plot, got {len(names)}: draw some of them at a time")
    return names


def unit(metric: str) -> tuple[str, bool]:
    """What an axis of an estimate is called, and whether it is shown in percent.

    >>> unit("accuracy"), unit("grounding_iou")
    (('accuracy (%)', True), ('grounding IoU', False))
    """
    percent = (
        "accuracy" in metric
        or metric.startswith(("format", "pass@", "majority@"))
        or metric in ("rapr", "correlation", "count_consistency")
    )
    words = {
        "iou": "IoU",
        "giou": "gIoU",
        "ciou": "cIoU",
        "rmse": "RMSE",
        "anls": "ANLS",
        "rapr": "RaPR",
        "rad": "RAD",
        "ap": "AP",
        "f1": "F1",
    }
    name = " ".join(words.get(word, word) for word in metric.split("_"))
    return (f"{name} (%)" if percent else name), percent


def short(text: str, most: int = 28) -> str:
    """The text on one line, its middle left out where it is longer than `most` characters.

    >>> short("in the\\nmiddle of"), short("facing away from the camera", 12)
    ('in the middle of', 'facing…amera')
    """
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - most // 2]}…{line[len(line) - most // 2 + 1 :]}"


def span(ns: Sequence[int]) -> str:
    """Numbers of samples in words: the only one, or the least and the greatest.

    >>> span([24]), span([60, 1200])
    ('24', '60-1,200')
    """
    return f"{min(ns):,}" if min(ns) == max(ns) else f"{min(ns):,}-{max(ns):,}"


def number(value: float, percent: bool) -> str:
    """A value as a caption has it.

    >>> number(0.6912, True), number(0.3808, False)
    ('69.1%', '0.381')
    """
    return f"{100 * value:.1f}%" if percent else f"{value:.3g}"


def ranged(row: Any, percent: bool) -> str:
    """An estimate (or a flat row) as a caption has it, with its interval where it has one."""
    value, low, high = (row[key] if isinstance(row, dict) else getattr(row, key) for key in ("value", "low", "high"))
    if value is None:
        return "-"
    return number(value, percent) + (f" ({number(low, percent)} to {number(high, percent)})" if low is not None else "")


def suited(path: Path) -> Path:
    """The path, where it ends as a format that is written.

    Raises:
        UserError: it does not.
    """
    if path.suffix.lower() not in FORMATS or path.is_dir():
        raise UserError(f"expected a file that ends in {', '.join(FORMATS)}, got --out {path}: name one such as {path.stem or 'plot'}.pdf")
    return path


def save(made: "Figure", path: Path) -> list[str]:
    """Writes the figure, whole or not at all, in the format of the file's ending; returns what the font lacks, in words.

    The same figure gives the same bytes, in the same versions of matplotlib and its font.
    """
    import re
    import warnings

    kind = path.suffix.lower()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made.savefig(part, format=kind[1:], metadata=FORMATS[kind])
    part.replace(path)
    lacking = dict.fromkeys(found[1] for item in caught if (found := re.match(r"Glyph \d+ \((.+)\) missing", str(item.message))))
    return [f"the font of the plots lacks {', '.join(lacking)}: an empty box stands for each"] if lacking else []
