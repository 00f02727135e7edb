"""`vedette incidents`: list, show, acknowledge and close incidents."""

from typing import TYPE_CHECKING

import typer

from cli.context import settings_of

if TYPE_CHECKING:
    from alerts.incidents import IncidentDetail, IncidentList
    from alerts.incidents.incident import Incident

_JSON = typer.Option(False, "--json", help="print one JSON object as the last line")
_WHO = typer.Option("", "--who", metavar="NAME", help="name of the person (default: the user of this machine)")
_NOTE = typer.Option("", "--note", metavar="TEXT", help="a note for the history")
_NUMBER = typer.Argument(metavar="INCIDENT", help="number of the incident")


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    group = typer.Typer(
        help="List, show, acknowledge, confirm and dismiss incidents: the alerts of an account.", no_args_is_help=True
    )
    group.command("list")(list_)
    for command in (show, ack, confirm, dismiss):
        group.command()(command)
    app.add_typer(group, name="incidents")


def list_(
    ctx: typer.Context,
    everything: bool = typer.Option(False, "--all", help="include closed incidents"),
    limit: int = typer.Option(50, "--limit", metavar="N", min=1, help="maximum number of incidents to list"),
    as_json: bool = _JSON,
) -> None:
    """List open incidents, the highest expected loss first. Times are UTC; a payment's is that of the event."""
    import msgspec

    from alerts.incidents import open_incidents
    from alerts.incidents.incident import OPEN, STATES
    from vedette.clock import SystemClock

    with open_incidents(settings_of(ctx), SystemClock()) as incidents:
        found = incidents.list(STATES if everything else OPEN, limit)
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
    else:
        _print_list(found, "incidents" if everything else "open incidents")


def _print_list(found: "IncidentList", kind: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from alerts.incidents.incident import state_name

    console = Console(soft_wrap=True)
    if found.incidents:
        table = Table("number", "state", "expected loss", "alerts", "account", "last payment", "opened", "owner")
        for incident in found.incidents:
            last = found.last_payments.get(incident.id)
            table.add_row(
                str(incident.id), state_name(incident.state), _amount(incident.expected_loss, found.currency),
                str(incident.alerts), incident.account_id, "" if last is None else _time(last),
                _time(incident.opened_at), incident.owner,
            )  # fmt: skip
        console.print(table)
    shown, total = len(found.incidents), found.total
    more = "" if shown == total else f"; --limit {total} lists all"
    console.print(f"{shown:,} of {total:,} {kind}{more}", highlight=False)


def show(ctx: typer.Context, incident: int = _NUMBER, as_json: bool = _JSON) -> None:
    """Show an incident with its alerts, in order of event time, and its history. Times are UTC."""
    import msgspec

    from alerts.incidents import open_incidents
    from vedette.clock import SystemClock

    with open_incidents(settings_of(ctx), SystemClock()) as incidents:
        detail = incidents.show(incident)
    if as_json:
        typer.echo(msgspec.json.encode(detail).decode())
    else:
        _print_detail(detail)


def _print_detail(detail: "IncidentDetail") -> None:
    from rich.console import Console
    from rich.text import Text

    from alerts.incidents.incident import state_name
    from vedette.money import format_amount

    console, incident = Console(soft_wrap=True), detail.incident
    loss = _amount(incident.expected_loss, detail.currency)
    console.print(f"[bold]incident {incident.id}[/]: {state_name(incident.state)}, expected loss {loss}")
    console.print(Text(f"account {incident.account_id}"))
    console.print("[bold]alerts[/], by time of the payment")
    for alert in detail.alerts:
        reasons = "; ".join(reason.text for reason in alert.reasons)
        amount = format_amount(alert.amount, alert.currency)
        line = f"  {_time(alert.event_time)}  {amount}  {alert.action}, score {alert.score:.3f}: {reasons}"
        console.print(Text(_printable(line)))
    console.print("[bold]history[/]")
    for entry in detail.history:
        line = f"  {_time(entry.at)}  {state_name(entry.state)}  {entry.who}  {entry.note}"
        console.print(Text(_printable(line.rstrip())))


def ack(ctx: typer.Context, incident: int = _NUMBER, who: str = _WHO, note: str = _NOTE, as_json: bool = _JSON) -> None:
    """Acknowledge an incident, which ends its escalation."""
    from alerts.incidents import open_incidents
    from vedette.clock import SystemClock

    with open_incidents(settings_of(ctx), SystemClock()) as incidents:
        _print_state(incidents.acknowledge(incident, who or _user(), note), as_json)


def confirm(
    ctx: typer.Context, incident: int = _NUMBER, who: str = _WHO, note: str = _NOTE, as_json: bool = _JSON
) -> None:
    """Close an incident as fraud; its transactions are labelled as frauds."""
    _close(ctx, incident, who, note, as_json, fraud=True)


def dismiss(
    ctx: typer.Context, incident: int = _NUMBER, who: str = _WHO, note: str = _NOTE, as_json: bool = _JSON
) -> None:
    """Close an incident as a false alarm; its transactions are labelled as legitimate."""
    _close(ctx, incident, who, note, as_json, fraud=False)


def _close(ctx: typer.Context, incident: int, who: str, note: str, as_json: bool, *, fraud: bool) -> None:
    from alerts.incidents import open_incidents
    from vedette.clock import SystemClock

    with open_incidents(settings_of(ctx), SystemClock()) as incidents:
        _print_state(incidents.close(incident, fraud=fraud, who=who or _user(), note=note), as_json)


def _user() -> str:
    import getpass

    return getpass.getuser()


def _print_state(incident: "Incident", as_json: bool) -> None:
    import msgspec

    from alerts.incidents.incident import state_name

    if as_json:
        typer.echo(msgspec.json.encode(incident).decode())
    else:
        typer.echo(f"incident {incident.id} is {state_name(incident.state)}")


def _amount(minor: int, currency: str) -> str:
    """Return an amount with the decimals of its currency, or in minor units if no notifier has set a currency yet."""
    from vedette.money import format_amount

    return format_amount(minor, currency) if currency else f"{minor:,} minor units"


def _time(milliseconds: int) -> str:
    """Return a time in UTC, such as 2026-03-02T12:00:00Z."""
    from vedette.clock import format_time

    return f"{format_time(milliseconds)[:19]}Z"


def _printable(text: str) -> str:
    """Return text without control characters, so that it cannot forge a line."""
    from adapters.channels.message import printable

    return printable(text)
