"""Confirming that it is oneself, on a page of its own, for steps that other pages ask about."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from access.ports import AuditSink
from console.guard import visit_of
from console.step_up import StepUp
from console.view import page

Field = Annotated[str, Form(max_length=256)]


class ConfirmPages:
    """The page /me/confirm.

    Args:
        step_up: Checks codes.
        audit: The audit log.
    """

    def __init__(self, step_up: StepUp, audit: AuditSink) -> None:
        self._step_up, self._audit = step_up, audit

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter()
        router.get("/me/confirm")(self.show)
        router.post("/me/confirm")(self.confirm)
        return router

    def show(self, request: Request) -> HTMLResponse:
        """Show the ways to confirm, or that it is done."""
        return self._page(request)

    def confirm(self, request: Request, code: Field = "") -> Response:
        """Take a code of the app."""
        visit = visit_of(request)
        if not self._step_up.passed(visit, code):
            return self._page(request, self._step_up.wrong(visit))
        self._audit.record("console.confirmed", f"user:{visit.user.name}", {}, actor=visit.user.name)
        return RedirectResponse("/me/confirm", 303)

    def _page(self, request: Request, wrong: str = "") -> HTMLResponse:
        needed = self._step_up.needed(visit_of(request))
        return page(request, "confirm.html", 422 if wrong else 200, needed=needed, wrong=wrong)
