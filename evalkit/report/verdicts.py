"""The gate's verdict for people and for machines: as text, as Markdown for a job's page, as JUnit XML and as JSON."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from .comparison import Comparison, Flip
from .form import plain
from .gate import Gate, Judged, Verdict
from .markdown import aligned
from .runs import OVERALL, titles

FEW = 3
"""How many flipped samples of a kind a terminal shows; a job's page shows `MORE`."""
MORE = 10
SUBSETS = 6
"""Of flipped samples so many subsets are named, those that most are of."""
CUT = 160
"""Characters of a reply that are shown of a flipped sample."""
FORMAT = 1
ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, escaped or not (section 2.2, Char)."""


def text(gate: Gate) -> str:
    """The verdict for a terminal: a line on all, a table, and below it what is to be said of each number."""
    return _page(gate, lambda name: plain(name).replace("|", "\\|"), FEW, "")


def markdown(gate: Gate) -> str:
    """The verdict as Markdown; names and replies mean nothing to it, whatever they hold."""
    return _page(gate, _literal, MORE, "## ") + "\n"


def as_json(gate: Gate) -> dict[str, Any]:
    """The verdict as plain values, with every sample that flipped."""
    sides = {
        side: {"folder": str(run.folder.path), "model": run.summary["model"], "protocol": run.summary["protocol"]}
        for side, run in (("base", gate.base), ("new", gate.new))
    }
    numbers = [
        {
            "task": item.task,
            "verdict": str(item.verdict),
            "reasons": list(item.reasons),
            **(asdict(item.comparison) if item.comparison else {}),
        }
        for item in gate.judged
    ]
    return {"format": FORMAT, "verdict": str(gate.verdict), "code": gate.verdict.code, **sides, "numbers": numbers}


def junit(gate: Gate) -> str:
    """The verdict as JUnit XML, a test case a number: a regression is a failure, no comparison an error, what is not settled skipped."""
    from xml.etree import ElementTree

    tags = {Verdict.REGRESSION: "failure", Verdict.NOT_COMPARABLE: "error", Verdict.INCONCLUSIVE: "skipped"}
    counts = {tag + "s" * (tag != "skipped"): sum(item.verdict is kind for item in gate.judged) for kind, tag in tags.items()}
    told = {"name": "evalkit gate", "tests": len(gate.judged), **counts}
    suite = ElementTree.Element("testsuite", {name: _legal(str(value)) for name, value in told.items()})
    for item in gate.judged:
        case = ElementTree.SubElement(suite, "testcase", {"classname": _legal(item.task), "name": _legal(_number(item))})
        if item.verdict in tags:
            found = ElementTree.SubElement(case, tags[item.verdict], {"type": str(item.verdict), "message": _legal(said(item))})
            found.text = _legal("\n".join(_flips(item.comparison, plain, MORE)) if item.comparison else "")
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"


def said(item: Judged) -> str:
    """A sentence on one number: what is shown, or what would settle it."""
    found = item.comparison
    if item.reasons or found is None:
        return "; ".join(item.reasons)
    if found.effect.value is None or found.p is None:
        return "there is no number to compare: no sample counts in both runs"
    size = f"effect {found.effect.value:+.4g}{_interval(found)}, {_p(found)} ({found.test}), n {found.n:,}"
    if item.verdict is Verdict.PASS:
        return f"not worse by {found.margin:.4g}: {size}"
    if item.verdict is Verdict.REGRESSION:
        return f"worse: {size}; margin {found.margin:.4g}"
    needed = "" if found.needed is None else f"; about {max(found.needed, found.n + 1):,} samples would settle it"
    least = "" if found.detectable is None else f"; on {found.n:,} an effect of {found.detectable:.3g} would be seen"
    return f"neither a loss nor the lack of one of {found.margin:.4g} is shown: {size}{needed}{least}"


def _page(gate: Gate, literal: Callable[[str], str], few: int, title: str) -> str:
    head = ["task", "number", "base", "new", "effect", "95% interval", "p (Holm)", "n", "verdict"]
    table = aligned(head, [_row(item, literal) for item in gate.judged], range(2, 8))
    counts = ", ".join(f"{n} {kind}" for kind in Verdict if (n := sum(item.verdict is kind for item in gate.judged)))
    new, base = map(literal, titles([gate.new, gate.base], models=True))
    line = f"{title}{gate.verdict}: {new} against {base} ({counts or 'no task'})"
    parts = [line, table] if gate.judged else [line]
    for item in gate.judged:
        flips = _flips(item.comparison, literal, few) if item.comparison and item.verdict is not Verdict.PASS else ()
        name = literal(f"{item.task} {_number(item)}".strip())
        parts.append("\n".join([f"{name}: {literal(said(item))}", *(["", *told] if (told := list(flips)) else [])]))
    return "\n\n".join(parts)


def _row(item: Judged, literal: Callable[[str], str]) -> list[str]:
    found = item.comparison
    if found is None:
        return [literal(item.task), *["-"] * 7, str(item.verdict)]
    numbers = [*map(_value, (found.base, found.new)), "-" if found.effect.value is None else f"{found.effect.value:+.4g}"]
    interval = _interval(found).strip(" ()") or "-"
    p = "-" if found.p_holm is None else f"{found.p_holm:.2g}"
    return [literal(item.task), literal(_number(item)), *numbers, interval, p, f"{found.n:,}", str(item.verdict)]


def _number(item: Judged) -> str:
    found = item.comparison
    if found is None:
        return ""
    return f"{found.metric} ({found.rule})" + ("" if found.subset == OVERALL else f" {found.subset}")


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _interval(found: Comparison) -> str:
    low, high = found.effect.low, found.effect.high
    return "" if low is None or high is None else f" ({low:+.3g} to {high:+.3g})"


def _p(found: Comparison) -> str:
    adjusted = "" if found.p_holm == found.p else f", {found.p_holm:.2g} by Holm"
    return f"p {found.p:.2g}{adjusted}"


def _flips(found: Comparison, literal: Callable[[str], str], few: int) -> Iterator[str]:
    """The first samples that flipped, those that were lost first."""
    for kind, flips in (("right before, wrong now", found.flipped.lost), ("wrong before, right now", found.flipped.gained)):
        if flips:
            yield f"{len(flips):,} {kind}{_where(flips, literal)}" + (f"; the first {few}:" if len(flips) > few else ":")
        for flip in flips[:few]:
            yield f"- {_flip(flip, literal)}"


def _where(flips: Sequence[Flip], literal: Callable[[str], str]) -> str:
    """In which subsets most of them are."""
    most = Counter(tag for flip in flips for tag in flip.tags).most_common(SUBSETS)
    return f" ({', '.join(f'{literal(tag)} {count:,}' for tag, count in most)})" if most else ""


def _flip(flip: Flip, literal: Callable[[str], str]) -> str:
    draw = f" draw {flip.draw}" if flip.draw else ""
    told = (("", flip.question), ("gold ", flip.target), ("base: ", flip.base), ("new: ", flip.new))
    return f"{literal(flip.sample)}{draw} · " + " · ".join(f"{what}{literal(_cut(value))}" for what, value in told)


def _cut(value: Any) -> str:
    """The end of a text, where the answer is, or its value as text."""
    words = " ".join(str(value).split())
    return words if len(words) <= CUT else f"...{words[-CUT:]}"


def _literal(name: str) -> str:
    r"""A text of which nothing means anything to Markdown.

    >>> _literal("<b>a|b</b> *c*")
    '\\<b\\>a\\|b\\</b\\> \\*c\\*'
    """
    return re.sub(r"([\\`*_{}\[\]<>|~#&@:!$])", r"\\\1", plain(name))


def _legal(value: str) -> str:
    return ILLEGAL.sub("\ufffd", value)
