"""The representative's pages of call checks, behind a sign-in with their own credential."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Header, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from alerts.access import Guard, Scope
from alerts.mfa.calls.checks import BusyError, Checks
from alerts.mfa.calls.engine import Call
from alerts.mfa.calls.stream import Part, follow
from alerts.mfa.limits import Limiter
from alerts.mfa.pages import throttle
from alerts.mfa.sessions import Session, Sessions, Visit
from alerts.mfa.view import page, part

_HERE = "/desk"
_NOTICES = ("invited", "not_invited")

Field = Annotated[str, Form(max_length=128)]


def desk_router(checks: Checks, guard: Guard, sessions: Sessions, limiter: Limiter) -> APIRouter:
    """The pages under /desk."""
    router = APIRouter(include_in_schema=False)
    throttled = [Depends(throttle(limiter, checks.clock))]

    def visit_of(request: Request) -> Visit | None:
        """The session, if its credential may still check calls."""
        visit = sessions.of(request)
        credential = guard.credentials.by_id(visit.session.subject) if visit else None
        if visit is None or credential is None:
            return None
        guard.demand(request, credential, frozenset(credential.scopes), Scope.CALLS_CHECK)
        return visit

    def mine(visit: Visit, call_id: str) -> Call:
        call = checks.get(call_id)
        if call is None or call.representative != visit.session.subject:
            raise HTTPException(404, "there is no such call check")
        return call

    def live(request: Request, visit: Visit, call_id: str) -> Part:
        call = mine(visit, call_id)
        view = checks.desk_view(call, visit.session.subject)
        state = f"{call.call_id}.{view.status}.{call.attempts}"
        return state, part(request, "calls/desk_live.html", view=view, csrf=visit.csrf)

    @router.get(_HERE)
    def start_page(request: Request) -> HTMLResponse:
        visit = visit_of(request)
        if visit is None:
            return page(request, "calls/sign_in.html", refused=False)
        return page(request, "calls/desk_start.html", csrf=visit.csrf, busy=False)

    @router.post("/desk/sign-in", dependencies=throttled, response_model=None)
    def sign_in(request: Request, key: Field) -> Response:
        credential = guard.credentials.by_api_key(key.strip())
        if credential is None:
            guard.refuse(request, "no such key")
            return page(request, "calls/sign_in.html", 401, refused=True)
        guard.demand(request, credential, frozenset(credential.scopes), Scope.CALLS_CHECK)
        response = RedirectResponse(_HERE, 303)
        sessions.start(response, Session(subject=credential.id, proven=True))
        return response

    @router.post("/desk/sign-out")
    def sign_out(request: Request, csrf: Field) -> RedirectResponse:
        sessions.end(sessions.check(sessions.of(request), csrf))
        return RedirectResponse(_HERE, 303)

    @router.post("/desk/calls", dependencies=throttled, response_model=None)
    def start(request: Request, csrf: Field, account: Annotated[str, Form(min_length=1, max_length=64)]) -> Response:
        visit = sessions.check(visit_of(request), csrf)
        try:
            call = checks.start(account.strip(), visit.session.subject)
        except BusyError:
            return page(request, "calls/desk_start.html", 409, csrf=visit.csrf, busy=True)
        return RedirectResponse(f"/desk/calls/{call.call_id}", 303)

    @router.get("/desk/calls/{call_id}", response_model=None)
    def show(request: Request, call_id: str, notice: str = "") -> Response:
        visit = visit_of(request)
        if visit is None:
            return RedirectResponse(_HERE, 303)
        state, html = live(request, visit, call_id)
        return page(
            request, "calls/desk.html", state=state, live=html, call_id=call_id,
            account=mine(visit, call_id).account_id, notice=notice if notice in _NOTICES else "",
        )  # fmt: skip

    @router.get("/desk/calls/{call_id}/events", response_model=None)
    def events(
        request: Request, call_id: str, seen: str = "", last_event_id: Annotated[str, Header()] = ""
    ) -> Response:
        visit = visit_of(request)
        if visit is None:
            return Response(status_code=204)  # tells the browser to stop asking
        mine(visit, call_id)
        return follow(lambda: live(request, visit, call_id), last_event_id or seen)

    @router.post("/desk/calls/{call_id}/code", dependencies=throttled)
    def judge(request: Request, call_id: str, csrf: Field, code: Field) -> RedirectResponse:
        visit = sessions.check(visit_of(request), csrf)
        checks.judge(mine(visit, call_id).call_id, visit.session.subject, code)
        return RedirectResponse(f"/desk/calls/{call_id}", 303)

    @router.post("/desk/calls/{call_id}/invite", dependencies=throttled)
    def invite(request: Request, call_id: str, csrf: Field) -> RedirectResponse:
        visit = sessions.check(visit_of(request), csrf)
        notice = "invited" if checks.invite(mine(visit, call_id)) else "not_invited"
        return RedirectResponse(f"/desk/calls/{call_id}?notice={notice}", 303)

    @router.post("/desk/calls/{call_id}/end", dependencies=throttled)
    def end(request: Request, call_id: str, csrf: Field) -> RedirectResponse:
        visit = sessions.check(visit_of(request), csrf)
        checks.cancel(mine(visit, call_id).call_id, visit.session.subject)
        return RedirectResponse(f"/desk/calls/{call_id}", 303)

    return router
