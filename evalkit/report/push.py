"""What may leave a run, and what is said with it: for the two places that numbers are pushed to."""

import re
from collections.abc import Iterator
from typing import Any

from .runs import Run

CONTROL = re.compile(r"[\ud800-\udfff\x00-\x08\x0b-\x1f\x7f]")


def faults(run: Run, named: str) -> list[str]:
    """Why a task's numbers are not the benchmark's own, each in a few words; empty where they are."""
    entry, options = run.entry(named), run.manifest["options"]
    samples, whole = entry["samples"], entry["published"]
    missing = max((row["missing"] for row in run.summary["numbers"] if row["task"] == named), default=0)
    found = []
    if entry["limit"] is not None:
        found.append(f"only {samples:,}{f' of {whole:,}' if whole else ''} samples were asked")
    elif whole not in (None, samples):
        found.append(f"the data has {samples:,} samples where the benchmark has {whole:,}")
    if entry["gaps"]:
        found.append(f"{len(entry['gaps']):,} answers did not come; the same `evalkit run` asks just these again")
    if missing:
        found.append(f"{missing:,} samples have no reply in the replay")
    if options.get("blind"):
        found.append("it was asked without the images")
    return found


def notes(run: Run) -> Iterator[str]:
    """What is to be said of a run's numbers wherever they go: faults, and the notes of its tasks."""
    for named in run.tasks:
        yield from (f"{named}: {fault}, so it is not the benchmark's number" for fault in faults(run, named))
        yield from (f"{named}: {note}" for note in run.entry(named)["notes"])


def text(value: Any, longest: int = 10_000) -> str:
    """A value as text that any encoder takes: no half characters, no control characters but tabs and line ends, cut where very long.

    >>> text("a\\ud800b\\x00"), text(["left"]), text(None), text("abcd", 3)
    ('a\\ufffdb\\ufffd', '["left"]', '', 'abc…')
    """
    import json

    plain = "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", plain if len(plain) <= longest else f"{plain[:longest]}…")
