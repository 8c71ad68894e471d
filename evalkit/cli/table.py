"""`evalkit table`: the numbers of runs."""

import json
from pathlib import Path

import click


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format", "style", type=click.Choice(["md", "json"]), default="md", help="md for the terminal, json for one flat row a number."
)
def command(runs: tuple[Path, ...], style: str) -> int:
    """Print the numbers of RUNS (run folders, or folders that hold some) as one table."""
    from ..errors import UserError
    from ..folder import RunFolder
    from ..report.table import flat, markdown

    folders = [summary.parent for run in runs for summary in sorted(run.rglob("summary.json"))]
    if not folders:
        raise UserError(f"expected run folders (with summary.json) in {', '.join(map(str, runs))}, found none")
    summaries = [RunFolder.at(folder).summary() for folder in folders]
    click.echo(
        json.dumps(flat(summaries), indent=1, ensure_ascii=False)
        if style == "json"
        else markdown(summaries, [folder.name for folder in folders])
    )
    return 0
