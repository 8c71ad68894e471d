"""`evalkit run`: evaluate a model on tasks."""

import glob
import logging
import os
import re
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from ..errors import UserError


@click.command()
@click.option(
    "--model",
    "-m",
    help="A directory, a hub id, openai:NAME, replay:PATH, plugin:FILE:CLASS, a name in configs/models (demo) or a .toml like those; "
    "several with commas between, or as a pattern in quotes: 'ckpts/*'. plugin:FILE runs FILE with your rights: read a stranger's first.",
)
@click.option(
    "--suite", "-s", help="A paper's table to fill: grit, pixel_reasoner, satori, unipixel, core or a .toml; options replace its values."
)
@click.option(
    "--tasks",
    "-t",
    help="Tasks, comma between: vstar,vsr:zeroshot,path/to/file.py. `evalkit tasks` lists them. A file is run with your rights: "
    "read a stranger's first.",
)
@click.option(
    "--protocol",
    "-p",
    help="How samples are asked: direct, grit, pixel_reasoner, satori, segment, likelihood; with a variant, grit:direct.  "
    "[default: as the model's config says, else direct]",
)
@click.option("--engine", help="auto, transformers, vllm, openai, replay or plugin.  [default: auto]")
@click.option(
    "--engine-args", multiple=True, help="name=value of vLLM's arguments (tensor_parallel_size=2) or a server's options (server=vllm)."
)
@click.option("--replicas", type=int, help="So many engines side by side, each on GPUs of its own, through Ray.  [default: 1]")
@click.option("--ray-address", help="A Ray cluster to join, such as auto.  [default: one is started on this machine]")
@click.option("--base-url", help="Where the server of openai:NAME is, such as http://localhost:8000/v1.  [default: OpenAI's]")
@click.option("--system", help="A system message, for openai:NAME.")
@click.option(
    "--max-cost",
    type=float,
    help="Stop asking a server when so much is spent, in the currency of its prices a million tokens: --engine-args price_in=, price_out=.",
)
@click.option("--max-time", type=float, help="Stop asking a server after so many seconds; the same command goes on.")
@click.option("--judge", help="The model that judges answers, where a task needs one.")
@click.option(
    "--segmenter", help="sam2:DIR or sam2:HUB_ID: makes masks of the boxes and points that a model writes. For --protocol segment."
)
@click.option(
    "--probe",
    multiple=True,
    callback=lambda context, option, given: ",".join(given) or None,
    help="Sent after every answer: correlation (asks the judge), box-erasure, region-attention (ask for attention).",
)
@click.option("--limit", type=int, help="At least this many samples, in whole groups drawn by --seed; the run is marked partial.")
@click.option("--blind", is_flag=True, default=None, help="Ask without the images: the floor that a score must rise above.")
@click.option("--allow-incomplete", is_flag=True, default=None, help="Score what is there where a benchmark is refused as incomplete.")
@click.option("--data", help="A folder with the data, or task=DIR,task=DIR.")
@click.option("--out", help="Where run folders go.  [default: results/runs]")
@click.option("--batch-size", type=int, help="Requests a batch of the transformers engine; changes no answer.  [default: 16]")
@click.option("--min-pixels", type=int, help="Show an image in at least so many pixels, in place of the protocol's own bound.")
@click.option("--max-pixels", type=int, help="Show an image in at most so many pixels, in place of the protocol's own bound.")
@click.option("--max-new-tokens", type=int, help="In place of the protocol's own limit.")
@click.option("--temperature", type=float, help="In place of the protocol's own; 0 is greedy.")
@click.option("--top-p", type=float, help="In place of the protocol's own.")
@click.option("--top-k", type=int, help="In place of the protocol's own.")
@click.option("--repeats", type=int, help="Ask each sample this many times: mean, pass@N, majority@N.")
@click.option("--seed", type=int, help="Seeds sampled replies and --limit.  [default: 0]")
@click.option("--sampling", help="evalkit: every field explicit. checkpoint: its generation_config.  [default: evalkit]")
@click.option("--label", multiple=True, help="key=value, kept with the run; can be given again.")
@click.option("--processor", help="The processor's directory, where the checkpoint has none.")
@click.option("--adapter", help="A LoRA adapter's directory.")
@click.option("--dtype", help="float32, bfloat16, float16.  [default: float32 on CPU, the checkpoint's own on a GPU]")
@click.option("--device", help="cpu, cuda, cuda:1, mps.  [default: a GPU where there is one]")
@click.option("--frame", help="In what the model writes boxes: original, seen, unit, thousand.")
@click.option(
    "--trust-remote-code",
    is_flag=True,
    default=None,
    help="Run code, or load pickled weights, that the checkpoint ships. Only for checkpoints you trust.",
)
@click.option("--config", type=click.Path(path_type=Path), help="A TOML file of these options, spelt with _ for -.")
@click.option("--reuse", help="An earlier run's folder, whose answers are used where they are to the same request.")
@click.option(
    "--from",
    "first",
    type=click.Path(path_type=Path),
    help="A run's folder: make that run again as its manifest says, asking anew, and compare the two. Options given besides replace its.",
)
def command(config: Path | None, first: Path | None, **given: Any) -> int:
    """Evaluate a model on tasks. The same command again finds the same folder and asks only what is missing.

    Exit code: 0 complete, 1 some samples have no answer (run again), 2 something to mend, 130 stopped (run again); with --from also
    3: complete, and not the same.
    """
    from ..config import RunConfig, read

    options: dict[str, Any] = {}
    if config:
        loaded = read(RunConfig, config)
        options = {spec.name: getattr(loaded, spec.name) for spec in fields(RunConfig) if getattr(loaded, spec.name) != spec.default}
    options |= {name: value for name, value in given.items() if value is not None and value != ()}
    whole = options.get("model") and (options.get("tasks") or options.get("suite"))
    if first and whole:
        raise UserError("--from makes a run again, so model and tasks are its own. To use its answers in another run: --reuse RUN")
    if not whole and not first:
        raise UserError("expected --model M and --tasks A,B or --suite S. For a first try: evalkit run --model demo --tasks shapes")
    options["cache"] = options.get("cache") or click.get_app_dir("evalkit")
    _say_what_is_logged()
    if first:
        return _again(first, options)
    models = named(options.pop("model"))
    if len(models) == 1:
        summary = _evaluated(models[0], options)
        click.echo(summary.table())
        _say_what_is_missing(summary)
        click.echo(f"\n{summary.folder}")
        _say_what_next([summary], options)
        return 0 if summary.complete else 1
    return _each(models, options)


def named(text: str) -> list[str]:
    """The models that `--model` names: one, several with commas between, or what a pattern matches, step-2 before step-10.

    Raises:
        UserError: a pattern matches no directory and no .toml file, or nothing is named.
    """
    found: list[str] = []
    for part in [text] if Path(text).exists() else [part.strip() for part in text.split(",")]:
        kind = next((kind for kind in ("replay:", "plugin:", "openai:") if part.startswith(kind)), "")
        pattern = part.removeprefix(kind)
        if kind in ("plugin:", "openai:") or Path(pattern).exists() or not glob.has_magic(pattern):
            found += [part] if part else []
            continue
        matched = sorted(glob.glob(str(Path(pattern).expanduser())), key=_natural)  # noqa: PTH207 - the pattern may be absolute
        kept = [path for path in matched if kind or Path(path).is_dir() or path.endswith(".toml")]
        if not kept:
            raise UserError(f"expected checkpoints (directories or .toml files) that match '{pattern}', found none")
        if len(kept) < len(matched):
            click.echo(f"left out, no checkpoints: {', '.join(path for path in matched if path not in kept)}", err=True)
        found += [kind + path for path in kept]
    if not found:
        raise UserError(f"expected models with commas between, got '{text}'")
    return list(dict.fromkeys(found))


def _natural(text: str) -> list[tuple[int, int | str]]:
    """A key that sorts numbers inside texts by their size."""
    return [(0, int(piece)) if piece.isdecimal() else (1, piece) for piece in re.split(r"(\d+)", text)]


def _evaluated(model: str, options: dict[str, Any]) -> Any:
    from .. import api

    progress = Progress(options.get("limit") is not None)
    try:
        return api.run(model, progress=progress, command=sys.argv[1:], environ=os.environ, **options)
    finally:
        progress.close()


def _again(first: Path, options: dict[str, Any]) -> int:
    """Makes a run again, says how the two compare, and returns the exit code.

    Raises:
        UserError: there is no run there, or it cannot be made again.
    """
    from ..folder import RunFolder
    from ..report.rerun import compare, plan, told
    from ..report.runs import opened

    folder = RunFolder.at(first)
    folder.own_manifest()
    run = opened([folder.path])[0]
    planned = plan(run, options)
    for line in (*planned.replaced, *(f"note: {caution}" for caution in planned.cautions)):
        click.echo(line, err=True)
    summary = _evaluated(planned.model, planned.options)
    click.echo(summary.table())
    _say_what_is_missing(summary)
    click.echo(f"\n{summary.folder}, which makes {first} again:")
    found = compare(run, opened([summary.folder])[0])
    click.echo("\n".join(told(found)))
    return 1 if not summary.complete else 0 if found.same else 3


def _each(models: Sequence[str], options: dict[str, Any]) -> int:
    """Evaluates the models one after the other, prints one table of their headlines, and returns the exit code.

    Raises:
        UserError: the first two fail for the very same reason, which then lies in the options.
    """
    from ..report import markdown, side_by_side
    from ..report.runs import opened

    summaries: list[Any] = []
    failed: dict[str, str] = {}
    for number, model in enumerate(models, start=1):
        click.echo(f"\n{model} ({number} of {len(models)})", err=True)
        try:
            summaries.append(_evaluated(model, options))
        except UserError as error:
            if not summaries and str(error) in failed.values():
                raise
            failed[model] = str(error)
            click.echo(f"evalkit: {error}", err=True)
        else:
            _say_what_is_missing(summaries[-1])
    if summaries:
        click.echo(markdown.written(side_by_side.table(opened([summary.folder for summary in summaries]))))
        click.echo("\n" + "\n".join(str(summary.folder) for summary in summaries))
        _say_what_next(summaries, options)
    if failed:
        click.echo(f"\nnot evaluated, {len(failed)} of {len(models)}: {', '.join(failed)}", err=True)
        return 2
    return 0 if all(summary.complete for summary in summaries) else 1


def _say_what_next(summaries: Sequence[Any], options: dict[str, Any]) -> None:
    folders = " ".join(shlex.quote(str(summary.folder)) for summary in summaries)
    click.echo(f"To look at it: evalkit view {folders}", err=True)
    if options.get("suite"):
        click.echo(f"In the paper's table: evalkit table {folders} --suite {options['suite']} --published", err=True)


def _say_what_is_missing(summary: Any) -> None:
    from ..report.form import plain

    for entry in summary.tasks:
        for note in entry["notes"]:
            click.echo(f"note: {plain(note)}", err=True)
        if entry["gaps"]:
            first = entry["gaps"][0]
            click.echo(
                f"{entry['task']}: {len(entry['gaps'])} answers did not come, such as that to {plain(first['sample'])}: "
                f"{plain(first['reason'])}. "
                "The same command asks just these again.",
                err=True,
            )


def _say_what_is_logged() -> None:
    """Shows on the terminal what the log says of engines and folders; warnings, such as gaps, are summed up at the end instead."""
    handler = logging.StreamHandler()
    handler.addFilter(lambda record: record.levelno == logging.INFO)
    log = logging.getLogger("evalkit")
    log.addHandler(handler)
    log.setLevel(logging.INFO)


class Progress:
    """A bar on a terminal; elsewhere one line a task at its end."""

    def __init__(self, limited: bool) -> None:
        self._limited = limited
        self._started = 0.0
        self._done: dict[str, int] = {}
        self._tokens = 0
        self._bar: Any = None

    def __call__(self, outcome: Any, tallies: Any) -> None:
        if outcome is None:
            self._started = time.monotonic()
            return
        self._done[outcome.task] = self._done.get(outcome.task, 0) + 1
        self._tokens += outcome.tokens
        if not sys.stderr.isatty():
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(unit=" samples", dynamic_ncols=True, smoothing=0.05)
        wholes = [tally.samples if self._limited else tally.task.published.get("rows") or tally.samples for tally in tallies.values()]
        self._bar.total = max(sum(wholes) * tallies[outcome.task].repeats, self._bar.n + 1)
        running = tallies[outcome.task].running()
        rate = self._tokens / max(time.monotonic() - self._started, 1e-9)
        self._bar.set_postfix_str(f"{outcome.task} {running:.3f}, {rate:.0f} tokens/s" if running is not None else "", refresh=False)
        self._bar.update()

    def close(self) -> None:
        """Ends the bar, or prints the lines."""
        if self._bar is not None:
            self._bar.total = self._bar.n
            self._bar.close()
        else:
            seconds = max(time.monotonic() - self._started, 1e-9)
            for task, done in self._done.items():
                click.echo(f"{task}: {done} answers, {done / seconds:.1f} a second, {self._tokens / seconds:.0f} tokens a second", err=True)
