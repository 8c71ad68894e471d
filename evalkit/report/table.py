"""The numbers of runs as flat rows and as a list, a line a number."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from . import markdown as as_markdown
from .form import Cell, Column, Interval, Line, Table

FLAT = ("model", "protocol", "task", "metric", "rule", "subset", "value", "stderr", "low", "high", "n")
MOST = 12  # subsets of one family (`relation=...`) that a table for people still lists
COUNTS = ("unparsed", "truncated", "refused", "missing", "gaps")


def flat(summaries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a number, shares as fractions, every row with the same keys."""
    return [{key: row[key] for key in (*FLAT, *COUNTS)} for summary in summaries for row in summary["numbers"]]


def markdown(summaries: Sequence[dict[str, Any]], names: Sequence[str] = ()) -> str:
    """The list for the terminal, padded so that it reads as plain text too; `names` tell several runs apart."""
    return as_markdown.written(listing(summaries, names))


def listing(summaries: Sequence[dict[str, Any]], names: Sequence[str] = (), interval: Interval = "ci") -> Table:
    """A line for each number; `names` tell several runs apart.

    Counts that are zero everywhere are left out, and so are families of more than 12 subsets, which the last line names, and the
    floors of all subsets but `overall` and composites.
    """
    run_of = dict(zip(map(id, summaries), names, strict=False))
    wholes = {"overall", *(name for summary in summaries for entry in summary["tasks"] for name in entry.get("composites", ()))}
    rows, hidden = _listed([{**row, "run": run_of.get(id(summary), "")} for summary in summaries for row in flat([summary])], wholes)
    several = len(summaries) > 1
    told = [*([("run" if names else "model"), "protocol"] if several else []), "task", "subset", "metric", "rule"]
    spread = {"ci": "95% interval", "stderr": "standard error", "none": ""}[interval]
    counts = [name for name in COUNTS if any(row[name] for row in rows)]
    columns = [*(Column(name, words=True) for name in told[1:]), Column("value"), *([Column(spread, words=True)] if spread else [])]
    columns += [Column(name) for name in ("n", *counts)]
    lines = []
    for row in rows:
        texts = {name: str(row[name]) for name in told[1:]} | {"value": _number(row["value"]), "n": f"{row['n']:,}"}
        texts |= {"95% interval": f"{_number(row['low'])} to {_number(row['high'])}" if row["low"] is not None else ""}
        texts |= {"standard error": _number(row["stderr"])} | {name: str(row[name] or "") for name in counts}
        lines.append(Line(row[told[0]], {column.name: Cell(texts[column.name]) for column in columns}))
    title = [] if several or not rows else [f"{rows[0]['model']}, protocol {rows[0]['protocol']}"]
    title += [_partial(entry, f" by {one['model']}") for one in summaries for entry in one["tasks"] if entry["limit"] is not None]
    last = [f"not listed: {', '.join(hidden)} (all of them: evalkit table RUN --format json)"] if hidden else []
    return Table(tuple(title), tuple(columns), tuple(lines), tuple(last), told[0])


def headlines(summary: Mapping[str, Any], subset: str = "") -> list[dict[str, Any]]:
    """The flat rows that stand for a run's tasks: of each its headline under its first rule, for the whole and for its composites, or
    for the one subset that is named."""
    found: list[dict[str, Any]] = []
    for entry in summary["tasks"]:
        wholes = (subset,) if subset else ("overall", *entry.get("composites", ()))
        rows = [row for row in summary["numbers"] if (row["task"], row["metric"]) == (entry["task"], entry["headline"])]
        found += [row for row in rows if row["rule"] == rows[0]["rule"] and row["subset"] in wholes]
    return found


def _partial(entry: Mapping[str, Any], whose: str = "") -> str:
    total = f" of {entry['published']:,}" if entry["published"] else ""
    return f"partial: {entry['samples']:,}{total} samples of {entry['task']}{whose}; not the benchmark's number"


def _listed(rows: list[dict[str, Any]], wholes: Collection[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows whose family of subsets is small, floors only of `wholes`; and what was left out, in words."""
    families: dict[str, set[str]] = {}
    for row in rows:
        if "=" in row["subset"]:
            families.setdefault(row["subset"].partition("=")[0], set()).add(row["subset"])
    large = {name: len(members) for name, members in families.items() if len(members) > MOST}
    kept = [row for row in rows if row["subset"].partition("=")[0] not in large]
    shown = [row for row in kept if row["rule"] != "majority" or row["subset"] in wholes]
    floors = [f"the majority floors of {len(kept) - len(shown)} subsets"] if len(shown) < len(kept) else []
    return shown, [f"{size} subsets by {name}" for name, size in sorted(large.items())] + floors


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
