"""`evalkit plot`: a figure of runs."""

from pathlib import Path
from typing import Any

import click

from ..report.plots import KINDS, USES
from . import OfRuns


@click.command(cls=OfRuns, epilog="\b\n" + "\n".join(f"{kind:12} {told}" for kind, told in KINDS.items()))
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--kind", "-k", required=True, type=click.Choice(list(KINDS)), help="What to draw; see below.")
@click.option("--task", "-t", help="Which task of the runs; needed where they have several. For a curve several, comma between.")
@click.option("--metric", help="Which estimate; for a curve several, comma between.  [default: the task's headline]")
@click.option("--rule", help="By which rule.  [default: the task's first]")
@click.option("--by", help="For accuracy-by: a family of subsets (relation), subset, count or box-size.")
@click.option("--x", help="For a curve: the label it goes over, such as step.  [default: the only one that is a number]")
@click.option("--sample", help="For attention: the sample to show, by its id.  [default: the median one]")
@click.option(
    "--data", type=click.Path(path_type=Path), help="For box-size and attention: where the data is now.  [default: where the run found it]"
)
@click.option("--out", type=click.Path(path_type=Path), help="A file that ends in .pdf, .svg or .png.  [default: KIND.pdf]")
def command(runs: tuple[Path, ...], kind: str, out: Path | None, **given: Any) -> int:
    """Draw a figure of RUNS (run folders, or folders that hold some), one column of a paper wide, and print a caption with its numbers.

    \b
    evalkit plot RUN --kind iou
    evalkit plot RUN... --kind curve --metric accuracy,grounding_iou     (each run made with --label step=N)
    """
    from ..errors import UserError
    from ..report.plots import Asked, draw, paper
    from ..report.runs import opened

    for name, value in given.items():
        if value is not None and name not in ("task", "rule", *USES.get(kind, ())):
            kinds = [other for other, used in USES.items() if name in used]
            raise UserError(f"--{name} does nothing for --kind {kind}: it goes with {' and '.join(kinds)}")
    path = paper.suited(out or Path(f"{kind}.pdf"))
    with paper.styled():
        plot = draw(kind, opened(runs), Asked(**given))
        told = [*plot.notes, *paper.save(plot.figure, path)]
    for note in told:
        click.echo(f"note: {note}", err=True)
    click.echo(f"{plot.caption}\n\n{path}")
    return 0
