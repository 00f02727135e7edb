"""A report as one page of HTML that needs nothing else."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from archive.reports import Report, ReportSection, cell, is_money
from vedette.clock import format_time

_ENVIRONMENT = Environment(
    loader=PackageLoader("archive"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)


def html_page(report: Report) -> str:
    """Return a report as a page, with a bar beside each value of a table's chart column."""
    return _ENVIRONMENT.get_template("report.html").render(
        title=f"{report.kind.capitalize()} report",
        since=format_time(report.since),
        until=format_time(report.until),
        payments=report.payments,
        sections=sections(report),
    )


def sections(report: Report) -> list[dict[str, Any]]:
    """Return the tables of a report for a page: title, note, columns, rows of texts with the length of a bar."""
    return [_section(section) for section in report.sections]


def _section(section: ReportSection) -> dict[str, Any]:
    names = section.columns
    longest = _longest(section)
    return {
        "title": section.table.title,
        "note": section.table.note,
        "columns": [{"title": name.replace("_", " "), "number": _is_number(section, name)} for name in names],
        "rows": [
            [
                {"text": cell(name, row), "bar": _bar(row, name, longest) if name == section.table.chart else 0}
                for name in names
            ]
            for row in section.rows
        ],
    }


def _is_number(section: ReportSection, name: str) -> bool:
    return is_money(name) or all(row[name] is None or isinstance(row[name], int | float) for row in section.rows)


def _bar(row: dict[str, Any], name: str, longest: dict[str, float]) -> float:
    """Return the length of a bar in percent of the longest."""
    most = longest[row["currency"]]
    return round(100 * float(row[name] or 0) / most, 1) if most else 0.0


def _longest(section: ReportSection) -> dict[str, float]:
    """Return the largest value of each currency, as money of several cannot be compared."""
    longest: dict[str, float] = {}
    if chart := section.table.chart:
        for row in section.rows:
            longest[row["currency"]] = max(longest.get(row["currency"], 0.0), float(row[chart] or 0))
    return longest
