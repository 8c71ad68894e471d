"""A run made again from its manifest: what `evalkit run` is given for it, what cannot be had again, and how the two runs compare.

The second run has a folder and a store of its own, since its label `from=NAME` tells it from the first: every request is asked anew.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import config, manifest, task
from ..config import RunConfig
from ..data import read_jsonl
from ..errors import Refused, UserError
from .runs import Run

ROLES = ("model", "judge", "segmenter")
HASHED = ("transformers", "vllm")
"""Engines whose manifest holds the sha256 of the weights."""
NOT_TAKEN = ("suite", "reuse", "cache")
"""Options that are not taken over: what the suite said stands in the others, answers are asked anew, and caches are this machine's."""
LABEL = "from="
Key = tuple[str, str, int]
"""Task, sample and draw."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What `evalkit run` is given to make a run again."""

    model: str
    options: dict[str, Any]
    replaced: tuple[str, ...]
    """The options that were given in place of the run's own, in words."""
    cautions: tuple[str, ...]
    """What may come out otherwise although nothing is changed here, in words."""


@dataclass(frozen=True, slots=True)
class Replies:
    """How the replies of a task compare. A reply is the final one of its conversation."""

    task: str
    both: int
    """How many were given in both runs."""
    differ: tuple[Key, ...]
    """Those of other words, in the order of the first run."""
    otherwise: tuple[Key, ...]
    """Those of the same words of which something else is not the same, such as masks or a judge's verdict."""
    alone: tuple[int, int]
    """How many were given in the first run only, and in the second only."""
    shown: tuple[str, ...]
    """The first few that are not the same, in words."""

    @property
    def same(self) -> bool:
        """Whether every reply was given in both runs, and is the same."""
        return not (self.differ or self.otherwise or any(self.alone))


@dataclass(frozen=True, slots=True)
class Rerun:
    """How a run compares with the one that it makes again."""

    made_with: tuple[str, ...]
    """What the two were made with that is not the same, in words: versions, fingerprints, parameters of the protocol."""
    numbers: int
    moved: tuple[str, ...]
    """The numbers that differ, in words."""
    replies: tuple[Replies, ...]

    @property
    def same(self) -> bool:
        """Whether all numbers and replies are the same, to the last digit and letter."""
        return not self.moved and all(replies.same for replies in self.replies)


# ---------------------------------------------------------------- before


def plan(run: Run, given: Mapping[str, Any]) -> Plan:
    """What to give `evalkit run` so that it makes `run` again, with what is `given` in place of its own options.

    The folder goes beside that of the run unless `out` is given.

    Raises:
        Refused: the run cannot be made again: its checkpoint, or another file that it was made with, is not there or is another; its
            data is not what it was; or it ran a checkpoint's own code. The message says what to give.
        DataError: its data is not there.
        UserError: an option is given that says nothing here, or wrongly.
    """
    for name in ("suite", "reuse"):
        if given.get(name):
            raise UserError(f"--{name} does not go with --from, which takes tasks and options from a run and asks anew: leave it out")
    own = {spec.name: getattr(manifest.options(run.manifest), spec.name) for spec in dataclasses.fields(RunConfig)}
    own |= dict.fromkeys(NOT_TAKEN, "") | {"protocol": run.manifest["protocol"], "out": str(run.folder.path.parent)}
    options = {name: value for name, value in (own | dict(given)).items() if value is not None}
    asked = config.build(RunConfig, options, f"the run at {run.folder.path}")
    labels = [text for text in asked.label if not text.startswith(LABEL)]
    asked = dataclasses.replace(asked, label=(*labels, f"{LABEL}{run.folder.path.resolve().name}"))
    _there(run, asked, given)
    _same_data(run, asked)
    replaced = [
        f"--{name.replace('_', '-')} {_brief(getattr(asked, name))} in place of {_brief(own[name])}"
        for name in given
        if name not in (*NOT_TAKEN, "label", "out") and getattr(asked, name) != own[name]
    ]
    return Plan(asked.model, _changed(asked), tuple(replaced), tuple(_cautions(run, asked, given)))


def _changed(asked: RunConfig) -> dict[str, Any]:
    """The options but for the model that are not as where nothing is said."""
    fields = [spec for spec in dataclasses.fields(RunConfig) if spec.name != "model"]
    return {spec.name: getattr(asked, spec.name) for spec in fields if getattr(asked, spec.name) != spec.default}


def _there(run: Run, asked: RunConfig, given: Mapping[str, Any]) -> None:
    """Checks that what the run was made with is there, and that a checkpoint not given anew still has its weights.

    Raises:
        Refused: it is not.
    """
    if not asked.model:
        raise Refused(f"the model of {run.folder.path} was in memory, so it cannot be loaded again: name its checkpoint with --model DIR")
    for name in (*ROLES, "processor", "adapter"):
        path = _path(getattr(asked, name))
        if path and not path.exists():
            raise Refused(f"the {name} of {run.folder.path} is no longer at {path}: name where it is with --{name}")
    if asked.trust_remote_code and not given.get("trust_remote_code"):
        raise Refused(f"{run.folder.path} ran code that its checkpoint ships: if you trust it, say so again with --trust-remote-code")
    for role in ("model", "judge"):
        details = ((run.manifest.get("roles") or {}).get(role) or {}).get("details") or {}
        if role in given or not getattr(asked, role) or details.get("engine") not in HASHED:
            continue
        weights = _weights(getattr(asked, role), asked if role == "model" else RunConfig(cache=asked.cache))
        if weights != details.get("weights"):
            raise Refused(
                f"the weights of {getattr(asked, role)} are not those of {run.folder.path} (sha256 {weights[:12]}, was "
                f"{str(details.get('weights'))[:12]}): name a copy of those with --{role} DIR, or, to compare with these, give them so"
            )


def _path(name: str) -> Path | None:
    """The path that a manifest's name of a model or file is; None of a name that is no path. Manifests hold absolute ones."""
    kind, _, rest = name.partition(":")
    text = {"plugin": rest.rpartition(":")[0], "replay": rest, "sam2": rest}.get(kind, name)
    return Path(text) if Path(text).is_absolute() else None


def _weights(name: str, options: RunConfig) -> str:
    """The sha256 of the weights that the name of a checkpoint stands for today."""
    from ..engines import checkpoint

    declared = config.model(name) or config.ModelConfig(name)
    processor, cache = options.processor or declared.processor or None, Path(options.cache) if options.cache else None
    return checkpoint.read(declared.source, processor, options.trust_remote_code or declared.trust_remote_code, cache)[1]


def _same_data(run: Run, asked: RunConfig) -> None:
    """Checks that each task of both the run and what is asked has the data that the run had.

    Raises:
        Refused: it is another.
    """
    known = {entry["name"]: (entry["data"] or {}).get("fingerprint") for entry in run.manifest["tasks"]}
    for typed in asked.tasks:
        made = task.find(typed, manifest.data_folder(asked, typed))
        found = manifest.data(made, asked, typed)
        if made.name in known and found.get("fingerprint") != known[made.name]:
            raise Refused(
                f"the data of {made.name} at {found.get('folder')} is not what it was when {run.folder.path} was made (fingerprint "
                f"{_brief(found.get('fingerprint'))[:12]}, was {_brief(known[made.name])[:12]}): name that with --data {typed}=DIR"
            )


def _cautions(run: Run, asked: RunConfig, given: Mapping[str, Any]) -> list[str]:
    said = []
    for role, info in (run.manifest.get("roles") or {}).items():
        engine, name = (info.get("details") or {}).get("engine"), "" if role in given else getattr(asked, role, "")
        if engine == "openai" and name:
            said.append(
                f"the {role} is behind a server: what {name} stands for there may have changed, and no server promises the same reply "
                "twice, so other replies need no cause here"
            )
        if engine == "replay" and name and role == "model":
            said.append("the replies are read from a file: no model is asked, and only what is made of the replies is compared")
    return said


# ---------------------------------------------------------------- after


def compare(first: Run, second: Run, shown: int = 5) -> Rerun:
    """How the second run compares with the first: what they were made with, numbers, replies; of each task `shown` that are not the same.

    Raises:
        DataError: the rows of one are missing or damaged.
    """
    before, after = _rows(first), _rows(second)
    replies = tuple(_replies(named, first, second, before, after, shown) for named in first.tasks if named in second.tasks)
    names = {*first.tasks} & {*second.tasks}
    old, new = ({_number(row): _value(row) for row in run.summary["numbers"] if row["task"] in names} for run in (first, second))
    moved = [f"{name}: {old.get(name, 'absent')}, now {new.get(name, 'absent')}" for name in old | new if old.get(name) != new.get(name)]
    return Rerun(tuple(_made_with(first, second)), len(old | new), tuple(moved), replies)


def told(found: Rerun) -> list[str]:
    """How two runs compare, in words, line by line: what they were made with, replies, numbers."""
    lines = [f"made with another {difference}" for difference in found.made_with]
    for replies in found.replies:
        said = [f"{len(replies.differ)} of {replies.both} replies differ" if replies.differ else f"all {replies.both} replies are the same"]
        said += [f"{len(replies.otherwise)} of the same words are otherwise not the same"] if replies.otherwise else []
        said += [f"{count} in the {which} run only" for count, which in zip(replies.alone, ("first", "second"), strict=True) if count]
        lines += [f"{replies.task}: {', '.join(said)}", *(f"  {line}" for line in replies.shown)]
    lines += found.moved
    differ = f"{len(found.moved)} of {found.numbers} numbers differ"
    return [*lines, differ if found.moved else f"all {found.numbers} numbers are the same to the last digit"]


def _number(row: Mapping[str, Any]) -> str:
    return f"{row['task']} {row['metric']} ({row['rule']}) {row['subset']}"


def _value(row: Mapping[str, Any]) -> str:
    """All that a number says of itself, to the last digit."""
    told = f"{row['value']} ({row['low']} to {row['high']}, stderr {row['stderr']}, n {row['n']}"
    return told + "".join(f", {row[name]} {name}" for name in ("unparsed", "truncated", "refused", "missing", "gaps") if row[name]) + ")"


def _key(row: Mapping[str, Any]) -> Key:
    return row["task"], row["sample"], row["draw"]


def _rows(run: Run) -> dict[Key, tuple[bytes, bytes]]:
    """Of every prediction the hashes of its words and of all else that does not depend on where the run was made."""
    return {_key(row): (_hash(row["text"]), _hash(_rest(row))) for row in read_jsonl(run.folder.path / "predictions.jsonl")}


def _rest(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("text", "images")}


def _hash(value: Any) -> bytes:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).digest()


def _replies(
    named: str, first: Run, second: Run, before: Mapping[Key, tuple[bytes, bytes]], after: Mapping[Key, tuple[bytes, bytes]], shown: int
) -> Replies:
    mine, theirs = ({key for key in rows if key[0] == named} for rows in (before, after))
    both = [key for key in before if key in mine & theirs]
    differ = tuple(key for key in both if before[key][0] != after[key][0])
    otherwise = tuple(key for key in both if before[key][0] == after[key][0] and before[key][1] != after[key][1])
    parts = _parting([*differ, *otherwise][:shown], first, second)
    return Replies(named, len(both), differ, otherwise, (len(mine - theirs), len(theirs - mine)), parts)


def _parting(keys: Sequence[Key], first: Run, second: Run) -> tuple[str, ...]:
    """What of these predictions is not the same."""
    if not keys:
        return ()
    found = [{_key(row): row for row in read_jsonl(run.folder.path / "predictions.jsonl") if _key(row) in keys} for run in (first, second)]
    said = []
    for key in keys:
        old, new = found[0][key], found[1][key]
        name = key[1] + f" draw {key[2]}" * bool(key[2])
        if old["text"] != new["text"]:
            said.append(f"{name}: {_around(old['text'], new['text'])}, now {_around(new['text'], old['text'])}")
        else:
            other = [part for part in _rest(old) | _rest(new) if old.get(part) != new.get(part)]
            said.append(f"{name}: the same words, another {' and '.join(other)}")
    return tuple(said)


def _around(text: str, other: str) -> str:
    """The part of a text around where it leaves another, quoted.

    >>> _around("The answer is 12.", "The answer is 13.")
    "'The answer is 12.'"
    """
    same = next((place for place, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), min(len(text), len(other)))
    return repr(text[max(same - 30, 0) :][:80])


def _made_with(first: Run, second: Run) -> list[str]:
    """What the manifests of two runs say differently of what moves a number, but for the options."""
    before, after = _facts(first.manifest), _facts(second.manifest)
    return [difference for part in before if part in after for difference in _differing(part, before[part], after[part])]


def _facts(said: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What a manifest says of what moves a number, by what it is about; what an older evalkit did not write is left out."""
    versions = said.get("versions") or {}
    facts = {"": versions | {"commit": said.get("commit")}}
    for role, info in (said.get("roles") or {}).items():
        details = {name: value for name, value in (info.get("details") or {}).items() if name not in versions}
        facts[f"{role}: "] = {name: info.get(name) for name in ("name", "fingerprint", "frame")} | details
    resolved = said.get("resolved") or {}
    name, parameters = resolved.get("protocol") or ("", {})
    facts["protocol: "] = {"name": name} | (parameters or {})
    for named, version, _, file in resolved.get("tasks") or ():
        facts[f"task {named}: "] = {"version": version, "file": file}
    return facts


def _differing(of: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """
    >>> _differing("", {"torch": "2.13", "numpy": "2.3"}, {"torch": "2.14", "numpy": "2.3"})
    ['torch 2.13, now 2.14']
    """
    keys = [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]
    return [f"{of}{key} {_brief(old.get(key))}, now {_brief(new.get(key))}" for key in keys]


def _brief(value: Any) -> str:
    """A value in a message, `none` where there is none; a hash by its first twelve digits."""
    if value is None or value in ("", ()):
        return "none"
    text = ",".join(value) if isinstance(value, tuple) else str(value)
    if len(text) in (40, 64) and set(text) <= set("0123456789abcdef"):
        return text[:12]
    return text if len(text) <= 80 else f"{text[:77]}..."
