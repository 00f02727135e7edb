"""`vedette access`: credentials for the institution's API."""

from typing import TYPE_CHECKING

import typer

from cli.context import settings_of

if TYPE_CHECKING:
    from access.credentials import Credential

_JSON = typer.Option(False, "--json", help="print JSON")


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    access = typer.Typer(no_args_is_help=True, help="Credentials for the institution's API.")
    access.command()(create)
    access.command("list")(list_)
    access.command()(revoke)
    app.add_typer(access, name="access")


def create(
    ctx: typer.Context,
    name: str = typer.Argument(help="name of the owner"),
    role: str = typer.Option(..., help="app, representative, analyst, auditor or payments"),
    scope: list[str] = typer.Option([], help="only this scope of the role; may be repeated"),
    days: int = typer.Option(365, min=1, max=3650, help="days until it expires"),
    as_json: bool = _JSON,
) -> None:
    """Create a credential and show its API key, which is not shown again."""
    import msgspec

    from access.admin import create as make

    made = make(settings_of(ctx), name, role, scope, days=days)
    if as_json:
        typer.echo(msgspec.json.encode(made))
        return
    _show([made.credential])
    typer.echo(f"API key, not shown again: {made.api_key}")
    typer.echo("For OAuth2 the part between the underscores is the client id, the part after them the secret.")


def list_(ctx: typer.Context, as_json: bool = _JSON) -> None:
    """List all credentials, including revoked and expired ones."""
    import msgspec

    from access.admin import list_all

    found = list_all(settings_of(ctx))
    if as_json:
        typer.echo(msgspec.json.encode(found))
    else:
        _show(found)


def revoke(ctx: typer.Context, credential: str = typer.Argument(help="its id"), as_json: bool = _JSON) -> None:
    """Revoke a credential and every token issued for it, with immediate effect."""
    import msgspec

    from access.admin import revoke as end

    ended = end(settings_of(ctx), credential)
    typer.echo(msgspec.json.encode(ended) if as_json else f"{ended.id} ({ended.name}) may no longer call the API")


def _show(credentials: "list[Credential]") -> None:
    from rich.console import Console
    from rich.table import Column, Table

    from vedette.clock import format_time

    table = Table(Column("id", no_wrap=True), "name", Column("role", no_wrap=True), "scopes", "until")
    for credential in credentials:
        until = (
            f"revoked {format_time(credential.revoked_at)}"
            if credential.revoked_at
            else format_time(credential.expires_at)
        )
        table.add_row(
            credential.id, credential.name.replace("[", r"\["), credential.role, " ".join(credential.scopes), until
        )
    Console().print(table)
