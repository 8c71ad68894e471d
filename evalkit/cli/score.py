"""`evalkit score`: score a run again, without its model."""

from pathlib import Path

import click

from . import OfRuns


@click.command(cls=OfRuns)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Change no number: say what is whole, mend what is damaged, exit 1 where a number differs.")
def command(run: Path, check: bool) -> int:
    """Score RUN's answers again with today's parsers and metrics. Needs no model and no GPU."""
    from .. import api, mending

    if check:
        for line in mending.mended(run):
            click.echo(line, err=True)
    summary, differences = api.score(run, check)
    if not check:
        click.echo(summary.table())
    for line in differences:
        click.echo(line, err=check)
    if check:
        click.echo("every number is the same" if not differences else f"{len(differences)} numbers differ")
    return 1 if (check and differences) or not summary.complete else 0
