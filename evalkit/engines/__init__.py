"""Who answers requests, behind one method; and how a model's name on the command line becomes an engine."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import config, graders
from ..errors import Refused, UserError, did_you_mean
from ..geometry import Frame
from ..interfaces import Engine
from ..task import Task

ANSWERERS = ("oracle", "mute", "guess")
ENGINES = ("auto", "transformers", "vllm", "openai", "replay", "plugin")


@dataclass(frozen=True, slots=True)
class Opened:
    """An engine, the short name of its model for folders and tables, and the protocol it asks for."""

    engine: Engine
    name: str
    protocol: str


def open_model(name: str, options: config.RunConfig, tasks: list[Task], environ: Mapping[str, str] | None = None) -> Opened:
    """The engine for `name`: a directory, a hub id, `openai:NAME`, `replay:PATH`, `plugin:FILE:CLASS`, `sam2:DIR` (a
    segmenter), a name in configs/models or a file like those, or one of the answerers that test a task: `oracle`, `mute`, `guess`.
    `environ` holds the keys of servers.

    Raises:
        UserError: there is no such model, or it cannot be loaded.
    """
    if options.engine not in ENGINES:
        raise UserError(f"no engine '{options.engine}'. {did_you_mean(options.engine, ENGINES)}")
    kind, _, rest = name.partition(":")
    if kind in ("replay", "plugin", "openai", "sam2") and options.engine not in ("auto", kind):
        raise UserError(f"--engine {options.engine} does not go with --model {name}: leave it out")
    if kind not in ("replay", "plugin", "openai") and options.engine in ("replay", "plugin", "openai"):
        kind, rest = options.engine, name
    asked = config.frame(options.frame, "--frame")
    if options.replicas > 1 or options.ray_address:
        return _replicas(kind, name, options)
    if kind == "replay":
        from .replay import Replay, name_of

        return Opened(Replay(Path(rest), tasks, asked), name_of(Path(rest)), "direct")
    if kind == "plugin":
        from . import plugin

        engine = plugin.load(rest)
        if asked:
            engine.info = replace(engine.info, frame=asked)
        return Opened(engine, engine.info.name, "direct")
    if kind == "sam2":
        from .sam2 import Sam2

        cache = Path(options.cache) if options.cache else None
        made = Sam2(rest, device=options.device or None, batch_size=options.batch_size, cache=cache)
        return Opened(made, _short(rest), "segment")
    if name in ANSWERERS and not Path(name).is_dir():
        return Opened(_answerer(name, tasks, asked), name, "direct")
    declared = config.ModelConfig(f"openai:{rest}") if kind == "openai" else config.model(name)
    if declared and declared.source.startswith("openai:"):
        return _server(Path(name).stem if name.endswith(".toml") else name, declared, options, environ or {})
    if options.base_url:
        raise UserError(f"--base-url is a server's, and {name} is none: name its model as openai:NAME")
    return _checkpoint(name, declared, options)


def _replicas(kind: str, name: str, options: config.RunConfig) -> Opened:
    """Several engines of one checkpoint or plugin, on the GPUs and machines that Ray has."""
    declared = config.model(name) or config.ModelConfig(name)
    if kind in ("replay", "openai", "sam2") or name in ANSWERERS or declared.source.startswith("openai:"):
        raise UserError(f"--replicas are of a checkpoint or a plugin, and {name} is none: leave it out")
    from .replicated import replicate

    alone = replace(options, replicas=1, ray_address="")
    engine = replicate(name, alone, options.replicas, options.ray_address or None)
    return Opened(engine, engine.info.name if kind == "plugin" else _short(name), declared.protocol)


def _short(name: str) -> str:
    return Path(name).name if Path(name).is_dir() else name.replace("/", "--")


def _server(name: str, declared: config.ModelConfig, options: config.RunConfig, environ: Mapping[str, str]) -> Opened:
    from .openai import OpenAI, OpenAIOptions

    model = declared.source.removeprefix("openai:")
    said: dict[str, Any] = config.engine_arguments((*declared.engine_args, *options.engine_args))
    base_url = options.base_url or declared.base_url
    said |= {"base_url": base_url} if base_url else {}
    said |= {"system": options.system} if options.system else {}
    said |= {"max_cost": options.max_cost, "max_seconds": options.max_time}
    built = config.build(OpenAIOptions, {key: value for key, value in said.items() if value is not None}, "--engine-args")
    engine = OpenAI(model, built, api_key=environ.get(declared.key, ""), key_name=declared.key)
    frame = config.frame(options.frame, "--frame") or config.frame(declared.frame, name)
    if frame is Frame.SEEN and not built.factor:
        raise Refused(
            f"no server says what size it saw, so boxes of {name} in frame 'seen' cannot be placed: declare its resize with "
            "--engine-args factor=..., min_pixels=... and max_pixels=..."
        )
    engine.info = replace(engine.info, frame=frame)
    return Opened(engine, model.replace("/", "--") if name == declared.source else name, declared.protocol)


def _answerer(name: str, tasks: list[Task], frame: Frame | None) -> Engine:
    from . import scripted

    if name == "mute":
        return scripted.mute()
    samples = {f"{task.name}/{sample.id}": sample for task in tasks for sample in task.samples()}
    return scripted.oracle(samples, frame or Frame.ORIGINAL) if name == "oracle" else scripted.guess(samples)


def _checkpoint(name: str, declared: config.ModelConfig | None, options: config.RunConfig) -> Opened:
    if declared is None:
        if not Path(name).is_dir() and ("/" not in name or name.startswith((".", "/")) or name.count("/") != 1):
            known = [*config.models(), *ANSWERERS, "openai:NAME", "replay:PATH", "plugin:FILE:CLASS"]
            raise UserError(f"no model '{name}': no such directory, and no name in configs/models. {did_you_mean(name, known)}")
        declared = config.ModelConfig(name)
    elif not Path(declared.source).is_dir() and Path(declared.source).is_absolute():
        raise UserError(f"the checkpoint of model '{name}' is not at {declared.source}: this installation does not carry it")
    engine, why = _loaded(declared, options)
    engine.info = replace(engine.info, details={**engine.info.details, "chosen": why})
    said = config.frame(options.frame, "--frame") or config.frame(declared.frame, f"configs/models/{name}.toml")
    if said:
        engine.info = replace(engine.info, frame=said)
    return Opened(engine, _short(name), declared.protocol)


def _loaded(declared: config.ModelConfig, options: config.RunConfig) -> tuple[Any, str]:
    """The engine that loads a checkpoint, vLLM where it can, else transformers; and why this one."""
    trusted = options.trust_remote_code or declared.trust_remote_code
    adapter = options.adapter or declared.adapter
    kind, reason = options.engine if options.engine != "auto" else declared.engine, "asked for"
    if kind == "auto":
        from . import launch

        reason = (
            "likelihoods take less memory there"
            if (options.protocol or declared.protocol) == "likelihood"
            else "it merges adapters"
            if adapter
            else "it can tell attention"
            if _attends(options)
            else launch.unfit(declared.source, trusted)
        )
        kind, reason = ("transformers", reason) if reason else ("vllm", "it serves the architecture")
    shared: dict[str, Any] = {
        "processor": options.processor or declared.processor or None,
        "dtype": options.dtype or declared.dtype or None,
        "trust_remote_code": trusted,
        "cache": Path(options.cache) if options.cache else None,
    }
    if kind == "vllm":
        from .vllm import VLLM

        arguments = config.engine_arguments((*declared.engine_args, *options.engine_args))
        return VLLM(declared.source, **shared, adapter=adapter or None, arguments=arguments), reason
    if options.engine_args:
        raise UserError(f"--engine-args are vLLM's, and the engine is {kind}: leave them out, or choose --engine vllm")
    from .transformers import Transformers

    made = Transformers(declared.source, **shared, adapter=adapter or None, device=options.device or None, batch_size=options.batch_size)
    return made, reason


def _attends(options: config.RunConfig) -> bool:
    """Whether a probe asks the model for its attention."""
    probes = map(graders.find, options.probe)
    return any(probe.grader.to == "model" and "attend" in probe.asks for probe in probes)


def close(engine: Any) -> None:
    """Releases what an engine holds, where it holds something."""
    if hasattr(engine, "close"):
        engine.close()
