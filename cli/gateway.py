"""`vedette gateway`: decisions by HTTP, while the payer waits."""

import typer

from cli.context import settings_of


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    group = typer.Typer(help="Answer payments with their decisions by HTTP.", no_args_is_help=True)
    group.command()(run)
    app.add_typer(group, name="gateway")


def run(ctx: typer.Context) -> None:
    """Run the gateway until Ctrl-C or SIGTERM: payments in by HTTP, the worker's decisions out."""
    from gateway.bootstrap import run as serve

    serve(settings_of(ctx))
