"""Users: invite, change nothing silently, disable."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse

from access.ports import AuditSink
from console.accounts.users import Users, invitation_link
from console.guard import visit_of
from console.roles import StaffRole
from console.view import page
from vedette.errors import InputError

Field = Annotated[str, Form(max_length=64)]


class UserPages:
    """The pages under /users.

    Args:
        users: The accounts.
        audit: The audit log.
        public_url: Public URL of the console, for links of invitations.
    """

    def __init__(self, users: Users, audit: AuditSink, public_url: str) -> None:
        self._users, self._audit, self._public_url = users, audit, public_url

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter()
        router.get("/users")(self.show)
        router.post("/users")(self.add)
        router.post("/users/{name}/invite")(self.invite)
        router.post("/users/{name}/disable")(self.disable)
        router.post("/users/{name}/enable")(self.enable)
        return router

    def show(self, request: Request) -> HTMLResponse:
        """Show all users."""
        return self._page(request)

    def add(self, request: Request, name: Field = "", role: Field = "") -> HTMLResponse:
        """Create a user and show the link of the invitation, once."""
        name = name.strip().lower()
        if role not in list(StaffRole):
            return self._page(request, 422, wrong="user_wrong")
        self._record(request, "console.user-added", name, {"role": role})
        try:
            token = self._users.add(name, StaffRole(role))
        except InputError:
            return self._page(request, 422, wrong="user_wrong")
        return self._page(request, link=invitation_link(self._public_url, token), name=name)

    def invite(self, request: Request, name: str) -> HTMLResponse:
        """Void password and authenticator of a user, and show the link of a new invitation, once."""
        self._record(request, "console.user-invited", name, {})
        token = self._users.invite(name)
        return self._page(request, link=invitation_link(self._public_url, token), name=name)

    def disable(self, request: Request, name: str) -> HTMLResponse:
        """Disable a user; nobody disables themselves."""
        if name == visit_of(request).user.name:
            return self._page(request, 422, wrong="user_self")
        self._record(request, "console.user-disabled", name, {})
        self._users.disable(name)
        return self._page(request)

    def enable(self, request: Request, name: str) -> HTMLResponse:
        """Let a user of the identity provider in again."""
        self._record(request, "console.user-enabled", name, {})
        self._users.enable(name)
        return self._page(request)

    def _record(self, request: Request, event: str, name: str, details: dict[str, str]) -> None:
        self._audit.record(event, f"user:{name}", details, actor=visit_of(request).user.name)

    def _page(
        self, request: Request, status: int = 200, *, wrong: str = "", link: str = "", name: str = ""
    ) -> HTMLResponse:
        return page(
            request, "users.html", status, users=self._users.all(), roles=list(StaffRole), wrong=wrong, link=link,
            invited=name,
        )  # fmt: skip
