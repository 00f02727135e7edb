"""A case: one incident with everything that a person needs to decide it."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Path, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.datastructures import QueryParams

from access.ports import AuditSink
from alerts.incidents import CaseDetail, ClaimedError, IncidentDesk
from alerts.incidents.incident import OPEN
from alerts.incidents.work import LONGEST_NOTE
from console import account_history
from console.archive_reader import ArchiveReader
from console.case_words import account_row, counts, story
from console.guard import looked, visit_of
from console.pages.queue import QueueQuery, next_case, undoable
from console.questions import CustomerQuestions
from console.reasons import reason_texts
from console.roles import Permission
from console.view import page, words_of
from vedette.clock import Clock
from vedette.errors import InputError, UnavailableError

Number = Annotated[int, Path(ge=1, lt=2**62)]
Queue = Annotated[str, Form(max_length=2048)]
_HISTORY = 500
"""Payments of an account that are looked at."""
_SHOWN = 60


class CasePages:
    """The pages under /cases.

    Args:
        desk: The incidents.
        questions: Questions to customers.
        archive: The archive.
        audit: The audit log.
        clock: The clock.
        due_ms: Milliseconds after its opening at which an incident is due.
    """

    def __init__(
        self, desk: IncidentDesk, questions: CustomerQuestions, archive: ArchiveReader, audit: AuditSink, clock: Clock,
        *, due_ms: int,
    ) -> None:  # fmt: skip
        self._questions = questions
        self._desk, self._archive, self._audit, self._clock, self._due_ms = desk, archive, audit, clock, due_ms

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter()
        router.get("/cases/{number}")(self.show)
        router.get("/cases/{number}/account")(self.account)
        router.get("/cases/{number}/question")(self.question)
        router.post("/cases/{number}/ask")(self.ask)
        router.post("/cases/{number}/presence")(self.presence)
        router.post("/cases/{number}/claim")(self.claim)
        router.post("/cases/{number}/release")(self.release)
        router.post("/cases/{number}/close")(self.close)
        router.post("/cases/{number}/undo")(self.undo)
        router.post("/cases/{number}/note")(self.note)
        return router

    def show(self, request: Request, number: Number, queue: str = "", closed: str = "") -> HTMLResponse:
        """Show a case."""
        return self._page(request, number, queue, closed=closed)

    def account(self, request: Request, number: Number) -> HTMLResponse:
        """Show the account's history from the archive; the page of the case asks for it by itself."""
        detail = self._desk.show(number)
        looked(self._audit, request, f"account:{detail.incident.account_id}", {"incident": str(number)})
        try:
            with self._archive.opened() as archive:
                from archive.search import Question  # noqa: PLC0415, its extra may not be installed

                rows = archive.find(Question(account=detail.incident.account_id, limit=_HISTORY)).to_pylist()
        except UnavailableError as error:
            return page(request, "case_account.html", missing=str(error), rows=[], first=False)
        alerted = [account_row(alert) for alert in detail.alerts]
        last = max([row["event_time"] for row in alerted] + [int(r["event_time"].timestamp() * 1000) for r in rows[:1]])
        return page(
            request, "case_account.html", missing="", rows=rows[:_SHOWN], more=len(rows) - _SHOWN,
            habit=account_history.habit(rows, alerted), involved=account_history.involved(rows, alerted),
            days=account_history.days(rows, last), alerted={row["transaction_id"] for row in alerted},
            searched=account_history.SEARCHED, account=detail.incident.account_id, full=len(rows) == _HISTORY,
            reason_texts=reason_texts,
        )  # fmt: skip

    def question(self, request: Request, number: Number, queue: str = "") -> HTMLResponse:
        """Show what the customer was asked and answered; the page follows it by itself."""
        detail = self._desk.show(number)
        try:
            questions, missing = self._questions.of(detail.alerts), False
        except UnavailableError:
            questions, missing = [], True
        closable = detail.incident.state in OPEN
        asked = [record for _, record in questions if record]
        askable = closable and any(alert.action == "review" for alert, record in questions if not record)
        return page(
            request, "case_question.html", questions=questions, missing=missing, number=number, closable=closable,
            queue=_query(queue).text(), any_question=bool(asked) or askable,
            waiting=any(record.status == "issued" for record in asked),
        )  # fmt: skip

    def ask(
        self, request: Request, number: Number, transaction: Annotated[str, Form(max_length=256)] = "",
        queue: Queue = "",
    ) -> Response:  # fmt: skip
        """Ask the customer about a payment of an open case."""
        detail, who = self._desk.show(number), visit_of(request).user.name
        alert = next((each for each in detail.alerts if each.transaction_id == transaction), None)
        if alert is None or detail.incident.state not in OPEN:
            return self._page(request, number, queue, status=422, wrong="question_closed")
        details = {"transaction": transaction, "account": alert.account_id}
        self._audit.record("incident.customer-asked", f"incident:{number}", details, actor=who)
        try:
            self._questions.ask(alert, who)
        except InputError as error:
            return self._refused(request, number, queue, error)
        return _back(number, queue)

    def presence(self, request: Request, number: Number) -> HTMLResponse:
        """Record that the page is open, and say who else has it open."""
        who = visit_of(request).user.name
        claim, viewers = self._desk.look(number, who)
        return page(request, "presence.html", claim=claim, others=[each for each in viewers if each != who])

    def claim(self, request: Request, number: Number, queue: Queue = "") -> Response:
        """Claim a case."""
        try:
            self._desk.claim(number, visit_of(request).user.name)
        except InputError as error:
            return self._refused(request, number, queue, error)
        return _back(number, queue)

    def release(self, request: Request, number: Number, queue: Queue = "") -> RedirectResponse:
        """Give a case back to the queue."""
        self._desk.release(number, visit_of(request).user.name)
        return RedirectResponse(f"/queue?{_query(queue).text()}", 303)

    def close(
        self, request: Request, number: Number, decision: Annotated[str, Form(max_length=16)] = "",
        note: Annotated[str, Form(max_length=500)] = "", queue: Queue = "",
    ) -> Response:  # fmt: skip
        """Confirm or dismiss, and go on to the next case."""
        if decision not in ("fraud", "false_alarm"):
            return self._page(request, number, queue, status=422, wrong="decision_missing")
        who = visit_of(request).user.name
        try:
            self._desk.close(number, fraud=decision == "fraud", who=who, note=note.strip())
        except InputError as error:
            return self._refused(request, number, queue, error)
        currency = self._desk.show(number).currency
        response = next_case(self._desk, request, queue, self._clock.now_ms(), currency)
        location = response.headers["location"]
        return RedirectResponse(f"{location}{'&' if '?' in location else '?'}{urlencode({'closed': number})}", 303)

    def undo(self, request: Request, number: Number, queue: Queue = "") -> Response:
        """Take back one's decision of the last minute."""
        try:
            self._desk.undo(number, visit_of(request).user.name)
        except InputError as error:
            return self._refused(request, number, queue, error)
        return _back(number, queue)

    def note(
        self, request: Request, number: Number, text: Annotated[str, Form(max_length=2 * LONGEST_NOTE)] = "",
        queue: Queue = "",
    ) -> Response:  # fmt: skip
        """Add a note."""
        try:
            self._desk.note(number, who=visit_of(request).user.name, text=text)
        except InputError as error:
            return self._refused(request, number, queue, error)
        return _back(number, queue)

    def _refused(self, request: Request, number: int, queue: str, error: InputError) -> HTMLResponse:
        """Return the case as it is now, with the reason why nothing was done."""
        by = error.who if isinstance(error, ClaimedError) else ""
        wrong = "claimed_by_other" if by else "not_done"
        return self._page(request, number, queue, status=409, wrong=wrong, reason=by or str(error.args[0]))

    def _page(
        self, request: Request, number: int, queue: str, *, status: int = 200, wrong: str = "", reason: str = "",
        closed: str = "",
    ) -> HTMLResponse:  # fmt: skip
        detail, visit = self._desk.show(number), visit_of(request)
        looked(self._audit, request, f"incident:{number}", {"account": detail.incident.account_id})
        if visit.user.may(Permission.INCIDENTS_WORK):
            self._desk.look(number, visit.user.name)
        return page(
            request, "case.html", status, case=detail, story=story(detail.alerts, words_of(request)),
            counts=counts(detail.alerts), due_at=detail.incident.opened_at + self._due_ms, queue=_query(queue).text(),
            wrong=wrong, reason=reason, reason_texts=reason_texts, own=_own(detail, visit.user.name),
            undoable=undoable(self._desk, closed, visit.user.name),
            others=[viewer for viewer in detail.viewers if viewer != visit.user.name],
            closable=detail.incident.state in OPEN, searched=account_history.SEARCHED,
        )  # fmt: skip


def _own(detail: CaseDetail, who: str) -> bool:
    return detail.claim is not None and detail.claim.who == who


def _query(queue: str) -> QueueQuery:
    return QueueQuery.of(QueryParams(queue))


def _back(number: int, queue: str) -> RedirectResponse:
    return RedirectResponse(f"/cases/{number}?{urlencode({'queue': _query(queue).text()})}", 303)
