"""`vedette notify`: messages to the fraud team."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from cli.context import settings_of
from cli.exit_codes import require_some

if TYPE_CHECKING:
    from alerts.notify import MessageList, NotifierStatus

_JSON = typer.Option(False, "--json", help="print JSON as the last line")


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
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
        0.0,
        "--until-idle",
        metavar="SECONDS",
        min=0.0,
        help="end once everything is sent and no alert has come for this long",
    ),
) -> None:
    """Notify the fraud team of incidents according to the routing, each message once per recipient and channel.

    The exit code is 1 if there were messages and none was sent.
    """
    if ctx.invoked_subcommand:
        return
    from rich.console import Console

    from alerts.notify import run

    report = run(settings_of(ctx), until_idle_s=until_idle)
    Console(soft_wrap=True).print(
        f"notify: {report.recorded} messages recorded, [green]{report.sent} sent[/], [red]{report.failed} failed[/], "
        f"[yellow]{report.unknown} in doubt[/], {report.unfinished} still to send, {report.rejected} rejected"
    )
    if not report.sent and (report.failed or report.unknown or report.rejected):
        raise typer.Exit(1)


def status(
    ctx: typer.Context,
    check: bool = typer.Option(False, "--check", help="exit code 1 if a channel or a reader does not work"),
    as_json: bool = _JSON,
) -> None:
    """Count the messages per channel and status, and report failing channels and readers."""
    import msgspec

    from alerts.notify import status as read_status

    found = read_status(settings_of(ctx))
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
    else:
        _print_status(found)
    if check and found.failures:
        raise typer.Exit(1)


def _print_status(found: "NotifierStatus") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(soft_wrap=True)
    if found.messages:
        table = Table("channel", "status", "messages")
        for count in found.messages:
            table.add_row(count.channel, count.status, f"{count.count:,}")
        console.print(table)
    else:
        console.print("no messages")
    for failure in found.failures:
        since, again = _time(failure.since), _time(failure.retry_at)
        console.print(Text(f"{failure.component} does not work since {since}: {failure.reason}", style="bold red"))
        console.print(Text(f"  its messages are held; next attempt {again}"))
        if failure.remedy:
            console.print(Text(f"  {failure.remedy}"))


def list_(
    ctx: typer.Context,
    everything: bool = typer.Option(False, "--all", help="include sent and pending messages"),
    limit: int = typer.Option(50, "--limit", metavar="N", min=1, help="maximum number of messages to list"),
    as_json: bool = _JSON,
) -> None:
    """List messages that failed or are in doubt, newest first."""
    import msgspec

    from alerts.notify import listing
    from alerts.notify.outbox_commands import DEAD, EVERY

    found = listing(settings_of(ctx), EVERY if everything else DEAD, limit)
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
    else:
        _print_messages(found, "messages" if everything else "failed or doubtful messages")


def _print_messages(found: "MessageList", kind: str) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=True)
    if found.messages:
        columns = ("number", "incident", "recipient", "channel", "status", "attempts", "code", "reason", "next attempt")
        table = Table(*columns, "receipt")
        for row in found.messages:
            table.add_row(
                str(row.id), "" if row.incident_id is None else str(row.incident_id), row.recipient, row.channel,
                row.status, str(row.attempts), row.code, row.error, "" if row.due_at is None else _time(row.due_at),
                row.receipt,
            )  # fmt: skip
        console.print(table)
    shown, total = len(found.messages), found.total
    more = "" if shown == total else f"; --limit {total} lists all"
    console.print(f"{shown:,} of {total:,} {kind}{more}", highlight=False)


def retry(
    ctx: typer.Context,
    numbers: list[int] = typer.Argument(
        None, metavar="[NUMBER]...", help="numbers of messages; none: all without further attempts"
    ),
    as_json: bool = _JSON,
) -> None:
    """Retry dead letters: failed ones are sent, doubtful ones are looked up first.

    The exit code is 1 if there is nothing to retry.
    """
    import json

    from alerts.notify import retry as revive
    from vedette.clock import SystemClock

    chosen = sorted(set(numbers or []))
    count = revive(settings_of(ctx), chosen, SystemClock())
    typer.echo(json.dumps({"retried": count}) if as_json else f"{count} messages will be tried again")
    require_some(count, "there is no such message that failed or is in doubt")


def preview(
    ctx: typer.Context,
    channel: Literal["email", "sms", "whatsapp", "webhook", "sns", "apprise"] = typer.Option(
        "email", help="channel of the message"
    ),
    kind: Literal["incident", "update", "escalation", "digest"] = typer.Option("incident", help="kind of message"),
    language: str = typer.Option("en", "--language", metavar="CODE", help="en, es, or a custom language"),
    output: str = typer.Option("", "--output", metavar="FILE", help="write an e-mail as .eml or .html instead"),
) -> None:
    """Show a message with sample alerts as a recipient sees it."""
    from alerts.notify.preview import sample

    shown = sample(settings_of(ctx).notify, channel, kind, language)
    if not output:
        typer.echo(shown.text)
        return
    Path(output).write_bytes(shown.html if output.endswith(".html") else shown.wire)
    typer.echo(f"written to {output}")


def web(ctx: typer.Context) -> None:
    """Serve the page that acknowledges incidents, and receive Twilio's replies and delivery receipts."""
    from alerts.notify.web import serve

    serve(settings_of(ctx))


def _time(milliseconds: int) -> str:
    """Return a time in UTC, such as 2026-03-02T12:00:00Z."""
    from vedette.clock import format_time

    return f"{format_time(milliseconds)[:19]}Z"
