"""`evalkit push`: a run's numbers to where people already look."""

import json
from pathlib import Path
from typing import Any

import click

from . import OfRuns

USES = {
    "wandb": ("project", "limit", "offline", "data"),
    "hub": ("repo", "leaderboard", "overwrite", "pull_request"),
}
"""The options that go with one place only."""
PROJECT, SAMPLES = "evalkit", 100


@click.command(cls=OfRuns)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--to", "place", required=True, type=click.Choice(list(USES)), help="Weights & Biases, or a model's page on the hub.")
@click.option("--dry-run", is_flag=True, help="Print what would be sent, and send nothing.")
@click.option("--project", help="wandb: PROJECT or ENTITY/PROJECT.  [default: evalkit]")
@click.option("--limit", type=click.IntRange(min=0), help="wandb: the most samples in the table of a task.  [default: 100]")
@click.option("--offline", is_flag=True, default=None, help="wandb: write a folder for `wandb sync`. So does WANDB_MODE=offline.")
@click.option("--data", type=click.Path(path_type=Path), help="wandb: where the images are now.  [default: where the run found them]")
@click.option("--repo", help="hub: the model's repository, OWNER/NAME.")
@click.option(
    "--leaderboard", multiple=True, metavar="TASK=ID", help="hub: a leaderboard's file too; ID as the data set's eval.yaml has it."
)
@click.option("--overwrite", is_flag=True, default=None, help="hub: replace numbers that the card has otherwise.")
@click.option("--pull-request", is_flag=True, default=None, help="hub: propose it, for a model of somebody else.")
def command(run: Path, place: str, dry_run: bool, **given: Any) -> int:
    """Push RUN (a run folder) to Weights & Biases, or to the card of its model on the Hugging Face hub.

    \b
    evalkit push RUN --to wandb --offline
    evalkit push RUN --to hub --repo ME/MODEL --dry-run

    Who sends is known from `wandb login` and `hf auth login`.
    """
    from ..errors import UserError
    from ..report.runs import opened

    for name, value in given.items():
        if value not in (None, ()) and name not in USES[place]:
            raise UserError(f"--{name.replace('_', '-')} does nothing with --to {place}")
    runs = opened([run])
    if len(runs) > 1:
        raise UserError(f"expected one run's folder, {run} holds {len(runs)}: name one of them, such as {runs[0].folder.path}")
    return (_to_wandb if place == "wandb" else _to_hub)(runs[0], dry_run, **{name: given[name] for name in USES[place]})


def _to_wandb(run: Any, dry_run: bool, project: str | None, limit: int | None, offline: bool | None, data: Path | None) -> int:
    from ..report.push import notes
    from ..report.push_wandb import chosen, config_of, push, summary_of

    most = SAMPLES if limit is None else limit
    if dry_run:
        _say(notes(run))
        samples = {task: sum(1 for _ in chosen(run, task, most)) if most else 0 for task in run.tasks}
        told = {"project": project or PROJECT, "config": config_of(run), "summary": summary_of(run), "samples": samples}
        click.echo(json.dumps(told, indent=1, ensure_ascii=False))
        return 0
    done = push(run, project or PROJECT, most, bool(offline), data)
    _say(done.notes)
    click.echo(f"{done.place}\nNot sent yet: wandb sync {done.place}" if done.offline else done.place)
    return 0


def _to_hub(
    run: Any, dry_run: bool, repo: str | None, leaderboard: tuple[str, ...], overwrite: bool | None, pull_request: bool | None
) -> int:
    from ..errors import UserError
    from ..report.push_hub import push, results, written

    pairs = [text.rpartition("=") for text in leaderboard]
    if any(not task or not name for task, _, name in pairs):
        raise UserError(f"expected --leaderboard TASK=ID, got {', '.join(leaderboard)}")
    if repo is None and not dry_run:
        raise UserError("expected the model's repository: name it with --repo OWNER/NAME, or see what would be sent with --dry-run")
    found = results(run, {task: name for task, _, name in pairs})
    _say(found.notes)
    if dry_run:
        click.echo(written(found, (repo or run.summary["model"]).rpartition("/")[2]), nl=False)
        return 0
    address, changes = push(found, str(repo), bool(overwrite), bool(pull_request))
    click.echo("\n".join([*changes, address]) if address else f"{repo} has these numbers already: nothing to do")
    return 0


def _say(notes: Any) -> None:
    for note in notes:
        click.echo(f"note: {note}", err=True)
