"""`vedette find`: payments in the archive."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cli.action import ActionName
from cli.cells import cell
from cli.context import settings_of
from cli.kind import KindName

if TYPE_CHECKING:
    import pyarrow as pa


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(find)


def find(
    ctx: typer.Context,
    transaction: str = typer.Option("", "--transaction", metavar="ID", help="id of the payment"),
    account: str = typer.Option("", "--account", metavar="ID", help="account that pays"),
    payee: str = typer.Option("", "--payee", metavar="ID", help="payee of the transfer"),
    merchant: str = typer.Option("", "--merchant", metavar="ID", help="the merchant"),
    device: str = typer.Option("", "--device", metavar="ID", help="the device"),
    ip: str = typer.Option("", "--ip", metavar="ADDRESS", help="the network address"),
    since: str = typer.Option("", "--from", metavar="DATE", help="event time at or after this, UTC"),
    until: str = typer.Option("", "--to", metavar="DATE", help="event time before this, UTC"),
    min_amount: str = typer.Option("", "--min-amount", metavar="AMOUNT", help="at least this much, as in 100.00"),
    currency: str = typer.Option("", "--currency", metavar="CODE", help="ISO 4217 code, required with --min-amount"),
    kind: KindName | None = typer.Option(None, "--kind", help="kind of transaction"),
    action: ActionName | None = typer.Option(None, "--action", help="the standing decision"),
    flagged: bool | None = typer.Option(
        None, "--flagged/--approved", help="whether the payment was flagged or approved"
    ),
    rule: str = typer.Option("", "--rule", metavar="NAME", help="a rule that was true"),
    reason: str = typer.Option("", "--reason", metavar="CODE", help="code of a reason, see docs/reasons.md"),
    min_score: float | None = typer.Option(None, "--score", metavar="SCORE", help="at least this score", min=0, max=1),
    fraud: bool | None = typer.Option(None, "--fraud/--no-fraud", help="label of the payment"),
    limit: int = typer.Option(100, "--limit", metavar="N", min=1, help="the newest N payments"),
    as_json: bool = typer.Option(False, "--json", help="print one JSON object per payment"),
    csv: bool = typer.Option(False, "--csv", help="print CSV"),
    parquet: Path | None = typer.Option(None, "--parquet", metavar="FILE", help="write a Parquet file"),
) -> None:
    """Find payments in the archive, with decision, challenge and label; the newest first.

    The exit code is 1 if nothing is found.
    """
    import msgspec

    from adapters.extras import require_extra

    require_extra("archive", "the archive", "deltalake")
    from archive.search import Archive, Question
    from vedette.clock import parse_time
    from vedette.errors import InputError
    from vedette.money import to_minor

    if sum((as_json, csv, parquet is not None)) > 1:
        raise InputError("only one form can be written", remedy="choose one of --json, --csv and --parquet")
    question = Question(
        transaction=transaction,
        account=account,
        payee=payee,
        merchant=merchant,
        device=device,
        ip=ip,
        currency=currency,
        kind=kind.value if kind else "",
        since=parse_time(since) if since else None,
        until=parse_time(until) if until else None,
        min_amount=to_minor(min_amount, currency) if min_amount and currency else (0 if min_amount else None),
        action=action.value if action else None,
        flagged=flagged,
        rule=rule,
        reason=reason,
        min_score=min_score,
        fraud=fraud,
        limit=limit,
    )
    with Archive(settings_of(ctx).archive) as archive:
        found = archive.find(question)
    if parquet:
        import pyarrow.parquet as pq

        from adapters.files import output_file

        with output_file(parquet, "the result") as part:
            pq.write_table(found, part)
    elif as_json:
        for row in found.to_pylist():
            typer.echo(msgspec.json.encode(row).decode())
    elif csv:
        import sys

        from pyarrow.csv import write_csv

        write_csv(_flat(found), sys.stdout.buffer)
    else:
        _print(found.to_pylist())
    if len(found) == limit:
        typer.echo(f"the newest {limit:,}; --limit shows more", err=bool(parquet or as_json or csv))
    if not len(found):
        raise typer.Exit(1)


def _flat(found: "pa.Table") -> "pa.Table":
    """Return the table with lists as text, which CSV can hold."""
    import pyarrow as pa

    for name in ("reasons", "reason_codes", "reason_weights", "rules"):
        values = [None if row is None else "; ".join(map(str, row)) for row in found[name].to_pylist()]
        found = found.set_column(found.schema.get_field_index(name), name, pa.array(values, pa.string()))
    return found


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    from vedette.events import DEFAULT_KIND
    from vedette.money import format_amount

    console = Console()
    if not rows:
        console.print("no payment in the archive matches")
        return
    other_kinds = any(row["kind"] != DEFAULT_KIND for row in rows)
    kind = ("kind",) if other_kinds else ()
    table = Table("event time (UTC)")
    for name in ("transaction", "account", *kind, "amount", "to", "decision", "score", "label"):
        table.add_column(name, overflow="fold")  # an id that is cut cannot be asked for
    for row in rows:
        action = row["action"] or "undecided"
        final = row["final_action"]
        label = {True: "fraud", False: "honest", None: ""}[row["fraud"]]
        table.add_row(
            f"{row['event_time']:%Y-%m-%d %H:%M:%S}",
            cell(row["transaction_id"]),
            cell(row["account_id"]),
            *((row["kind"],) if other_kinds else ()),
            format_amount(row["amount"], row["currency"]),
            cell(row["merchant_id"] or row["payee"] or ""),
            action if final in (action, None) else f"{action} -> {final}",
            "" if row["score"] is None else f"{row['score']:.3f}",
            label,
        )
    console.print(table)
