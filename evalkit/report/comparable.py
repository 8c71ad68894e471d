"""Whether the numbers of runs may be compared: what runs must share, in words, and what may differ where that is asked for."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..errors import Refused, UserError, did_you_mean
from .records import equipped
from .runs import Run

ACROSS = ("protocol", "sampling", "pixels", "judge")
"""What runs may differ in and still be compared, where that is asked for."""
SAMPLES = "set of samples"
DRAWN = " (--limit draws them by --seed: give both runs the same two, or no --limit)"


def kinds(text: str) -> tuple[str, ...]:
    """The kinds of difference named, comma between.

    >>> kinds("protocol, pixels")
    ('protocol', 'pixels')

    Raises:
        UserError: one is none of `ACROSS`.
    """
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    for kind in found:
        if kind not in ACROSS:
            raise UserError(f"no kind of difference '{kind}' to look past. {did_you_mean(kind, ACROSS)}")
    return found


def comparable(base: Run, new: Run, across: Collection[str] = ()) -> dict[str, list[str]]:
    """Why the numbers of each task must not be compared, an empty list where they may; tasks that one run lacks are named too.

    `across` names what of `ACROSS` may differ. The seed of sampling may differ always: two draws of one model are what is compared.
    """
    made: dict[str, list[str]] = {}
    for named in dict.fromkeys([*base.tasks, *new.tasks]):
        lacking = [which for which, run in (("base", base), ("new", new)) if named not in run.tasks]
        if lacking:
            made[named] = [f"the {lacking[0]} run has no task {named}"]
            continue
        one = base.summary["protocol"] == new.summary["protocol"]
        before, after = asked(base, named, one), asked(new, named, one)
        made[named] = [
            f"another {what}: {told(value)}, then {told(after[kind, what])}{DRAWN if what == SAMPLES and 'seed' in value else ''}"
            for (kind, what), value in before.items()
            if kind not in across and value != after[kind, what]
        ]
    return made


def same_task(runs: Sequence[Run], named: str) -> None:
    """Checks that the runs asked one version of a task, of one data.

    Raises:
        Refused: they did not.
    """
    first = asked(runs[0], named, True)
    for run in runs[1:]:
        for key, value in asked(run, named, True).items():
            if key[0] in ("task", "data") and value != first[key]:
                raise Refused(
                    f"{runs[0].name} and {run.name} are not comparable on {named}: another {key[1]} ({told(first[key])}, {told(value)}). "
                    "Plot them apart, or run both with the same"
                )


def asked(run: Run, named: str, one: bool) -> dict[tuple[str, str], Any]:
    """What two runs must share for their numbers of a task to be compared: kind and name of each thing, and what it is.

    Where they are not of `one` protocol, each decodes as its own does, and only what was asked for besides must agree.
    """
    entry, said, options = run.entry(named), run.manifest, run.manifest["options"]
    place = [known["name"] for known in said["tasks"]].index(named)
    own = said["tasks"][place]
    resolved = said.get("resolved") or {}
    form = (resolved.get("protocol") or ["", None])[1] or {}
    decoded = (one and form.get("sampling")) or said.get("sampling") or {}
    drawn = "" if entry["limit"] is None else f" drawn by seed {options.get('seed', 0)}"
    roles = {role: info["fingerprint"] for role, info in (said.get("roles") or {}).items()}
    judge = (roles.get("judge") or options.get("judge") or "none") if _is_judged(run, named) else ""
    return {
        ("task", "version of the task"): entry["version"],
        ("task", "file of the task"): resolved["tasks"][place][-1] if resolved.get("tasks") else "",
        ("data", "data"): (own.get("data") or {}).get("fingerprint"),
        ("rule", "headline"): entry["headline"],
        ("protocol", "protocol"): run.summary["protocol"],
        ("sampling", "sampling"): {key: decoded[key] for key in sorted(decoded) if key not in ("seed", "stop")},
        ("sampling", "number of draws"): options.get("repeats", 1),
        ("pixels", "size of images"): pixels(*said.get("shown") or (options.get("min_pixels"), options.get("max_pixels"))),
        ("judge", "judge"): judge,
        ("judge", "segmenter"): roles.get("segmenter", ""),
        ("samples", SAMPLES): f"{entry['samples']:,} samples{drawn}",
    }


def pixels(least: int | None, most: int | None) -> str:
    """How large images are shown, in words."""
    if not least and not most:
        return "the size that the processor chooses"
    return f"{least or 1:,} to {most:,} pixels" if most else f"{least:,} pixels at least"


def _is_judged(run: Run, named: str) -> bool:
    """Whether a task sends a judge after its predictions; a task that is not found may."""
    try:
        return any(grader.to == "judge" for grader in equipped(run, named).graders)
    except UserError:
        return True


def told(value: Any) -> str:
    """What a run was asked with, in few words."""
    text = ", ".join(f"{key} {one}" for key, one in value.items()) if isinstance(value, Mapping) else str(value)
    text = text or "none"
    return text if len(text) <= 80 else f"{text[:77]}..."
