"""`vedette decisions`: list and show decisions from the topic."""

from typing import TYPE_CHECKING

import typer

from cli.action import ActionName
from cli.cells import cell
from cli.context import settings_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from vedette.events import Decision

_DAYS = typer.Option(1.0, "--days", min=0.001, help="days to read back, by time of publication")
_WIDTH = 130
"""Width of the table in columns, even on a narrower terminal."""

_JSON = typer.Option(False, "--json", help="print JSON, one decision per line")


def register(app: typer.Typer) -> None:
    """Add this command."""
    decisions = typer.Typer(no_args_is_help=True, help="The standing decisions, from the topic.")
    decisions.command("list")(list_decisions)
    decisions.command()(show)
    app.add_typer(decisions, name="decisions")


def list_decisions(
    ctx: typer.Context,
    account: str = typer.Option("", "--account", metavar="ID", help="only of this account"),
    action: ActionName | None = typer.Option(None, "--action", help="only with this action"),
    flagged: bool = typer.Option(False, "--flagged", help="only those that do not approve"),
    rule: str = typer.Option("", "--rule", metavar="NAME", help="only those for which this rule was true"),
    model: str = typer.Option("", "--model", metavar="NAME@VERSION", help="only of this model"),
    min_score: float = typer.Option(0.0, "--min-score", min=0, max=1, help="only with at least this score"),
    limit: int = typer.Option(20, "--limit", metavar="N", min=1, help="the latest N by event time"),
    days: float = _DAYS,
    as_json: bool = _JSON,
) -> None:
    """List the latest standing decisions: the final one after a challenge, or the first that is not degraded."""
    from rich.console import Console
    from rich.table import Table

    from vedette.clock import format_time
    from vedette.money import format_amount

    def wanted(decision: "Decision") -> bool:
        return (
            (not account or decision.account_id == account)
            and (action is None or decision.action == action.value)
            and (not flagged or decision.action != "approve")
            and (not rule or rule in decision.rules)
            and (not model or decision.model == model)
            and decision.score >= min_score
        )

    found, total = _standing(ctx, days, wanted, limit)
    if as_json:
        _print_json(found)
    else:
        table = Table("time (UTC)", "transaction", "account", "amount", "score", "action", "reasons", box=None)
        for decision in found:
            table.add_row(
                format_time(decision.event_time)[:19], cell(decision.transaction_id), cell(decision.account_id),
                format_amount(decision.amount, decision.currency), f"{decision.score:.4f}", _action(decision),
                cell("; ".join(reason.text for reason in decision.reasons)),
            )  # fmt: skip
        console = Console(markup=False, width=max(Console().width, _WIDTH))
        console.print(table if found else "no decision found; --days looks further back")
    if len(found) < total:
        typer.echo(f"{len(found):,} of {total:,} decisions; --limit shows more", err=True)


def show(
    ctx: typer.Context,
    transaction: str = typer.Argument(metavar="TRANSACTION", help="id of the transaction"),
    days: float = _DAYS,
) -> None:
    """Show the standing decision on a transaction, with all its fields, as JSON."""
    import msgspec

    from vedette.errors import InputError

    found, _ = _standing(ctx, days, lambda decision: decision.transaction_id == transaction, 1)
    if not found:
        raise InputError(f"there is no decision on {transaction!r}", remedy="look further back with --days")
    typer.echo(msgspec.json.format(msgspec.json.encode(found[0])).decode())


def _standing(
    ctx: typer.Context, days: float, wanted: "Callable[[Decision], bool]", limit: int
) -> "tuple[list[Decision], int]":
    from streams.history.decision_log import standing_decisions
    from vedette.clock import DAY, SystemClock

    published_from = max(SystemClock().now_ms() - round(days * DAY), 0)
    return standing_decisions(settings_of(ctx), published_from, wanted, limit)


def _print_json(decisions: "list[Decision]") -> None:
    import msgspec

    for decision in decisions:
        typer.echo(msgspec.json.encode(decision).decode())


def _action(decision: "Decision") -> str:
    if decision.final is True:
        return f"{decision.action} (final)"
    return f"{decision.action} (degraded)" if decision.degraded else decision.action
