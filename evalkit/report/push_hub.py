"""A run's headline numbers as the evaluation results of a model's page on the Hugging Face hub.

They go into the card's metadata (`model-index`), which takes any data set, as they are in the summary: shares from 0 to 1, as the hub's
own metrics are, with rule, protocol and interval as the metric's arguments. A data set that is a benchmark with a leaderboard on the hub
has a file of its own besides (`.eval_results/`), shares in percent, the unit of leaderboards.
Sources: hub-docs, modelcard.md and eval-results.md; huggingface_hub, `EvalResult` and `EvalResultEntry`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Refused, UserError, did_you_mean
from .push import faults, text
from .runs import OVERALL, Run
from .side_by_side import POINTS
from .table import headlines

if TYPE_CHECKING:
    from huggingface_hub import CardData, EvalResult

KIND = "image-text-to-text"
"""The hub's name of what vision-language models do."""
REVISION = re.compile(r"[0-9a-f]{40}")
UNSAFE = re.compile(r"[^\w.-]+")
CARD = "README.md"
SCRIPTED = ("oracle", "mute", "guess")


@dataclass(frozen=True, slots=True)
class Results:
    """What would be sent."""

    card: "tuple[EvalResult, ...]"
    """The entries of the card's metadata."""
    boards: Mapping[str, str]
    """The files for leaderboards: by path in the repository, their text."""
    notes: tuple[str, ...]
    """What is left out, and why; what is to be said of the rest."""


def results(run: Run, leaderboards: Mapping[str, str] | None = None) -> Results:
    """The entries for a run's tasks whose numbers are the benchmark's own; the others are left out and told.

    Args:
        leaderboards: for a task the `task_id` under which the eval.yaml of its data set has it.

    Raises:
        Refused: no number of the run is a benchmark's own, or one meant for a leaderboard is not.
        UserError: huggingface_hub is not installed or too old, or a task is not of the run.
    """
    boards = dict(leaderboards or {})
    for named in boards:
        if named not in run.tasks:
            raise UserError(f"run {run.name} has no task '{named}'. {did_you_mean(named, run.tasks)}")
    card: list[EvalResult] = []
    files: dict[str, str] = {}
    told: list[str] = []
    for named in run.tasks:
        why = _why_not(run, named)
        if why and named in boards:
            raise Refused(f"the leaderboard of {named} takes the benchmark's number, but {why}")
        if why:
            told.append(f"{named} is left out: {why}")
            continue
        told += [f"{named}: {note}" for note in run.entry(named)["notes"]]
        rows = [row for row in headlines({**run.summary, "tasks": [run.entry(named)]}) if row["value"] is not None]
        card += [_entry(run, row) for row in rows]
        if named in boards:
            files[f".eval_results/{UNSAFE.sub('-', named).lstrip('.')}.yaml"] = _board(run, rows[0], boards[named])
    if not card:
        raise Refused(f"nothing of {run.name} can be pushed to the hub: " + "; ".join(told))
    return Results(tuple(card), files, tuple(map(text, told)))


def written(found: Results, model: str) -> str:
    """The entries as the YAML that is sent, for people to read before it is."""
    from huggingface_hub import ModelCardData

    parts = [f"# {CARD}\n{ModelCardData(model_name=model, eval_results=list(found.card)).to_yaml()}\n"]
    return "\n".join([*parts, *(f"# {path}\n{content}" for path, content in found.boards.items())])


def merged(data: "CardData", new: "Sequence[EvalResult]", model: str, overwrite: bool) -> list[str]:
    """Adds the entries to a card's metadata, in place, and says what changes; nothing where all are there already.

    An entry takes the place of one of the same data set and metric; everything else stays.

    Raises:
        UserError: such a one has another value, and is not to be overwritten.
    """
    kept: list[EvalResult] = list(data.get("eval_results") or ())
    changes: list[str] = []
    for entry in new:
        place = next((place for place, old in enumerate(kept) if _key(old) == _key(entry)), None)
        name = f"{entry.metric_name} of {entry.dataset_name}"
        if place is None:
            kept.append(entry)
            changes.append(f"adds {name}: {entry.metric_value}")
            continue
        if kept[place].metric_value != entry.metric_value:
            changes.append(f"replaces {name}: {kept[place].metric_value} by {entry.metric_value}")
            kept[place] = entry
    if not overwrite and (others := [change for change in changes if change.startswith("replaces")]):
        raise UserError(f"the model card has other numbers, and nothing was sent. --overwrite {'; '.join(others)}")
    if changes:
        data["eval_results"], data["model_name"] = kept, data.get("model_name") or model
    return changes


def push(found: Results, repo: str, overwrite: bool = False, as_request: bool = False) -> tuple[str, list[str]]:
    """Sends the entries in one commit; with `as_request` as a pull request. Returns its address and what it changes.

    The address is empty where nothing changes. What somebody else commits meanwhile is not lost: the hub then refuses.

    Raises:
        UserError: there is no such repository, nobody is logged in or may write there, the network fails, or it would overwrite.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, ModelCard

    api = HfApi()
    try:
        info = api.model_info(repo)
        there = {file.rfilename for file in info.siblings or ()}
        known = ""
        if CARD in there:
            with Path(api.hf_hub_download(repo, CARD, revision=info.sha)).open(encoding="utf-8", newline="") as file:
                known = file.read()
        card = ModelCard(known or "---\n{}\n---\n")
        changes = merged(card.data, found.card, repo.rpartition("/")[2], overwrite)
        operations = [CommitOperationAdd(CARD, str(card).encode())] if changes else []
        for path, content in found.boards.items():
            if path in there and not overwrite:
                raise UserError(f"{repo} has a file {path} already: say --overwrite to replace it")
            operations.append(CommitOperationAdd(path, content.encode()))
            changes.append(f"{'replaces' if path in there else 'adds'} {path}")
        if not operations:
            return "", []
        title = f"Evaluation results of {len(found.card)} numbers by evalkit"
        done = api.create_commit(
            repo, operations, commit_message=title, commit_description="\n".join(changes), create_pr=as_request, parent_commit=info.sha
        )
    except UserError:
        raise
    except Exception as error:  # which errors the hub's client lets through depends on its version's HTTP library
        raise UserError(
            f"the hub did not take the numbers for {repo}: {text(str(error), 500)}. Expected a model repository that you may write to: "
            "`hf auth login` says who you are, --dry-run prints what would be sent"
        ) from error
    return str(done.pr_url if as_request else done.commit_url), changes


def _why_not(run: Run, named: str) -> str:
    """Why a task's numbers cannot stand on the hub; empty where they can."""
    made: Mapping[str, Any] = next((one for one in run.manifest["tasks"] if one["name"] == named), {})
    if found := faults(run, named):
        return "; ".join(found)
    if (model := run.manifest["options"].get("model")) in SCRIPTED:
        return f"'{model}' is a script that tests benchmarks, no model"
    if not (made.get("data") or {}).get("hub"):
        return "its data is not on the hub"
    if not any(row["value"] is not None for row in headlines({**run.summary, "tasks": [run.entry(named)]})):
        return f"it has no {run.entry(named)['headline']}"
    return ""


def _entry(run: Run, row: Mapping[str, Any]) -> "EvalResult":
    try:
        from huggingface_hub import EvalResult
    except ImportError as error:
        raise UserError(f"--to hub needs the package huggingface_hub ({error}): pip install 'evalkit[push]'") from error
    data = _data(run, row["task"])
    told = [row["metric"], *([row["subset"]] if row["subset"] != OVERALL else []), f"rule {row['rule']}", f"protocol {row['protocol']}"]
    numbers = {name: row[name] for name in ("low", "high", "stderr", "n", "unparsed") if row[name] is not None}
    return EvalResult(
        task_type=KIND,
        dataset_type=data["hub"][0],
        dataset_name=text(row["task"], 200),
        dataset_revision=_revision(data),
        metric_type=text(row["metric"], 200),
        metric_name=text(", ".join(told), 400),
        metric_value=row["value"],
        metric_args={**numbers, "by": f"evalkit {run.manifest.get('versions', {}).get('evalkit', '')}".strip()},
    )


def _board(run: Run, row: Mapping[str, Any], task_id: str) -> str:
    """The file of one number for a leaderboard."""
    try:
        from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
        from huggingface_hub.utils import yaml_dump  # type: ignore[attr-defined]  # in its __init__, not in its __all__
    except ImportError as error:
        raise UserError(f"--leaderboard needs huggingface_hub 1.4 or later ({error}): pip install -U 'evalkit[push]'") from error
    data, scale = _data(run, row["task"]), 1 if row["metric"] in POINTS or not -1 <= row["value"] <= 1 else 100
    said = [row["metric"], f"rule {row['rule']}", f"protocol {row['protocol']}", f"n = {row['n']}"]
    said += [f"95% interval {row['low'] * scale:.2f} to {row['high'] * scale:.2f}"] if row["low"] is not None else []
    entry = EvalResultEntry(
        dataset_id=data["hub"][0],
        task_id=task_id,
        value=round(row["value"] * scale, 2),
        dataset_revision=_revision(data),
        date=run.manifest.get("started"),
        notes=text(", ".join(said), 400),
    )
    return str(yaml_dump(eval_result_entries_to_yaml([entry]), sort_keys=False))


def _data(run: Run, named: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(one["data"] for one in run.manifest["tasks"] if one["name"] == named)
    return found


def _revision(data: Mapping[str, Any]) -> str | None:
    """The commit of the data, where it is known and not just a branch's name."""
    return data["revision"] if REVISION.fullmatch(str(data.get("revision"))) else None


def _key(entry: "EvalResult") -> tuple[Any, ...]:
    return entry.dataset_type, entry.dataset_name, entry.metric_type, entry.metric_name
