"""`evalkit view`: runs in a browser."""

import os
import sys
import webbrowser
from pathlib import Path

import click

from . import OfRuns


@click.command(cls=OfRuns)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--port", type=click.IntRange(0, 65535), help="0 for any that is free.  [default: 7331, or any that is free]")
@click.option("--no-open", is_flag=True, help="Only say the address, open no browser.")
@click.option("--data", type=click.Path(path_type=Path), help="Where the images are now.  [default: where the run found them]")
@click.option("--out", type=click.Path(path_type=Path), help="Write a folder for any web host, which opens from disk too.")
def command(runs: tuple[Path, ...], port: int | None, no_open: bool, data: Path | None, out: Path | None) -> int:
    """Look at RUNS (run folders, or folders that hold some) in a browser: images with boxes and masks, conversations, scores.

    It answers on this machine alone, and follows runs that are still going on. Ctrl-C ends it.
    """
    from ..report.viewer.export import export
    from ..report.viewer.server import Server
    from ..report.viewer.viewed import Viewed, folders, named

    cache = None if out else Path(click.get_app_dir("evalkit")) / "viewer"
    viewed = [Viewed(path, cache, data) for path in folders(runs)]
    named(viewed)
    if out:
        count = export(viewed, out)
        click.echo(f"{count:,} samples written. Open {out / 'index.html'}, or put the folder on a web host")
        return 0
    with Server(viewed, port) as server:
        for run in viewed:
            run.follow()
        click.echo(f"{server.url}  (Ctrl-C ends it)")
        if not no_open and _has_screen():
            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("")
    return 0


def _has_screen() -> bool:
    """Whether a browser can show itself; where there is no screen, one of the terminal's would take that over."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
