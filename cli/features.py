"""`vedette features`: the catalogue, and the kernel held against published features."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.progress import bars, shown, total_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from producers.convert import Reject

_JSON = typer.Option(False, "--json", help="print JSON")


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    features = typer.Typer(no_args_is_help=True, help="What the models see.")
    features.command("list")(list_features)
    for command in (show, docs, verify):
        features.command()(command)
    app.add_typer(features, name="features")


def list_features(as_json: bool = _JSON) -> None:
    """List every feature with its meaning."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from features.catalogue import CATALOGUE

    if as_json:
        typer.echo(msgspec.json.encode(CATALOGUE).decode())
        return
    table = Table("feature", "unit", "meaning")
    for feature in CATALOGUE:
        table.add_row(feature.name, feature.unit, feature.meaning)
    Console().print(table)


def show(name: str = typer.Argument(help="such as account_count_1d"), as_json: bool = _JSON) -> None:
    """Show all there is to know about one feature."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from features.reference import find

    feature = find(name)
    if as_json:
        typer.echo(msgspec.json.encode(feature).decode())
        return
    table = Table(show_header=False)
    for key, value in msgspec.to_builtins(feature).items():
        table.add_row(key, ", ".join(value) if isinstance(value, list | tuple) else str(value))
    Console().print(table)


def docs() -> None:
    """Print the reference page of all features, for docs/features.md."""
    from features.reference import reference

    typer.echo(reference(), nl=False)


def verify(
    golden: Path = typer.Argument(help="Parquet file of published features, one row per TRANSACTION_ID"),
    transactions: list[Path] = typer.Option(..., "--transactions", metavar="FILE", help="the oldest first (repeat it)"),
    mapping: str = typer.Option("handbook", "--mapping", metavar="NAME", help="what their columns mean"),
    through_stream: bool = typer.Option(
        False, "--through-stream", help="let a worker compute them, on a broker and a Redis of their own"
    ),
    broker: str = typer.Option("embedded", "--broker", help="with --through-stream: apache or embedded"),
    redis: str = typer.Option("embedded", "--redis", help="with --through-stream: system or embedded"),
    as_json: bool = _JSON,
) -> None:
    """Compute published features again from their transactions, and exit with 1 if any value differs."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from features.parity import verify as verify_offline

    with bars() as bar:
        batches = _transactions(transactions, mapping)
        total = total_rows(transactions)
        if through_stream:
            import tempfile

            from bench.parity import verify_through_stream

            with tempfile.TemporaryDirectory(prefix="vedette-verify-") as directory:
                report = verify_through_stream(
                    golden, batches, Path(directory), broker=broker, redis=redis,
                    on_published=bar("through the worker", total), on_compared=bar("compared", total),
                )  # fmt: skip
        else:
            report = verify_offline(golden, shown(batches, bar("computed", total)))
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
    else:
        typer.echo(f"{report.rows:,} rows, {report.columns} columns, {report.mismatches:,} mismatches")
        if report.first:
            table = Table("transaction", "published as", "feature", "published", "computed")
            for m in report.first:
                table.add_row(m.transaction_id, m.column, m.feature, repr(m.published), repr(m.computed))
            Console().print(table)
    if report.mismatches:
        raise typer.Exit(1)


def _transactions(files: list[Path], mapping: str) -> "Iterator[pa.RecordBatch]":
    from itertools import chain

    from producers.files import read_batches
    from producers.mapping import load_mapping
    from vedette.errors import InputError

    def refuse(reject: "Reject") -> None:
        raise InputError(
            f"row {reject.line}, column {reject.column}: {reject.value!r} {reject.reason}",
            remedy="features can only be compared when every transaction is there",
        )

    known = load_mapping(mapping)
    return chain.from_iterable([read_batches(file, known, on_reject=refuse) for file in files])
