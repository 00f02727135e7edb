"""The customer's page of call checks. GET never changes anything."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Header, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from alerts.mfa.calls.checks import BusyError, Checks
from alerts.mfa.calls.engine import Call
from alerts.mfa.calls.stream import Part, follow
from alerts.mfa.limits import Limiter
from alerts.mfa.pages import throttle
from alerts.mfa.sessions import Session, Sessions, Visit
from alerts.mfa.view import page, part, refusal

_HERE = "/call"

Field = Annotated[str, Form(max_length=128)]


def customer_router(checks: Checks, sessions: Sessions, limiter: Limiter) -> APIRouter:
    """The pages under /call, for whom a link has let in."""
    router = APIRouter(include_in_schema=False)
    throttled = [Depends(throttle(limiter, checks.clock))]

    def live(request: Request, visit: Visit) -> Part:
        call = checks.of_account(visit.session.subject)
        view = checks.customer_view(call) if call else None
        state = f"{call.call_id}.{view.status}.{call.attempts}.{bool(call.representative)}" if call and view else "none"
        return state, part(request, "calls/customer_live.html", view=view, csrf=visit.csrf)

    def mine(visit: Visit, call_id: str) -> Call | None:
        """The check a form is about, if it is this customer's: never a later one than the page has shown."""
        call = checks.get(call_id)
        return call if call and call.account_id == visit.session.subject else None

    @router.get("/call/link/{token}")
    def offer(request: Request, token: str) -> HTMLResponse:
        del token  # whether it is good is not said before it is used
        return page(request, "open.html", what="open_call")

    @router.post("/call/link/{token}", dependencies=throttled, response_model=None)
    def open_(request: Request, token: str) -> Response:
        account_id = checks.follow(token)
        if account_id is None:
            return refusal(request, 404)
        response = RedirectResponse(_HERE, 303)
        sessions.start(response, Session(subject=account_id))
        return response

    @router.get(_HERE)
    def show(request: Request, notice: str = "") -> HTMLResponse:
        visit = sessions.of(request)
        if visit is None:
            return refusal(request, 404)
        state, html = live(request, visit)
        busy = notice == "busy"
        return page(request, "calls/customer.html", state=state, live=html, busy=busy)

    @router.get("/call/events", response_model=None)
    def events(request: Request, seen: str = "", last_event_id: Annotated[str, Header()] = "") -> Response:
        visit = sessions.of(request)
        if visit is None:
            return Response(status_code=204)  # tells the browser to stop asking
        return follow(lambda: live(request, visit), last_event_id or seen)

    @router.post("/call/start", dependencies=throttled)
    def start(request: Request, csrf: Field) -> RedirectResponse:
        visit = sessions.check(sessions.of(request), csrf)
        try:
            checks.start_by_customer(visit.session.subject)
        except BusyError:
            return RedirectResponse(f"{_HERE}?notice=busy", 303)
        return RedirectResponse(_HERE, 303)

    @router.post("/call/answer", dependencies=throttled)
    def answer(request: Request, csrf: Field, call: Field, heard: Field) -> RedirectResponse:
        visit = sessions.check(sessions.of(request), csrf)
        if mine(visit, call):
            (checks.hear if heard == "yes" else checks.dispute)(call)
        return RedirectResponse(_HERE, 303)

    return router
