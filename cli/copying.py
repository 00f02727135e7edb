"""Options of the commands that copy a topic: `vedette bridge` and `vedette mirror`."""

from typing import TYPE_CHECKING

import typer

from cli.context import settings_of

if TYPE_CHECKING:
    from vedette import Settings

REGISTRY = typer.Option("", "--registry", metavar="URL", help="schema registry (default: [schemas] url)")
UNTIL_IDLE = typer.Option(
    0.0, "--until-idle", metavar="SECONDS", min=0.0, help="end once no message has arrived for this long; 0: never"
)
JSON = typer.Option(False, "--json", help="print one JSON object as the last line")


def settings_with(ctx: typer.Context, registry: str) -> "Settings":
    """Return the settings in force, with another schema registry if one is given."""
    import msgspec

    settings = settings_of(ctx)
    schemas = msgspec.structs.replace(settings.schemas, url=registry or settings.schemas.url)
    return msgspec.structs.replace(settings, schemas=schemas)
