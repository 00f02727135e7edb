"""The audit log: search, and verification of its chain."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from access.audit import Audit, show, verify
from access.audit.read import Verification
from console.guard import looked
from console.view import page
from vedette.errors import InputError
from vedette.settings import AuditSettings

_SHOWN = 200


class AuditPages:
    """The pages under /audit.

    Args:
        settings: Where the log is.
        audit: The open log.
    """

    def __init__(self, settings: AuditSettings, audit: Audit) -> None:
        self._settings, self._audit = settings, audit

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter()
        router.get("/audit")(self.search)
        router.post("/audit/verify")(self.verify)
        return router

    def search(self, request: Request, event: str = "", subject: str = "", actor: str = "") -> HTMLResponse:
        """Show the latest records that match."""
        return self._page(request, event.strip(), subject.strip(), actor.strip())

    def verify(self, request: Request) -> HTMLResponse:
        """Check every record and the chain."""
        looked(self._audit, request, "audit:verification")
        self._audit.sync()
        try:
            result = verify(self._settings)
        except InputError as error:
            result = Verification(ok=False, records=0, head="", reason=str(error))
        return self._page(request, "", "", "", result)

    def _page(
        self, request: Request, event: str, subject: str, actor: str, result: Verification | None = None
    ) -> HTMLResponse:
        looked(self._audit, request, "audit:records", {"event": event, "subject": subject, "actor": actor})
        records = show(self._settings, last=_SHOWN, event=event, subject=subject, actor=actor)
        return page(
            request, "audit.html", records=records[::-1], event=event, subject=subject, actor=actor, result=result,
            shown=_SHOWN,
        )  # fmt: skip
