"""The customer's enrolment pages, reached by a link from the institution's app."""

from typing import Annotated, Any, get_args

import msgspec
import segno
from fastapi import APIRouter, Depends, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from access.rate_limit import RateLimiter
from challenges.enrolment import Enrolment, Holder, Proof, TooOftenError, UnprovenError
from challenges.links import AccountLinks
from challenges.pages import FACTORS, throttle
from challenges.records import Account, masked
from challenges.sessions import Session, Sessions, Visit
from challenges.view import page, refusal
from vedette.errors import InputError

PROOFS: tuple[Proof, ...] = get_args(Proof)
Field = Annotated[str, Form(max_length=8192)]


class EnrolmentPages:
    """The pages under /e and /enrol.

    Args:
        enrolment: The service.
        links: Links to these pages.
        sessions: Sessions of enrolment.
        limiter: Counts the posts of an address.
    """

    def __init__(self, enrolment: Enrolment, links: AccountLinks, sessions: Sessions, limiter: RateLimiter) -> None:
        self._enrolment, self._links, self._sessions, self._limiter = enrolment, links, sessions, limiter

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(include_in_schema=False)
        throttled = [Depends(throttle(self._limiter, self._enrolment.clock))]
        router.get("/e/{token}")(self.offer)
        router.post("/e/{token}", dependencies=throttled, response_model=None)(self.open)
        router.get("/enrol")(self.show)
        for path, route in (
            ("/enrol/prove", self.prove),
            ("/enrol/prove/sms", self.send_proof),
            ("/enrol/totp", self.begin_totp),
            ("/enrol/totp/confirm", self.confirm_totp),
            ("/enrol/phone", self.begin_phone),
            ("/enrol/phone/confirm", self.confirm_phone),
            ("/enrol/passkey", self.add_passkey),
            ("/enrol/recovery", self.new_recovery_codes),
            ("/enrol/remove", self.remove),
        ):
            router.post(path, dependencies=throttled)(route)
        return router

    def offer(self, request: Request, token: str) -> HTMLResponse:
        """Show the purpose of a link, without revealing whether it is valid."""
        del token
        return page(request, "open.html", what="open_enrolment")

    def open(self, request: Request, token: str) -> HTMLResponse | RedirectResponse:
        """Consume a link."""
        session = self._links.follow(token)
        if session is None:
            return refusal(request, 404)
        response = RedirectResponse("/enrol", 303)
        self._sessions.start(response, session)
        return response

    def show(self, request: Request) -> HTMLResponse:
        """Show the account's factors."""
        visit = self._sessions.of(request)
        return self._page(request, visit) if visit else refusal(request, 404)

    def prove(self, request: Request, csrf: Field, kind: Field, value: Field = "") -> HTMLResponse:
        """Verify a proof of the holder."""
        visit = self._sessions.checked(request, csrf)
        proof = next((known for known in PROOFS if known == kind), None)
        if proof is None or not self._enrolment.prove(visit.session.subject, proof, value, visit.challenge):
            return self._page(request, visit, 422, notice="answer_wrong")
        proven = msgspec.structs.replace(visit.session, proven=True)
        return self._page(request, self._sessions.update(visit, proven))

    def send_proof(self, request: Request, csrf: Field) -> HTMLResponse:
        """Send a code to the phone, if it is the only factor."""
        visit = self._sessions.checked(request, csrf)
        sent = self._enrolment.send_proof(visit.session.subject)
        return self._page(request, visit, 200 if sent else 422, notice="sms_coming" if sent else "ask_refused")

    def begin_totp(self, request: Request, csrf: Field) -> HTMLResponse:
        """Show the QR code of a new secret."""
        visit, holder = self._changing(request, csrf)
        uri, secret, label = self._enrolment.begin_totp(holder)
        picture = segno.make(uri, error="m").svg_data_uri(scale=4, border=2)
        return self._page(request, visit, app={"picture": picture, "secret": secret, "label": label})

    def confirm_totp(self, request: Request, csrf: Field, value: Field = "") -> HTMLResponse:
        """Take the app into use."""
        visit, holder = self._changing(request, csrf)
        return self._changed(request, visit, self._enrolment.confirm_totp(holder, value), "answer_wrong")

    def begin_phone(self, request: Request, csrf: Field, phone: Field = "") -> HTMLResponse:
        """Send a code to a number."""
        visit, holder = self._changing(request, csrf)
        number = "".join(character for character in phone if character not in " -()")
        try:
            sent = self._enrolment.begin_phone(holder, number)
        except UnprovenError:
            raise
        except InputError:
            return self._page(request, visit, 422, notice="phone_form")
        if not sent:
            return self._page(request, visit, 422, notice="ask_refused")
        return self._page(request, visit, phone=number)

    def confirm_phone(self, request: Request, csrf: Field, value: Field = "") -> HTMLResponse:
        """Take the number into use."""
        visit, holder = self._changing(request, csrf)
        return self._changed(request, visit, self._enrolment.confirm_phone(holder, value), "answer_wrong")

    def add_passkey(self, request: Request, csrf: Field, value: Field = "") -> HTMLResponse:
        """Add a passkey."""
        visit, holder = self._changing(request, csrf)
        renewed = self._enrolment.add_passkey(holder, value, visit.challenge)
        return self._changed(request, visit, renewed, "passkey_refused")

    def new_recovery_codes(self, request: Request, csrf: Field) -> HTMLResponse:
        """Show new recovery codes, only once."""
        visit, holder = self._changing(request, csrf)
        try:
            return self._page(request, visit, recovery=self._enrolment.new_recovery_codes(holder))
        except TooOftenError:
            return self._page(request, visit, 422, notice="ask_refused")

    def remove(self, request: Request, csrf: Field, factor: Field) -> HTMLResponse:
        """Remove a factor."""
        visit, holder = self._changing(request, csrf)
        chosen = next((known for known in FACTORS if known == factor), None)
        renewed = self._enrolment.remove(holder, chosen) if chosen else None
        return self._changed(request, visit, renewed, "ask_refused")

    def _changing(self, request: Request, csrf: str) -> tuple[Visit, Holder]:
        """Return the session and its right, based on the current account.

        Raises:
            HTTPException: 403, the session may not change the account.
        """
        visit = self._sessions.checked(request, csrf)
        holder = _holder(visit.session)
        if not holder.may_change(self._enrolment.account(holder.account_id)):
            raise HTTPException(403, "the holder has not proven to be one")
        return visit, holder

    def _changed(self, request: Request, visit: Visit, renewed: Holder | None, otherwise: str) -> HTMLResponse:
        """Return the page after a change, with the session moved to the epoch that the change may have begun."""
        if renewed is None:
            return self._page(request, visit, 422, notice=otherwise)
        session = msgspec.structs.replace(visit.session, epoch=renewed.epoch, proven=True)
        return self._page(request, self._sessions.update(visit, session), notice="saved")

    def _page(self, request: Request, visit: Visit, status: int = 200, **values: Any) -> HTMLResponse:
        account = self._enrolment.account(visit.session.subject)
        return page(request, "enrol.html", status, **self._values(account, visit) | values)

    def _values(self, account: Account, visit: Visit) -> dict[str, Any]:
        return {
            "notice": "", "app": None, "phone": "", "recovery": [],
            "account": masked(account.account_id),
            "csrf": visit.csrf,
            "proven": _holder(visit.session).may_change(account),
            "factors": account.factors,
            "passkeys": len(account.passkeys),
            "last_digits": account.phone[-2:],
            "codes_left": len(account.recovery),
            "create": _json(self._enrolment.passkey_options(account, visit.challenge)),
            "get": _json(self._enrolment.proof_options(account, visit.challenge)),
        }  # fmt: skip


def _holder(session: Session) -> Holder:
    return Holder(session.subject, session.epoch, session.proven)


def _json(options: dict[str, Any]) -> str:
    return msgspec.json.encode(options).decode()
