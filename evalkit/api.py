"""`evalkit.run` and what the command line does with it: resolve a run, drive it, write its folder."""

import dataclasses
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import engines, protocols, task
from .config import RunConfig, locked
from .data import check_published
from .engines.stored import Stored, StoredOnly
from .errors import Refused, UserError
from .folder import FORMAT, Rows, RunFolder
from .geometry import Frame
from .interfaces import Engine
from .runner import Job, Outcome
from .runner import run as drive
from .scoring import Tally
from .store import Lock, Store
from .task import Task
from .types import ModelInfo, Sample, sha256

log = logging.getLogger("evalkit")
Progress = Callable[[Outcome, dict[str, Tally]], None]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run came to."""

    folder: Path
    model: str
    protocol: str
    tasks: list[dict[str, Any]]
    """A task's name, version, row counts, whether it is complete, and what is to be said about it."""
    numbers: list[dict[str, Any]]
    """One flat row a number: model, protocol, task, metric, rule, subset, value, stderr, low, high, n, and the counts beside it."""

    @property
    def complete(self) -> bool:
        """Whether every sample has an answer."""
        return all(not entry["gaps"] for entry in self.tasks)

    def table(self) -> str:
        """The numbers as Markdown."""
        from .report.table import markdown

        return markdown([as_json(self)])

    def value(self, task: str, metric: str, rule: str = "official", subset: str = "overall") -> float | None:
        """One number. Raises `KeyError` where it was not measured."""
        for row in self.numbers:
            if (row["task"], row["metric"], row["rule"], row["subset"]) == (task, metric, rule, subset):
                found: float | None = row["value"]
                return found
        raise KeyError((task, metric, rule, subset))


def run(
    model: Any,
    tasks: str | Sequence[str],
    *,
    processor: Any = None,
    progress: Progress | None = None,
    command: Sequence[str] = (),
    **options: Any,
) -> Summary:
    """Evaluates `model` on `tasks` and returns the summary; the same call again finds the same folder and goes on.

    `model` is what `--model` takes, or a loaded transformers model with its `processor`. `options` are the fields of
    `RunConfig`, as on the command line; `command` is kept in the manifest.

    Raises:
        UserError: something is not as expected; the message says what to do.
    """
    names = tuple(tasks.split(",")) if isinstance(tasks, str) else tuple(tasks)
    config = RunConfig(model=model if isinstance(model, str) else "", tasks=names, **options)
    chosen = [task.find(name, data_folder(config, name)) for name in names]
    if len({made.name for made in chosen}) < len(chosen):
        raise UserError(f"expected each task once, got {', '.join(names)}")
    if config.protocol:
        protocols.find(config.protocol)
    if isinstance(model, str | Path):
        opened = engines.open_model(str(model), config, chosen)
    else:
        from .engines.transformers import Transformers

        loaded = Transformers(model, processor=processor, batch_size=config.batch_size)
        opened = engines.Opened(loaded, loaded.info.name, "direct")
    try:
        return _evaluate(opened, chosen, config, progress, command)
    finally:
        engines.close(opened.engine)


def data_folder(config: RunConfig, name: str) -> Path | None:
    """The folder given for a task by `--data DIR` or `--data task=DIR`; None where none was."""
    found = None
    for item in config.data:
        key, is_pair, folder = item.partition("=")
        if not is_pair:
            found = found or Path(item)
        elif key in (name, name.partition(":")[0]):
            found = Path(folder)
    return found


def score(path: Path, check: bool = False) -> tuple[Summary, list[str]]:
    """Scores an earlier run's answers again, without its model, and says which numbers differ from its summary.

    With `check` nothing is written.

    Raises:
        UserError: the folder is no run, or a changed prompt asks for what was never answered.
    """
    folder = RunFolder.at(path)
    manifest = folder.manifest()
    config = RunConfig(**{**manifest["options"], **{k: tuple(manifest["options"][k]) for k in ("tasks", "data", "label")}})
    chosen = [task.find(name, data_folder(config, name)) for name in config.tasks]
    info = manifest["model"]
    if info["details"].get("engine") == "replay":
        opened = engines.open_model(config.model, config, chosen)
        try:
            return _score(folder, opened.engine, chosen, config, manifest, check)
        finally:
            engines.close(opened.engine)
    with Lock(folder.path):
        store = Store(folder.store)
        known = ModelInfo(
            info["name"],
            info["fingerprint"],
            Frame(info["frame"]) if info["frame"] else None,
            frozenset(info["answers"]),
            info["reads_images"],
            details=info["details"],
        )
        try:
            return _score(folder, StoredOnly(known, store), chosen, config, manifest, check)
        finally:
            store.close()


def _score(
    folder: RunFolder, engine: Engine, chosen: list[Task], config: RunConfig, manifest: dict[str, Any], check: bool
) -> tuple[Summary, list[str]]:
    before = folder.summary()
    rows = None if check else Rows(folder)
    summary = _drive(folder, engine, manifest, chosen, config, rows, None)
    if rows:
        rows.keep()
        folder.write("summary.json", as_json(summary))
    return summary, _differences(before["numbers"], summary.numbers)


def _differences(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[str]:
    def by_name(rows: list[dict[str, Any]]) -> dict[str, Any]:
        return {f"{row['task']} {row['metric']} ({row['rule']}) {row['subset']}": row for row in rows}

    old, new = by_name(before), by_name(after)
    return [
        f"{name}: was {old[name]['value'] if name in old else 'absent'}, is {new[name]['value'] if name in new else 'absent'}"
        for name in sorted(old | new)
        if old.get(name) != new.get(name)
    ]


def _evaluate(opened: engines.Opened, chosen: list[Task], config: RunConfig, progress: Progress | None, command: Sequence[str]) -> Summary:
    engine, info = opened.engine, opened.engine.info
    protocol = config.protocol or opened.protocol
    for made in chosen:
        if made.grounded and info.frame is None:
            raise Refused(
                f"task '{made.name}' scores boxes, and in what frame '{opened.name}' writes them is not known. Say it with "
                f"--frame {'|'.join(Frame)}, or as `frame = ...` in configs/models/NAME.toml (seen: pixels of the image after "
                "the processor's resize)"
            )
    sampling = _sampling(config, engine)
    asked = protocols.find(protocol, **sampling)
    resolved = {
        "model": opened.name,
        "fingerprint": info.fingerprint,
        "frame": info.frame,
        "protocol": dataclasses.asdict(asked) if dataclasses.is_dataclass(asked) and not isinstance(asked, type) else protocol,
        "tasks": [made.name for made in chosen],
        "data": [str(given.resolve()) if (given := data_folder(config, made.name)) else "" for made in chosen],
        "limit": config.limit,
        "seed": config.seed,
        "repeats": config.repeats,
        "label": sorted(config.label),
    }
    folder = RunFolder.of(Path(config.out), opened.name, resolved)
    with Lock(folder.path):
        handler = logging.FileHandler(folder.log, encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        stores: list[Store] = []
        try:
            manifest = _manifest(opened.name, protocol, chosen, config, info, resolved) | {"sampling": sampling, "command": list(command)}
            folder.write("manifest.json", manifest)
            if info.stored:
                stores = [
                    Store(folder.store),
                    *(Store(RunFolder.at(Path(path)).store) for path in ([config.reuse] if config.reuse else [])),
                ]
                engine = Stored(engine, *stores)
            rows = Rows(folder)
            summary = _drive(folder, engine, manifest, chosen, config, rows, progress)
            rows.keep()
            folder.write("summary.json", as_json(summary))
            return summary
        finally:
            for store in stores:
                store.close()
            log.removeHandler(handler)
            handler.close()


def _drive(
    folder: RunFolder,
    engine: Engine,
    manifest: dict[str, Any],
    chosen: list[Task],
    config: RunConfig,
    rows: Rows | None,
    progress: Progress | None,
) -> Summary:
    """Drives every conversation, scores as predictions come, and summarises."""
    name, protocol = manifest["name"], manifest["protocol"]
    tallies = {made.name: Tally(made, config.repeats) for made in chosen}
    asked = protocols.find(protocol, **manifest["sampling"])
    jobs = [Job(made.name, task.checked(limited(made, config), made.name), asked, config.repeats) for made in chosen]
    log.info("%s on %s, protocol %s, folder %s", name, ", ".join(tallies), protocol, folder.path)
    started = time.monotonic()

    def ended(outcome: Outcome) -> None:
        tally = tallies[outcome.task]
        if outcome.prediction is None:
            log.warning("gap: %s/%s draw %d: %s", outcome.task, outcome.sample.id, outcome.draw, outcome.gap)
            tally.gap(outcome.sample, outcome.draw, outcome.gap)
        else:
            scored = tally.add(outcome.sample, outcome.prediction)
            if rows:
                rows.add(outcome.task, outcome.sample, outcome.draw, outcome.prediction, scored)
        if progress:
            progress(outcome, tallies)

    drive(jobs, {"model": engine}, lambda made, sample: tallies[made].count(sample), ended)
    log.info("done in %.1f s, %d answers from the store", time.monotonic() - started, getattr(engine, "reused", 0))
    return Summary(
        folder.path,
        name,
        protocol,
        [_entry(made, tallies[made.name], config, engine) for made in chosen],
        [{"model": name, "protocol": protocol, "task": made.name, **row} for made in chosen for row in tallies[made.name].numbers()],
    )


def limited(made: Task, config: RunConfig) -> Iterable[Sample]:
    """The task's samples; with a limit, whole groups drawn by seed until there are at least that many, in their own order."""
    if config.limit is None:
        return made.samples()
    return _drawn(made, config.limit, config.seed)


def _drawn(made: Task, limit: int, seed: int) -> Iterator[Sample]:
    samples = list(made.samples())
    groups: dict[str, list[int]] = {}
    for place, sample in enumerate(samples):
        groups.setdefault(sample.group or sample.id, []).append(place)
    chosen: list[int] = []
    for name in sorted(groups, key=lambda group: sha256(f"{seed}/{group}")):
        if len(chosen) >= limit:
            break
        chosen += groups[name]
    for place in sorted(chosen):
        yield samples[place]


def _sampling(config: RunConfig, engine: Engine) -> dict[str, Any]:
    """The fields of the protocol's sampling that the command line, or the checkpoint where asked to, replaces."""
    wanted: dict[str, Any] = {
        "max_tokens": config.max_new_tokens,
        "temperature": config.temperature,
        "top_p": config.top_p,
        "top_k": config.top_k,
        "seed": config.seed or None,
    }
    if config.sampling == "checkpoint":
        own = getattr(engine, "sampling", None)
        if own is None:
            raise UserError("--sampling checkpoint needs a checkpoint with a generation_config; this engine has none")
        for name in ("temperature", "top_p", "top_k", "repetition_penalty"):
            wanted[name] = getattr(own, name) if wanted.get(name) is None else wanted[name]
    elif config.sampling != "evalkit":
        raise UserError(f"expected --sampling evalkit or checkpoint, got '{config.sampling}'")
    return {name: value for name, value in wanted.items() if value is not None}


def _entry(made: Task, tally: Tally, config: RunConfig, engine: Engine) -> dict[str, Any]:
    """What the summary says of a task beside its numbers."""
    notes = [] if config.limit is not None else check_published(made.name, made.published, tally.counts)
    if made.data and (lock := locked().get(made.name)):
        found = made.data.fingerprint(made.data.folder(data_folder(config, made.name)))
        if found != lock.fingerprint:
            notes.append(
                f"expected the data of {made.name} that configs/data.lock has seen whole ({lock.fingerprint[:12]}), got {found[:12]}"
            )
    unknown = engine.unknown() if hasattr(engine, "unknown") else []
    if unknown:
        notes.append(f"{len(unknown)} replies are for samples the data does not have, such as '{unknown[0]}'")
    return {
        "task": made.name,
        "version": made.version,
        "headline": made.headline,
        "samples": tally.samples,
        "published": made.published.get("rows"),
        "limit": config.limit,
        "gaps": [{"sample": sample, "draw": draw, "reason": reason} for sample, draw, reason in sorted(tally.gaps)],
        "notes": notes,
    }


def as_json(summary: Summary) -> dict[str, Any]:
    """The summary as it is written: no time, path, speed or order in it."""
    return {
        "format": FORMAT,
        "model": summary.model,
        "protocol": summary.protocol,
        "tasks": summary.tasks,
        "numbers": summary.numbers,
    }


def _manifest(name: str, protocol: str, chosen: list[Task], config: RunConfig, info: ModelInfo, resolved: dict[str, Any]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "name": name,
        "protocol": protocol,
        "resolved": resolved,
        "options": {spec.name: getattr(config, spec.name) for spec in dataclasses.fields(config)},
        "model": {
            "name": info.name,
            "fingerprint": info.fingerprint,
            "frame": info.frame,
            "answers": sorted(info.answers),
            "reads_images": info.reads_images,
            "details": dict(info.details),
        },
        "tasks": [
            {
                "name": made.name,
                "version": made.version,
                "rules": [f"{r.name}: {r.metric.name}" for r in made.rules],
                "data": _data(made, config),
            }
            for made in chosen
        ],
        "versions": _versions(),
        "commit": _commit(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _data(made: Task, config: RunConfig) -> dict[str, Any] | None:
    if made.data is None:
        return None
    folder = made.data.folder(data_folder(config, made.name))
    return {"hub": made.data.hub[0], "revision": made.data.revision, "folder": str(folder), "fingerprint": made.data.fingerprint(folder)}


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": sys.version.split()[0]}
    for package in ("evalkit", "numpy", "pillow", "torch", "transformers", "datasets"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    """The git commit of the checkout that evalkit runs from; None from a wheel."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return None
    told = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return told.stdout.strip() or None
