"""`vedette report`: figures on a period of the archive."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.context import settings_of

if TYPE_CHECKING:
    from archive.reports import Report, ReportKind


def register(app: typer.Typer) -> None:
    """Add this group."""
    group = typer.Typer(help="Reports on a period, from the archive.", no_args_is_help=True)
    for command in (regulator, institution, model):
        group.command()(command)
    app.add_typer(group, name="report")


_SINCE = typer.Option(..., "--from", metavar="DATE", help="event time at or after this, UTC")
_UNTIL = typer.Option(..., "--to", metavar="DATE", help="event time before this, UTC")
_HTML = typer.Option(None, "--html", metavar="FILE", help="write one page of HTML that needs nothing else")
_CSV = typer.Option(None, "--csv", metavar="FOLDER", help="write a CSV file for each table")
_JSON = typer.Option(False, "--json", help="print one JSON object")


def regulator(
    ctx: typer.Context,
    since: str = _SINCE,
    until: str = _UNTIL,
    html: Path | None = _HTML,
    csv: Path | None = _CSV,
    as_json: bool = _JSON,
) -> None:
    """Payments and frauds by instrument, initiation, authentication and country, in numbers and value.

    The breakdown is that of the EBA guidelines on fraud reporting (GL/2018/05). The exit code is 1 if the archive has
    no payment of the period.
    """
    from archive.reports import ReportKind

    _run(ctx, ReportKind.REGULATOR, since, until, html, csv, as_json=as_json)


def institution(
    ctx: typer.Context,
    since: str = _SINCE,
    until: str = _UNTIL,
    html: Path | None = _HTML,
    csv: Path | None = _CSV,
    as_json: bool = _JSON,
) -> None:
    """Decisions, frauds caught and missed, losses prevented, false alarms, challenges and rules.

    The exit code is 1 if the archive has no payment of the period.
    """
    from archive.reports import ReportKind

    _run(ctx, ReportKind.INSTITUTION, since, until, html, csv, as_json=as_json)


def model(
    ctx: typer.Context,
    since: str = _SINCE,
    until: str = _UNTIL,
    html: Path | None = _HTML,
    csv: Path | None = _CSV,
    as_json: bool = _JSON,
) -> None:
    """Decisions by version of model and policy, calibration of the scores, and figures by day.

    The exit code is 1 if the archive has no payment of the period.
    """
    from archive.reports import ReportKind

    _run(ctx, ReportKind.MODEL, since, until, html, csv, as_json=as_json)


def _run(
    ctx: typer.Context,
    kind: "ReportKind",
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
    from archive.reports import make_report, plain
    from archive.search import Archive
    from vedette.clock import parse_time

    with Archive(settings_of(ctx).archive) as archive:
        report = make_report(archive, kind, parse_time(since), parse_time(until))
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
            if section.rows:
                writer = csv.DictWriter(file, list(section.rows[0]))
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
