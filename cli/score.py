"""`vedette score`: score payments offline, with reasons."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from cli.context import settings_of
from cli.exit_codes import require_some

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from models.offline import ScoredBatch
    from vedette.events import Reason

_IMPORTANCE_ROWS = 5_000
_COLUMNS = ("transaction_id", "account_id", "event_time", "amount", "currency")
"""What the result repeats of a payment."""


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command()(score)


def score(
    ctx: typer.Context,
    file: str = typer.Argument(metavar="FILE|-", help=".csv or .parquet in order of time, or - for JSON lines"),
    mapping: str = typer.Option("vedette", "--mapping", metavar="NAME", help="mapping of the file's columns"),
    model: str = typer.Option(
        "", "--model", metavar="DIR|VERSION", help="[default: the folder the worker starts with]"
    ),
    history: list[Path] = typer.Option([], "--history", metavar="FILE", help="earlier payments, to build state from"),
    explain: Literal["flagged", "all", "none"] = typer.Option("flagged", "--explain", help="payments that get reasons"),
    top: int = typer.Option(20, "--top", min=0, help="number of highest scores to show"),
    output: Path | None = typer.Option(None, "--output", metavar="FILE", help="write all scores as .parquet"),
    as_json: bool = typer.Option(False, "--json", help="one line of JSON per payment, then one for the summary"),
) -> None:
    """Score payments with any version, offline, with reasons in words.

    Features come from the payments of the file itself and of --history, by the kernel that the worker runs.
    """
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    from models.offline import score as scored
    from models.registry.resolve import chosen_scorer

    scorer = chosen_scorer(settings_of(ctx), model)
    before = (batch for earlier in history for batch in _batches(str(earlier), mapping))
    highest: list[dict[str, Any]] = []
    kept: list[pa.RecordBatch] = []
    sample: list[Any] = []
    total = flagged = 0
    for part in scored(scorer, _batches(file, mapping), history=before, explain=explain):
        rows = _rows(part)
        if as_json:
            for row in rows:
                typer.echo(json.dumps(row))
        if output:
            kept.append(pa.RecordBatch.from_pylist(rows, schema=_written()))
        if explain == "all" and sum(map(len, sample)) < _IMPORTANCE_ROWS:
            sample.append(part.rows)
        highest = sorted(highest + rows, key=lambda row: -row["score"])[:top]
        total += len(rows)
        flagged += int(part.flagged.sum())
    if output and kept:
        pq.write_table(pa.Table.from_batches(kept), output)
    summary: dict[str, Any] = {
        "model": scorer.version, "transactions": total, "flagged": flagged, "threshold": scorer.threshold,
    }  # fmt: skip
    if sample:
        import numpy as np

        from models.importance import importance

        found = importance(scorer, np.concatenate(sample)[:_IMPORTANCE_ROWS])
        summary["importance"] = [{"feature": one.feature, "fraction": round(one.fraction, 4)} for one in found[:10]]
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        _show(summary, highest)
    require_some(total, "no payment was scored")


def _batches(file: str, mapping: str) -> "Iterator[pa.RecordBatch]":
    from collections import Counter

    from rich.console import Console

    from producers.files import read_batches
    from producers.mapping import load_mapping

    if file == "-":
        yield _standard_input()
        return
    rejects: Counter[str] = Counter()
    yield from read_batches(
        Path(file), load_mapping(mapping), on_reject=lambda reject: rejects.update([f"{reject.column} {reject.reason}"])
    )
    for reason, rows in rejects.most_common():
        Console(stderr=True).print(f"{rows:,} rows left out: {reason}", style="yellow", markup=False, highlight=False)


def _standard_input() -> "pa.RecordBatch":
    """Return transactions from JSON lines."""
    import sys

    import msgspec
    import pyarrow as pa

    from producers.frame import schema_with
    from vedette.errors import InputError
    from vedette.events import EXTRA, Transaction, canonical
    from vedette.reading import UNREADABLE
    from vedette.text import decode_text

    events = []
    lines = decode_text(sys.stdin.buffer.read(), "standard input").split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            event = canonical(msgspec.json.decode(line, type=Transaction))
        except (*UNREADABLE, InputError) as error:
            reason = error.args[0]
        else:
            reason = event.missing()
        if reason:
            raise InputError(
                f"line {number} of standard input: {reason}", remedy="`vedette schema transaction` prints the schema"
            )
        events.append(event)
    plain = [msgspec.structs.asdict(event) for event in events]
    extras = {name for event in events for name in event.extra}
    rows = [row | {EXTRA + name: row["extra"].get(name) for name in extras} for row in plain]
    return pa.RecordBatch.from_pylist(rows, schema=schema_with(sorted(extras)))


def _rows(part: "ScoredBatch") -> list[dict[str, Any]]:
    columns = [part.transactions.column(name).to_pylist() for name in _COLUMNS]
    return [
        dict(zip(_COLUMNS, values, strict=True)) | {"score": score, "flagged": flagged, "reasons": reasons}
        for *values, score, flagged, reasons in zip(
            *columns, part.score.tolist(), part.flagged.tolist(), map(_plain, part.reasons), strict=True
        )
    ]


def _written() -> "pa.Schema":
    """Return the columns of a file of scores."""
    import pyarrow as pa

    reason = pa.struct([("code", pa.string()), ("text", pa.string()), ("weight", pa.float64())])
    texts, whole = ("transaction_id", "account_id", "currency"), ("event_time", "amount")
    kinds = dict.fromkeys(texts, pa.string()) | dict.fromkeys(whole, pa.int64())
    columns = [(name, kinds[name]) for name in _COLUMNS]
    return pa.schema([*columns, ("score", pa.float64()), ("flagged", pa.bool_()), ("reasons", pa.list_(reason))])


def _plain(reasons: "list[Reason]") -> list[dict[str, Any]]:
    return [{"code": reason.code, "text": reason.text, "weight": reason.weight} for reason in reasons]


def _show(summary: dict[str, Any], highest: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    from vedette.clock import format_time
    from vedette.money import format_amount

    console = Console(markup=False)
    table = Table("score", "transaction", "account", "time", "amount", "why", box=None)
    for row in highest:
        table.add_row(
            f"{row['score']:.4f}", row["transaction_id"], row["account_id"], format_time(row["event_time"])[:19],
            format_amount(row["amount"], row["currency"]), "; ".join(reason["text"] for reason in row["reasons"]),
        )  # fmt: skip
    console.print(table)
    for one in summary.get("importance", ()):
        console.print(f"{one['fraction']:>7.1%}  {one['feature']}", highlight=False)
    typer.echo(
        f"{summary['transactions']:,} payments scored by {summary['model']}, "
        f"{summary['flagged']:,} at or above {summary['threshold']:.4f}"
    )
