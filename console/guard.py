"""The guard of every route: who asks, whether they may, and whether a form is of a page of theirs."""

from collections.abc import Mapping
from urllib.parse import quote

from fastapi import HTTPException, Request
from starlette.concurrency import run_in_threadpool

from access.ports import AuditSink
from console.accounts.staff_sessions import StaffSessions, StaffVisit, fits_csrf
from console.routes import ROUTES, Access

CSRF_FIELD, CSRF_HEADER = "csrf", "x-csrf-token"


class SignInNeededError(Exception):
    """The visitor is not signed in, or no longer."""


class ConsoleGuard:
    """A dependency of all routes, see `routes.ROUTES`.

    Args:
        sessions: The sessions.
        audit: The audit log.
    """

    def __init__(self, sessions: StaffSessions, audit: AuditSink) -> None:
        self._sessions, self._audit = sessions, audit

    async def __call__(self, request: Request) -> None:
        """Admit a request: `request.state.visit` is its visit, None on a public page without a session.

        Raises:
            SignInNeededError: It needs a session.
            HTTPException: 403, the role lacks the permission, or the form is not of this session.
        """
        access = access_of(request)
        visit = await run_in_threadpool(self._sessions.of, request, touch=not access.background)
        request.state.visit = visit
        if access.public:
            return
        if visit is None:
            raise SignInNeededError
        if access.permission and not visit.user.may(access.permission):
            details = {"missing": access.permission.value}
            self._audit.record("console.refused", f"route:{_path(request)}", details, actor=visit.user.name)
            raise HTTPException(403, "not allowed")
        if request.method != "GET" and not fits_csrf(visit, await _csrf(request)):
            raise HTTPException(403, "form expired")


def access_of(request: Request) -> Access:
    """Return what the route of a request requires."""
    return ROUTES[request.method, _path(request)]


def visit_of(request: Request) -> StaffVisit:
    """Return the visit of a request that the guard has admitted."""
    visit: StaffVisit | None = request.state.visit
    if visit is None:
        raise SignInNeededError
    return visit


def looked(audit: AuditSink, request: Request, subject: str, details: Mapping[str, str] | None = None) -> None:
    """Record that somebody looks at personal data, before it is shown."""
    audit.record("console.looked", subject, details or {}, actor=visit_of(request).user.name)


def local_path(wanted: str) -> str:
    """Return a path of this site to continue at; `/` for anything else, such as another site."""
    plain = wanted.isprintable() and "\\" not in wanted
    return wanted if plain and wanted.startswith("/") and not wanted.startswith("//") else "/"


def sign_in_path(request: Request) -> str:
    """Return the path of the sign-in that comes back to the page of a request."""
    if request.method != "GET" or request.headers.get("hx-request"):
        return "/sign-in"
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return "/sign-in" if wanted == "/" else f"/sign-in?next={quote(wanted, safe='')}"


async def _csrf(request: Request) -> str:
    if header := request.headers.get(CSRF_HEADER, ""):
        return header
    value = (await request.form()).get(CSRF_FIELD, "")
    return value if isinstance(value, str) else ""


def _path(request: Request) -> str:
    return str(request.scope["route"].path)
