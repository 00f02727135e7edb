"""`vedette check`: check a labelled file before training on it."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pyarrow as pa
    from rich.console import Console

    from models.guards.finding import Finding
    from models.guards.rejections import Rejections
    from producers.converter import RejectedRow


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command()(check)


def check(
    file: Path = typer.Argument(help="file of past transactions with labels"),
    mapping: str = typer.Option(..., "--mapping", metavar="NAME", help="mapping of the file's columns"),
    as_json: bool = typer.Option(False, "--json", help="end with one line of JSON"),
) -> None:
    """Check a labelled file for problems before training on it.

    The checks cover rejected rows, types, ranges, missing values, duplicates, order, gaps, and implausible labels. The
    exit code is 1 if there are errors, with which `vedette train` refuses the file.
    """
    import msgspec
    from rich.console import Console

    from producers.files import read_batches
    from producers.mapping import load_mapping

    rejections, on_reject = counted_rejections()
    batches = read_batches(file, load_mapping(mapping), on_reject=on_reject)
    rows, findings = inspect(batches, rejections, Console())
    errors = sum(finding.severity == "error" for finding in findings)
    typer.echo(f"{rows:,} rows read, {rejections.rows:,} left out, {errors} errors, {len(findings) - errors} warnings")
    if as_json:
        report = {"rows": rows, "rejected": rejections.rows, "findings": findings}
        typer.echo(msgspec.json.encode(report).decode())
    if errors:
        raise typer.Exit(1)


def counted_rejections() -> "tuple[Rejections, Callable[[RejectedRow], None]]":
    """Return a counter of the rows that a mapping leaves out, and the callback that counts one."""
    from models.guards.rejections import Rejections

    rejections = Rejections()
    return rejections, lambda row: rejections.add(row.line, row.column, row.value, row.reason)


def inspect(
    batches: "Iterable[pa.RecordBatch]", rejections: "Rejections", console: "Console"
) -> "tuple[int, list[Finding]]":
    """Print the findings on labelled transactions; return the number of transactions and the findings.

    Raises:
        InputError: There is no transaction; the findings on rejected rows are printed.
    """
    import pyarrow as pa

    from models.guards import quality
    from vedette.errors import InputError

    read = list(batches)
    if not read:
        _print(rejections.findings(0), console)
        raise InputError(
            f"no row could be read, {rejections.rows:,} were left out",
            remedy="check the file, its mapping and the time span",
        )
    rows = pa.Table.from_batches(read).to_pandas()
    findings = quality.check(rows) + rejections.findings(len(rows))
    findings.sort(key=lambda finding: finding.severity)
    _print(findings, console)
    return len(rows), findings


def _print(findings: "list[Finding]", console: "Console") -> None:
    from rich.table import Table
    from rich.text import Text

    if not findings:
        return
    table = Table("severity", "column", "rows", "finding", box=None)
    for finding in findings:
        table.add_row(finding.severity, Text(finding.column), f"{finding.rows:,}", Text(finding.message))
    console.print(table)
