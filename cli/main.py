"""The `vedette` command: registers all commands and turns an error into one sentence and an exit code."""

import gc
import sys

import typer
from rich.console import Console

from cli import (
    access,
    archive,
    audit,
    backfill,
    bench,
    bridge,
    check,
    compare,
    console,
    decisions,
    demo,
    describe,
    dlq,
    doctor,
    drift,
    features,
    find,
    gateway,
    identity,
    incidents,
    links,
    mfa,
    mirror,
    models,
    monitor,
    notify,
    policy,
    preview,
    producers,
    prove,
    report,
    retrain,
    schema,
    score,
    settings,
    show,
    stack,
    topics,
    train,
    tune,
    webhooks,
    whatif,
    worker,
)
from cli.context import Context
from cli.exit_codes import FAILED, INTERRUPTED
from vedette import VedetteError, __version__

app = typer.Typer(
    name="vedette",
    help="Streaming fraud detection: transactions in, decisions and alerts out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for commands in (
    schema,
    settings,
    producers,
    bridge,
    mirror,
    features,
    backfill,
    links,
    check,
    describe,
    train,
    tune,
    compare,
    models,
    score,
    drift,
    retrain,
    worker,
    dlq,
    decisions,
    policy,
    whatif,
    archive,
    find,
    gateway,
    preview,
    webhooks,
    monitor,
    console,
    show,
    prove,
    report,
    notify,
    incidents,
    identity,
    mfa,
    access,
    audit,
    stack,
    topics,
    doctor,
    bench,
    demo,
):
    commands.register(app)


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
    # Imported objects stay alive: repeated garbage collection over them would take a fifth of the start-up time.
    gc.set_threshold(50_000)
    try:
        app()
    except VedetteError as error:
        if "--debug" in sys.argv:
            raise
        Console(stderr=True, soft_wrap=True).print(f"vedette: {error}", style="bold red", markup=False, highlight=False)
        sys.exit(FAILED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
