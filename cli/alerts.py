"""`vedette notify`: messages to the fraud team."""

from pathlib import Path
from typing import Literal

import typer

from cli.context import settings_of

_JSON = typer.Option(False, "--json", help="print JSON as the last line")


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    group = typer.Typer(invoke_without_command=True)
    group.callback()(notify)
    group.command("status")(status)
    group.command("list")(list_)
    for command in (retry, preview, web):
        group.command()(command)
    app.add_typer(group, name="notify")


def notify(
    ctx: typer.Context,
    until_idle: float = typer.Option(
        0.0, "--until-idle", metavar="SECONDS", min=0.0, help="end once all is sent and no alert came for so long"
    ),
) -> None:
    """Tell the fraud team of incidents as the routing says, each message once per recipient and channel."""
    if ctx.invoked_subcommand:
        return
    from rich.console import Console

    from alerts.notify import run

    report = run(settings_of(ctx), until_idle_s=until_idle)
    Console(soft_wrap=True).print(
        f"notify: {report.recorded} messages recorded, [green]{report.sent} sent[/], [red]{report.failed} failed[/], "
        f"[yellow]{report.unknown} in doubt[/], {report.unfinished} still to send, {report.rejected} rejected"
    )


def status(ctx: typer.Context, as_json: bool = _JSON) -> None:
    """Count the messages per channel and status."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from alerts.notify import status as tally

    tallies = tally(settings_of(ctx))
    if as_json:
        typer.echo(msgspec.json.encode(tallies).decode())
        return
    table = Table("channel", "status", "messages")
    for each in tallies:
        table.add_row(each.channel, each.status, str(each.count))
    Console().print(table)


def list_(
    ctx: typer.Context,
    everything: bool = typer.Option(False, "--all", help="also those that went, or will"),
    limit: int = typer.Option(50, "--limit", metavar="N", min=1, help="at most so many"),
    as_json: bool = _JSON,
) -> None:
    """Messages that failed or are in doubt, newest first."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from alerts.notify import listing
    from vedette.clock import format_time

    dead = ("failed", "unknown")
    rows = listing(settings_of(ctx), (*dead, "pending", "sending", "sent") if everything else dead, limit)
    if as_json:
        typer.echo(msgspec.json.encode({"messages": rows}).decode())
        return
    table = Table("number", "incident", "recipient", "channel", "status", "attempts", "code", "next", "receipt")
    for row in rows:
        incident = "" if row.incident_id is None else str(row.incident_id)
        due = "" if row.due_at is None else format_time(row.due_at)
        table.add_row(
            str(row.id), incident, row.recipient, row.channel, row.status, str(row.attempts), row.code, due, row.receipt
        )
    Console().print(table)


def retry(
    ctx: typer.Context,
    numbers: list[int] = typer.Argument(None, metavar="[NUMBER]...", help="of messages; none: all that nobody tries"),
    as_json: bool = _JSON,
) -> None:
    """Try dead letters anew: failed ones are sent, doubtful ones are looked up first."""
    import json

    from alerts.notify import retry as revive
    from vedette.clock import SystemClock

    count = revive(settings_of(ctx), numbers or [], SystemClock())
    typer.echo(json.dumps({"retried": count}) if as_json else f"{count} messages will be tried again")


def preview(
    ctx: typer.Context,
    channel: Literal["email", "sms", "whatsapp", "webhook", "sns", "apprise"] = typer.Option(
        "email", help="as sent on"
    ),
    kind: Literal["incident", "update", "escalation", "digest"] = typer.Option("incident", help="of message"),
    language: str = typer.Option("en", "--language", metavar="CODE", help="en, es, or one of your own"),
    output: str = typer.Option("", "--output", metavar="FILE", help="write an e-mail as .eml or .html instead"),
) -> None:
    """Show a message with made-up alerts as a recipient would see it."""
    from alerts.notify.preview import sample

    shown = sample(settings_of(ctx).notify, channel, kind, language)
    if not output:
        typer.echo(shown.text)
        return
    Path(output).write_bytes(shown.html if output.endswith(".html") else shown.wire)
    typer.echo(f"written to {output}")


def web(ctx: typer.Context) -> None:
    """Serve the page that acknowledges, and take Twilio's replies and delivery receipts."""
    from alerts.notify.web import serve

    serve(settings_of(ctx))
