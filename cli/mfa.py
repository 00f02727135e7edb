"""`vedette mfa`: challenges to customers."""

from pathlib import Path

import typer

from cli.context import settings_of


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    group = typer.Typer(help="Ask customers about payments: pages, API, enrolment and keys.", no_args_is_help=True)
    for command in (run, keygen, rotate):
        group.command()(command)
    group.command("import")(import_)
    group.command("enrol-link")(enrol_link)
    app.add_typer(group, name="mfa")


def run(ctx: typer.Context) -> None:
    """Run the challenge service until Ctrl-C or SIGTERM: decisions in, outcomes and final decisions out."""
    from alerts.mfa.bootstrap import run as serve

    serve(settings_of(ctx))


def keygen(name: str = typer.Option("", "--id", metavar="ID", help="of the key (default: today's date)")) -> None:
    """Print a new key. Put it in front of the others in the keyring, then run `vedette mfa rotate`."""
    import os

    from alerts.mfa.keyring import new_key
    from vedette.clock import SystemClock, format_time

    typer.echo(new_key(name or format_time(SystemClock().now_ms())[:10], os.urandom))


def rotate(ctx: typer.Context) -> None:
    """Seal all secrets of authenticator apps with the first key of the keyring; then the others may go."""
    from alerts.mfa.admin import rotate as seal_anew

    typer.echo(f"{seal_anew(settings_of(ctx))} secrets sealed anew")


def import_(
    ctx: typer.Context, file: str = typer.Argument(metavar="FILE", help="CSV: account_id, phone, email, language")
) -> None:
    """Take over phones, e-mail addresses and languages that the institution has verified."""
    from alerts.mfa.admin import import_contacts

    typer.echo(f"{import_contacts(settings_of(ctx), Path(file))} accounts")


def enrol_link(ctx: typer.Context, account: str = typer.Argument(metavar="ACCOUNT", help="account id")) -> None:
    """Print a link to the enrolment pages for a customer who has been identified; good once, for ten minutes."""
    from alerts.mfa.admin import enrolment_link

    typer.echo(enrolment_link(settings_of(ctx), account))
