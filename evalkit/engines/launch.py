"""Starting vLLM: whether it can serve a checkpoint, its arguments, and its own log, which goes to a file."""

import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..errors import UserError, did_you_mean
from . import checkpoint

LOG_LINES = 8
"""How many last lines of vLLM's log a message quotes."""
PREFIX = re.compile(r"^\(\S+ pid=\d+\) (?:ERROR|WARNING|INFO) \S+ \S+ \[[^\]]*\] ?")
NAMED = re.compile(r"\w*(?:Error|Exception): ")


def library() -> Any:
    """The package vllm, told to say only what is wrong.

    Raises:
        UserError: it is not installed.
    """
    try:
        with quiet(Path(os.devnull)):
            import vllm
    except ImportError as error:
        raise UserError(f"the vllm engine needs vLLM ({error}): pip install 'evalkit[vllm]'") from error
    logging.getLogger("vllm").setLevel(logging.WARNING)
    return vllm


def unfit(model: str | Path, trust_remote_code: bool = False) -> str:
    """Why vLLM cannot serve the checkpoint; empty where it can."""
    from importlib.util import find_spec

    if find_spec("vllm") is None:
        return "vLLM is not installed"
    from transformers import AutoConfig

    with quiet(Path(os.devnull)):
        from vllm import ModelRegistry

    place = checkpoint.folder(model)
    architectures = AutoConfig.from_pretrained(place, trust_remote_code=trust_remote_code).architectures or []
    known = set(ModelRegistry.get_supported_archs())
    return "" if known & set(architectures) else f"vLLM does not serve {', '.join(architectures) or 'its architecture'}"


def device() -> str:
    """The kind of device vLLM runs on: cuda, rocm, cpu, ..."""
    from vllm.platforms import current_platform

    return str(current_platform.device_type)


def generation_config(place: Path) -> Any:
    """What the checkpoint's generation_config.json says, the library's defaults where it has none."""
    from transformers import GenerationConfig

    return GenerationConfig.from_pretrained(place) if (place / "generation_config.json").is_file() else GenerationConfig()


def start(place: str, given: dict[str, Any], log: Path) -> Any:
    """vLLM's engine over a checkpoint's directory, with these fields of its `EngineArgs`.

    Raises:
        UserError: there is no such argument, or it does not start; the message holds the last lines of its log.
    """
    with quiet(log):
        from vllm.engine.arg_utils import EngineArgs
        from vllm.v1.engine.llm_engine import LLMEngine
    known = [spec.name for spec in fields(EngineArgs)]
    for name in given:
        if name not in known:
            near = did_you_mean(name, known) if len(name) > 2 else ""
            raise UserError(f"vLLM has no engine argument '{name}'. {near if near.startswith('Did') else ''}".strip())
    try:
        with quiet(log):
            return LLMEngine.from_engine_args(EngineArgs(model=place, generation_config="vllm", disable_log_stats=True, **given))
    except Exception as error:  # whatever keeps vLLM from starting
        told = f"{checkpoint.first_line(error)}. The last lines of its log, {log}:\n{tail(log)}"
        raise UserError(f"vLLM does not start with {place}: {told}") from error


@contextmanager
def quiet(log: Path) -> Iterator[None]:
    """Sends what this process, and those it starts, write to the terminal into the log."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations among vLLM, torch and their like are nobody's business here
            yield
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        for number, old in enumerate(kept, 1):
            os.dup2(old, number)
            os.close(old)
        os.close(file)


def tail(log: Path) -> str:
    """The first line of a log that names an error, then its last lines."""
    lines = [PREFIX.sub("", line).rstrip() for line in log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
    cause = next((line.strip() for line in lines if NAMED.match(line.strip())), None)
    last = lines[-LOG_LINES:]
    return "\n".join([cause, *last] if cause and cause not in map(str.strip, last) else last)
