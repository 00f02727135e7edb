"""`vedette console`: the web pages where people work, and their users."""

import typer

from cli.context import settings_of

_NAME = typer.Argument(metavar="NAME", help="user name")
_JSON = typer.Option(False, "--json", help="print one JSON object as the last line")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(help="The web pages where the fraud team works.", no_args_is_help=True)
    group.command()(run)
    user = typer.Typer(help="Users of the console.", no_args_is_help=True)
    for command in (add, invite, link, disable):
        user.command()(command)
    user.command("list")(list_)
    group.add_typer(user, name="user")
    app.add_typer(group, name="console")


def run(ctx: typer.Context) -> None:
    """Run the console until Ctrl-C or SIGTERM."""
    from console.bootstrap import run as serve

    serve(settings_of(ctx))


def add(
    ctx: typer.Context,
    name: str = _NAME,
    role: str = typer.Option(..., "--role", metavar="ROLE", help="analyst, lead, auditor, administrator …"),
    as_json: bool = _JSON,
) -> None:
    """Create a user and print the link of the invitation, which works once within 24 hours.

    On its page the user sets up an authenticator app and a password.
    """
    from console.accounts import admin

    _print_link(admin.add(settings_of(ctx), name, role), as_json)


def invite(ctx: typer.Context, name: str = _NAME, as_json: bool = _JSON) -> None:
    """Invite a user again, who has lost password or app: both, and all sessions, end at once."""
    from console.accounts import admin

    _print_link(admin.invite(settings_of(ctx), name), as_json)


def link(ctx: typer.Context, name: str = _NAME, as_json: bool = _JSON) -> None:
    """Print a link that signs a user in once within ten minutes, for somebody whose phone is not at hand."""
    from console.accounts import admin

    _print_link(admin.link(settings_of(ctx), name), as_json)


def disable(ctx: typer.Context, name: str = _NAME) -> None:
    """Disable a user and end all sessions; `invite` enables again."""
    from console.accounts import admin

    admin.disable(settings_of(ctx), name)
    typer.echo(f"{name} is disabled")


def list_(ctx: typer.Context, as_json: bool = _JSON) -> None:
    """List all users."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from console.accounts import admin
    from vedette.clock import format_time

    users = admin.list_all(settings_of(ctx))
    if as_json:
        typer.echo(msgspec.json.encode({"users": users}).decode())
        return
    if not users:
        typer.echo("no users yet; `vedette console user add NAME --role ROLE` makes the first one")
        return
    table = Table("name", "role", "status", "since (UTC)")
    for user in users:
        status = "disabled" if user.disabled_at else "active" if user.active else "invited"
        table.add_row(user.name, user.role, status, format_time(user.created_at)[:19])
    Console(soft_wrap=True).print(table)


def _print_link(link: str, as_json: bool) -> None:
    import json

    typer.echo(json.dumps({"link": link}) if as_json else link)
