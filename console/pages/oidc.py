"""Sign-in by the institution's identity provider, and proving there once more that it is oneself."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from access.ports import AuditSink, CallLimiter
from console.accounts.identity_provider import CALLBACK, IdentityProvider, NotIdentifiedError, ProviderIdentity
from console.accounts.one_time import LIFETIME, OneTimeTokens
from console.accounts.staff_sessions import StaffSessions
from console.accounts.users import Users
from console.guard import local_path, visit_of
from console.pages.sign_in import count_try
from console.roles import StaffRole
from console.view import page, refusal
from vedette.clock import SECOND, Clock
from vedette.errors import SettingsError

_PURPOSE = "oidc"

Next = Annotated[str, Query(max_length=2048)]


class OidcPages:
    """The pages of the sign-in by the identity provider.

    Args:
        provider: The provider; None: there is none, and nothing is found under these addresses.
        roles: Role by group; of several groups the first one here counts.
        tokens: Keep what was begun, in the browser.
        users: The accounts.
        sessions: The sessions.
        limiter: Counts tries of an address.
        audit: The audit log.
        clock: The clock.
    """

    def __init__(
        self, provider: IdentityProvider | None, roles: Mapping[str, StaffRole], tokens: OneTimeTokens, users: Users,
        sessions: StaffSessions, limiter: CallLimiter, audit: AuditSink, clock: Clock,
    ) -> None:  # fmt: skip
        self._provider, self._roles, self._tokens = provider, roles, tokens
        self._users, self._sessions, self._limiter = users, sessions, limiter
        self._audit, self._clock = audit, clock

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter()
        router.get("/sign-in/oidc")(self.begin)
        router.get(CALLBACK)(self.finish)
        router.get("/me/confirm/oidc")(self.confirm)
        return router

    def begin(self, request: Request, next: Next = "/") -> Response:  # noqa: A002, its name in URLs
        """Send the browser to the provider."""
        return self._leave(request, {"next": local_path(next)}, fresh=False)

    def confirm(self, request: Request) -> Response:
        """Send the browser to the provider, which asks for the password again whoever is signed in there."""
        visit = visit_of(request)
        if not visit.user.identity:
            return refusal(request, 404)
        return self._leave(request, {"session": visit.session}, fresh=True)

    def finish(self, request: Request) -> Response:
        """Take the browser back: begin a session, or confirm the one that there is."""
        if self._provider is None:
            return refusal(request, 404)
        count_try(self._limiter, request, self._clock.now_ms())
        kept = self._tokens.use(_PURPOSE, request.cookies.get(self._cookie(request), ""))
        if kept is None:
            return self._refused(request, "the browser has begun no sign-in, or another one since", "oidc_again")
        try:
            identity = self._provider.finish(kept, dict(request.query_params))
        except NotIdentifiedError as error:
            return self._refused(request, str(error), "oidc_failed")
        response = self._confirmed(request, kept["session"], identity) if "session" in kept else None
        response = response or self._signed_in(request, kept.get("next", "/"), identity)
        response.delete_cookie(self._cookie(request), path="/", secure=request.app.state.secure, httponly=True)
        return response

    def _leave(self, request: Request, data: dict[str, str], *, fresh: bool) -> Response:
        if self._provider is None:
            return refusal(request, 404)
        count_try(self._limiter, request, self._clock.now_ms())
        url, kept = self._provider.begin(fresh=fresh)
        response = RedirectResponse(url, 303)
        # Lax: the provider's pages send the browser back by a link of another site.
        response.set_cookie(
            self._cookie(request), self._tokens.make(_PURPOSE, kept | data), max_age=LIFETIME // SECOND, path="/",
            httponly=True, samesite="lax", secure=request.app.state.secure,
        )  # fmt: skip
        return response

    def _signed_in(self, request: Request, wanted: str, identity: ProviderIdentity) -> Response:
        role = next((role for group, role in self._roles.items() if group in identity.groups), None)
        if role is None:
            self._users.revoke(identity.key)
            return self._refused(request, "none of the groups has a role", "oidc_no_role", identity)
        user = self._users.provision(identity.key, identity.name, role)
        if user is None:
            return self._refused(request, "the account is disabled", "oidc_disabled", identity)
        details = {"address": _address(request), "by": "identity provider", "role": role.value}
        self._audit.record("console.signed-in", f"user:{user.name}", details, actor=user.name)
        response = RedirectResponse(local_path(wanted), 303)
        self._sessions.start(request, response, user, min(identity.authenticated_at, self._clock.now_ms()))
        return response

    def _confirmed(self, request: Request, session: str, identity: ProviderIdentity) -> Response:
        visit = visit_of(request)
        if visit.session != session or visit.user.identity != identity.key:
            return self._refused(request, "somebody else has confirmed", "oidc_failed", identity)
        self._audit.record("console.confirmed", f"user:{visit.user.name}", {}, actor=visit.user.name)
        self._sessions.prove(visit)
        return RedirectResponse("/me/confirm", 303)

    def _refused(
        self, request: Request, reason: str, key: str, identity: ProviderIdentity | None = None
    ) -> HTMLResponse:
        details = {"address": _address(request), "by": "identity provider", "reason": reason}
        name = identity.name if identity else "unknown"
        self._audit.record("console.sign-in-refused", f"user:{name}", details, actor="unknown")
        status = 400 if identity is None else 403
        return page(request, "oidc_refused.html", status, key=key, name=identity.name if identity else "")

    @staticmethod
    def _cookie(request: Request) -> str:
        return "__Host-console-oidc" if request.app.state.secure else "console-oidc"


def roles_of(groups: Mapping[str, str]) -> dict[str, StaffRole]:
    """Return the role of each group of the settings.

    Raises:
        SettingsError: There is none, or a role that does not exist.
    """
    unknown = sorted({*groups.values()} - {*StaffRole})
    if unknown or not groups:
        problem = f"there is no role {unknown[0]!r}" if unknown else "no group has a role, so nobody could sign in"
        raise SettingsError(f"[oidc] groups: {problem}", remedy=f"roles are {', '.join(StaffRole)}")
    return {group: StaffRole(role) for group, role in groups.items()}


def _address(request: Request) -> str:
    return request.client.host if request.client else ""
