"""Sign-in, sign-out and invitations."""

from typing import Annotated

import segno
from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from access.ports import AuditSink, CallLimiter
from access.rate_limit import RateLimit, network_of
from challenges.codes import otpauth_uri
from console.accounts.identity_provider import IdentityProvider
from console.accounts.staff_sessions import StaffSessions
from console.accounts.users import User, Users
from console.guard import local_path, visit_of
from console.roles import Permission
from console.view import page, refusal
from vedette.clock import MINUTE, Clock
from vedette.errors import InputError

TRIES = RateLimit("sign-in", 20, MINUTE)
"""Limit on sign-ins and invitations from one address."""

Field = Annotated[str, Form(max_length=256)]


class SignInPages:
    """The pages for people who are not signed in.

    Args:
        users: The accounts.
        sessions: The sessions.
        limiter: Counts tries of an address.
        audit: The audit log.
        clock: The clock.
        name: Name of the institution, for authenticator apps.
        provider: The identity provider, if there is one.
    """

    def __init__(
        self, users: Users, sessions: StaffSessions, limiter: CallLimiter, audit: AuditSink, clock: Clock, name: str,
        provider: IdentityProvider | None = None,
    ) -> None:  # fmt: skip
        self._provider = provider
        self._users, self._sessions, self._limiter = users, sessions, limiter
        self._audit, self._clock, self._name = audit, clock, name

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter()
        router.get("/sign-in")(self.show)
        router.post("/sign-in")(self.sign_in)
        router.post("/sign-out")(self.sign_out)
        router.get("/invitation/{token}")(self.invited)
        router.post("/invitation/{token}")(self.accept)
        router.get("/")(self.home)
        return router

    def show(self, request: Request, next: str = "/") -> Response:  # noqa: A002, its name in URLs
        """Show the form."""
        if request.state.visit:
            return RedirectResponse(local_path(next), 303)
        return self._form(request, next)

    def sign_in(
        self, request: Request, name: Field = "", password: Field = "", code: Field = "", next: Field = "/"  # noqa: A002
    ) -> Response:  # fmt: skip
        """Check name, password and code together; the answer does not say which of them was wrong."""
        count_try(self._limiter, request, self._clock.now_ms())
        user = self._users.sign_in(name.strip().lower(), password, code)
        address = request.client.host if request.client else ""
        if user is None:
            self._audit.record("console.sign-in-refused", f"user:{name[:64]}", {"address": address}, actor="unknown")
            return self._form(request, next, 422, name)
        self._audit.record("console.signed-in", f"user:{user.name}", {"address": address}, actor=user.name)
        response = RedirectResponse(local_path(next), 303)
        self._sessions.start(request, response, user)
        return response

    def sign_out(self, request: Request) -> RedirectResponse:
        """End the session."""
        visit = visit_of(request)
        self._audit.record("console.signed-out", f"user:{visit.user.name}", {}, actor=visit.user.name)
        response = RedirectResponse("/sign-in?out=provider" if visit.user.identity else "/sign-in", 303)
        self._sessions.end(visit, response)
        return response

    def home(self, request: Request) -> RedirectResponse:
        """Continue with the first page that the role may open."""
        user = visit_of(request).user
        places = {
            Permission.INCIDENTS_READ: "/queue",
            Permission.LIVE_READ: "/live",
            Permission.PAYMENTS_READ: "/find",
            Permission.USERS_READ: "/users",
        }
        return RedirectResponse(next((path for needed, path in places.items() if user.may(needed)), "/roles"), 303)

    def invited(self, request: Request, token: str) -> HTMLResponse:
        """Show an invitation with the secret for the authenticator app."""
        return self._invitation(request, token)

    def accept(
        self, request: Request, token: str, password: Field = "", again: Field = "", code: Field = ""
    ) -> Response:
        """Set password and authenticator, and sign in."""
        count_try(self._limiter, request, self._clock.now_ms())
        if user := self._users.follow(token):
            self._audit.record("console.link-followed", f"user:{user.name}", {}, actor=user.name)
            return self._begin(request, user, proven_at=0)
        if password != again:
            return self._invitation(request, token, "passwords_differ")
        try:
            user = self._users.accept(token, password, code)
        except InputError:
            return self._invitation(request, token, "password_weak")
        if user is None:
            return self._invitation(request, token, "code_wrong")
        self._audit.record("console.invitation-accepted", f"user:{user.name}", {}, actor=user.name)
        return self._begin(request, user)

    def _form(self, request: Request, wanted: str, status: int = 200, name: str = "") -> HTMLResponse:
        out = request.query_params.get("out", "") == "provider" and self._provider is not None
        return page(
            request, "sign_in.html", status, next=local_path(wanted), wrong=status != 200, name=name,
            provider=self._provider.name if self._provider else "",
            sign_out_url=self._provider.sign_out_url() if out and self._provider else "",
        )  # fmt: skip

    def _begin(self, request: Request, user: User, proven_at: int | None = None) -> RedirectResponse:
        response = RedirectResponse("/", 303)
        self._sessions.start(request, response, user, proven_at)
        return response

    def _invitation(self, request: Request, token: str, wrong: str = "") -> HTMLResponse:
        found = self._users.invitation(token)
        if found is None:
            return refusal(request, 404)
        if not found.secret:
            return page(request, "sign_in_link.html", user=found.user)
        uri = otpauth_uri(found.secret, found.user.name, f"{self._name} console")
        return page(
            request, "invitation.html", 422 if wrong else 200, wrong=wrong, user=found.user,
            picture=segno.make(uri, error="m").svg_data_uri(scale=4, border=2),
            secret=uri.partition("secret=")[2].partition("&")[0],
        )  # fmt: skip


def count_try(limiter: CallLimiter, request: Request, now: int) -> None:
    """Count a try of an address.

    Raises:
        HTTPException: 429, there were too many.
    """
    address = request.client.host if request.client else ""
    if wait := limiter.wait_ms(TRIES, network_of(address), now):
        raise HTTPException(429, "too often", {"Retry-After": str(-(-wait // 1000))})
