"""Reports on a period of the archive, on screen, printed, and as a file."""

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from console.archive_reader import ArchiveReader
from console.view import page
from vedette.clock import Clock, parse_time
from vedette.errors import InputError, UnavailableError

if TYPE_CHECKING:
    from archive.reports import Report

KINDS = ("institution", "model", "regulator")
_DAYS = 30
_LONGEST = 10


class ReportPages:
    """The pages under /reports.

    Args:
        archive: The archive.
        clock: The clock.
    """

    def __init__(self, archive: ArchiveReader, clock: Clock) -> None:
        self._archive, self._clock = archive, clock

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter()
        router.get("/reports")(self.show)
        router.get("/reports/file")(self.file)
        return router

    def show(self, request: Request, kind: str = "", since: str = "", until: str = "") -> HTMLResponse:
        """Show a report on the days from one until before another; without a kind the form alone."""
        today = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC).date()
        first, end = since[:_LONGEST] or str(today - timedelta(days=_DAYS)), until[:_LONGEST] or str(today)
        values: dict[str, Any] = {"kinds": KINDS, "kind": kind if kind in KINDS else "", "since": first, "until": end}
        values |= {"report": None, "sections": [], "wrong": False, "missing": ""}
        if not values["kind"]:
            return page(request, "reports.html", **values)
        try:
            report = self._report(kind, first, end)
        except InputError:
            return page(request, "reports.html", 422, **values | {"wrong": True})
        except UnavailableError as error:
            return page(request, "reports.html", 503, **values | {"missing": str(error)})
        from archive.report_page import sections  # noqa: PLC0415, its extra may not be installed

        return page(request, "reports.html", **values | {"report": report, "sections": sections(report)})

    def file(self, request: Request, kind: str = "", since: str = "", until: str = "") -> Response:
        """Return a report as one page that needs nothing else, as `vedette report --html` writes it."""
        if kind not in KINDS:
            return self.show(request, kind, since, until)
        try:
            report = self._report(kind, since[:_LONGEST], until[:_LONGEST])
        except (InputError, UnavailableError):
            return self.show(request, kind, since, until)
        from archive.report_page import html_page  # noqa: PLC0415, its extra may not be installed

        name = f"{kind}-{since[:_LONGEST]}-{until[:_LONGEST]}.html"
        return HTMLResponse(html_page(report), headers={"Content-Disposition": f'attachment; filename="{name}"'})

    def _report(self, kind: str, since: str, until: str) -> "Report":
        for day in (since, until):
            _check(day)
        with self._archive.opened() as archive:
            from archive.reports import ReportKind, make_report  # noqa: PLC0415, its extra may not be installed

            return make_report(archive, ReportKind(kind), parse_time(since), parse_time(until))


def _check(day: str) -> None:
    try:
        date.fromisoformat(day)
    except ValueError as error:
        raise InputError(f"{day!r} is not a day", remedy="write it like 2018-08-29") from error
