"""`vedette report`: figures on a period of the archive."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.context import settings_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from archive.reports import Report


_REPORTS = {
    "regulator": "Payments and frauds by instrument, initiation, authentication and country, in numbers and value.\n\n"
    "The breakdown is that of the EBA guidelines on fraud reporting (GL/2018/05). ",
    "institution": "Decisions, frauds caught and missed, losses prevented, false alarms, challenges and rules.\n\n",
    "model": "Decisions by version of model and policy, calibration of the scores, and figures by day.\n\n",
}
_NOTHING = "The exit code is 1 if the archive has no payment of the period."


def register(app: typer.Typer) -> None:
    """Add this group."""
    group = typer.Typer(help="Reports on a period, from the archive.", no_args_is_help=True)
    for kind, text in _REPORTS.items():
        group.command(kind, help=text + _NOTHING)(_command(kind))
    app.add_typer(group, name="report")


def _command(kind: str) -> "Callable[..., None]":
    def command(
        ctx: typer.Context,
        since: str = typer.Option(..., "--from", metavar="DATE", help="event time at or after this, UTC"),
        until: str = typer.Option(..., "--to", metavar="DATE", help="event time before this, UTC"),
        html: Path | None = typer.Option(
            None, "--html", metavar="FILE", help="write one page of HTML that needs nothing else"
        ),
        csv: Path | None = typer.Option(None, "--csv", metavar="FOLDER", help="write a CSV file for each table"),
        as_json: bool = typer.Option(False, "--json", help="print one JSON object"),
    ) -> None:
        _run(ctx, kind, since, until, html, csv, as_json=as_json)

    return command


def _run(
    ctx: typer.Context,
    kind: str,
    since: str,
    until: str,
    html: Path | None,
    csv: Path | None,
    *,
    as_json: bool,
) -> None:
    import msgspec

    from adapters.extras import require_extra
    from adapters.files import output_file

    require_extra("archive", "the archive", "deltalake")
    from archive.report_page import html_page
    from archive.reports import ReportKind, make_report, plain
    from archive.search import Archive
    from vedette.clock import parse_time

    with Archive(settings_of(ctx).archive) as archive:
        report = make_report(archive, ReportKind(kind), parse_time(since), parse_time(until))
    if html:
        with output_file(html, "the report") as part:
            part.write_text(html_page(report), encoding="utf-8")
    if csv:
        _write_csv(report, csv)
    if as_json:
        tables = {section.table.name: [plain(row) for row in section.rows] for section in report.sections}
        typer.echo(msgspec.json.encode({"report": kind, "payments": report.payments, "tables": tables}).decode())
    elif not html and not csv:
        _print(report)
    if not report.payments:
        raise typer.Exit(1)


def _write_csv(report: "Report", folder: Path) -> None:
    import csv

    from adapters.files import output_file
    from archive.reports import plain

    folder.mkdir(parents=True, exist_ok=True)
    for section in report.sections:
        with (
            output_file(folder / f"{section.table.name}.csv", "the report") as part,
            part.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, section.columns)
            writer.writeheader()
            writer.writerows(plain(row) for row in section.rows)


def _print(report: "Report") -> None:
    from rich.console import Console
    from rich.table import Table

    from archive.reports import cell
    from cli.cells import cell as shown

    console = Console()
    for section in report.sections:
        if not section.rows:
            console.print(f"{section.table.title}: none in this period")
            continue
        table = Table(*(name.replace("_", " ") for name in section.rows[0]), title=section.table.title)
        for row in section.rows:
            table.add_row(*(shown(cell(name, row)) for name in row))
        console.print(table)
