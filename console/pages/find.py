"""Find: one box for payments, accounts, payees, merchants, devices and addresses; and the page of one payment."""

from math import isnan
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from access.ports import AuditSink
from console import account_history
from console.archive_reader import ArchiveReader
from console.guard import looked, visit_of
from console.reasons import reason_texts
from console.roles import Permission
from console.view import page, refusal
from features.catalogue import CATALOGUE
from features.signals import with_live_by_name
from vedette.clock import DAY, Clock
from vedette.errors import UnavailableError
from vedette.events import EXTRA

if TYPE_CHECKING:
    from archive.search import Archive, PaymentHistory

KINDS = ("transaction", "account", *account_history.SEARCHED)
"""What the box finds, in the order in which it looks."""

_SPANS = {"30": 30, "90": 90, "400": 400, "all": 0}
"""Days to look back by choice; without a choice 90, and everything if that finds nothing."""
_ROWS, _SHOWN = 500, 100
_LONGEST = 128


class FindPages:
    """The pages /find and /payments.

    Args:
        archive: The archive.
        audit: The audit log.
        clock: The clock.
    """

    def __init__(self, archive: ArchiveReader, audit: AuditSink, clock: Clock) -> None:
        self._archive, self._audit, self._clock = archive, audit, clock

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter()
        router.get("/find")(self.find)
        router.get("/payments/{transaction:path}")(self.payment)
        return router

    def find(self, request: Request, q: str = "", kind: str = "", days: str = "") -> Response:
        """Find what the box names: an incident by `#number`, else payments by the first kind that matches."""
        wanted = q.strip()[:_LONGEST].replace("\0", "")
        if wanted.startswith("#") and wanted[1:].isdecimal() and visit_of(request).user.may(Permission.INCIDENTS_READ):
            return RedirectResponse(f"/cases/{int(wanted[1:19])}", 303)
        span = days if days in _SPANS else ""
        empty: dict[str, Any] = {"q": wanted, "kind": "", "days": span or "90", "spans": list(_SPANS)}
        empty |= {"rows": None, "missing": ""}
        if not wanted:
            return page(request, "find.html", **empty)
        looked(self._audit, request, f"search:{wanted}", {"kind": kind, "days": span})
        try:
            with self._archive.opened() as archive:
                kinds = (kind,) if kind in KINDS else KINDS
                found, rows, span = self._search(archive, wanted, kinds, span)
        except UnavailableError as error:
            return page(request, "find.html", **empty | {"missing": str(error)})
        if found == "transaction" and len(rows) == 1:
            return RedirectResponse(f"/payments/{quote(rows[0]['transaction_id'], safe='')}", 303)
        return page(
            request, "find.html", **empty | {"rows": rows[:_SHOWN], "kind": found, "days": span},
            totals=account_history.totals(rows, without=found), full=len(rows) == _ROWS,
            chart=account_history.last_days(rows), reason_texts=reason_texts,
            link=_link,
        )  # fmt: skip

    def payment(self, request: Request, transaction: str, as_of: str = "") -> HTMLResponse:
        """Show one payment with everything that became of it, or the first steps of that and what came later."""
        looked(self._audit, request, f"transaction:{transaction[:_LONGEST]}")
        try:
            with self._archive.opened() as archive:
                found = archive.history(transaction[:_LONGEST].replace("\0", ""))
        except UnavailableError as error:
            return refusal(request, 503, reason=str(error))
        if not found:
            return refusal(request, 404)
        wanted = int(as_of) if as_of.isdecimal() and len(as_of) < 6 else None
        payments = []
        for each in found:
            steps = timeline(each)
            known = len(steps) if wanted is None else min(wanted, len(steps))
            row = {"payment": each.payment, "timeline": steps, "known": known, "features": described(each)}
            payments.append(row)
        return page(request, "payment.html", payments=payments, reason_texts=reason_texts, link=_link)

    def _search(
        self, archive: "Archive", wanted: str, kinds: tuple[str, ...], span: str
    ) -> tuple[str, list[dict[str, Any]], str]:
        """Return the kind that was found, the payments, and how many days back they were looked for."""
        for days in (span,) if span else ("90", "all"):
            for kind in kinds:
                if rows := self._payments(archive, wanted, kind, _SPANS[days]):
                    return kind, rows, days
        return kinds[0] if len(kinds) == 1 else "", [], span or "all"

    def _payments(self, archive: "Archive", wanted: str, kind: str, days: int) -> list[dict[str, Any]]:
        from archive.search import Question  # noqa: PLC0415, its extra may not be installed

        limits: dict[str, Any] = {kind: wanted, "limit": _ROWS}
        if days and kind not in ("transaction", "account"):
            limits["since"] = self._clock.now_ms() - days * DAY  # the others have no index
        found: list[dict[str, Any]] = archive.find(Question(**limits)).to_pylist()
        return found


def timeline(history: "PaymentHistory") -> list[dict[str, Any]]:
    """Return what was published about a payment, in order: kind of message, time, row."""
    rows = [(row["produced_at"], kind, row) for kind, found in history.messages.items() for row in found]
    return [{"at": at, "kind": kind, "row": row} for at, kind, row in sorted(rows, key=lambda each: each[0])]


def described(history: "PaymentHistory") -> list[dict[str, Any]]:
    """Return each feature with value, unit and meaning; the value of a missing one is None."""
    known = {feature.name: feature for feature in CATALOGUE}
    found = []
    for name, value in with_live_by_name(history.features, history.signals, history.payment["currency"]).items():
        feature = known.get(name)
        meaning = feature.meaning if feature else ""
        found.append(
            {"name": name, "value": None if isnan(value) else value, "unit": feature.unit if feature else ""}
            | {"meaning": meaning, "extra": name.startswith(EXTRA)}
        )
    return found


def _link(kind: str, value: str) -> str:
    """Return the address of the page of a value."""
    return f"/find?{urlencode({'q': value, 'kind': kind})}"
