"""A person's own page: language, theme, signing out everywhere; and the table of roles."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from access.ports import AuditSink
from console.accounts.users import Users
from console.guard import local_path, visit_of
from console.roles import PERMISSIONS, Permission, StaffRole
from console.view import LANGUAGE_COOKIE, LOCALES, THEME_COOKIE, THEMES, page

_YEAR_S = 31_536_000


class OwnPages:
    """The pages under /me, and /roles.

    Args:
        users: The accounts.
        audit: The audit log.
    """

    def __init__(self, users: Users, audit: AuditSink) -> None:
        self._users, self._audit = users, audit

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter()
        router.get("/me")(self.show)
        router.post("/me/preferences")(self.prefer)
        router.post("/me/sign-out-everywhere")(self.sign_out_everywhere)
        router.get("/roles")(self.roles)
        return router

    def show(self, request: Request) -> HTMLResponse:
        """Show the page."""
        return page(request, "me.html", languages=sorted(LOCALES.languages), themes=THEMES)

    def prefer(
        self,
        request: Request,
        language: Annotated[str, Form(max_length=8)] = "",
        theme: Annotated[str, Form(max_length=8)] = "",
        next: Annotated[str, Form(max_length=2048)] = "/me",  # noqa: A002, its name in URLs
    ) -> RedirectResponse:
        """Keep language and theme in the browser."""
        response = RedirectResponse(local_path(next), 303)
        secure = request.app.state.secure
        chosen = ((LANGUAGE_COOKIE, language, LOCALES.languages), (THEME_COOKIE, theme, THEMES))
        for name, value, known in chosen:
            if value in known:
                response.set_cookie(name, value, max_age=_YEAR_S, httponly=True, samesite="lax", secure=secure)
        return response

    def sign_out_everywhere(self, request: Request) -> RedirectResponse:
        """End all sessions of the person, this one too."""
        user = visit_of(request).user
        self._audit.record("console.signed-out-everywhere", f"user:{user.name}", {}, actor=user.name)
        self._users.end_sessions(user)
        return RedirectResponse("/sign-in", 303)

    def roles(self, request: Request) -> HTMLResponse:
        """Show which role may do what."""
        return page(request, "roles.html", roles=list(StaffRole), permissions=list(Permission), table=PERMISSIONS)
