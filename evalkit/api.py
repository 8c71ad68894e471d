"""`evalkit.run` and what the command line does with it: resolve a run, drive it, score it, write its folder."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import engines, graders, manifest, protocols, reading, refusals, runner, task
from .config import RunConfig, build
from .config import frame as declared_frame
from .data import check_published
from .engines.stored import Stored, StoredOnly
from .errors import DataError, Refused, UserError, did_you_mean
from .folder import FORMAT, Rows, RunFolder
from .interfaces import AnswerProtocol, Engine
from .manifest import data_folder
from .runner import Job, Outcome
from .scoring import Tally
from .store import Lock, Store
from .suites import suited
from .task import Task, split_name

STATED = ("engine", "chosen", "model_type", "dtype", "device", "attn_implementation")
OF_THE_MODEL = (
    *("engine", "engine_args", "replicas", "ray_address", "base_url", "system"),
    *("processor", "adapter", "dtype", "frame", "trust_remote_code", "probe"),
)
log = logging.getLogger("evalkit")
Progress = Callable[[Outcome | None, dict[str, Tally]], None]
"""Called with None when the first sample is about to be asked, then with every outcome, by the thread that scores."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run came to."""

    folder: Path
    model: str
    protocol: str
    tasks: list[dict[str, Any]]
    """A task's name, version, row counts, gaps, and what is to be said about it."""
    numbers: list[dict[str, Any]]
    """One flat row a number: model, protocol, task, metric, rule, subset, value, stderr, low, high, n, and the counts beside it."""

    @property
    def complete(self) -> bool:
        """Whether every sample has an answer."""
        return not any(entry["gaps"] for entry in self.tasks)

    def table(self) -> str:
        """The numbers as Markdown."""
        from .report.table import markdown

        return markdown([self.as_json()])

    def value(self, task: str, metric: str, rule: str = "official", subset: str = "overall") -> float | None:
        """One number; a task of the run may be named without its variant. Raises `KeyError` where it was not measured."""
        for row in self.numbers:
            named = task in (row["task"], split_name(row["task"])[0])
            if named and (metric, rule, subset) == (row["metric"], row["rule"], row["subset"]):
                found: float | None = row["value"]
                return found
        raise KeyError((task, metric, rule, subset))

    def as_json(self) -> dict[str, Any]:
        """The summary as it is written: no time, path, speed or order in it."""
        return {"format": FORMAT, "model": self.model, "protocol": self.protocol, "tasks": self.tasks, "numbers": self.numbers}


def run(
    model: Any,
    tasks: str | Sequence[str] = (),
    *,
    processor: Any = None,
    progress: Progress | None = None,
    command: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    **options: Any,
) -> Summary:
    """Evaluates `model` on `tasks`, or on those of a `suite`, and returns the summary; the same call again finds the same folder.

    `model` is what `--model` takes, or a loaded transformers model with its `processor`. `options` are the fields of
    `RunConfig`, as on the command line; `command` is kept in the manifest, `environ` holds the keys of servers and is not.

    Raises:
        UserError: something is not as expected; the message says what to do.
    """
    given = {name: str(value) if isinstance(value, Path) else value for name, value in options.items() if value is not None}
    named = str(model) if isinstance(model, str | Path) else ""
    config = build(RunConfig, suited({"model": named, "tasks": tasks, **given}), "the options of a run")
    chosen = tasks_of(config)
    if config.protocol:
        protocols.find(config.protocol)
    for name in config.probe:
        graders.find(name)
    refusals.unjudged(chosen, config)
    with ExitStack() as stack:
        opened = _open("model", config, chosen, environ) if config.model else _loaded(model, processor, config)
        stack.callback(engines.close, opened.engine)
        roles = {"model": opened.engine}
        for role in ("judge", "segmenter"):
            if getattr(config, role):
                roles[role] = _open(role, config, chosen, environ).engine
                stack.callback(engines.close, roles[role])
        for role in getattr(opened.engine, "roles", ()):  # a replay may hold the judge's replies too
            roles.setdefault(role, opened.engine)
        return _evaluate(opened, roles, chosen, config, progress, command)


def score(path: Path, check: bool = False) -> tuple[Summary, list[str]]:
    """Scores an earlier run's answers again, without its model, and says which numbers differ from its summary.

    With `check` nothing is written.

    Raises:
        UserError: the folder is no run, or a changed prompt asks for what was never answered.
    """
    folder = RunFolder.at(path)
    before, known = folder.summary(), folder.own_manifest()
    config = manifest.options(known)
    asked = protocols.find(known["protocol"], config.budget, **known["sampling"])
    chosen = _equipped(tasks_of(config), asked, config)
    gaps = {(f"{entry['task']}/{gap['sample']}", gap["draw"]): gap["reason"] for entry in before["tasks"] for gap in entry["gaps"]}
    with Lock(folder.path), ExitStack() as stack:
        roles: dict[str, Engine] = {}
        store = stack.enter_context(closing(Store(folder.store))) if folder.store.exists() else None
        for role in known["roles"]:
            info = manifest.model_info(known, role)
            if info.stored:
                if store is None:
                    raise UserError(
                        f"{folder.store}, which held the answers, is gone: put it back, or `evalkit run --from {path}` asks anew"
                    )
                roles[role] = StoredOnly(info, store, gaps)
                continue
            if not getattr(config, role):
                roles[role] = roles["model"]
                continue
            roles[role] = _open(role, config, chosen).engine
            stack.callback(engines.close, roles[role])
            if roles[role].info.fingerprint != info.fingerprint:
                raise Refused(f"{getattr(config, role)} is not what it was when {path} was made: run `evalkit run` on it anew")
        rows = None if check else Rows(folder)
        if rows:
            stack.callback(rows.close)
        summary = _drive(folder, roles, known, asked, chosen, config, rows, None, store)
        if rows:
            rows.keep()
            folder.write("manifest.json", {**known, "tasks": manifest.tasks(chosen, config)})
            folder.write("summary.json", summary.as_json())
    moved = [
        f"the data of {made.name} is not what it was when {path} was made"
        for made, typed, was in zip(chosen, config.tasks, known["tasks"], strict=True)
        if was["data"] and manifest.data(made, config, typed)["fingerprint"] != was["data"]["fingerprint"]
    ]
    return summary, moved + _differences(before["numbers"], summary.numbers)


def _open(role: str, config: RunConfig, chosen: list[Task], environ: Mapping[str, str] | None = None) -> engines.Opened:
    """The engine of a role. What is said of the model (`OF_THE_MODEL`) is not said of another role's."""
    if role == "segmenter" and config.segmenter.partition(":")[0] not in ("sam2", "plugin"):
        raise UserError(f"expected --segmenter sam2:DIR, sam2:HUB_ID or plugin:FILE:CLASS, got '{config.segmenter}'")
    if role != "model":
        plain = RunConfig()
        config = replace(config, **{name: getattr(plain, name) for name in OF_THE_MODEL})
    return engines.open_model(getattr(config, role), config, chosen, environ)


def _loaded(model: Any, processor: Any, config: RunConfig) -> engines.Opened:
    """The engine of a model that is in memory already."""
    from .engines.transformers import Transformers

    for name in ("engine", "adapter", "processor", "dtype", "device"):
        if getattr(config, name) != getattr(RunConfig(), name):
            raise UserError(f"{name}={getattr(config, name)!r} cannot be asked of a model that is loaded already: load it so")
    engine = Transformers(model, processor=processor, batch_size=config.batch_size)
    frame = declared_frame(config.frame, "frame")
    engine.info = replace(engine.info, frame=frame or engine.info.frame)
    return engines.Opened(engine, engine.info.name, "direct")


def tasks_of(config: RunConfig) -> list[Task]:
    """The tasks that the options name, with the data that they name.

    Raises:
        UserError: there is no such task or data, or one comes twice.
    """
    chosen = [task.find(name, data_folder(config, name)) for name in config.tasks]
    if len({made.name for made in chosen}) < len(chosen):
        raise UserError(f"expected each task once, got {', '.join(config.tasks)}")
    known = {key for name in config.tasks for key in manifest.data_keys(name)}
    for key in (item.rpartition("=")[0] for item in config.data if "=" in item):
        if key not in known:
            raise UserError(f"--data {key}=... names no task of this run. {did_you_mean(key, sorted(known))}")
    _present(chosen, config)
    return chosen


def _present(chosen: Sequence[Task], config: RunConfig) -> None:
    """Checks that the data of every task is there, before a model is loaded.

    Raises:
        DataError: it is not; the message names each task without, and what to do.
    """
    absent: list[tuple[str, DataError]] = []
    for made, name in zip(chosen, config.tasks, strict=True):
        try:
            if made.data:
                made.data.folder(data_folder(config, name))
        except DataError as error:
            absent.append((name, error))
    if not absent:
        return
    lacking = [name for name, _ in absent]
    if len(chosen) == 1:
        raise absent[0][1]
    there = [name for name in config.tasks if name not in lacking]
    others = f" To run the others alone: --tasks {','.join(there)}." if there else ""
    told = "".join(f"\n  {name}: {error}" for name, error in absent)
    raise DataError(f"{len(lacking)} of {len(chosen)} tasks have no data here: {', '.join(lacking)}.{others}{told}")


def _equipped(chosen: Sequence[Task], asked: AnswerProtocol, config: RunConfig) -> list[Task]:
    probes = [graders.find(name) for name in config.probe]
    return [made.equipped(asked, probes) for made in chosen]


def _differences(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[str]:
    def by_name(rows: list[dict[str, Any]]) -> dict[str, Any]:
        return {f"{row['task']} {row['metric']} ({row['rule']}) {row['subset']}": row for row in rows}

    old, new = by_name(before), by_name(after)
    return [
        f"{name}: was {_brief(old.get(name))}, is {_brief(new.get(name))}" for name in sorted(old | new) if old.get(name) != new.get(name)
    ]


def _brief(row: dict[str, Any] | None) -> str:
    return "absent" if row is None else f"{row['value']} ({row['low']} to {row['high']}, n {row['n']}, unparsed {row['unparsed']})"


def _evaluate(
    opened: engines.Opened,
    roles: dict[str, Engine],
    chosen: list[Task],
    config: RunConfig,
    progress: Progress | None,
    command: Sequence[str],
) -> Summary:
    sampling = _sampling(config, opened.engine)
    asked = protocols.find(config.protocol or opened.protocol, config.budget, **sampling)
    chosen = _equipped(chosen, asked, config)
    refusals.before(opened.name, roles, chosen, asked, config)
    folder = RunFolder.of(Path(config.out), opened.name, manifest.resolved(opened.name, asked, roles, chosen, config))
    with ExitStack() as stack:
        stack.enter_context(Lock(folder.path))
        earlier = [stack.enter_context(closing(Store(RunFolder.at(Path(config.reuse)).store)))] if config.reuse else []
        own = None
        if any(engine.info.stored for engine in roles.values()):
            own = stack.enter_context(closing(Store(folder.store)))
            roles = {role: Stored(engine, own, *earlier) if engine.info.stored else engine for role, engine in roles.items()}
        stack.enter_context(_logging_to(folder.log))
        made_of = manifest.build(opened.name, asked, sampling, roles, chosen, config, command)
        folder.write("manifest.json", made_of)
        rows = Rows(folder)
        stack.callback(rows.close)
        summary = _drive(folder, roles, made_of, asked, chosen, config, rows, progress, own)
        rows.keep()
        folder.write("manifest.json", made_of | {"roles": manifest.roles_of(roles)})  # a server may have refused fields meanwhile
        folder.write("summary.json", summary.as_json())
        return summary


def _logging_to(path: Path) -> ExitStack:
    """While it is entered, what evalkit logs goes to the file too."""
    handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    stack = ExitStack()
    stack.callback(handler.close)
    stack.callback(log.removeHandler, handler)
    return stack


def _drive(
    folder: RunFolder,
    roles: Mapping[str, Engine],
    made_of: Mapping[str, Any],
    asked: AnswerProtocol,
    chosen: list[Task],
    config: RunConfig,
    rows: Rows | None,
    progress: Progress | None,
    store: Store | None,
) -> Summary:
    """Drives every conversation, scores as predictions come, and summarises."""
    name, protocol = made_of["name"], asked.name + ", blind" * config.blind
    tallies = {made.name: Tally(made, config.repeats, refusals.readable(asked, config)) for made in chosen}
    jobs = [
        Job(
            made.name,
            task.checked(reading.limited(made, config), made.name),
            asked,
            config.repeats,
            made.graders,
            None if config.blind else reading.images(made, roles.get("segmenter", roles["model"]), store),  # a segmenter reads images
            config.blind,
        )
        for made in chosen
    ]
    _introduce(roles, chosen, config)
    log.info("%s asked by protocol %s, into %s", ", ".join(tallies), protocol, folder.path)
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

    if progress:
        progress(None, tallies)
    room = max(getattr(engine, "room", 0) for engine in roles.values())
    window = max(runner.WINDOW, room + room // 4)  # full engines, and some samples under way before and after them
    runner.run(jobs, roles, lambda made, sample: tallies[made].count(sample), ended, window)
    if not config.allow_incomplete:
        for made in chosen:
            refusals.incomplete(made, tallies[made.name], config.limit is not None)
    reused = sum(getattr(engine, "reused", 0) for engine in roles.values())
    log.info("done in %.1f s, %d answers from the store", time.monotonic() - started, reused)
    return Summary(
        folder.path,
        name,
        protocol,
        [_entry(made, typed, tallies[made.name], config, roles["model"]) for made, typed in zip(chosen, config.tasks, strict=True)],
        [{"model": name, "protocol": protocol, "task": made.name, **row} for made in chosen for row in tallies[made.name].numbers()],
    )


def _introduce(roles: Mapping[str, Engine], chosen: Sequence[Task], config: RunConfig) -> None:
    """Says who answers, and whose data is not what it once was."""
    for role, engine in roles.items():
        stated = [_stated(key, engine.info.details[key]) for key in STATED if engine.info.details.get(key)]
        log.info("%s: %s", role, ", ".join([engine.info.name, *stated, f"boxes in frame {engine.info.frame or 'unknown'}"]))
    for made, typed in zip(chosen, config.tasks, strict=True):
        if said := manifest.unlike_locked(made, config, typed):
            log.info("note: %s", said)


def _stated(key: str, value: Any) -> str:
    return f"since {value}" if key == "chosen" else f"{key} {value}"


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
            raise UserError("--sampling checkpoint needs a checkpoint with a generation_config; this engine has none: leave out --sampling")
        for name in ("temperature", "top_p", "top_k", "repetition_penalty"):
            wanted[name] = getattr(own, name) if wanted.get(name) is None else wanted[name]
    return {name: value for name, value in wanted.items() if value is not None}


def _entry(made: Task, typed: str, tally: Tally, config: RunConfig, engine: Engine) -> dict[str, Any]:
    """What the summary says of a task beside its numbers."""
    total = made.published.get("rows")
    partial = config.limit is not None and (total is None or tally.samples < total)
    notes = [*made.notes, *([] if partial else check_published(made.name, made.published, tally.counts))]
    notes += filter(None, [manifest.unlike_locked(made, config, typed)])
    unknown = engine.unknown() if hasattr(engine, "unknown") and not partial else []
    if unknown:
        notes.append(f"{len(unknown)} replies are for samples the data does not have, such as '{unknown[0]}'")
    return {
        "task": made.name,
        "version": made.version,
        "headline": made.headline,
        "composites": sorted({composite.subset for composite in made.composites}),
        "samples": tally.samples,
        "published": total,
        "limit": config.limit if partial else None,
        "gaps": [{"sample": sample, "draw": draw, "reason": reason} for sample, draw, reason in sorted(tally.gaps)],
        "notes": notes,
    }
