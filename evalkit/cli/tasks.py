"""`evalkit tasks`: what can be measured."""

from pathlib import Path

import click


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="A folder to look for the data in.")
def command(data: Path | None) -> int:
    """List the tasks with their rows, rules and where their data is."""
    from .. import task
    from ..errors import UserError

    rows = [("TASK", "ROWS", "KINDS", "RULES", "DATA")]
    for name in task.names():
        variants = task.variants(name)
        for variant in variants or ("",):
            made = task.find(f"{name}:{variant}" if variant else name, data)
            if made.data is None:
                state = "made on the fly"
            else:
                try:
                    state = str(made.data.folder(data))
                except UserError:
                    state = f"absent: evalkit data {name}"
            rules = ", ".join(sorted({rule.name for rule in made.rules}, key=[rule.name for rule in made.rules].index))
            rows.append(
                (made.name, f"{made.published['rows']:,}" if "rows" in made.published else "?", ", ".join(made.kinds), rules, state)
            )
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for row in rows:
        click.echo("  ".join([*(cell.ljust(width) for cell, width in zip(row[:4], widths, strict=True)), row[4]]))
    return 0
