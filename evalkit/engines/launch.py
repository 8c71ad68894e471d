"""Starting vLLM: whether it can serve a checkpoint, its arguments, and its own log, which goes to a file."""

import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, Self

from ..errors import Interrupted, UserError, did_you_mean
from . import checkpoint

LOG_LINES = 8
"""How many last lines of vLLM's log a message quotes."""
PREFIX = re.compile(r"^\(\S+ pid=\d+\) (?:ERROR|WARNING|INFO) \S+ \S+ \[[^\]]*\] ?")
SERVED = re.compile(r".*\.language_model\..*\.(self_attn|mlp)\.(q|k|v|o|gate|up|down)_proj\.lora_[AB]\.weight")
"""The weights of a LoRA that vLLM serves in every architecture: those of other modules it may pass over in silence."""
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM may be told as the highest rank of a LoRA."""
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
    """Why vLLM cannot serve the checkpoint; empty where it can.

    Raises:
        UserError: there is no such checkpoint, or no engine can serve it.
    """
    from importlib.util import find_spec

    if find_spec("vllm") is None:
        return "vLLM is not installed"
    with quiet(Path(os.devnull)):
        from vllm import ModelRegistry

    architectures = checkpoint.config_of(checkpoint.folder(model), trust_remote_code).architectures or []
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


def serves_lora(place: Path) -> dict[str, Any]:
    """The arguments that let vLLM serve a LoRA exactly.

    Raises:
        UserError: it would leave out a part of it without a word, such as one of the vision tower; or does not serve its rank.
    """
    from safetensors import SafetensorError, safe_open

    weights, ranks = place / "adapter_model.safetensors", list[int]()
    instead = "choose --engine transformers, which merges any adapter"
    try:
        with safe_open(weights, framework="np") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                if not SERVED.fullmatch(name):
                    raise UserError(f"expected an adapter of the language model's projections for vLLM, got {name} in {weights}: {instead}")
                ranks.append(min(file.get_slice(name).get_shape()))
    except (OSError, SafetensorError) as error:
        raise UserError(f"the weights of the adapter cannot be read from {weights}: {checkpoint.first_line(error)}") from error
    rank = next((most for most in RANKS if most >= max(ranks, default=0)), None)
    if rank is None:
        raise UserError(f"expected an adapter of rank {RANKS[-1]} at most for vLLM, got {max(ranks)} in {weights}: {instead}")
    return {"enable_lora": True, "max_loras": 1, "max_lora_rank": rank}


def start(place: str, given: dict[str, Any], adapter: Path | None = None) -> tuple[Any, Path, Any]:
    """vLLM's engine over a checkpoint's directory, with these fields of its `EngineArgs`; the file that its log goes to; and by what
    requests ask for the adapter.

    Raises:
        UserError: there is no such argument, or it does not start; the message holds the last lines of its log.
    """
    with quiet(Path(os.devnull)):
        from vllm.engine.arg_utils import EngineArgs
        from vllm.v1.engine.llm_engine import LLMEngine
    known = [spec.name for spec in fields(EngineArgs)]
    for name in given:
        if name not in known:
            near = did_you_mean(name, known) if len(name) > 2 else ""
            raise UserError(f"vLLM has no engine argument '{name}'. {near if near.startswith('Did') else ''}".strip())
    log = Path(tempfile.mkstemp(prefix="evalkit-vllm-", suffix=".log")[1])
    try:
        with quiet(log), interruptible():
            engine = LLMEngine.from_engine_args(EngineArgs(model=place, generation_config="vllm", disable_log_stats=True, **given))
            return engine, log, _with_lora(engine, adapter) if adapter else None
    except Exception as error:  # whatever keeps vLLM from starting
        told = f"{checkpoint.first_line(error)}. The last lines of its log, {log}:\n{tail(log)}"
        lacking = unfit(place, bool(given.get("trust_remote_code")))
        instead = f"{lacking}: choose --engine transformers, or {checkpoint.SERVER}. " if lacking else ""
        raise UserError(f"{instead}vLLM does not start with {place}: {told}") from error
    except BaseException:
        log.unlink()
        raise


class Keeper:
    """A process of its own that ends those which this one starts in the context, once this one is gone: `_keeper.py`."""

    def __init__(self) -> None:
        # -P: the script's folder, whose modules are named as libraries are, stays off the path. A session of its own: Ctrl-C is not for it
        command = [sys.executable, "-P", str(Path(__file__).with_name("_keeper.py"))]
        pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nothing, start_new_session=True)
        self._hear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind:
            self.leave()
            return
        assert self._process.stdin
        with suppress(BrokenPipeError):  # somebody ended it
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()
            self._hear()

    def _hear(self) -> None:
        """Returns once it has looked at what has been started so far."""
        assert self._process.stdout
        self._process.stdout.readline()

    def leave(self) -> None:
        """Ends it, and nothing else."""
        self._process.kill()
        self._process.communicate()


def _with_lora(engine: Any, place: Path) -> Any:
    """What names the LoRA to vLLM, which has it now."""
    from vllm.lora.request import LoRARequest

    # It would advise on tokenizers of adapters, of which none is used here.
    logging.getLogger("vllm.v1.engine.input_processor").setLevel(logging.ERROR)
    request = LoRARequest("adapter", 1, str(place.absolute()))
    try:
        engine.add_lora(request)
    except BaseException:
        engine.engine_core.shutdown()
        raise
    return request


@contextmanager
def interruptible() -> Iterator[None]:
    """Lets Ctrl-C end what swallows a KeyboardInterrupt. vLLM does while it waits for its processes, and then waits for minutes more."""
    known = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or known is not signal.default_int_handler:
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise Interrupted

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Interrupted:
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, known)


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
