"""`vedette incidents`: what the fraud team works on."""

from typing import Any

import typer

from cli.context import settings_of

_JSON = typer.Option(False, "--json", help="print one JSON object as the last line")
_WHO = typer.Option("", "--who", metavar="NAME", help="who does it (default: the user of this machine)")
_NOTE = typer.Option("", "--note", metavar="TEXT", help="for the history")
_NUMBER = typer.Argument(metavar="INCIDENT", help="its number")


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    group = typer.Typer(
        help="List, show, acknowledge, confirm and dismiss incidents: the alerts of an account.", no_args_is_help=True
    )
    group.command("list")(list_)
    for command in (show, ack, confirm, dismiss):
        group.command()(command)
    app.add_typer(group, name="incidents")


def list_(
    ctx: typer.Context,
    everything: bool = typer.Option(False, "--all", help="closed ones, too"),
    limit: int = typer.Option(50, "--limit", metavar="N", min=1, help="at most so many"),
    as_json: bool = _JSON,
) -> None:
    """Open incidents, the most expensive first."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from alerts.incidents import open_incidents
    from alerts.incidents.incident import OPEN, STATES, words
    from vedette.clock import SystemClock, format_time

    with open_incidents(settings_of(ctx), SystemClock()) as incidents:
        found = incidents.list(STATES if everything else OPEN, limit)
    if as_json:
        typer.echo(msgspec.json.encode({"incidents": found}).decode())
        return
    table = Table("number", "state", "expected loss", "alerts", "account", "opened", "owner")
    for each in found:
        table.add_row(
            str(each.id), words(each.state), f"{each.expected_loss:,}", str(each.alerts), each.account_id,
            format_time(each.opened_at), each.owner,
        )  # fmt: skip
    Console().print(table)


def show(ctx: typer.Context, incident: int = _NUMBER, as_json: bool = _JSON) -> None:
    """One incident with its alerts and history."""
    import msgspec
    from rich.console import Console
    from rich.text import Text

    from alerts.incidents import open_incidents
    from alerts.incidents.incident import words
    from vedette.clock import SystemClock, format_time
    from vedette.money import format_amount

    with open_incidents(settings_of(ctx), SystemClock()) as incidents:
        detail = incidents.show(incident)
    if as_json:
        typer.echo(msgspec.json.encode(detail).decode())
        return
    console, about = Console(soft_wrap=True), detail.incident
    console.print(f"[bold]incident {about.id}[/]: {words(about.state)}, expected loss {about.expected_loss:,}")
    console.print(Text(f"account {about.account_id}"))
    for alert in detail.alerts:
        said = f"{alert.action}, score {alert.score:.3f}: {'; '.join(alert.reasons)}"
        console.print(Text(f"  {format_time(alert.event_time)}  {format_amount(alert.amount, alert.currency)}  {said}"))
    for step in detail.history:
        console.print(Text(f"  {format_time(step.at)}  {words(step.state)}  {step.who}  {step.note}".rstrip()))


def ack(ctx: typer.Context, incident: int = _NUMBER, who: str = _WHO, note: str = _NOTE, as_json: bool = _JSON) -> None:
    """Take an incident on, so that it does not escalate."""
    from alerts.incidents import open_incidents
    from vedette.clock import SystemClock

    with open_incidents(settings_of(ctx), SystemClock()) as incidents:
        _say(incidents.acknowledge(incident, who or _user(), note), as_json)


def confirm(
    ctx: typer.Context, incident: int = _NUMBER, who: str = _WHO, note: str = _NOTE, as_json: bool = _JSON
) -> None:
    """Close an incident as fraud; its transactions are labelled so."""
    _close(ctx, incident, who, note, as_json, fraud=True)


def dismiss(
    ctx: typer.Context, incident: int = _NUMBER, who: str = _WHO, note: str = _NOTE, as_json: bool = _JSON
) -> None:
    """Close an incident as a false alarm; its transactions are labelled so."""
    _close(ctx, incident, who, note, as_json, fraud=False)


def _close(ctx: typer.Context, incident: int, who: str, note: str, as_json: bool, *, fraud: bool) -> None:
    from alerts.incidents import open_incidents
    from vedette.clock import SystemClock

    with open_incidents(settings_of(ctx), SystemClock()) as incidents:
        _say(incidents.close(incident, fraud=fraud, who=who or _user(), note=note), as_json)


def _user() -> str:
    import getpass

    return getpass.getuser()


def _say(incident: Any, as_json: bool) -> None:
    import msgspec

    from alerts.incidents.incident import words

    if as_json:
        typer.echo(msgspec.json.encode(incident).decode())
    else:
        typer.echo(f"incident {incident.id} is {words(incident.state)}")
