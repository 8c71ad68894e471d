"""`evalkit gate`: whether a new run may take the place of a base."""

import json
from pathlib import Path
from typing import Any

import click

from ..errors import UserError

NO_VERDICT = 3


class Gate(click.Command):
    """A command whose exit code 2 is a verdict: a slip of the command line is 3."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.show()
            raise click.exceptions.Exit(NO_VERDICT) from error


@click.command(cls=Gate)
@click.argument("base", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--margin", help="The loss that is put up with: 0.02, or 2% of the base's number.  [default: 0.02, of numbers above 1 2%]")
@click.option("--alpha", type=float, help="The level of the tests.  [default: 0.05]")
@click.option("--config", type=click.Path(path_type=Path), help="A gate.toml: margin, alpha, across, and tables [[tasks]].")
@click.option("--across", help="What the runs may differ in: protocol, sampling, pixels, judge; comma between.")
@click.option("--format", "style", type=click.Choice(["text", "md", "json"]), default="text", show_default=True, help="What to print.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write JUnit XML to this file.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Add a summary to this file, such as $GITHUB_STEP_SUMMARY.")
@click.option("--json", "as_json", type=click.Path(path_type=Path), help="Write everything to this file, with all samples that flipped.")
def command(base: Path, new: Path, style: str, junit: Path | None, markdown: Path | None, as_json: Path | None, **given: Any) -> int:
    """Say whether the run NEW is worse than the run BASE, and on what: PASS, REGRESSION or INCONCLUSIVE.

    \b
    Exit code 0: PASS. 1: REGRESSION. 2: INCONCLUSIVE. 3: the runs are not comparable or lack answers.
    evalkit gate results/runs/old-1f2e3d results/runs/new-4c5b6a --margin 0.01
    """
    from ..folder import as_written
    from ..report import verdicts
    from ..report.gate import gate

    try:
        with as_written(base, new):
            found = gate(_run(base), _run(new), _config(**given))
            told = json.dumps(verdicts.as_json(found), indent=1, ensure_ascii=False) if as_json or style == "json" else ""
            if junit:
                _write(junit, verdicts.junit(found))
            if markdown:
                _write(markdown, verdicts.markdown(found), mode="a")
            if as_json:
                _write(as_json, told + "\n")
            page = told if style == "json" else verdicts.markdown(found) if style == "md" else verdicts.text(found)
    except UserError as error:
        click.echo(f"evalkit: {error}", err=True)
        return NO_VERDICT
    click.echo(page.encode("utf-8", "backslashreplace").decode())
    return found.verdict.code


def _run(path: Path) -> Any:
    """The one run at a path."""
    from ..report.runs import opened

    runs = opened([path])
    if len(runs) > 1:
        raise UserError(f"expected one run at {path}, found {len(runs)}, such as {runs[0].folder.path}: name one")
    return runs[0]


def _config(config: Path | None, margin: str | None, alpha: float | None, across: str | None) -> Any:
    """The file, with what the command line says in its place."""
    from dataclasses import replace

    from ..config import read
    from ..report.comparable import kinds
    from ..report.gate import GateConfig

    known = read(GateConfig, config) if config else GateConfig()
    if margin is not None:
        known = replace(known, margin=margin)
    if alpha is not None:
        known = replace(known, alpha=alpha)
    return replace(known, across=kinds(across)) if across else known


def _write(path: Path, text: str, mode: str = "w") -> None:
    try:
        with path.open(mode, encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as error:  # whose exit code would be a verdict
        raise UserError(f"cannot write {path}: {error.strerror}. Name another place") from error
