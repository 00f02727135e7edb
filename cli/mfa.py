"""`vedette mfa`: challenges for customers."""

from pathlib import Path

import typer

from cli.context import settings_of
from cli.exit_codes import require_some


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    group = typer.Typer(help="Challenges for customers: pages, API, enrolment and keys.", no_args_is_help=True)
    for command in (run, keygen, rotate):
        group.command()(command)
    group.command("import")(import_)
    group.command("enrol-link")(enrol_link)
    app.add_typer(group, name="mfa")


def run(ctx: typer.Context) -> None:
    """Run the challenge service until Ctrl-C or SIGTERM: decisions in, outcomes and final decisions out."""
    from challenges.bootstrap import run as serve

    serve(settings_of(ctx))


def keygen(name: str = typer.Option("", "--id", metavar="ID", help="of the key (default: today's date)")) -> None:
    """Print a new key. Put it before the others in the keyring, then run `vedette mfa rotate`."""
    import os

    from access.keyring import new_key
    from vedette.clock import SystemClock, format_time

    typer.echo(new_key(name or format_time(SystemClock().now_ms())[:10], os.urandom))


def rotate(ctx: typer.Context) -> None:
    """Seal all secrets of authenticator apps with the first key of the keyring; the others can then be removed."""
    from challenges.admin import rotate as seal_again

    typer.echo(f"{seal_again(settings_of(ctx))} secrets sealed with the first key")


def import_(
    ctx: typer.Context, file: str = typer.Argument(metavar="FILE", help="CSV: account_id, phone, email, language")
) -> None:
    """Import phone numbers, e-mail addresses and languages that the institution has verified."""
    from challenges.admin import import_contacts

    accounts = import_contacts(settings_of(ctx), Path(file))
    typer.echo(f"{accounts} accounts")
    require_some(accounts, f"{file} has no account")


def enrol_link(ctx: typer.Context, account: str = typer.Argument(metavar="ACCOUNT", help="account id")) -> None:
    """Print a link to the enrolment pages for an identified customer; it works once, for ten minutes."""
    from challenges.admin import enrolment_link

    typer.echo(enrolment_link(settings_of(ctx), account))
