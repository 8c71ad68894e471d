"""Two engines on one checkpoint: whether they give the same replies, and where not, whether the model itself was of two minds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import engines, manifest, protocols, stats
from .api import run, tasks_of
from .config import RunConfig, build
from .data import read_jsonl, resolve
from .errors import Refused, UserError
from .folder import RunFolder
from .scoring import cluster
from .task import Task
from .types import Estimate, Generate, Request, Sample

UNDECIDED = 1e-3
"""Two tokens whose log-probabilities are no farther apart may come in either order, by the rounding of sums alone."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A sample to which two engines replied differently."""

    task: str
    sample: str
    replies: tuple[str, str]
    same: str
    """What both replies begin with."""
    margin: float | None
    """How far apart the log-probabilities of the two likeliest tokens are where the replies part; None where it was not asked."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How two engines compare on one task."""

    task: str
    samples: int
    identical: int
    score: Estimate
    """The paired difference of the headline, second engine minus first."""
    differences: tuple[Difference, ...]

    @property
    def excused(self) -> bool:
        """Whether at least 99% of the replies are identical, or each other one parts where the model was undecided."""
        undecided = all(difference.margin is not None and difference.margin <= UNDECIDED for difference in self.differences)
        return self.identical >= 0.99 * self.samples or undecided


def compare(model: str, tasks: str | Sequence[str], pair: Sequence[str], **options: Any) -> list[Parity]:
    """Runs `tasks` on both engines, in folders of their own, and compares them task by task. `options` are those of `run`.

    Raises:
        UserError: the engines are not two.
        Refused: an answer did not come, or replies are drawn, so that they differ by nature.
    """
    if len(pair) != 2 or pair[0] == pair[1]:
        raise UserError(f"expected two engines, such as transformers,vllm, got {','.join(pair)}")
    if options.get("temperature") or options.get("sampling") == "checkpoint":
        raise Refused("drawn replies differ by nature: compare engines with greedy decoding")
    folders = []
    for engine in pair:
        arguments = {} if engine == "vllm" else {"engine_args": None}
        summary = run(model, tasks, engine=engine, **{**options, **arguments})
        if not summary.complete:
            raise Refused(f"some answers of {engine} did not come: the same command asks just these again")
        folders.append(summary.folder)
    config = build(RunConfig, {"model": model, "tasks": tasks, **{k: v for k, v in options.items() if v is not None}}, "parity")
    known = RunFolder.at(folders[0]).manifest()
    opened = engines.open_model(model, replace(config, engine="transformers", engine_args=()), tasks_of(config))
    try:
        return [_of_task(made, folders, known, opened.engine) for made in tasks_of(config)]
    finally:
        engines.close(opened.engine)


def _of_task(made: Task, folders: Sequence[Path], known: dict[str, Any], judge: Any) -> Parity:
    rows = [{row["sample"]: row for row in read_jsonl(folder / "predictions.jsonl") if row["task"] == made.name} for folder in folders]
    differ = {name for name in rows[0] if rows[0][name]["text"] != rows[1][name]["text"]}
    asked = protocols.find(known["protocol"], manifest.options(known).budget, **known["sampling"])
    differences = [
        _difference(made, sample, (rows[0][sample.id]["text"], rows[1][sample.id]["text"]), asked, judge)
        for sample in made.samples()
        if sample.id in differ
    ]
    return Parity(made.name, len(rows[0]), len(rows[0]) - len(differ), _score(made, folders, rows[0]), tuple(differences))


def _difference(made: Task, sample: Sample, replies: tuple[str, str], asked: Any, judge: Any) -> Difference:
    same = replies[0][: next((i for i, (a, b) in enumerate(zip(*replies, strict=False)) if a != b), min(map(len, replies)))]
    shown = replace(sample, images=tuple(resolve(image) for image in sample.images))
    request: Request = next(asked.converse(shown, judge.info))
    margin = None
    if isinstance(request.kind, Generate):
        first, second = judge.top_two(replace(request, kind=replace(request.kind, prefill=request.kind.prefill + same)))
        margin = first - second
    return Difference(made.name, sample.id, replies, same, margin)


def _score(made: Task, folders: Sequence[Path], rows: dict[str, Any]) -> Estimate:
    """The paired difference of the first rule's first number, sample by sample."""
    rule = made.rules[0]
    found = []
    for folder in folders:
        records = [row for row in read_jsonl(folder / "records.jsonl") if row["task"] == made.name and row["rule"] == rule.name]
        mine = [row for row in records if row["metric"] == rule.metric.name]
        columns = [name for row in mine[:1] for name in list(row)[7:]]
        found.append({row["sample"]: float(row[columns[0]]) for row in mine})
    both = sorted(found[0].keys() & found[1].keys())
    group = [cluster(rows[name]["group"] or name) for name in both]
    return stats.paired_difference([found[0][name] for name in both], [found[1][name] for name in both], group)
