"""`evalkit export`: a run's replies as a benchmark's own results files."""

from pathlib import Path

import click

from . import OfRuns


@click.command(cls=OfRuns)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--task", "task_name", help="Which task of the run; needed where it has several.")
@click.option("--out", type=click.Path(path_type=Path), help="A folder for the files.  [default: RUN/export/TASK]")
@click.option("--draw", default=0, show_default=True, help="Which of the repeats.")
def command(run: Path, task_name: str | None, out: Path | None, draw: int) -> int:
    """Write RUN's replies as the files that the authors of a benchmark, or their test server, read."""
    from ..export import export

    for path in export(run, task_name, out, draw):
        click.echo(path)
    return 0
