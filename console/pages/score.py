"""Score: the decision that a payment of one's own making would get now, without any effect."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from access.keyring import Entropy
from access.ports import AuditSink
from console.guard import looked
from console.reasons import reason_texts
from console.trial_payment import EXAMPLES, FIELDS, NEEDED, example, payment_of, turning_amount
from console.view import page
from gateway.preview import PreviewService
from vedette.client import ProblemError
from vedette.clock import Clock
from vedette.codes import CURRENCIES
from vedette.errors import InputError
from vedette.settings_gateway import PreviewSettings

CHANNELS = ("pos", "ecom", "atm", "transfer", "phone")
_LONGEST = 64
_STATUS = {409: 409, 422: 422}


class ScorePages:
    """The page /score.

    Args:
        settings: Where the preview service is.
        audit: The audit log.
        clock: The clock.
        entropy: Source of ids.
    """

    def __init__(self, settings: PreviewSettings, audit: AuditSink, clock: Clock, entropy: Entropy) -> None:
        self._settings, self._audit, self._clock, self._entropy = settings, audit, clock, entropy

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter()
        router.get("/score")(self.show)
        router.post("/score")(self.score)
        return router

    def show(self, request: Request, chosen: str = "") -> HTMLResponse:
        """Show the form, empty or with an example."""
        return self._page(request, example(chosen, self._clock.now_ms()))

    async def score(self, request: Request) -> HTMLResponse:
        """Decide the payment of the form as the worker would now."""
        form = await request.form()
        fields = {name: str(form.get(name, ""))[:_LONGEST].replace("\0", "") for name in FIELDS}
        try:
            payment = payment_of(fields, f"preview-{self._entropy(12).hex()}")
        except InputError as error:
            return self._page(request, fields, 422, why=str(error.args[0]))
        # The answer tells what is usual for the account, so it counts as a look at it.
        looked(self._audit, request, f"account:{payment.account_id}", {"preview": "1"})
        service = PreviewService(self._settings)
        try:
            decision = await service.decide(payment)
            turning = await turning_amount(payment, decision, service.decide)
        except ProblemError as error:
            found = error.problem
            why = f"{found.detail} — {found.remedy}" if found.remedy else found.detail
            return self._page(request, fields, _STATUS.get(found.status, 503), why=why)
        finally:
            await service.close()
        return self._page(
            request,
            fields,
            decision=decision,
            turning=turning,
            heaviest=max([abs(r.weight) for r in decision.reasons] or [0]),
        )

    def _page(
        self, request: Request, fields: dict[str, str], status: int = 200, *, why: str = "", decision: Any = None,
        turning: Any = None, heaviest: float = 0.0,
    ) -> HTMLResponse:  # fmt: skip
        return page(
            request, "score.html", status, fields=fields, names=FIELDS, needed=NEEDED, examples=EXAMPLES, why=why,
            decision=decision, turning=turning, heaviest=heaviest, channels=CHANNELS, currencies=sorted(CURRENCIES),
            reason_texts=reason_texts, off=self._settings.token is None,
        )  # fmt: skip
