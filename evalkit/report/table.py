"""The numbers of runs as flat rows and as Markdown."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

FLAT = ("model", "protocol", "task", "metric", "rule", "subset", "value", "stderr", "low", "high", "n")
MOST = 12  # subsets of one family (`relation=...`) that a table for people still lists
COUNTS = ("unparsed", "truncated", "refused", "missing", "gaps")


def flat(summaries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a number, shares as fractions, every row with the same keys."""
    return [{key: row[key] for key in (*FLAT, *COUNTS)} for summary in summaries for row in summary["numbers"]]


def markdown(summaries: Sequence[dict[str, Any]], names: Sequence[str] = ()) -> str:
    """A table for the terminal, padded so that it reads as plain text too; `names` tell several runs apart.

    Counts that are zero everywhere are left out, and so are families of more than 12 subsets, which the last line names, and the
    floors of all subsets but `overall` and composites.
    """
    run_of = dict(zip(map(id, summaries), names, strict=False))
    wholes = {"overall", *(name for summary in summaries for entry in summary["tasks"] for name in entry.get("composites", ()))}
    rows, hidden = _listed([{**row, "run": run_of.get(id(summary), "")} for summary in summaries for row in flat([summary])], wholes)
    counts = [name for name in COUNTS if any(row[name] for row in rows)]
    several = len(summaries) > 1
    told = ["run", "protocol"] if names else ["model", "protocol"]
    head = [*(told if several else []), "task", "subset", "metric", "rule", "value", "95% interval", "n", *counts]
    body = [
        [
            *([row[name] for name in told] if several else []),
            row["task"],
            row["subset"],
            row["metric"],
            row["rule"],
            _number(row["value"]),
            f"{_number(row['low'])} to {_number(row['high'])}" if row["low"] is not None else "",
            f"{row['n']:,}",
            *(str(row[name] or "") for name in counts),
        ]
        for row in rows
    ]
    right = [place for place, name in enumerate(head) if name in ("value", "n", *COUNTS)]
    title = [] if several or not rows else [f"{rows[0]['model']}, protocol {rows[0]['protocol']}"]
    title += [_partial(entry, f" by {one['model']}") for one in summaries for entry in one["tasks"] if entry["limit"] is not None]
    last = f"\n\nnot listed: {', '.join(hidden)} (all of them: evalkit table RUN --format json)" if hidden else ""
    return "\n".join(title) + "\n\n" * bool(title) + aligned(head, body, right) + last


def headlines(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The flat rows that stand for a run's tasks: of each its headline under its first rule, for the whole and for its composites."""
    found: list[dict[str, Any]] = []
    for entry in summary["tasks"]:
        wholes = ("overall", *entry.get("composites", ()))
        rows = [row for row in summary["numbers"] if (row["task"], row["metric"]) == (entry["task"], entry["headline"])]
        found += [row for row in rows if row["rule"] == rows[0]["rule"] and row["subset"] in wholes]
    return found


def side_by_side(summaries: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    """The headlines of several runs as a table of one line a run, in the order given."""
    runs = [{_title(row): row for row in headlines(summary)} for summary in summaries]
    titles = list(dict.fromkeys(title for run in runs for title in run))
    body = [[name, *(_ranged(run.get(title)) for title in titles)] for name, run in zip(names, runs, strict=True)]
    partial = dict.fromkeys(_partial(entry) for summary in summaries for entry in summary["tasks"] if entry["limit"] is not None)
    return "\n".join(partial) + "\n\n" * bool(partial) + aligned(["run", *titles], body)


def _title(row: Mapping[str, Any]) -> str:
    subset = "" if row["subset"] == "overall" else f" {row['subset']}"
    return f"{row['task']}{subset} {row['metric']} ({row['rule']})"


def _ranged(row: Mapping[str, Any] | None) -> str:
    if row is None or row["value"] is None:
        return "-"
    return _number(row["value"]) + (f" ({_number(row['low'])} to {_number(row['high'])})" if row["low"] is not None else "")


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


def aligned(head: Sequence[str], body: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """A Markdown table, padded so that it reads as plain text too, the columns at the places `right` flush right.

    >>> print(aligned(["task", "n"], [["vstar", "191"]], right=[1]))
    | task  |   n |
    | ----- | --: |
    | vstar | 191 |
    """
    widths = [max(3, *(len(row[i]) for row in [head, *body])) for i in range(len(head))]
    aside = [str.rjust if i in right else str.ljust for i in range(len(head))]
    lines = [[move(cell, width) for move, cell, width in zip(aside, row, widths, strict=True)] for row in [head, *body]]
    rule = ["-" * (w - 1) + ":" if i in right else "-" * w for i, w in enumerate(widths)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [lines[0], rule, *lines[1:]])
