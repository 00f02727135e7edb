"""The `vedette` command: gathers the rooms' commands and turns errors into one sentence and an exit code."""

import gc
import sys

import typer
from rich.console import Console

from cli import (
    access,
    alerts,
    audit,
    backfill,
    bench,
    check,
    compare,
    demo,
    features,
    incidents,
    mfa,
    models,
    policy,
    producers,
    registry,
    score,
    stack,
    streams,
    tune,
    vocabulary,
    watch,
    whatif,
)
from cli.context import Context
from vedette import VedetteError, __version__

app = typer.Typer(
    name="vedette",
    help="Streaming fraud detection: transactions in, decisions and alerts out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for room in (
    vocabulary,
    producers,
    features,
    backfill,
    check,
    models,
    tune,
    compare,
    registry,
    score,
    watch,
    streams,
    policy,
    whatif,
    alerts,
    incidents,
    mfa,
    access,
    audit,
    stack,
    bench,
    demo,
):
    room.register(app)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"vedette {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    ctx: typer.Context,
    settings: str = typer.Option("", "--settings", metavar="FILE", help="TOML file (default: vedette.toml, if any)"),
    debug: bool = typer.Option(False, "--debug", help="show the traceback of an error"),
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="print the version"),
) -> None:
    del version
    ctx.obj = Context(settings_file=settings, debug=debug)


def main() -> None:
    """Run the command line; a VedetteError becomes one sentence on standard error and exit code 2."""
    # What a command imports stays: looking for garbage in it again and again would take a fifth of its start.
    gc.set_threshold(50_000)
    try:
        app()
    except VedetteError as error:
        if "--debug" in sys.argv:
            raise
        Console(stderr=True, soft_wrap=True).print(f"vedette: {error}", style="bold red", markup=False, highlight=False)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
