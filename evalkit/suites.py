"""Papers' tables as configs/suites/*.toml have them: which tasks are asked and how, and which number goes into which column."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import protocols, task
from .config import files, read
from .errors import UserError, did_you_mean
from .geometry import Frame
from .types import Budget, ModelInfo


@dataclass(frozen=True, slots=True)
class SuiteColumn:
    """A column of a paper's table: which of a run's numbers goes there."""

    title: str
    task: str
    metric: str
    group: str = ""
    """The title above it, shared with its neighbours."""
    rule: str = "official"
    subset: str = "overall"
    published_rule: str = ""
    """The rule of the published numbers, where it is another: a run is then marked."""
    frame: str = ""
    """In what the model writes boxes, for rules that take them as they are written: a run of a model that writes in another is marked."""
    judged: bool = False
    """Whether a judge makes the number, so that another judge makes another number."""
    scale: float = 100
    """What a run's number is multiplied by: 100 for shares, 1 for points."""
    digits: int = 1

    @property
    def name(self) -> str:
        """The title with its group's."""
        return f"{self.group} {self.title}".strip()


@dataclass(frozen=True, slots=True)
class SuiteConfig:
    """A paper's table: the tasks, how they are asked, and the columns."""

    title: str
    source: str
    """The `source` of its rows in results/published.csv; empty for rows of any source."""
    tasks: tuple[str, ...]
    columns: tuple[SuiteColumn, ...] = field(metadata={"of": SuiteColumn})
    protocol: str = "direct"
    judge: str = ""
    """The judge of the paper, which has to be named on the command line: it may cost money."""
    max_new_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_pixels: int | None = None
    max_pixels: int | None = None
    not_built: tuple[str, ...] = ()
    """Tasks of columns that evalkit does not have."""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises `UserError` where a column is of no task, or two columns are called alike."""
        known = [*self.tasks, *self.not_built]
        for column in self.columns:
            if column.task not in known:
                raise UserError(f"column '{column.name}' is of '{column.task}', no task of the suite. {did_you_mean(column.task, known)}")
        if len({column.name for column in self.columns}) < len(self.columns):
            raise UserError("two columns have one title: give them groups")

    @property
    def options(self) -> dict[str, Any]:
        """The options of a run that it sets."""
        named = ("tasks", "protocol", "max_new_tokens", "temperature", "top_p", "top_k", "min_pixels", "max_pixels")
        return {name: getattr(self, name) for name in named if getattr(self, name) is not None}


def names() -> list[str]:
    """Every suite's name, sorted."""
    return sorted(files("suites"))


def find(name: str) -> SuiteConfig:
    """The suite called `name`, or of a TOML file at that path.

    Raises:
        UserError: there is no such suite, or its file is wrong.
    """
    path = Path(name) if name.endswith(".toml") else files("suites").get(name)
    if path is None:
        raise UserError(f"no suite '{name}'. {did_you_mean(name, names())} A file of your own is named by its path, with .toml")
    return read(SuiteConfig, path)


def suited(given: dict[str, Any]) -> dict[str, Any]:
    """The options of a run, those that are not given as its suite has them.

    Raises:
        UserError: there is no such suite, it names a task or a protocol that there is not, or one bound of the pixels is given and
            leaves the other, as the suite or its protocol has it, no room.
    """
    if not given.get("suite"):
        return given
    named = find(given["suite"])
    options = named.options | {key: value for key, value in given.items() if value or value == 0}
    try:
        for name in options["tasks"] if options["tasks"] == named.tasks else ():
            task.find(name)
        own = protocols.shows(protocols.find(options["protocol"]), ModelInfo("", "", Frame.SEEN), Budget())
    except UserError as error:
        raise UserError(f"suite '{given['suite']}': {error}") from error
    least, most = options.get("min_pixels") or own.min_pixels, options.get("max_pixels") or own.max_pixels
    if bool(given.get("min_pixels")) != bool(given.get("max_pixels")) and least and most and least > most:
        said, stays = ("min", f"at most {most:,}") if given.get("min_pixels") else ("max", f"at least {least:,}")
        other = "max" if said == "min" else "min"
        raise UserError(
            f"--{said}-pixels {given[f'{said}_pixels']} leaves no size for the {stays} pixels of suite '{given['suite']}': "
            f"give --{other}-pixels too"
        )
    return options
