"""`evalkit table`: the numbers of runs."""

import json
from pathlib import Path
from typing import Any

import click

from ..errors import UserError
from . import OfRuns


@click.command(cls=OfRuns)
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@click.option("--suite", help="A paper's table: grit, pixel_reasoner, satori, unipixel, core, or a .toml like those in configs/suites.")
@click.option("--published", is_flag=True, help="With --suite: the published rows below.")
@click.option("--baseline", type=click.Path(path_type=Path), help="A run that the others are tested against, sample by sample.")
@click.option(
    "--across", help="What runs may differ in within a column, as notes then say: protocol, sampling, pixels, judge; comma between."
)
@click.option(
    "--numbers",
    type=click.Choice(["headline", "all"]),
    help="headline: a line a run, a column a task. all: a line a number.  [default: all of one run and in csv and json, else headline]",
)
@click.option(
    "--interval",
    type=click.Choice(["ci", "stderr", "none"]),
    default="ci",
    help="95% intervals, standard errors or neither.  [default: ci]",
)
@click.option(
    "--format",
    "style",
    type=click.Choice(["md", "latex", "html", "csv", "json"]),
    default="md",
    help="md for the terminal; latex for a paper; html: one file; csv, json: one flat row a number.",
)
def command(
    runs: tuple[Path, ...],
    suite: str | None,
    published: bool,
    baseline: Path | None,
    across: str | None,
    numbers: str | None,
    interval: Any,
    style: str,
) -> int:
    """Print the numbers of RUNS (run folders, or folders that hold some) as one table.

    \b
    evalkit table RUN RUN --format latex             the headlines side by side, ready for a paper
    evalkit table RUN --suite grit --published       fills a paper's table
    evalkit table RUN RUN --baseline RUN             marks what differs from a baseline
    """
    from ..report import form, html, latex, markdown, side_by_side
    from ..report.comparable import kinds
    from ..report.runs import opened
    from ..report.table import flat, listing

    if published and not suite:
        raise UserError("--published goes with a table: name one with --suite")
    differing = kinds(across or "")
    if across and suite:
        raise UserError("--across goes without --suite: in a paper's table what differs is noted and never splits a column")
    if numbers == "all" and (suite or baseline or across):
        raise UserError(f"--numbers all goes without --{'suite' if suite else 'baseline' if baseline else 'across'}: a list has no columns")
    if not runs and not baseline and not (suite and published):
        raise UserError("expected run folders (with summary.json), found none. `evalkit run` prints the folder it wrote")
    found = opened([*runs, *([baseline] if baseline else [])])
    base = _base(found, baseline)
    numbers = numbers or ("all" if not base and (style in ("csv", "json") or (len(found) == 1 and style != "latex")) else "headline")
    rows: list[dict[str, Any]] = []
    if suite:
        table = _of_suite(suite, found, published, base)
    elif numbers == "headline":
        table = side_by_side.table(found, base, differing)
    else:
        summaries = [dict(run.summary) for run in found]
        table, rows = listing(summaries, [run.name for run in found] if len(found) > 1 else (), interval), flat(summaries)
    if style in ("csv", "json"):
        rows = rows or form.flat(table)
        click.echo(form.as_csv(rows) if style == "csv" else json.dumps(rows, indent=1), nl=style == "json")
    else:
        click.echo({"md": markdown, "latex": latex, "html": html}[style].written(table, interval))
    return 0


def _base(found: list[Any], baseline: Path | None) -> Any:
    """The run that is the baseline, one of those found."""
    if baseline is None:
        return None
    if not (baseline / "manifest.json").is_file():
        raise UserError(f"expected one run's folder (with manifest.json) as --baseline, found none at {baseline}")
    return next(run for run in found if run.folder.path.resolve() == baseline.resolve())


def _of_suite(name: str, runs: list[Any], published: bool, base: Any) -> Any:
    """The paper's table; runs that have no number of it are told."""
    from .. import suites
    from ..report import suite
    from ..report.published import published as known

    chosen = suites.find(name)
    without = [run for run in runs if not suite.has(chosen, run)]
    if without and len(without) == len(runs):
        names = ", ".join(run.name for run in without)
        raise UserError(f"no run of {names} has a number of suite '{name}', whose tasks are {', '.join(chosen.tasks)}")
    for run in without:
        click.echo(f"left out: {run.name} has no number of this table", err=True)
    return suite.table(chosen, runs, known() if published else (), base)
