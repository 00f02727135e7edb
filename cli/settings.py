"""`vedette settings`: show the settings in force."""

import typer

from cli.context import settings_of


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(settings)


def settings(
    ctx: typer.Context,
    markdown: bool = typer.Option(
        False, "--markdown", help="print the reference page of all keys, for docs/settings.md"
    ),
) -> None:
    """Show the settings in force (secrets hidden), or the reference of all keys."""
    from vedette.settings_page import describe, reference

    typer.echo(reference() if markdown else describe(settings_of(ctx)))
