"""The command line: one file per command, loaded when it is called. The only reader of argv and of the environment."""

import atexit
import os
import signal
import sys
import threading
from contextlib import suppress
from importlib import import_module
from io import TextIOWrapper
from itertools import chain
from types import FrameType
from typing import Any, NoReturn

import click

AGAIN = 0.05
"""Seconds until a Ctrl-C that the interpreter dropped is sent once more."""
COMMANDS = {
    "run": "Evaluate a model on tasks.",
    "tasks": "List the tasks, with rows, kinds, rules and where their data is.",
    "show": "Show samples of a run: question, reply, what was read, right or wrong.",
    "view": "Look at runs in a browser: images with boxes and masks, conversations, scores.",
    "score": "Score a run's answers again, without the model.",
    "table": "Print the numbers of runs as one table.",
    "gate": "Say whether a new run is worse than a base, and on what.",
    "plot": "Draw a figure of runs: curves, overlaps, subsets, tools, boxes and counts, attention.",
    "export": "Write a run's replies in a benchmark's own results format.",
    "push": "Send a run's numbers to Weights & Biases, or to a model card on the hub.",
    "parity": "Run the same tasks on two engines and compare reply by reply.",
    "data": "Say where a task's data is, whether it is whole, and fetch it.",
}


class LazyGroup(click.Group):
    """Imports a command's file only when that command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"{__name__}.{cmd_name}").command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from ..errors import did_you_mean

            raise click.UsageError(f"no command '{args[0]}'. {did_you_mean(args[0], list(COMMANDS))}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


class OfRuns(click.Command):
    """A command whose arguments, and `--baseline`, are run folders or folders of such."""

    def invoke(self, ctx: click.Context) -> Any:
        from ..folder import as_written

        given = [ctx.params.get(one.name or "") for one in self.params if isinstance(one, click.Argument) or one.name == "baseline"]
        with as_written(*chain.from_iterable(one if isinstance(one, tuple) else (one,) for one in given if one)):
            return super().invoke(ctx)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="evalkit", prog_name="evalkit")
def group() -> None:
    """Measure vision-language models that point at what they talk about.

    \b
    evalkit run --model demo --tasks shapes
    evalkit run --model path/to/checkpoint --tasks vstar,tallyqa --data vstar=DIR,tallyqa=DIR
    """


def main() -> None:
    """Runs a command; a user's mistake is a message and exit code 2, Ctrl-C is 130, and so are a terminal that closes and SIGTERM."""
    sys.unraisablehook = _unraisable
    try:
        _obey()
    except (click.Abort, KeyboardInterrupt):
        try:  # no call between this line and the last, so no signal is heard in between
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        except KeyboardInterrupt:  # one more, just now
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        _leave("\nStopped. Every answer that came is kept: the same command goes on from here.", 130)


def _obey() -> None:
    """All of `main` but Ctrl-C."""
    from ..errors import UserError

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # else it is ignored on purpose, as by nohup
            signal.signal(number, _stop)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # what a terminal cannot show is written out
            stream.reconfigure(errors="backslashreplace")
    try:
        sys.exit(group.main(standalone_mode=False) or 0)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except UserError as error:
        _leave(f"evalkit: {error}", 2)
    except BrokenPipeError:
        sys.exit(141)
    except OSError as error:
        _leave(f"evalkit: cannot read or write {error.filename or 'a file'}: {error.strerror or error}", 2)


def _stop(number: int, frame: FrameType | None) -> None:
    """Does what Ctrl-C does, whoever handles that at the moment; asyncio, say, ends its tasks first."""
    handler = signal.getsignal(signal.SIGINT)
    (handler if callable(handler) else signal.default_int_handler)(number, frame)


def _unraisable(lost: "sys.UnraisableHookArgs") -> None:
    """Sends Ctrl-C once more where the interpreter dropped it, as it does with whatever is raised while it frees an object."""
    from ..errors import Interrupted

    if not issubclass(lost.exc_type, KeyboardInterrupt | Interrupted):
        sys.__unraisablehook__(lost)
        return
    main_thread = threading.main_thread().ident
    again = threading.Timer(AGAIN, signal.pthread_kill, (main_thread, signal.SIGINT))
    again.daemon = True
    with suppress(RuntimeError):  # the interpreter is ending
        again.start()


def _leave(message: str, code: int) -> NoReturn:
    """Says the message and ends the process, with what was registered for its end.

    It does not wait for threads. Those of an engine may be deep in a batch, and an interpreter that winds up around a thread inside
    torch aborts.
    """
    with suppress(OSError):  # the terminal may be gone
        click.echo(message, err=True)
        sys.stdout.flush()
    atexit._run_exitfuncs()
    os._exit(code)
