"""`vedette schema`: print the schemas of the events, or check that they stay compatible."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from vedette.events import Event


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(schema)


def schema(
    event: str = typer.Argument("", help="one event, such as transaction (default: all)"),
    form: str = typer.Option("json", "--format", metavar="FORMAT", help="json, avro or protobuf"),
    output: str = typer.Option("", "--output", metavar="DIR", help="write one file per event instead of printing"),
    check: str = typer.Option(
        "", "--check", metavar="DIR", help="compare with the files of an earlier version; exit code 1 if incompatible"
    ),
    as_json: bool = typer.Option(False, "--json", help="print the result of --check as JSON"),
) -> None:
    """Print the schemas of the events as JSON Schema, Avro or Protobuf, or check that they stay compatible."""
    from vedette.errors import InputError
    from vedette.events import EVENTS

    kinds = {kind.__name__.lower(): kind for kind in EVENTS}
    if event and event.lower() not in kinds:
        raise InputError(f"there is no event {event!r}", remedy=f"one of {', '.join(kinds)}")
    if form not in ("json", "avro", "protobuf"):
        raise InputError(f"there are no schemas in {form!r}", remedy="one of json, avro, protobuf")
    chosen = [kinds[event.lower()]] if event else list(EVENTS)
    if check:
        _check(chosen, form, Path(check), as_json)
    elif output:
        directory = Path(output)
        directory.mkdir(parents=True, exist_ok=True)
        for kind in chosen:
            name, text = _file(kind, form)
            (directory / name).write_text(text, encoding="utf-8")
            typer.echo(str(directory / name))
    elif form == "json" and not event:
        typer.echo(json.dumps({kind.__name__.lower(): json.loads(_file(kind, form)[1]) for kind in chosen}, indent=2))
    else:
        typer.echo("\n".join(_file(kind, form)[1].rstrip() for kind in chosen))


def _file(kind: "type[Event]", form: str) -> tuple[str, str]:
    """Return name and text of an event's schema."""
    from vedette.event_schemas import avro_schema, file_name, protobuf_file
    from vedette.events import json_schema

    if form == "json":
        return f"{kind.__name__.lower()}.schema.json", json.dumps(json_schema(kind), indent=2) + "\n"
    text = json.dumps(avro_schema(kind), indent=2) + "\n" if form == "avro" else protobuf_file(kind)
    return file_name(kind, form), text


def _check(chosen: "list[type[Event]]", form: str, directory: Path, as_json: bool) -> None:
    """Compare the schemas with those of a directory."""
    from cli.exit_codes import NO
    from vedette.errors import InputError
    from vedette.event_schemas import broken, renumbered
    from vedette.text import read_text

    if form == "json":
        raise InputError("JSON Schemas are not compared", remedy="give --format avro or protobuf")
    found: dict[str, list[str]] = {}
    for kind in chosen:
        name, text = _file(kind, form)
        if not (directory / name).exists():
            continue  # the event is new
        before = read_text(directory / name)
        try:
            trouble = broken(json.loads(before), json.loads(text)) if form == "avro" else renumbered(before, text)
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise InputError(f"{directory / name} is not an Avro schema of an event: {error}") from error
        if trouble:
            found[name] = trouble
    if as_json:
        typer.echo(json.dumps(found))
    for name, reasons in found.items():
        for reason in reasons:
            typer.echo(f"{name}: {reason}", err=True)
    if found:
        raise typer.Exit(NO)
