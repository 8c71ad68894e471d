"""Run folders, opened: of one of their tasks its numbers and its rows, sample by sample."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import manifest, stats, task
from ..data import read_jsonl
from ..errors import Refused, UserError, did_you_mean
from ..folder import RunFolder
from ..scoring import cluster
from ..types import Estimate, Sample

log = logging.getLogger("evalkit")
OVERALL = "overall"
FIELDS = {
    "accuracy": "correct",
    "anls": "anls",
    "caption": "caption",
    "grounding_iou": "iou",
    "judge_accuracy": "above",
    "judge_score": "score",
    "rad": "rad",
    "threshold_score": "score",
}
"""The record's field that an estimate is the mean of; `share` or `value` in a record of the estimate's own name."""
OWNERS = {"judge_accuracy": "judge_score", "rad": "region_attention"}
"""The metric whose record that is, where its name is not the estimate's; `correct` is the field of many."""


LOWER_IS_BETTER = ("rmse", "rmse_raw", "rmse_unparsed_zero", "judge_unparsed")
"""Estimates of errors, and of what could not be read."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run folder, with what its summary and manifest say."""

    folder: RunFolder
    summary: Mapping[str, Any]
    manifest: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.folder.path.name or str(self.folder.path)

    @property
    def tasks(self) -> list[str]:
        return [entry["task"] for entry in self.summary["tasks"]]

    @property
    def labels(self) -> dict[str, str]:
        """What `--label key=value` said of the run."""
        return dict(text.partition("=")[::2] for text in self.manifest["options"].get("label", ()))

    def entry(self, named: str) -> Mapping[str, Any]:
        """What the summary says of a task beside its numbers."""
        found: Mapping[str, Any] = next(entry for entry in self.summary["tasks"] if entry["task"] == named)
        return found

    def numbers(self, named: str, metric: str, rule: str = "") -> dict[str, dict[str, Any]]:
        """The flat rows of an estimate by subset, of one rule or of the first."""
        rows = [row for row in self.summary["numbers"] if (row["task"], row["metric"]) == (named, metric)]
        return {row["subset"]: row for row in rows if row["rule"] == (rule or rows[0]["rule"])}

    def floor(self, named: str, metric: str, subset: str = OVERALL) -> float | None:
        """What the best constant answer, or chance, scores in a subset; None where that is not known."""
        row = self.numbers(named, f"{metric}_floor").get(subset)
        return None if row is None else row["value"]

    def predictions(self, named: str) -> Iterator[dict[str, Any]]:
        """The predictions of a task without their records, which is quicker by half.

        Raises:
            DataError: the file is missing or cut off.
        """
        return (row for row in read_jsonl(self.folder.path / "predictions.jsonl") if row.get("task") == named)

    def rows(self, named: str) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """The predictions of a task, each with its records, one at a time.

        Raises:
            DataError: a file is missing or cut off.
            UserError: the two files are not of one run.
        """
        records = read_jsonl(self.folder.path / "records.jsonl")
        waiting = next(records, None)
        for prediction in read_jsonl(self.folder.path / "predictions.jsonl"):
            mine: list[dict[str, Any]] = []
            while waiting is not None and all(waiting.get(key) == prediction.get(key) for key in ("task", "sample", "draw")):
                mine.append(waiting)
                waiting = next(records, None)
            if prediction.get("task") == named:
                yield prediction, mine
        if waiting is not None:
            raise UserError(
                f"records.jsonl of {self.folder.path} does not go with its predictions.jsonl, as from {waiting.get('sample')!r} on: "
                f"write both anew with `evalkit score {self.folder.path}`"
            )

    def samples(self, named: str, data: Path | None = None) -> Iterator[Sample]:
        """The samples of a task as its data has them, from where the run found it or from `data`.

        Raises:
            DataError: the data is not there.
            Refused: it is not what it was.
        """
        config = manifest.options(self.manifest)
        place = [entry["name"] for entry in self.manifest["tasks"]].index(named)
        folder = data or manifest.data_folder(config, config.tasks[place])
        made = task.find(config.tasks[place], folder)
        if made.data is not None:
            known = (self.manifest["tasks"][place]["data"] or {}).get("fingerprint")
            if made.data.fingerprint(made.data.folder(folder)) != known:
                raise Refused(f"the data of {named} is not what it was when {self.folder.path} was made: name that with --data DIR")
        return iter(made.samples())


def opened(paths: Sequence[Path]) -> list[Run]:
    """The runs at these folders, and in the folders of runs among them, each once. Of numbers that another hand wrote it warns.

    Raises:
        UserError: there is no run, or one that was stopped before its end.
    """
    found: dict[Path, RunFolder] = {}
    for path in paths:
        inside = [path] if (path / "manifest.json").is_file() else sorted(summary.parent for summary in path.rglob("summary.json"))
        if not inside:
            raise UserError(
                f"expected a run's folder, or one that holds some, at {path}, found none. `evalkit run` prints the folder it wrote"
            )
        for folder in inside:
            found.setdefault(folder.resolve(), RunFolder.at(folder))
    runs = [Run(folder, folder.summary(), folder.manifest()) for folder in found.values()]
    for run in runs:
        whole = {"tasks", "numbers", "protocol", "model"} <= run.summary.keys() and {"tasks", "options"} <= run.manifest.keys()
        if not whole:
            raise UserError(f"expected {run.folder.path} as `evalkit run` writes it: its summary.json or manifest.json lacks something")
        for name in run.folder.changed(("manifest.json", "summary.json")):
            told = run.folder.path
            log.warning("%s is not as evalkit wrote it: `evalkit score %s --check` says how to mend it", told / name, told)
    return runs


def task_of(runs: Sequence[Run], named: str | None) -> str:
    """The task that is named, else the only one that every run has.

    Raises:
        UserError: a run lacks it, or there are several or none.
    """
    if named:
        for run in runs:
            if named not in run.tasks:
                raise UserError(f"run {run.name} has no task '{named}'. {did_you_mean(named, run.tasks)}")
        return named
    shared = [name for name in runs[0].tasks if all(name in run.tasks for run in runs)]
    if not shared:
        told = "; ".join(f"{run.name} has {', '.join(run.tasks)}" for run in runs[:4]) + ("; ..." if len(runs) > 4 else "")
        raise UserError(f"the runs have no task in common: {told}. Name runs of one task")
    if len(shared) > 1:
        raise UserError(f"expected one task, the runs have {', '.join(shared)}: name it with --task")
    return shared[0]


def rule_of(runs: Sequence[Run], named: str, metric: str, rule: str | None) -> str:
    """The rule that is named, else the first under which the first run has the estimate.

    Raises:
        UserError: a run has no such estimate, or not under that rule.
    """
    for run in runs:
        rows = [row for row in run.summary["numbers"] if row["task"] == named]
        rules = list(dict.fromkeys(row["rule"] for row in rows if row["metric"] == metric))
        if not rules:
            known = sorted({row["metric"] for row in rows if row["rule"] != "majority"})
            raise UserError(f"run {run.name} has no '{metric}' of {named}. {did_you_mean(metric, known)} Name one with --metric")
        rule = rule or rules[0]
        if rule not in rules:
            raise UserError(f"run {run.name} has no '{metric}' of {named} by rule '{rule}'. {did_you_mean(rule, rules)}")
    return rule or ""


def value_of(metric: str, rule: str) -> Callable[[Sequence[Mapping[str, Any]]], float | None]:
    """A function from a sample's records to what it adds to an estimate that is a mean over samples; None where it does not count."""
    field, owner = FIELDS.get(metric), OWNERS.get(metric, metric)

    def value(records: Sequence[Mapping[str, Any]]) -> float | None:
        for record in records:
            if record["rule"] != rule:
                continue
            if field and field in record and (record["metric"] == owner or field == "correct"):
                return float(record[field])
            if record["metric"] == metric and (number := record.get("share", None if field else record.get("value"))) is not None:
                return float(number)
        return None

    return value


def check_mean(run: Run, named: str, metric: str, rule: str, values: Sequence[float]) -> None:
    """Checks that the values are those that the summary's number is the mean of.

    Raises:
        UserError: they are not; the estimate is no mean over samples, and its parts cannot be drawn.
    """
    row = run.numbers(named, metric, rule).get(OVERALL)
    mean = sum(values) / len(values) if values else None
    same = row is not None and (mean is None) == (row["value"] is None) and (mean is None or abs(mean - row["value"]) < 1e-9)
    if not same:
        raise UserError(
            f"'{metric}' of {named} is no mean over samples of {run.name}, so its parts cannot be drawn. "
            "Choose another with --metric, such as accuracy or grounding_iou"
        )


def titles(runs: Sequence[Run], models: bool = False) -> list[str]:
    """What to call each run: its model, always where `models` says so; protocol, judge and pixels where they differ; and labels, limit,
    seed, repeats as far as needed."""
    rows = [told(run) for run in runs]
    names = [row[0] if models else "" for row in rows]
    for place in range(int(models), len(rows[0])):
        if len({row[place] for row in rows}) > 1 and (place < ASKED or len(set(names)) < len(names)):
            names = [", ".join(part for part in (name, row[place]) if part) for name, row in zip(names, rows, strict=True)]
    names = [name or str(run.summary["model"]) for name, run in zip(names, runs, strict=True)]
    return [name if names.count(name) == 1 else run.name for name, run in zip(names, runs, strict=True)]


ASKED = 5
"""So many of the texts that `told` gives say how a run was asked, and are never left unsaid where runs differ."""


def told(run: Run, without: str = "") -> tuple[str, ...]:
    """What tells a run from others: model, protocol, judge, pixels, labels but the one left out, limit, seed, repeats; or empty texts."""
    options = run.manifest["options"]
    judge, least, most, limit, seed, repeats = (
        f"{key.replace('_', ' ')} {options[key]}" if options.get(key) not in (None, "") else ""
        for key in ("judge", "min_pixels", "max_pixels", "limit", "seed", "repeats")
    )
    labels = ", ".join(sorted(f"{key}={value}" for key, value in run.labels.items() if key != without))
    return (str(run.summary["model"]), str(run.summary["protocol"]), judge, least, most, labels, limit, seed, repeats)


def notes(runs: Sequence[Run], named: str) -> list[str]:
    """What is to be said of the runs beside a plot: parts of a benchmark, answers that did not come."""
    found: dict[str, list[str]] = {}
    for run in runs:
        entry = run.entry(named)
        if entry["limit"] is not None:
            whole = f" of {entry['published']:,}" if entry["published"] else ""
            found.setdefault(f"{entry['samples']:,}{whole} samples of {named}, not the benchmark's number", []).append(run.name)
        if entry["gaps"]:
            gaps = f"{len(entry['gaps']):,} answers of {named} did not come, the same `evalkit run` asks just these again"
            found.setdefault(gaps, []).append(run.name)
    return [f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}: {text}" for text, names in found.items()]


def heading(runs: Sequence[Run], named: str, rule: str = "") -> str:
    """The line above a plot: task, how much of it, protocol, rule, gaps; what the runs differ in is in their titles."""
    protocols = {str(run.summary["protocol"]) for run in runs}
    entries = [run.entry(named) for run in runs]
    parts = {f"{entry['samples']:,}" + (f" of {entry['published']:,}" if entry["published"] else "") for entry in entries if entry["limit"]}
    parted = [named + (f" (partial: {' and '.join(sorted(parts))})" if parts else "")]
    parted += [f"protocol {protocols.pop()}"] if len(protocols) == 1 else []
    parted += [f"rule {rule}"] if rule else []
    gaps = sum(len(entry["gaps"]) for entry in entries)
    return ", ".join([*parted, *([f"{gaps:,} gaps"] if gaps else [])])


def estimate(values: Sequence[float], groups: Sequence[str], metric: str) -> Estimate:
    """The mean of samples' values, clustered by group, as the metric's own estimate of them: a share has Wilson's interval."""
    codes = [cluster(group) for group in groups]
    if FIELDS.get(metric) in ("correct", "above") or (metric not in FIELDS and set(values) <= {0.0, 1.0}):
        return stats.share(values, codes)
    return stats.mean(values, codes, bounded=max(values, default=0.0) <= 1)
