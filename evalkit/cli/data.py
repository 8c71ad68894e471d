"""`evalkit data`: where a task's data is."""

from pathlib import Path

import click


@click.command()
@click.argument("task_name", metavar="TASK")
@click.option("--data", type=click.Path(path_type=Path), help="A folder to look in, in place of the hub's cache.")
@click.option("--download", is_flag=True, help="Fetch it from the hub.")
def command(task_name: str, data: Path | None, download: bool) -> int:
    """Say where TASK's data is, whether it is whole, and its fingerprint."""
    from collections import Counter
    from dataclasses import replace

    from .. import config, task
    from ..data import check_published
    from ..errors import DataError

    made = task.find(task_name, data)
    if made.data is None:
        click.echo(f"{made.name} makes its samples on the fly: there is nothing to fetch")
        return 0
    source = replace(made.data, task=task_name)
    where = f"{', '.join(source.hub)} (revision {source.revision})" if source.hub else "not on it"
    click.echo(f"hub      {where}, licence {source.licence}")
    click.echo(f"layout   {source.layout}")
    try:
        folder = source.download() if download else source.folder(data)
    except DataError as error:
        click.echo(f"state    absent: {error}")
        return 1
    click.echo(f"folder   {folder}")
    click.echo(f"print    {source.fingerprint(folder)}")
    counts: Counter[str] = Counter()
    pictures = 0
    for sample in task.checked(task.find(task_name, folder).samples(), made.name):
        counts["rows"] += 1
        counts.update(sample.tags)
        counts[f"answer={sample.target}"] += 1
        pictures += sum(isinstance(image.source, Path) and not image.source.is_file() for image in sample.images)
    click.echo(f"rows     {counts['rows']:,}")
    problems = check_published(made.name, made.published, counts)
    if pictures:
        problems.append(f"{pictures:,} image files are not there")
    for problem in problems:
        click.echo(f"note     {problem}")
    if download and not problems:
        revision = folder.name if folder.parent.name == "snapshots" else source.revision
        added = config.lock(made.name, config.Locked(revision, source.fingerprint(folder)))
        click.echo(f"locked   in {added}" if added else "locked   earlier")
    click.echo("state    " + ("whole" if not problems else "not whole, see the notes"))
    return 0 if not problems else 1
