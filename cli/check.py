"""`vedette check`: is a labelled file fit to train on?"""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    import pandas as pd


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
    from rich.table import Table

    from models.guards import quality

    rows, rejected = _read(file, mapping)
    findings = quality.check(rows)
    table = Table("severity", "column", "rows", "finding")
    for finding in findings:
        table.add_row(finding.severity, finding.column, f"{finding.rows:,}", finding.message)
    if findings:
        Console(soft_wrap=True).print(table)
    errors = sum(finding.severity == "error" for finding in findings)
    typer.echo(f"{len(rows):,} rows, {rejected:,} left out by the mapping, {errors} errors, {len(findings)} findings")
    if as_json:
        report = {"rows": len(rows), "rejected": rejected, "findings": findings}
        typer.echo(msgspec.json.encode(report).decode())
    if errors:
        raise typer.Exit(1)


def _read(file: Path, mapping: str) -> "tuple[pd.DataFrame, int]":
    import pyarrow as pa

    from producers.files import read_batches
    from producers.mapping import load_mapping

    rejected: list[object] = []
    batches = list(read_batches(file, load_mapping(mapping), on_reject=rejected.append))
    if not batches:
        from vedette.errors import InputError

        raise InputError(f"no row of {file} could be read", remedy="check the file and its mapping")
    return pa.Table.from_batches(batches).to_pandas(), len(rejected)
