"""A benchmark as a value, and how its file is found: `tasks/<name>.py` is the registry.

A task file holds a module docstring (Paper, Data, one row, Metric, Headline, Departures), `VARIANTS` (a tuple of names, the
default first; empty where there is one), `DATA` (a `Data`, or None) and `task(variant, data) -> Task`.
"""

import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from .data import Data
from .errors import UserError, did_you_mean
from .interfaces import Grader, Rule
from .types import AnswerKind, Sample


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply of a results file in a benchmark's own format."""

    sample: str
    text: str
    role: str = "model"


@dataclass(frozen=True, slots=True)
class Task:
    """One benchmark, in one variant."""

    name: str
    """As on the command line: `vstar`, `vsr:random`."""
    version: int
    """Raised by every change that moves a number."""
    samples: Callable[[], Iterator[Sample]]
    """Reads lazily, in a fixed order; raises `DataError` where the data is not what was expected."""
    rules: tuple[Rule, ...]
    """The readings that give its numbers; the headline's rule first."""
    headline: str
    """The estimate that stands for the task in a table."""
    kinds: tuple[AnswerKind, ...]
    """The kinds of answer its samples want."""
    graders: tuple[Grader, ...] = ()
    """Second conversations about each prediction: judges, answer extraction."""
    data: Data | None = None
    """Where the rows and images come from; None where they are made on the fly."""
    published: Mapping[str, int] = field(default_factory=dict)
    """Published counts: `rows`, and by tag or `answer=...`. A mismatch is reported, never mended."""
    replies: Callable[[Path], Iterable[Reply]] | None = None
    """Reads the benchmark's own results format; None where there is only evalkit's."""

    @property
    def grounded(self) -> bool:
        """Whether a rule reads boxes, so that the model's frame must be declared."""
        return any(rule.grounded for rule in self.rules)


def homes() -> list[Path]:
    """The folders that hold task files: inside the wheel, else beside the package."""
    package = Path(__file__).parent
    return [folder for folder in (package / "_bundled" / "tasks", package.parent / "tasks") if folder.is_dir()][:1]


def names() -> list[str]:
    """Every task's name, without variants, sorted."""
    return sorted(path.stem for home in homes() for path in home.glob("*.py") if not path.stem.startswith("_"))


def module(name: str) -> ModuleType:
    """The module of a task file, by name or by path.

    Raises:
        UserError: no such task, or the file does not load or holds no `task`.
    """
    path = Path(name)
    if path.suffix != ".py":
        path = next((home / f"{name}.py" for home in homes() if (home / f"{name}.py").exists()), path)
    if not path.is_file():
        raise UserError(f"no task '{name}'. {did_you_mean(name, names())} A file of your own is named by its path, with .py")
    key = f"evalkit_task_{path.stem}_{abs(hash(path.resolve()))}"
    if key not in sys.modules:
        spec = importlib.util.spec_from_file_location(key, path)
        assert spec and spec.loader
        made = importlib.util.module_from_spec(spec)
        sys.modules[key] = made
        try:
            spec.loader.exec_module(made)
        except Exception as error:
            del sys.modules[key]
            raise UserError(f"the task file {path} does not load: {type(error).__name__}: {error}") from error
    if not callable(getattr(sys.modules[key], "task", None)):
        raise UserError(f"expected a function task(variant, data) in {path}, found none")
    return sys.modules[key]


def variants(name: str) -> tuple[str, ...]:
    """The variants of a task, the default first; empty where it has none."""
    return tuple(getattr(module(name), "VARIANTS", ()))


def find(name: str, data: Path | None = None) -> Task:
    """The task called `name`: `vstar`, `vsr:zeroshot`, `path/to/file.py`, `path/to/file.py:variant`.

    Raises:
        UserError: no such task or variant.
    """
    stem, _, variant = name.partition(":")
    known = variants(stem)
    if variant and variant not in known:
        raise UserError(f"no variant '{variant}' of task '{stem}'. " + (did_you_mean(variant, known) if known else "It has no variants."))
    made: Any = module(stem).task(variant or (known[0] if known else ""), data)
    if not isinstance(made, Task):
        raise UserError(f"expected task() in {stem} to return a Task, got {type(made).__name__}")
    return made


def checked(samples: Iterable[Sample], task: str) -> Iterator[Sample]:
    """The samples, each id once.

    Raises:
        UserError: an id comes twice, or there is no sample at all.
    """
    seen: set[int] = set()  # hashes, not ids: a million of them fit
    for sample in samples:
        code = hash(sample.id)
        if code in seen:
            raise UserError(f"expected unique sample ids in task '{task}', got '{sample.id}' twice: fix the rows or the id")
        seen.add(code)
        yield sample
    if not seen:
        raise UserError(f"task '{task}' gave no sample: is its data empty?")
