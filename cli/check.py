"""`vedette check`: is a labelled file fit to train on?"""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa
    from rich.console import Console

    from models.guards.quality import Finding


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command()(check)


def check(
    file: Path = typer.Argument(help="file of past transactions with labels"),
    mapping: str = typer.Option(..., "--mapping", metavar="NAME", help="how the file's columns are to be read"),
    as_json: bool = typer.Option(False, "--json", help="end with one line of JSON"),
) -> None:
    """Look for what makes a file unfit for training: types, ranges, missing, doubles, order, gaps, share of fraud."""
    import msgspec
    from rich.console import Console

    from producers.files import read_batches
    from producers.mapping import load_mapping

    rejected: list[object] = []
    rows, findings = inspect(read_batches(file, load_mapping(mapping), on_reject=rejected.append), Console())
    errors = sum(finding.severity == "error" for finding in findings)
    typer.echo(f"{rows:,} rows, {len(rejected):,} left out by the mapping, {errors} errors, {len(findings)} findings")
    if as_json:
        report = {"rows": rows, "rejected": len(rejected), "findings": findings}
        typer.echo(msgspec.json.encode(report).decode())
    if errors:
        raise typer.Exit(1)


def inspect(batches: "Iterable[pa.RecordBatch]", console: "Console") -> "tuple[int, list[Finding]]":
    """Print what is found in labelled transactions; how many there are, and the findings."""
    import pyarrow as pa
    from rich.table import Table

    from models.guards import quality
    from vedette.errors import InputError

    read = list(batches)
    if not read:
        raise InputError("no row could be read", remedy="check the file, its mapping and the time span")
    rows = pa.Table.from_batches(read).to_pandas()
    findings = quality.check(rows)
    if findings:
        table = Table("severity", "column", "rows", "finding", box=None)
        for finding in findings:
            table.add_row(finding.severity, finding.column, f"{finding.rows:,}", finding.message)
        console.print(table)
    return len(rows), findings
