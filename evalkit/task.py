"""A benchmark as a value, and how its file is found: `tasks/<name>.py` is the registry.

A task file holds a module docstring (Paper, Data, one row, Metric, Headline, Departures), `VARIANTS` (a tuple of names, the
default first; empty where there is one; it ends in `...` where there are more than can be listed, of which `task` then refuses
the wrong ones), `DATA` (a `Data`, or None) and `task(variant, data) -> Task`.
"""

import hashlib
import importlib.util
import logging
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Self

from .data import Data
from .errors import UserError, did_you_mean
from .geometry import Box, Mask
from .interfaces import AnswerProtocol, Grader, Probe, Rule
from .types import AnswerKind, Sample, sha256

log = logging.getLogger("evalkit")


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply of a results file in a benchmark's own format."""

    sample: str
    text: str = ""
    role: str = "model"
    boxes: tuple[Box, ...] = ()
    """Original pixels."""
    labels: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    masks: tuple[Mask, ...] = ()


@dataclass(frozen=True, slots=True)
class Composite:
    """A number that is made of the numbers of several subsets, such as the mean of nine; None where one of them is None.

    A metric that has composites is given for their subsets and for the composites, and for nothing else.
    """

    subset: str
    """What the row calls it: `average`, `perception`."""
    metric: str
    """The estimate it is made of, under every rule that has it."""
    of: tuple[str, ...]
    """The subsets it is made of."""
    how: Literal["mean", "sum"] = "mean"


Export = Callable[[Iterable[tuple[Sample, Mapping[str, Any]]], Path], list[Path]]
"""Writes the results files of a benchmark into a folder and returns their paths, from samples in the task's order, each with its
row of predictions.jsonl (`text`, `answer`, `failure`, `missing`, `evidence`, `masks`, `verdicts`).

A mask is COCO's {"size": [height, width], "counts": "..."}; of a video `masks` has a list for each object, of one mask a frame."""


@dataclass(frozen=True, slots=True)
class Task:
    """One benchmark, in one variant."""

    name: str
    """As on the command line: `vstar`, `vsr:random`. Without `/`, since keys are `task/id`."""
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
    replies: Callable[[Path], Iterable[Reply] | None] | None = None
    """Reads results in the benchmark's own format; returns None for a file that is not in it. None where there is no such format."""
    export: Export | None = None
    """Writes results in the benchmark's own format; None where there is no such format."""
    composites: tuple[Composite, ...] = ()
    notes: tuple[str, ...] = ()
    """What is to be said beside every number, such as how its data differs from the benchmark's."""
    floors: Mapping[str, float] = field(default_factory=dict)
    """What one answer to every question scores, for estimates other than accuracy: the value in each subset that the estimate has."""
    whole: tuple[str, ...] = ()
    """Subsets whose numbers mean nothing where a reply is missing: a run that lacks one is refused unless told to go on."""

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name:
            raise UserError(f"expected a task's name without '/', such as vstar or vsr:random, got '{self.name}'")

    @property
    def grounded(self) -> bool:
        """Whether a rule reads boxes, so that the model's frame must be declared."""
        return any(rule.reads == "boxes" for rule in self.rules)

    def equipped(self, asked: AnswerProtocol, probes: Sequence[Probe]) -> Self:
        """The task with the rules of the protocol that asks it, and the graders and rules of the probes sent after it."""
        graders = (*self.graders, *(probe.grader for probe in probes))
        rules = (*self.rules, *asked.rules, *(rule for probe in probes for rule in probe.rules))
        return replace(self, graders=graders, rules=rules)


def homes() -> list[Path]:
    """The folders that hold task files: inside the wheel, else beside the package."""
    package = Path(__file__).parent
    return [folder for folder in (package / "_bundled" / "tasks", package.parent / "tasks") if folder.is_dir()][:1]


def names() -> list[str]:
    """Every task's name, without variants, sorted."""
    return sorted(path.stem for home in homes() for path in home.glob("*.py") if not path.stem.startswith("_"))


def module(name: str) -> ModuleType:
    """The module of a task file as the file now is, by name or by path; the same module while the file does not change.

    Raises:
        UserError: no such task, or the file does not load or holds no `task`.
    """
    path = Path(name)
    if path.suffix != ".py":
        path = next((home / f"{name}.py" for home in homes() if (home / f"{name}.py").exists()), path)
    if not path.is_file():
        raise UserError(f"no task '{name}'. {did_you_mean(name, names())} A file of your own is named by its path, with .py")
    made = load(path, "task")
    if not callable(getattr(made, "task", None)):
        raise UserError(f"expected a function task(variant, data) in {path}, found none")
    return made


def load(path: Path, kind: str) -> ModuleType:
    """The module of a file of trusted code as the file now is; the same module while the file does not change.

    The log says of a file that is not evalkit's own that it is run.

    Raises:
        UserError: the file does not load; `kind` says what it was to be.
    """
    source = path.read_bytes()
    key = f"evalkit_{kind}_{path.stem}_{sha256(str(path.resolve()))[:8]}_{hashlib.sha256(source).hexdigest()[:8]}"
    if key not in sys.modules:
        spec = importlib.util.spec_from_file_location(key, path)
        if spec is None:
            raise UserError(f"expected a {kind} file of Python, got {path}: give it the ending .py")
        if path.resolve().parent not in [home.resolve() for home in homes()]:
            log.info("runs %s, with your rights", path)
        made = importlib.util.module_from_spec(spec)
        sys.modules[key] = made
        try:
            # The loader's own exec_module takes bytecode for fresh by second and size, and misses a quick edit.
            exec(compile(source, path, "exec"), vars(made))  # noqa: S102 - trusted code
        except Exception as error:
            del sys.modules[key]
            raise UserError(f"the {kind} file {path} does not load: {type(error).__name__}: {error}") from error
    return sys.modules[key]


def sibling(file: str, name: str) -> ModuleType:
    """The module of `name.py` beside a task file that calls this with its own `__file__`: what the benchmarks of one family share.

    Files whose names begin with `_` are no tasks themselves.

    Raises:
        UserError: there is no such file, or it does not load.
    """
    path = Path(file).with_name(f"{name}.py")
    if not path.is_file():
        raise UserError(f"expected {path.name} beside the task file {file}, found none: copy both")
    return load(path, "task")


def variants(name: str) -> tuple[str, ...]:
    """The variants of a task that it lists, the default first; empty where it has none."""
    return tuple(variant for variant in getattr(module(name), "VARIANTS", ()) if variant is not ...)


def split_name(name: str) -> tuple[str, str]:
    """The task or its file's path, and the variant, of a name as it is typed.

    >>> split_name("vstar"), split_name("vsr:zeroshot"), split_name("at 12:30/own.py:hard"), split_name("at 12:30/own.py")
    (('vstar', ''), ('vsr', 'zeroshot'), ('at 12:30/own.py', 'hard'), ('at 12:30/own.py', ''))
    """
    stem, colon, variant = name.rpartition(":")
    return (stem, variant) if colon and not variant.endswith(".py") else (name, "")


def find(name: str, data: Path | None = None) -> Task:
    """The task called `name`: `vstar`, `vsr:zeroshot`, `path/to/file.py`, `path/to/file.py:variant`.

    Raises:
        UserError: no such task or variant, or its file's `task` fails.
    """
    stem, variant = split_name(name)
    known, file = variants(stem), module(stem)
    if variant and variant not in known and ... not in getattr(file, "VARIANTS", ()):
        raise UserError(f"no variant '{variant}' of task '{stem}'. " + (did_you_mean(variant, known) if known else "It has no variants."))
    try:
        made: Any = file.task(variant or (known[0] if known else ""), data)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"task() of the task file {file.__file__} failed: {type(error).__name__}: {error}") from error
    if not isinstance(made, Task):
        raise UserError(f"expected task() in {stem} to return a Task, got {type(made).__name__}")
    return replace(made, data=replace(made.data, task=name)) if made.data else made


def checked(samples: Iterable[Sample], task: str) -> Iterator[Sample]:
    """The samples, each id once.

    Raises:
        UserError: an id comes twice or is no text, there is no sample at all, or the task stumbles over a row.
    """
    seen = _Seen()
    try:
        for sample in samples:
            if not isinstance(sample.id, str):
                raise UserError(f"expected a str as sample id in task '{task}', got {sample.id!r} ({type(sample.id).__name__})")
            if not seen.add(sample.id):
                raise UserError(f"expected unique sample ids in task '{task}', got '{sample.id}' twice: fix the rows or the id")
            yield sample
    except (TypeError, AttributeError, ValueError, LookupError, ArithmeticError, RecursionError) as error:
        raise UserError(
            f"task '{task}' cannot read its rows after the first {seen.count}: {type(error).__name__}: {error}. "
            "Fetch its data again; if that is whole, the task's file is at fault"
        ) from error
    if not seen.count:
        raise UserError(f"task '{task}' gave no sample: is its data empty?")


class _Seen:
    """The 64-bit hashes of the texts added, in an open-addressed table: at most 24 bytes a text, where a set takes 80."""

    def __init__(self) -> None:
        self.count = 0
        self._table = array("q", [0]) * 2**16  # 0 is an empty place; the length is a power of 2

    def add(self, text: str) -> bool:
        """Whether the text is new."""
        if 3 * self.count >= 2 * len(self._table):
            self._grow()
        table, mask = self._table, len(self._table) - 1
        code = hash(text) or 1
        place = code & mask
        while held := table[place]:
            if held == code:
                return False
            place = place + 1 & mask
        table[place] = code
        self.count += 1
        return True

    def _grow(self) -> None:
        """Doubles the table. All codes of a part try their places at once; those that lost theirs try the next."""
        import numpy as np

        held, length = np.array(self._table), 2 * len(self._table)
        held = held[held != 0]
        self._table = array("q")  # lets the old table go before the new one is made
        self._table = array("q", [0]) * length
        table = np.frombuffer(self._table, dtype=np.int64)
        for part in np.array_split(held, 16):  # a part at a time bounds what this takes beside the table
            codes, place = part, part & (length - 1)
            while len(codes):
                free = table[place] == 0
                table[place[free]] = codes[free]
                lost = table[place] != codes
                codes, place = codes[lost], (place[lost] + 1) & (length - 1)
