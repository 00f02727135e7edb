"""The representative's pages of call checks, after a sign-in with a personal credential."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Header, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from access.guard import Authorizer
from access.rate_limit import RateLimiter
from access.roles import Scope
from adapters.event_streams import EventStreams, Part
from challenges.calls.checks import BusyError, CallChecks
from challenges.calls.state_machine import Call
from challenges.pages import throttle
from challenges.sessions import Session, Sessions, Visit
from challenges.view import page, part

_HERE = "/desk"
_NOTICES = ("invited", "not_invited")

Field = Annotated[str, Form(max_length=128)]
AccountField = Annotated[str, Form(pattern=r"^[^\x00-\x1f\x7f]{1,64}$")]


class DeskPages:
    """The pages under /desk.

    Args:
        checks: The call checks.
        authorizer: Authorizer of the representatives' credentials.
        sessions: Sessions of the desk.
        limiter: Counts the posts of an address.
        streams: Event streams of the pages.
    """

    def __init__(
        self, checks: CallChecks, authorizer: Authorizer, sessions: Sessions, limiter: RateLimiter,
        streams: EventStreams,
    ) -> None:  # fmt: skip
        self._checks, self._authorizer, self._sessions = checks, authorizer, sessions
        self._limiter, self._streams = limiter, streams

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(include_in_schema=False)
        throttled = [Depends(throttle(self._limiter, self._checks.clock))]
        router.get(_HERE)(self.show_start)
        router.post("/desk/sign-in", dependencies=throttled, response_model=None)(self.sign_in)
        router.post("/desk/sign-out")(self.sign_out)
        router.post("/desk/calls", dependencies=throttled, response_model=None)(self.start)
        router.get("/desk/calls/{call_id}", response_model=None)(self.show)
        router.get("/desk/calls/{call_id}/events", response_model=None)(self.events)
        router.post("/desk/calls/{call_id}/code", dependencies=throttled)(self.check_code)
        router.post("/desk/calls/{call_id}/invite", dependencies=throttled)(self.invite)
        router.post("/desk/calls/{call_id}/end", dependencies=throttled)(self.end)
        return router

    def show_start(self, request: Request) -> HTMLResponse:
        """Show the form for a new check, or the sign-in."""
        visit = self._visit(request)
        if visit is None:
            return page(request, "calls/sign_in.html", refused=False)
        return page(request, "calls/desk_start.html", csrf=visit.csrf, busy=False)

    def sign_in(self, request: Request, key: Field) -> Response:
        """Begin a session with a credential."""
        credential = self._authorizer.credentials.by_api_key(key.strip())
        if credential is None:
            refused = self._authorizer.refuse(request, "no such key")
            if refused.status_code != 401:
                raise refused
            return page(request, "calls/sign_in.html", 401, refused=True)
        self._authorizer.demand(request, credential, frozenset(credential.scopes), Scope.CALLS_CHECK)
        response = RedirectResponse(_HERE, 303)
        self._sessions.start(response, Session(subject=credential.id, proven=True))
        return response

    def sign_out(self, request: Request, csrf: Field) -> RedirectResponse:
        """End the session."""
        self._sessions.end(self._sessions.checked(request, csrf))
        return RedirectResponse(_HERE, 303)

    def start(self, request: Request, csrf: Field, account: AccountField) -> Response:
        """Start a check, or take the one that the customer has started."""
        visit = self._checked(request, csrf)
        try:
            call = self._checks.start(account.strip(), visit.session.subject)
        except BusyError:
            return page(request, "calls/desk_start.html", 409, csrf=visit.csrf, busy=True)
        return RedirectResponse(f"/desk/calls/{call.call_id}", 303)

    def show(self, request: Request, call_id: str, notice: str = "") -> Response:
        """Show a check."""
        visit = self._visit(request)
        if visit is None:
            return RedirectResponse(_HERE, 303)
        state, html = self._live(request, visit, call_id)
        return page(
            request, "calls/desk.html", state=state, live=html, call_id=call_id,
            account=self._own(visit, call_id).account_id, notice=notice if notice in _NOTICES else "",
        )  # fmt: skip

    def events(
        self, request: Request, call_id: str, seen: str = "", last_event_id: Annotated[str, Header()] = ""
    ) -> Response:
        """Follow a check."""
        visit = self._visit(request)
        if visit is None:
            return Response(status_code=204)  # tells the browser to stop asking
        self._own(visit, call_id)

        def read() -> Part | None:
            still = self._sessions.of(request)  # the session may have ended since the stream began
            return self._live(request, still, call_id) if still else None

        return self._streams.follow(visit.token, read, last_event_id or seen)

    def check_code(self, request: Request, call_id: str, csrf: Field, code: Field) -> RedirectResponse:
        """Take the code that the customer reads out."""
        visit = self._checked(request, csrf)
        self._checks.check_code(self._own(visit, call_id).call_id, visit.session.subject, code)
        return RedirectResponse(f"/desk/calls/{call_id}", 303)

    def invite(self, request: Request, call_id: str, csrf: Field) -> RedirectResponse:
        """Send the customer the link to their page."""
        visit = self._checked(request, csrf)
        notice = "invited" if self._checks.invite(self._own(visit, call_id)) else "not_invited"
        return RedirectResponse(f"/desk/calls/{call_id}?notice={notice}", 303)

    def end(self, request: Request, call_id: str, csrf: Field) -> RedirectResponse:
        """End a check."""
        visit = self._checked(request, csrf)
        self._checks.cancel(self._own(visit, call_id).call_id, visit.session.subject)
        return RedirectResponse(f"/desk/calls/{call_id}", 303)

    def _visit(self, request: Request) -> Visit | None:
        """Return the session, if its credential may still check calls; each use is recorded."""
        visit = self._sessions.of(request)
        credential = self._authorizer.credentials.by_id(visit.session.subject) if visit else None
        if visit is None or credential is None:
            return None
        self._authorizer.demand(request, credential, frozenset(credential.scopes), Scope.CALLS_CHECK)
        return visit

    def _checked(self, request: Request, csrf: str) -> Visit:
        visit = self._sessions.checked(request, csrf)
        if self._visit(request) is None:
            raise HTTPException(403, "this form has expired")
        return visit

    def _own(self, visit: Visit, call_id: str) -> Call:
        call = self._checks.get(call_id)
        if call is None or call.representative != visit.session.subject:
            raise HTTPException(404, "there is no such call check")
        return call

    def _live(self, request: Request, visit: Visit, call_id: str) -> Part:
        call = self._own(visit, call_id)
        view = self._checks.desk_view(call, visit.session.subject)
        state = f"{call.call_id}.{view.status}.{call.attempts}"
        return state, part(request, "calls/desk_live.html", view=view, csrf=visit.csrf)
