"""The queue: the incidents that wait for people, and closing many of them together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.datastructures import QueryParams

from access.ports import AuditSink
from alerts.incidents import CaseDetail, IncidentDesk, QueueFilter
from alerts.incidents.queue import Holder, Order, Standing
from console.guard import looked, visit_of
from console.reasons import reason_texts
from console.step_up import StepUp
from console.view import page
from vedette.clock import HOUR, Clock
from vedette.errors import InputError
from vedette.money import to_minor

PAGE = 50
_STANDINGS: tuple[Standing, ...] = ("open", "closed", "all")
_HOLDERS: tuple[Holder, ...] = ("anybody", "nobody", "me", "others")
_ORDERS: tuple[Order, ...] = ("loss", "due", "newest")
_FIELDS = ("standing", "holder", "account", "min_loss", "older", "order")
_DIGITS = 19
_LONGEST_NOTE = 500

Field = Annotated[str, Form(max_length=2048)]
Chosen = Annotated[list[str], Form(default_factory=list, max_length=10_000)]


@dataclass(frozen=True, slots=True)
class QueueQuery:
    """The filter of the queue as it stands in the address.

    Args:
        given: Fields of the query, as they were given.
    """

    given: Mapping[str, str]

    @classmethod
    def of(cls, params: QueryParams | Mapping[str, str]) -> "QueueQuery":
        """Return the query of an address or form; fields it does not know are dropped."""
        return cls({key: str(params[key])[:64] for key in _FIELDS if params.get(key)})

    def text(self, **changes: object) -> str:
        """Return the query string with changes; empty ones are dropped."""
        merged = {**self.given, **{key: str(value) for key, value in changes.items()}}
        return urlencode({key: value for key, value in merged.items() if value})

    def filter(self, currency: str, now: int) -> QueueFilter:
        """Return the filter; what is not valid is left out."""
        older = self.given.get("older", "")
        return QueueFilter(
            standing=next((s for s in _STANDINGS if s == self.given.get("standing")), "open"),
            holder=next((h for h in _HOLDERS if h == self.given.get("holder")), "anybody"),
            order=next((o for o in _ORDERS if o == self.given.get("order")), "loss"),
            account=self.given.get("account", "").strip().replace("\0", ""),
            min_loss=_minor(self.given.get("min_loss", ""), currency),
            opened_before=now - min(int(older), 100_000) * HOUR if older.isdecimal() and older.isascii() else None,
        )


class QueuePages:
    """The pages under /queue.

    Args:
        desk: The incidents.
        step_up: Asks for a code before steps that concern many.
        audit: The audit log.
        clock: The clock.
        due_ms: Milliseconds after its opening at which an incident is due.
        bulk_limit: Most incidents that one step may close.
    """

    def __init__(
        self, desk: IncidentDesk, step_up: StepUp, audit: AuditSink, clock: Clock, *,
        due_ms: int, bulk_limit: int,
    ) -> None:  # fmt: skip
        self._desk, self._step_up, self._audit = desk, step_up, audit
        self._clock, self._due_ms, self._bulk_limit = clock, due_ms, bulk_limit
        self._currency = ""

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter()
        router.get("/queue")(self.show)
        router.get("/queue/arrivals")(self.arrivals)
        router.post("/queue/next")(self.next)
        router.post("/queue/bulk")(self.bulk)
        router.post("/queue/bulk/close")(self.close)
        return router

    def show(self, request: Request, page: str = "1") -> HTMLResponse:
        """Show a page of the queue."""
        number = max(int(page), 1) if page.isdecimal() and page.isascii() and len(page) < 6 else 1
        return self._page(request, QueueQuery.of(request.query_params), number)

    def arrivals(self, request: Request, after: str = "0") -> HTMLResponse:
        """Say how many incidents are newer than the page; the page itself stays as it is under the cursor."""
        known = int(after) if after.isdecimal() and after.isascii() and len(after) < _DIGITS else 0
        count, loss = self._desk.arrivals(known)
        query = QueueQuery.of(request.query_params)
        return page(
            request, "queue_arrivals.html", count=count, loss=loss, currency=self._ranking_currency(request),
            after=known, query=query,
        )  # fmt: skip

    def next(self, request: Request, queue: Field = "") -> RedirectResponse:
        """Claim the first incident of the queue that nobody works on."""
        return next_case(self._desk, request, queue, self._clock.now_ms(), self._ranking_currency(request))

    def bulk(self, request: Request, chosen: Chosen, queue: Field = "") -> HTMLResponse:
        """Show count and money of the chosen incidents before they are closed together."""
        return self._bulk(request, numbers_of(chosen), queue)

    def close(
        self, request: Request, chosen: Chosen, queue: Field = "", decision: Field = "", note: Field = "",
        code: Field = "",
    ) -> HTMLResponse:  # fmt: skip
        """Close the chosen incidents together."""
        numbers, visit, note = numbers_of(chosen), visit_of(request), note.strip()
        if decision not in ("fraud", "false_alarm") or not 0 < len(note) <= _LONGEST_NOTE:
            return self._bulk(request, numbers, queue, wrong="bulk_incomplete")
        if not 0 < len(numbers) <= self._bulk_limit:
            return self._bulk(request, numbers, queue)
        if not self._step_up.passed(visit, code):
            return self._bulk(request, numbers, queue, wrong=self._step_up.wrong(visit))
        details = {"incidents": str(len(numbers)), "decision": decision, "note": note}
        self._audit.record("incident.bulk", f"incident:{numbers[0]}", details, actor=visit.user.name)
        result = self._desk.close_many(numbers, fraud=decision == "fraud", who=visit.user.name, note=note)
        return page(request, "bulk_done.html", result=result, fraud=decision == "fraud", query=_query(queue))

    def _bulk(self, request: Request, numbers: list[int], queue: str, wrong: str = "") -> HTMLResponse:
        cases = [self._desk.show(number) for number in numbers] if len(numbers) <= self._bulk_limit else []
        return page(
            request, "bulk.html", 422 if wrong else 200, cases=cases, numbers=numbers, limit=self._bulk_limit,
            loss=sum(case.incident.expected_loss for case in cases), currency=self._ranking_currency(request),
            queue=queue, query=_query(queue), wrong=wrong, needs_code=self._step_up.needed(visit_of(request)),
        )  # fmt: skip

    def _page(self, request: Request, query: QueueQuery, number: int) -> HTMLResponse:
        visit, now = visit_of(request), self._clock.now_ms()
        wanted = query.filter(self._ranking_currency(request), now)
        looked(self._audit, request, "queue:incidents", {"query": query.text(), "page": str(number)})
        queue = self._desk.queue(wanted, visit.user.name, limit=PAGE, offset=(number - 1) * PAGE)
        return page(
            request, "queue.html", queue=queue, wanted=wanted, query=query, number=number,
            pages=max(-(-queue.total // PAGE), 1), due_ms=self._due_ms, standings=_STANDINGS, holders=_HOLDERS,
            orders=_ORDERS, done=request.query_params.get("done", "") == "1", reason_texts=reason_texts,
            undoable=undoable(self._desk, request.query_params.get("closed", ""), visit.user.name),
        )  # fmt: skip

    def _ranking_currency(self, request: Request) -> str:
        if not self._currency:  # it never changes once a notifier has run, but by a new routing
            self._currency = self._desk.queue(QueueFilter(), visit_of(request).user.name, limit=0).currency
        return self._currency


def next_case(desk: IncidentDesk, request: Request, queue: str, now: int, currency: str) -> RedirectResponse:
    """Claim the next incident of a queue, and redirect to it; to the queue if there is none."""
    query = _query(queue)
    taken = desk.claim_next(query.filter(currency, now), visit_of(request).user.name)
    if taken is None:
        return RedirectResponse(f"/queue?{query.text()}&done=1", 303)
    return RedirectResponse(f"/cases/{taken.id}?{urlencode({'queue': query.text()})}", 303)


def undoable(desk: IncidentDesk, closed: str, who: str) -> CaseDetail | None:
    """Return the case that a person closed just before, if that can be undone."""
    if not (closed.isascii() and closed.isdecimal() and len(closed) < _DIGITS):
        return None
    try:
        before = desk.show(int(closed))
    except InputError:
        return None
    return before if before.undo_until and before.incident.owner == who else None


def numbers_of(chosen: list[str]) -> list[int]:
    """Return the numbers of chosen incidents, each once.

    Raises:
        HTTPException: 422, one is not a number.
    """
    if not all(text.isascii() and text.isdecimal() and len(text) < _DIGITS for text in chosen):
        raise HTTPException(422, "not a number")
    return list(dict.fromkeys(int(text) for text in chosen))


def _query(queue: str) -> QueueQuery:
    return QueueQuery.of(QueryParams(queue))


def _minor(text: str, currency: str) -> int:
    try:
        return max(to_minor(text.replace(",", ""), currency), 0) if text and currency else 0
    except InputError:
        return 0
