"""Who answers requests, behind one method; and how a model's name on the command line becomes an engine."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import config
from ..errors import UserError, did_you_mean
from ..geometry import Frame
from ..interfaces import Engine
from ..task import Task

ANSWERERS = ("oracle", "mute", "guess")
ENGINES = ("auto", "transformers", "replay", "plugin")


@dataclass(frozen=True, slots=True)
class Opened:
    """An engine, the short name of its model for folders and tables, and the protocol it asks for."""

    engine: Engine
    name: str
    protocol: str


def open_model(name: str, options: config.RunConfig, tasks: list[Task]) -> Opened:
    """The engine for `name`: a directory, a hub id, `replay:PATH`, `plugin:FILE:CLASS`, a name in configs/models, or one of the
    answerers that test a task: `oracle`, `mute`, `guess`.

    Raises:
        UserError: there is no such model, or it cannot be loaded.
    """
    if options.engine not in ENGINES:
        raise UserError(f"no engine '{options.engine}'. {did_you_mean(options.engine, ENGINES)}")
    kind, _, rest = name.partition(":")
    if kind in ("replay", "plugin") and options.engine not in ("auto", kind):
        raise UserError(f"--engine {options.engine} does not go with --model {name}: leave it out")
    if kind not in ("replay", "plugin") and options.engine in ("replay", "plugin"):
        kind, rest = options.engine, name
    asked = config.frame(options.frame, "--frame")
    if kind == "replay":
        from .replay import Replay, name_of

        return Opened(Replay(Path(rest), tasks, asked), name_of(Path(rest)), "direct")
    if kind == "plugin":
        from . import plugin

        engine = plugin.load(rest)
        if asked:
            engine.info = replace(engine.info, frame=asked)
        return Opened(engine, engine.info.name, "direct")
    if name in ANSWERERS and not Path(name).is_dir():
        return Opened(_answerer(name, tasks, asked), name, "direct")
    return _checkpoint(name, options)


def _answerer(name: str, tasks: list[Task], frame: Frame | None) -> Engine:
    from . import scripted

    if name == "mute":
        return scripted.mute()
    samples = {f"{task.name}/{sample.id}": sample for task in tasks for sample in task.samples()}
    return scripted.oracle(samples, frame or Frame.ORIGINAL) if name == "oracle" else scripted.guess(samples)


def _checkpoint(name: str, options: config.RunConfig) -> Opened:
    declared = config.model(name)
    if declared is None:
        if not Path(name).is_dir() and ("/" not in name or name.startswith((".", "/")) or name.count("/") != 1):
            known = [*config.models(), *ANSWERERS, "replay:PATH", "plugin:FILE:CLASS"]
            raise UserError(f"no model '{name}': no such directory, and no name in configs/models. {did_you_mean(name, known)}")
        declared = config.ModelConfig(name)
    elif not Path(declared.source).is_dir() and Path(declared.source).is_absolute():
        raise UserError(f"the checkpoint of model '{name}' is not at {declared.source}: this installation does not carry it")
    from .transformers import Transformers

    engine = Transformers(
        declared.source,
        processor=options.processor or declared.processor or None,
        adapter=options.adapter or declared.adapter or None,
        dtype=options.dtype or declared.dtype or None,
        device=options.device or None,
        batch_size=options.batch_size,
        trust_remote_code=options.trust_remote_code or declared.trust_remote_code,
        cache=Path(options.cache) if options.cache else None,
    )
    said = config.frame(options.frame, "--frame") or config.frame(declared.frame, f"configs/models/{name}.toml")
    if said:
        engine.info = replace(engine.info, frame=said)
    return Opened(engine, Path(name).name if Path(name).is_dir() else name.replace("/", "--"), declared.protocol)


def close(engine: Any) -> None:
    """Releases what an engine holds, where it holds something."""
    if hasattr(engine, "close"):
        engine.close()
