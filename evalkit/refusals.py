"""Runs that would give a number that means something else: refused before they start, or when their numbers are due."""

from collections.abc import Collection, Mapping, Sequence

from . import graders, suites
from .config import RunConfig
from .errors import Refused
from .geometry import Frame
from .interfaces import AnswerProtocol, Engine, Reading
from .parsers.math import installed, verified
from .scoring import OVERALL, Tally
from .task import Task

WRITERS = ("transformers", "vllm", "openai")
"""Engines whose models answer in text alone."""


def readable(asked: AnswerProtocol, config: RunConfig) -> frozenset[Reading]:
    """What the predictions of a run hold for rules to read: what the protocol gives, but no regions where no image is shown."""
    return asked.gives & {"text", "likelihoods"} if config.blind else asked.gives


def before(name: str, roles: Mapping[str, Engine], chosen: Sequence[Task], asked: AnswerProtocol, config: RunConfig) -> None:
    """Checks that the model called `name`, asked so, can be measured by each task.

    Raises:
        Refused: it cannot; the message says what to give or to choose.
    """
    reads, info = readable(asked, config), roles["model"].info
    for probe in config.probe:
        _probe(probe, name, roles, asked, config)
    if config.blind and info.details.get("engine") == "replay":
        raise Refused(f"the replies of '{name}' were given already, with their images or without: leave out --blind")
    for made in chosen:
        rules = [rule for rule in made.rules if rule.reads in reads and not rule.optional]
        if not rules:
            why = (
                "scores regions only, which say nothing without an image: leave out --blind"
                if config.blind
                else (f"has no rule that reads what protocol {asked.name} gives: choose another --protocol")
            )
            raise Refused(f"task '{made.name}' {why}")
        _roles(made, roles, config)
        _maskless(made, name, roles, asked)
        if any(rule.parse is verified for rule in made.rules):
            installed()
        if not any(rule.reads == "boxes" for rule in rules):
            continue
        if info.frame is None:
            raise Refused(
                f"task '{made.name}' scores boxes, and in what frame '{name}' writes them is not known. Say it with "
                f"--frame {'|'.join(Frame)}, or as `frame = ...` in configs/models/NAME.toml (seen: pixels of the image after "
                "the processor's resize)"
            )
        if info.frame is Frame.SEEN and not info.reads_images:
            raise Refused(f"'{name}' does not say what size it saw, so boxes in frame 'seen' cannot be placed: convert them before")


def unjudged(chosen: Sequence[Task], config: RunConfig) -> None:
    """Checks that a task that needs a judge has one, before a model is loaded; a replay or a plugin may answer for the judge itself.

    Raises:
        Refused: it has none.
    """
    for made in chosen:
        if not config.model.startswith(("replay:", "plugin:")) and config.engine not in ("replay", "plugin"):
            _roles(made, ["model", *(role for role in ("judge", "segmenter") if getattr(config, role))], config)


def _roles(made: Task, roles: Collection[str], config: RunConfig) -> None:
    for grader in made.graders:
        if grader.to not in roles:
            paper = suites.find(config.suite).judge if config.suite and grader.to == "judge" else ""
            raise Refused(
                f"task '{made.name}' needs a {grader.to} for '{grader.name}': name one with --{grader.to} MODEL"
                + (f" (the paper's is {paper}: --judge {paper})" if paper else ", or choose a variant without (`evalkit tasks`)")
            )


def _maskless(made: Task, name: str, roles: Mapping[str, Engine], asked: AnswerProtocol) -> None:
    """Checks that masks can come of a model that writes text alone, where protocol `segment` asks it for nothing else."""
    if roles["model"].info.details.get("engine") not in WRITERS or made.kinds[0] != "mask" or not asked.name.startswith("segment"):
        return
    if "segmenter" not in roles:
        raise Refused(
            f"task '{made.name}' wants masks, and '{name}' points where a mask is wanted: name what makes masks of that with "
            "--segmenter sam2:DIR"
        )
    first = next(iter(made.samples()), None)
    if first and first.wants.form == "video":
        raise Refused(
            f"task '{made.name}' wants masks of videos, and of boxes and points in a video no masks are made, since nothing says which "
            f"frame '{name}' means: score a model that makes its own, as --model plugin:FILE:CLASS or replay:FILE (docs/masks.md)"
        )


def _probe(called: str, name: str, roles: Mapping[str, Engine], asked: AnswerProtocol, config: RunConfig) -> None:
    """Checks that a probe can be sent after the predictions of the model called `name`, asked so."""
    probe = graders.find(called)
    role = probe.grader.to
    whose = name if role == "model" else getattr(config, role) or name
    if role not in roles:
        raise Refused(f"--probe {called} asks a {role}: name one with --{role} MODEL")
    if lacking := sorted(probe.asks - roles[role].info.answers):
        raise Refused(
            f"--probe {called} asks a {role} that answers {' and '.join(sorted(probe.asks))}, and '{whose}' does not "
            f"{' or '.join(lacking)}: choose a checkpoint with --engine transformers"
        )
    if config.blind or not roles["model"].info.reads_images:
        why = "the model is shown none with --blind" if config.blind else f"the answers of '{name}' come without them"
        raise Refused(f"--probe {called} is about what is made of the images, and {why}: leave out one of the two")
    if "text" not in asked.gives:
        raise Refused(f"--probe {called} reads a reply, and protocol {asked.name} asks for none: choose another --protocol")


def incomplete(made: Task, tally: Tally, limited: bool) -> None:
    """Checks a benchmark that is scored whole or not at all. Rows that a limit left out are not missing, gaps are told elsewhere.

    Raises:
        Refused: replies or rows are missing; the message says which subsets lack how many.
    """
    said = []
    for subset in made.whole:
        asked, missing = tally.lacking(subset)
        total = max(asked, 0 if limited else made.published.get("rows" if subset == OVERALL else subset, 0))
        if asked - missing < total:
            said.append(f"{subset} has {asked - missing} of {total} replies")
    if said:
        raise Refused(
            f"{made.name} is incomplete: {', '.join(said)}. Fill in what is missing, or score what is there with --allow-incomplete"
        )
