"""Prove: a decision made again from the archived events before it, and the chain of the audit log."""

from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from access.audit import Audit, verify
from access.audit.read import Verification
from console.computed import FigureJobs
from console.guard import looked, visit_of
from console.proofs import KIND
from console.roles import Permission
from console.view import page
from vedette.errors import InputError
from vedette.settings import AuditSettings

_LONGEST = 128


class ProofPages:
    """The parts of pages under /proofs.

    Args:
        jobs: Proofs, made in a process of their own.
        settings: Where the audit log is.
        audit: The open log.
    """

    def __init__(self, jobs: FigureJobs, settings: AuditSettings, audit: Audit) -> None:
        self._jobs, self._settings, self._audit = jobs, settings, audit

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter()
        router.get("/proofs/{transaction:path}")(self.show)
        router.post("/proofs/{transaction:path}")(self.prove)
        return router

    def show(self, request: Request, transaction: str) -> HTMLResponse:
        """Show the proof as far as it is; the page of the payment follows it by itself."""
        wanted = _id(transaction)
        figures = self._jobs.of(KIND, wanted)
        chain = None
        if figures.state == "done":
            looked(self._audit, request, f"transaction:{wanted}", {"proof": "1"})
            if visit_of(request).user.may(Permission.AUDIT_READ):
                chain = self._chain()
        return page(request, "proof.html", transaction=wanted, figures=figures, chain=chain, shown=_shown)

    def prove(self, request: Request, transaction: str) -> RedirectResponse:
        """Have the decision made again."""
        wanted = _id(transaction)
        self._audit.record("payment.proof-asked", f"transaction:{wanted}", {}, actor=visit_of(request).user.name)
        self._jobs.ask(KIND, wanted)
        return RedirectResponse(f"/payments/{quote(wanted, safe='')}#proof", 303)

    def _chain(self) -> Verification:
        self._audit.sync()
        try:
            return verify(self._settings)
        except InputError as error:
            return Verification(ok=False, records=0, head="", reason=str(error))


def _id(transaction: str) -> str:
    return transaction[:_LONGEST].replace("\0", "")


def _shown(value: Any) -> str:
    """Return a value with all of its digits: what differs may differ in the last one."""
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)
