"""The customer's page of call checks. GET never changes anything."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Header, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from access.rate_limit import RateLimiter
from adapters.event_streams import EventStreams, Part
from challenges.calls.checks import BusyError, CallChecks
from challenges.calls.state_machine import Call
from challenges.pages import throttle
from challenges.records import masked
from challenges.sessions import Sessions, Visit
from challenges.view import page, part, refusal

_HERE = "/call"

Field = Annotated[str, Form(max_length=128)]


class CustomerCallPages:
    """The pages under /call, accessible by a link.

    Args:
        checks: The call checks.
        sessions: Sessions of calls.
        limiter: Counts the posts of an address.
        streams: Event streams of the pages.
    """

    def __init__(self, checks: CallChecks, sessions: Sessions, limiter: RateLimiter, streams: EventStreams) -> None:
        self._checks, self._sessions, self._limiter, self._streams = checks, sessions, limiter, streams

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(include_in_schema=False)
        throttled = [Depends(throttle(self._limiter, self._checks.clock))]
        router.get("/call/link/{token}")(self.offer)
        router.post("/call/link/{token}", dependencies=throttled, response_model=None)(self.open)
        router.get(_HERE)(self.show)
        router.get("/call/events", response_model=None)(self.events)
        router.post("/call/start", dependencies=throttled)(self.start)
        router.post("/call/answer", dependencies=throttled)(self.answer)
        return router

    def offer(self, request: Request, token: str) -> HTMLResponse:
        """Show the purpose of a link, without revealing whether it is valid."""
        del token
        return page(request, "open.html", what="open_call")

    def open(self, request: Request, token: str) -> Response:
        """Consume a link."""
        session = self._checks.follow(token)
        if session is None:
            return refusal(request, 404)
        response = RedirectResponse(_HERE, 303)
        self._sessions.start(response, session)
        return response

    def show(self, request: Request, notice: str = "") -> HTMLResponse:
        """Show the account's latest check."""
        visit = self._sessions.of(request)
        if visit is None:
            return refusal(request, 404)
        state, html = self._live(request, visit)
        return page(
            request, "calls/customer.html", state=state, live=html, busy=notice == "busy",
            account=masked(visit.session.subject),
        )  # fmt: skip

    def events(self, request: Request, seen: str = "", last_event_id: Annotated[str, Header()] = "") -> Response:
        """Follow the check."""
        visit = self._sessions.of(request)
        if visit is None:
            return Response(status_code=204)  # tells the browser to stop asking

        def read() -> Part | None:
            still = self._sessions.of(request)  # the session may have ended since the stream began
            return self._live(request, still) if still else None

        return self._streams.follow(visit.token, read, last_event_id or seen)

    def start(self, request: Request, csrf: Field) -> RedirectResponse:
        """Return the customer has called the bank."""
        visit = self._sessions.checked(request, csrf)
        try:
            self._checks.start_by_customer(visit.session.subject)
        except BusyError:
            return RedirectResponse(f"{_HERE}?notice=busy", 303)
        return RedirectResponse(_HERE, 303)

    def answer(self, request: Request, csrf: Field, call: Field, heard: Field) -> RedirectResponse:
        """Return the customer has heard the code, or another one."""
        visit = self._sessions.checked(request, csrf)
        if self._own(visit, call):
            (self._checks.hear if heard == "yes" else self._checks.dispute)(call)
        return RedirectResponse(_HERE, 303)

    def _live(self, request: Request, visit: Visit) -> Part:
        call = self._checks.of_account(visit.session.subject)
        view = self._checks.customer_view(call) if call else None
        state = f"{call.call_id}.{view.status}.{call.attempts}.{bool(call.representative)}" if call and view else "none"
        return state, part(request, "calls/customer_live.html", view=view, csrf=visit.csrf)

    def _own(self, visit: Visit, call_id: str) -> Call | None:
        """Return the check of a form, if it is this customer's: never a later one than the page has shown."""
        call = self._checks.get(call_id)
        return call if call and call.account_id == visit.session.subject else None
