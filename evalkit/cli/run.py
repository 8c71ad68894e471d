"""`evalkit run`: evaluate a model on tasks."""

import logging
import os
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from ..errors import UserError


@click.command()
@click.option(
    "--model",
    "-m",
    help="A directory, a hub id, openai:NAME, replay:PATH, plugin:FILE:CLASS, a name in configs/models (demo) or a .toml like those.",
)
@click.option("--tasks", "-t", help="Tasks, comma between: vstar,vsr:zeroshot,path/to/file.py. `evalkit tasks` lists them.")
@click.option(
    "--protocol", "-p", help="How samples are asked: direct, grit, likelihood.  [default: as the model's config says, else direct]"
)
@click.option("--engine", help="auto, transformers, vllm, openai, replay or plugin.  [default: auto]")
@click.option(
    "--engine-args", multiple=True, help="name=value of vLLM's arguments (tensor_parallel_size=2) or a server's options (server=vllm)."
)
@click.option("--replicas", type=int, help="So many engines side by side, each on GPUs of its own, through Ray.  [default: 1]")
@click.option("--ray-address", help="A Ray cluster to join, such as auto.  [default: one is started on this machine]")
@click.option("--base-url", help="Where the server of openai:NAME is, such as http://localhost:8000/v1.  [default: OpenAI's]")
@click.option("--system", help="A system message, for openai:NAME.")
@click.option("--max-cost", type=float, help="Stop asking a server when so much is spent (prices: --engine-args price_in=, price_out=).")
@click.option("--max-time", type=float, help="Stop asking a server after so many seconds; the same command goes on.")
@click.option("--judge", help="The model that judges answers, where a task needs one.")
@click.option("--limit", type=int, help="At least this many samples, in whole groups drawn by --seed; the run is marked partial.")
@click.option("--blind", is_flag=True, default=None, help="Ask without the images: the floor that a score must rise above.")
@click.option("--allow-incomplete", is_flag=True, default=None, help="Score what is there where a benchmark is refused as incomplete.")
@click.option("--data", help="A folder with the data, or task=DIR,task=DIR.")
@click.option("--out", help="Where run folders go.  [default: results/runs]")
@click.option("--batch-size", type=int, help="Requests a batch of the transformers engine; changes no answer.  [default: 16]")
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
@click.option("--trust-remote-code", is_flag=True, default=None, help="Run code that the checkpoint ships. Only for checkpoints you trust.")
@click.option("--config", type=click.Path(path_type=Path), help="A TOML file of these options, spelt with _ for -.")
@click.option("--from", "reuse", help="An earlier run's folder, whose answers are used where they are to the same request.")
def command(config: Path | None, **given: Any) -> int:
    """Evaluate a model on tasks. The same command again finds the same folder and asks only what is missing.

    Exit code: 0 complete, 1 some samples have no answer (run again), 2 something to mend.
    """
    from .. import api
    from ..config import RunConfig, read

    options: dict[str, Any] = {}
    if config:
        loaded = read(RunConfig, config)
        options = {spec.name: getattr(loaded, spec.name) for spec in fields(RunConfig)}
    options |= {name: value for name, value in given.items() if value is not None and value != ()}
    if not options.get("model") or not options.get("tasks"):
        raise UserError("expected --model M and --tasks A,B. For a first try: evalkit run --model demo --tasks shapes")
    options["cache"] = options.get("cache") or click.get_app_dir("evalkit")
    model, tasks = options.pop("model"), options.pop("tasks")
    progress = Progress(options.get("limit") is not None)
    _say_what_is_logged()
    try:
        summary = api.run(model, tasks, progress=progress, command=sys.argv[1:], environ=os.environ, **options)
    finally:
        progress.close()
    click.echo(summary.table())
    for entry in summary.tasks:
        for note in entry["notes"]:
            click.echo(f"note: {note}", err=True)
        if entry["gaps"]:
            first = entry["gaps"][0]
            click.echo(
                f"{entry['task']}: {len(entry['gaps'])} answers did not come, such as that to {first['sample']}: {first['reason']}. "
                "The same command asks just these again.",
                err=True,
            )
    click.echo(f"\n{summary.folder}")
    return 0 if summary.complete else 1


def _say_what_is_logged() -> None:
    """Shows on the terminal what the log says of engines and folders; warnings, such as gaps, are summed up at the end instead."""
    handler = logging.StreamHandler()
    handler.addFilter(lambda record: record.levelno == logging.INFO)
    logging.getLogger("evalkit").addHandler(handler)


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
