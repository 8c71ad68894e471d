"""`evalkit table`: the numbers of runs."""

import json
from pathlib import Path
from typing import Any

import click

from ..errors import UserError


@click.command()
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@click.option("--suite", help="A paper's table: grit, pixel_reasoner, satori, core, or a .toml like those in configs/suites.")
@click.option("--published", is_flag=True, help="With --suite: the published rows below.")
@click.option(
    "--format",
    "style",
    type=click.Choice(["md", "csv", "json"]),
    default="md",
    help="md for the terminal; csv, json: one flat row a number.",
)
def command(runs: tuple[Path, ...], suite: str | None, published: bool, style: str) -> int:
    """Print the numbers of RUNS (run folders, or folders that hold some) as one table.

    evalkit table RUN --suite grit --published fills a paper's table.
    """
    from ..folder import RunFolder
    from ..report.table import flat, markdown

    if published and not suite:
        raise UserError("--published goes with a table: name one with --suite")
    folders = [summary.parent for run in runs for summary in sorted(run.rglob("summary.json"))]
    if not folders and (runs or not published):
        raise UserError(f"expected run folders (with summary.json){' in ' if runs else ''}{', '.join(map(str, runs))}, found none")
    if suite:
        _say(*_of_suite(suite, folders, published), style)
        return 0
    summaries = [RunFolder.at(folder).summary() for folder in folders]
    _say(markdown(summaries, [folder.name for folder in folders]), flat(summaries), style)
    return 0


def _of_suite(name: str, folders: list[Path], published: bool) -> tuple[str, list[dict[str, Any]]]:
    """The paper's table as Markdown and as flat rows."""
    from .. import config
    from ..folder import RunFolder
    from ..report import suite
    from ..report.published import published as known

    chosen = config.suite(name)
    runs = [suite.Run(folder.name, RunFolder.at(folder).summary(), RunFolder.at(folder).manifest()) for folder in folders]
    table = suite.lines(chosen, runs, known() if published else ())
    without = [run.folder for run in runs if not suite.lines(chosen, [run])]
    if without and len(without) == len(runs):
        raise UserError(f"no run of {', '.join(without)} has a number of suite '{name}', whose tasks are {', '.join(chosen.tasks)}")
    for folder in without:
        click.echo(f"left out: {folder} has no number of this table", err=True)
    return suite.markdown(chosen, table), suite.flat(chosen, table)


def _say(text: str, rows: list[dict[str, Any]], style: str) -> None:
    from ..report.suite import as_csv

    if style == "md":
        click.echo(text)
    elif style == "csv":
        click.echo(as_csv(rows), nl=False)
    else:
        click.echo(json.dumps(rows, indent=1, ensure_ascii=False))
