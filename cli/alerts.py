"""Commands of alerts/."""

import typer

from cli.context import settings_of


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    notify_app = typer.Typer(invoke_without_command=True)
    notify_app.callback()(notify)
    notify_app.command("status")(notify_status)
    app.add_typer(notify_app, name="notify")


def notify(
    ctx: typer.Context,
    until_idle: float = typer.Option(
        0.0, "--until-idle", metavar="SECONDS", min=0.0, help="end once all is sent and no alert came for so long"
    ),
) -> None:
    """Send alerts to the fraud team by e-mail and SMS, once per alert, recipient and channel."""
    if ctx.invoked_subcommand:
        return
    from rich.console import Console

    from alerts.notify import run

    report = run(settings_of(ctx), until_idle_s=until_idle)
    Console(soft_wrap=True).print(
        f"notify: {report.recorded} messages recorded, [green]{report.sent} sent[/], [red]{report.failed} failed[/], "
        f"[yellow]{report.unknown} in doubt[/], {report.unfinished} still to send, {report.rejected} rejected"
    )


def notify_status(
    ctx: typer.Context, as_json: bool = typer.Option(False, "--json", help="print JSON instead of a table")
) -> None:
    """Count the ledger's messages per channel and status."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from alerts.notify import status

    tallies = status(settings_of(ctx))
    if as_json:
        typer.echo(msgspec.json.encode(tallies).decode())
        return
    table = Table("channel", "status", "messages")
    for tally in tallies:
        table.add_row(tally.channel, tally.status, str(tally.count))
    Console().print(table)
