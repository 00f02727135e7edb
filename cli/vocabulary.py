"""`vedette schema` and `vedette settings`: the vocabulary, printed."""

import json
from pathlib import Path

import typer

from cli.context import settings_of


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command()(schema)
    app.command()(settings)


def schema(
    event: str = typer.Argument("", help="one event, such as transaction (default: all)"),
    output: str = typer.Option("", "--output", metavar="DIR", help="write one file per event instead of printing"),
) -> None:
    """Print the JSON Schema of the events."""
    from vedette.errors import InputError
    from vedette.events import EVENTS, json_schema

    schemas = {kind.__name__.lower(): json_schema(kind) for kind in EVENTS}
    if event and event.lower() not in schemas:
        raise InputError(f"there is no event {event!r}", remedy=f"one of {', '.join(schemas)}")
    chosen = {event.lower(): schemas[event.lower()]} if event else schemas
    if output:
        directory = Path(output)
        directory.mkdir(parents=True, exist_ok=True)
        for name, body in chosen.items():
            (directory / f"{name}.schema.json").write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
            typer.echo(str(directory / f"{name}.schema.json"))
        return
    typer.echo(json.dumps(chosen[event.lower()] if event else chosen, indent=2))


def settings(
    ctx: typer.Context,
    markdown: bool = typer.Option(False, "--markdown", help="the reference page of all keys, for docs/settings.md"),
) -> None:
    """Show the settings in force (secrets hidden), or the reference of all keys."""
    from vedette.settings import describe, reference

    typer.echo(reference() if markdown else describe(settings_of(ctx)))
