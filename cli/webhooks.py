"""`vedette webhooks`: events posted to the institution's own addresses."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import typer

from cli.action import ActionName
from cli.context import settings_of

_JSON = typer.Option(False, "--json", help="print JSON")
_ID = typer.Argument(help="its id, as `vedette webhooks list` shows it")


class DeliveryState(StrEnum):
    """Status of a delivery."""

    pending = "pending"
    sent = "sent"
    failed = "failed"


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    group = typer.Typer(help="Post decisions, challenges and closed incidents, signed.", no_args_is_help=True)
    for command in (run, add, pause, resume, remove, deliveries, replay):
        group.command()(command)
    group.command("list")(list_)
    app.add_typer(group, name="webhooks")


def run(ctx: typer.Context) -> None:
    """Relay events to the outbox and post them until Ctrl-C or SIGTERM."""
    from gateway.webhooks.bootstrap import run as serve

    serve(settings_of(ctx))


def add(
    ctx: typer.Context,
    url: str = typer.Argument(help="where events are posted, such as https://bank.example/hooks"),
    event: list[str] = typer.Option([], help="type of events; may be repeated (default: all)"),
    action: list[ActionName] = typer.Option([], help="only decisions with this action; may be repeated"),
    as_json: bool = _JSON,
) -> None:
    """Register a webhook and show the secret that verifies its signatures, which is not shown again."""
    from gateway.webhooks.bootstrap import opened

    with opened(settings_of(ctx)) as (endpoints, _):
        made = endpoints.add(url, event, [one.value for one in action])
    if as_json:
        _print(made)
        return
    typer.echo(f"{made.endpoint.id} gets {', '.join(made.endpoint.events)}")
    typer.echo(f"secret, not shown again: {made.secret}")


def list_(ctx: typer.Context, as_json: bool = _JSON) -> None:
    """List all webhooks."""
    from gateway.webhooks.bootstrap import opened

    with opened(settings_of(ctx)) as (endpoints, _):
        found = endpoints.all()
    if as_json:
        _print(found)
        return
    if not found:
        typer.echo("There are no webhooks: `vedette webhooks add URL` registers one.")
        return
    rows = [
        (each.id, each.url, " ".join(each.events), " ".join(each.actions) or "all",
         each.state + (f" ({each.paused_because})" if each.paused_because else ""), str(each.failures))
        for each in found
    ]  # fmt: skip
    _table(("id", "URL", "events", "actions", "state", "failures"), rows)


def pause(ctx: typer.Context, webhook: str = _ID, as_json: bool = _JSON) -> None:
    """Post nothing more to a webhook until it is resumed; its events wait."""
    from gateway.webhooks.bootstrap import opened

    with opened(settings_of(ctx)) as (endpoints, _):
        changed = endpoints.pause(webhook)
    _print(changed) if as_json else typer.echo(f"{changed.id} is paused; its events wait")


def resume(ctx: typer.Context, webhook: str = _ID, as_json: bool = _JSON) -> None:
    """Post to a webhook again, what has waited first."""
    from gateway.webhooks.bootstrap import opened

    with opened(settings_of(ctx)) as (endpoints, _):
        changed = endpoints.resume(webhook)
    _print(changed) if as_json else typer.echo(f"{changed.id} is active")


def remove(ctx: typer.Context, webhook: str = _ID) -> None:
    """Remove a webhook and everything that waits for it."""
    from gateway.webhooks.bootstrap import opened

    with opened(settings_of(ctx)) as (endpoints, _):
        endpoints.remove(webhook)
    typer.echo(f"{webhook} is removed")


def deliveries(
    ctx: typer.Context,
    webhook: str = typer.Argument("", help="only of this webhook (default: all)"),
    status: DeliveryState | None = typer.Option(None, help="only in this status; failed ones are dead letters"),
    limit: int = typer.Option(50, min=1, max=10_000, help="the newest so many"),
    as_json: bool = _JSON,
) -> None:
    """List deliveries and what became of them, newest first."""
    from gateway.webhooks import outbox
    from gateway.webhooks.bootstrap import opened
    from gateway.webhooks.endpoints import get
    from vedette.clock import format_time

    with (
        opened(settings_of(ctx)) as (_, engine),
        engine.execution_options(reads=True).connect() as connection,
    ):
        if webhook:
            get(connection, webhook)
        found = outbox.listing(connection, webhook, status.value if status else None, limit)
    if as_json:
        _print(found)
        return
    if not found:
        typer.echo("There are no such deliveries.")
        return
    rows = [
        (str(each.id), each.endpoint_id, each.type, each.event_id, each.status, str(each.attempts), each.code,
         format_time(each.due_at) if each.due_at else "")
        for each in found
    ]  # fmt: skip
    _table(("no.", "webhook", "event", "webhook-id", "status", "attempts", "answer", "next attempt"), rows)


def replay(
    ctx: typer.Context,
    webhook: str = _ID,
    since: str = typer.Option("", metavar="TIME", help="also what was sent since then, such as 2026-01-04T12:00:00Z"),
    as_json: bool = _JSON,
) -> None:
    """Post dead letters again; receivers recognise what they have by its webhook-id."""
    from gateway.webhooks import outbox
    from gateway.webhooks.bootstrap import opened
    from gateway.webhooks.endpoints import get
    from vedette.clock import SystemClock

    start = _instant(since) if since else None
    with opened(settings_of(ctx)) as (_, engine), engine.begin() as connection:
        get(connection, webhook)
        number = outbox.replay(connection, webhook, start, SystemClock().now_ms())
    _print({"replayed": number}) if as_json else typer.echo(f"{number} deliveries will be posted again")


def _instant(text: str) -> int:
    import datetime as dt

    from vedette.errors import InputError

    try:
        return round(dt.datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError as error:
        raise InputError(f"--since {text!r} is not a time", remedy="write it like 2026-01-04T12:00:00Z") from error


def _print(content: Any) -> None:
    import msgspec

    typer.echo(msgspec.json.encode(content))


def _table(names: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*names)
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    Console().print(table)
