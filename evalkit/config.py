"""TOML files as frozen dataclasses; an unknown key is an error that names the nearest known one.

`configs/models/<name>.toml` declares what a checkpoint does not say of itself (its frame, its resize, the protocol it was trained
for). `--config FILE` holds the options of a run, spelt as on the command line with `_` for `-`.
"""

import json
import re
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from .errors import UserError, did_you_mean
from .geometry import Frame
from .types import Budget

C = TypeVar("C")
SECRET = re.compile(r"(?:^|_)(?<!pad_)(?<!bos_)(?<!eos_)(?<!cache_)(?:api)?(?:key|token|secret|password|authorization)$")
"""Names of arguments, in snake case, that hold what must not be kept with a run. A template's tokens and a cache's key are no secrets."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What is declared of a model. Every key but `source` may be left out."""

    source: str
    """A directory (relative to the file), a hub id, `openai:NAME` for a server's model, or `bundled:NAME` for a checkpoint inside
    the package."""
    protocol: str = "direct"
    """How it is asked where the command line does not say."""
    frame: str = ""
    """In what it writes coordinates: original, seen, unit, thousand. Empty: as its architecture is known to."""
    engine: str = "auto"
    engine_args: tuple[str, ...] = ()
    base_url: str = ""
    """Where the server is."""
    key: str = "OPENAI_API_KEY"
    """The environment variable that holds the key of the server."""
    processor: str = ""
    adapter: str = ""
    dtype: str = ""
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        """Raises `UserError` where the base URL holds a password, or `key` something else than a variable's name."""
        _without_secrets(self.base_url, "base_url")
        if not re.fullmatch("[A-Z][A-Z0-9_]*", self.key):
            raise UserError("expected key as the name of an environment variable, such as OPENAI_API_KEY, and not what it holds")


@dataclass(frozen=True, slots=True)
class RunConfig:
    """The options of a run."""

    model: str = ""
    suite: str = ""
    """The paper's table that is to be filled: what it names stands where an option is not given."""
    tasks: tuple[str, ...] = ()
    protocol: str = ""
    probe: tuple[str, ...] = ()
    """Second conversations about every prediction, such as box-erasure."""
    min_pixels: int | None = None
    """In place of the protocol's own budget: how many pixels of an image the model is shown, at least and at most."""
    max_pixels: int | None = None
    engine: str = "auto"
    engine_args: tuple[str, ...] = ()
    """Arguments of vLLM, or options of a server, as name=value."""
    replicas: int = 1
    """How many engines answer side by side, through Ray."""
    ray_address: str = ""
    base_url: str = ""
    system: str = ""
    max_cost: float | None = None
    max_time: float | None = None
    judge: str = ""
    segmenter: str = ""
    """What makes masks of the boxes and points of a model's replies."""
    limit: int | None = None
    blind: bool = False
    """Ask without the images: what the questions alone give away."""
    allow_incomplete: bool = False
    """Score what is there of a benchmark whose number means nothing unless it is whole."""
    data: tuple[str, ...] = ()
    out: str = "results/runs"
    batch_size: int = 16
    max_new_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repeats: int = 1
    seed: int = 0
    label: tuple[str, ...] = ()
    processor: str = ""
    adapter: str = ""
    dtype: str = ""
    device: str = ""
    frame: str = ""
    sampling: str = "evalkit"
    trust_remote_code: bool = False
    cache: str = ""
    """Where hashes of weights are kept, so that a large checkpoint is read once."""
    reuse: str = ""
    """An earlier run's folder, whose answers are used where they are to the same request."""

    @property
    def budget(self) -> Budget | None:
        """How many pixels of an image are shown, where that is said."""
        return Budget(self.min_pixels, self.max_pixels) if self.min_pixels or self.max_pixels else None

    def __post_init__(self) -> None:
        """Raises `UserError` where a number is out of its range or a label is no pair."""
        for name, least in {
            "limit": 1,
            "repeats": 1,
            "batch_size": 1,
            "replicas": 1,
            "max_new_tokens": 1,
            "min_pixels": 1,
            "max_pixels": self.min_pixels or 1,
            "max_cost": 0,
            "max_time": 0,
            "temperature": 0,
            "top_p": 0,
            "top_k": 0,
        }.items():
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise UserError(f"expected --{name.replace('_', '-')} of at least {least}, got {value}")
        _without_secrets(self.base_url, "--base-url")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UserError(f"expected --top-p above 0 and at most 1, got {self.top_p}")
        if any("=" not in label for label in self.label):
            raise UserError(f"expected --label key=value, got {', '.join(self.label)}")
        if secret := next((name for name, _, _ in (label.partition("=") for label in self.label) if SECRET.search(_snake(name))), ""):
            raise UserError(f"expected no secret among the labels, which are kept with the run, got '{secret}'")
        if self.sampling not in ("evalkit", "checkpoint"):
            raise UserError(f"expected --sampling evalkit or checkpoint, got '{self.sampling}'")
        if self.probe and self.repeats > 1:
            raise UserError("--probe goes with one answer a sample: leave out --repeats")
        if self.repeats > 1 and not self.temperature and self.sampling != "checkpoint":
            raise UserError("greedy repeats are all alike: give --temperature with --repeats")


def read(kind: type[C], path: Path) -> C:
    """The file as `kind`.

    Raises:
        UserError: no such file, no TOML, an unknown key, or a value that cannot be; it names the file.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"no file {path}: expected a TOML file of a {kind.__name__}") from error
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"expected a TOML file at {path}: {error}") from error
    try:
        return build(kind, table, str(path))
    except UserError as error:
        if str(path) in str(error):
            raise
        raise UserError(f"{path}: {error}") from error


def build(kind: type[C], table: dict[str, Any], where: str) -> C:
    """The table as `kind`. Lists become tuples, and so does a string with commas between.

    >>> build(ModelConfig, {"source": "x", "fram": "unit"}, "m.toml")
    Traceback (most recent call last):
    evalkit.errors.UserError: unknown key 'fram' in m.toml. Did you mean 'frame'?
    """
    known = {spec.name: spec for spec in fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in table.items():
        spec = known.get(key)
        if spec is None:
            raise UserError(f"unknown key '{key}' in {where}. {did_you_mean(key, list(known))}")
        if inner := spec.metadata.get("of"):
            if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
                raise UserError(f"expected tables for '{key}' in {where}, got {value!r}")
            values[spec.name] = tuple(build(inner, item, f"{where}, {key} {number}") for number, item in enumerate(value, start=1))
            continue
        if "tuple" in str(spec.type):
            listed = value.split(",") if isinstance(value, str) else value
            if not isinstance(listed, list | tuple) or not all(isinstance(item, str) for item in listed):
                raise UserError(f"expected strings for '{key}' in {where}, got {value!r}")
            values[spec.name] = tuple(item.strip() for item in listed if item.strip())
            continue
        if not isinstance(value, _allowed(str(spec.type))) or (isinstance(value, bool) and "bool" not in str(spec.type)):
            raise UserError(f"expected {spec.type} for '{key}' in {where}, got {value!r}")
        try:
            values[spec.name] = float(value) if "float" in str(spec.type) and isinstance(value, int) else value
        except OverflowError as error:
            raise UserError(f"expected {spec.type} for '{key}' in {where}, got {value!r:.60}") from error
    try:
        return kind(**values)
    except TypeError as error:
        raise UserError(f"{where} lacks a key: {error}") from error


def engine_arguments(given: Sequence[str]) -> dict[str, Any]:
    """Arguments written as name=value, the later of two with one name; values are JSON where they can be, else text.

    Raises:
        UserError: one is no pair, or holds a secret, which would be kept with the run.

    >>> engine_arguments(["tensor-parallel-size=2", "quantization=awq", "enforce_eager=true"])
    {'tensor_parallel_size': 2, 'quantization': 'awq', 'enforce_eager': True}
    """
    values: dict[str, Any] = {}
    for item in given:
        name, pair, text = item.partition("=")
        if not pair or not name:
            raise UserError(f"expected --engine-args name=value, got one that has no {'name' if pair else '='}")
        name = name.strip().lstrip("-").replace("-", "_")
        names = [name]
        read = partial(json.loads, object_pairs_hook=partial(_table, names))
        try:
            value = read(text)
            if isinstance(value, str):  # an object in quotes, which an engine may read too
                with suppress(ValueError):
                    read(value)
        except (ValueError, RecursionError):
            value = text
        if secret := next((one for one in names if SECRET.search(_snake(one))), ""):
            raise UserError(f"expected no secret in --engine-args, which are kept with the run, got '{secret}': set it in the environment")
        if name == "base_url":
            _without_secrets(text, "base_url")
        values[name] = value
    return values


def _table(names: list[str], pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; the names in it that hold no further object are added to those that are known."""
    names += [name for name, held in pairs if not isinstance(held, dict)]
    return dict(pairs)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().replace("-", "_")


def _without_secrets(url: str, where: str) -> None:
    what = "a user and a password" if "@" in url.partition("://")[2].partition("/")[0] else "a query" if "?" in url or "#" in url else ""
    if what:
        raise UserError(
            f"expected {where} without {what}, which would be kept with the run: "
            "a server's key goes into the environment, as OPENAI_API_KEY"
        )


def _allowed(annotation: str) -> tuple[type, ...]:
    kinds: dict[str, tuple[type, ...]] = {
        "str": (str,),
        "int": (int,),
        "float": (float, int),
        "bool": (bool,),
        "None": (type(None),),
        "Mapping": (dict, str),
    }
    return tuple(kind for name, found in kinds.items() if name in annotation for kind in found)


def frame(name: str, where: str) -> Frame | None:
    """The frame called `name`, None for an empty name.

    Raises:
        UserError: there is no such frame.
    """
    if not name:
        return None
    if name not in list(Frame):
        raise UserError(f"no frame '{name}' ({where}). {did_you_mean(name, [str(known) for known in Frame])}")
    return Frame(name)


def home() -> Path | None:
    """The folder `configs`, inside the wheel or beside the package; None where there is none."""
    package = Path(__file__).parent
    return next((p for p in (package / "_bundled" / "configs", package.parent / "configs") if p.is_dir()), None)


def models() -> dict[str, Path]:
    """The declared models and judges by name."""
    return files("models") | files("judges")


def files(kind: str) -> dict[str, Path]:
    """The TOML files of a folder of `configs`, by name."""
    folder = home()
    return {path.stem: path for path in sorted((folder / kind).glob("*.toml"))} if folder else {}


def model(name: str) -> ModelConfig | None:
    """The declared model called `name`, or of a TOML file at that path; None where none is declared.

    Its `source` is resolved, and so are an adapter and a processor that are beside the file.
    """
    path = Path(name) if name.endswith(".toml") else models().get(name)
    if path is None:
        return None
    declared = read(ModelConfig, path)
    beside = {name: path.parent.absolute() / said for name in ("adapter", "processor") if (said := getattr(declared, name))}
    found: dict[str, Any] = {name: str(place) for name, place in beside.items() if place.exists()}
    declared = replace(declared, **found)
    if (path.parent / declared.source).is_dir():
        return replace(declared, source=str(path.parent / declared.source))
    if declared.source.startswith("bundled:"):
        bundled = Path(__file__).parent / "demo" / "checkpoints" / declared.source.removeprefix("bundled:")
        return replace(declared, source=str(bundled))
    return declared


@dataclass(frozen=True, slots=True)
class Locked:
    """A data set as it was when it was first seen whole."""

    revision: str
    fingerprint: str


def locked() -> dict[str, Locked]:
    """The entries of configs/data.lock by task."""
    folder = home()
    if not folder or not (folder / "data.lock").is_file():
        return {}
    table = tomllib.loads((folder / "data.lock").read_text("utf-8"))
    return {name: build(Locked, entry, "data.lock") for name, entry in table.items()}


def lock(task: str, entry: Locked) -> Path | None:
    """Adds what a task's data is to configs/data.lock, where it has none yet, and returns the file; None where nothing was added."""
    folder = home()
    if folder is None or task in locked():
        return None
    with (folder / "data.lock").open("a", encoding="utf-8") as file:
        file.write(f'\n["{task}"]\nrevision = "{entry.revision}"\nfingerprint = "{entry.fingerprint}"\n')
    return folder / "data.lock"
