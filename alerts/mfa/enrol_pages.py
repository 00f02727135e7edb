"""The customer's enrolment pages, reached by a link that the institution's own app hands out."""

from dataclasses import dataclass
from typing import Annotated, Any, get_args

import msgspec
import segno
from fastapi import APIRouter, Depends, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from alerts.mfa.codes import new_token
from alerts.mfa.enrolment import PENDING_MS, Enrolment, Proof
from alerts.mfa.limits import Limiter
from alerts.mfa.pages import FACTORS, throttle
from alerts.mfa.sessions import Session, Sessions, Visit
from alerts.mfa.view import page, refusal
from vedette.errors import InputError

PROOFS: tuple[Proof, ...] = get_args(Proof)
Field = Annotated[str, Form(max_length=8192)]


@dataclass(frozen=True, slots=True)
class EnrolmentLinks:
    """Links to the pages: good once, for ten minutes.

    Args:
        enrolment: The service.
        public_url: Where the pages are.
    """

    enrolment: Enrolment
    public_url: str

    def make(self, account_id: str) -> str:
        """A link for the holder of an account, whom the institution has identified."""
        token = new_token(self.enrolment.entropy)
        name = self.enrolment.keys.hash("enrol", token)
        self.enrolment.store.remember("e", name, account_id, PENDING_MS)
        self.enrolment.audit.record("enrolment.link", account_id, {})
        return f"{self.public_url.rstrip('/')}/e/{token}"

    def follow(self, token: str) -> str | None:
        """Use a link up: the account, or None if it is none, or used, or too late."""
        for name in self.enrolment.keys.fingerprints("enrol", token):
            if (account_id := self.enrolment.store.drop("e", name)) is not None:
                return account_id
        return None


def enrol_pages_router(enrolment: Enrolment, links: EnrolmentLinks, sessions: Sessions, limiter: Limiter) -> APIRouter:
    """The pages under /e and /enrol."""
    router = APIRouter(include_in_schema=False)
    throttled = [Depends(throttle(limiter, enrolment.clock))]

    def show(request: Request, visit: Visit | None, status: int = 200, **values: Any) -> HTMLResponse:
        if visit is None:
            return refusal(request, 404)
        account = enrolment.account(visit.session.subject)
        asked: dict[str, Any] = {
            "notice": "", "app": None, "phone": "", "recovery": [],
            "csrf": visit.csrf,
            "proven": visit.session.proven,
            "factors": account.factors,
            "passkeys": len(account.passkeys),
            "last_digits": account.phone[-2:],
            "codes_left": len(account.recovery),
            "create": _json(enrolment.passkey_options(account.account_id, visit.challenge)),
            "get": _json(enrolment.proof_options(account.account_id, visit.challenge)),
        }  # fmt: skip
        return page(request, "enrol.html", status, **asked | values)

    def changing(request: Request, csrf: Field) -> Visit:
        """The visit, if it may change factors."""
        visit = sessions.check(sessions.of(request), csrf)
        if not visit.session.proven:
            raise HTTPException(403, "the holder has not proven to be one")
        return visit

    Changing = Annotated[Visit, Depends(changing)]  # noqa: N806, a type

    @router.get("/e/{token}")
    def offer(request: Request, token: str) -> HTMLResponse:
        del token  # whether it is good is not said before it is used
        return page(request, "open.html", what="open_enrolment")

    @router.post("/e/{token}", dependencies=throttled, response_model=None)
    def open_(request: Request, token: str) -> HTMLResponse | RedirectResponse:
        account_id = links.follow(token)
        if account_id is None:
            return refusal(request, 404)
        response = RedirectResponse("/enrol", 303)
        sessions.start(response, Session(account_id, proven=not enrolment.account(account_id).factors))
        return response

    @router.get("/enrol")
    def overview(request: Request) -> HTMLResponse:
        return show(request, sessions.of(request))

    @router.post("/enrol/prove", dependencies=throttled)
    def prove(request: Request, csrf: Field, kind: Field, value: Field = "") -> HTMLResponse:
        visit = sessions.check(sessions.of(request), csrf)
        proof = next((each for each in PROOFS if each == kind), None)
        account_id = visit.session.subject
        if proof is None or not enrolment.prove(account_id, proof, value, visit.challenge):
            return show(request, visit, 422, notice="answer_wrong")
        sessions.update(visit, Session(account_id, proven=True))
        return show(request, sessions.of(request))

    @router.post("/enrol/prove/sms", dependencies=throttled)
    def send_proof(request: Request, csrf: Field) -> HTMLResponse:
        visit = sessions.check(sessions.of(request), csrf)
        sent = enrolment.send_proof(visit.session.subject)
        return show(request, visit, 200 if sent else 422, notice="sms_coming" if sent else "ask_refused")

    @router.post("/enrol/totp", dependencies=throttled)
    def begin_totp(request: Request, visit: Changing) -> HTMLResponse:
        uri, secret = enrolment.begin_totp(visit.session.subject)
        picture = segno.make(uri, error="m").svg_data_uri(scale=4, border=2)
        return show(request, visit, app={"picture": picture, "secret": secret})

    @router.post("/enrol/totp/confirm", dependencies=throttled)
    def confirm_totp(request: Request, visit: Changing, value: Field = "") -> HTMLResponse:
        done = enrolment.confirm_totp(visit.session.subject, value)
        return show(request, visit, 200 if done else 422, notice="saved" if done else "answer_wrong")

    @router.post("/enrol/phone", dependencies=throttled)
    def begin_phone(request: Request, visit: Changing, phone: Field = "") -> HTMLResponse:
        number = "".join(character for character in phone if character not in " -()")
        try:
            sent = enrolment.begin_phone(visit.session.subject, number)
        except InputError:
            return show(request, visit, 422, notice="phone_form")
        return show(request, visit, 200 if sent else 422, notice="" if sent else "ask_refused", phone=sent and number)

    @router.post("/enrol/phone/confirm", dependencies=throttled)
    def confirm_phone(request: Request, visit: Changing, value: Field = "") -> HTMLResponse:
        done = enrolment.confirm_phone(visit.session.subject, value)
        return show(request, visit, 200 if done else 422, notice="saved" if done else "answer_wrong")

    @router.post("/enrol/passkey", dependencies=throttled)
    def add_passkey(request: Request, visit: Changing, value: Field = "") -> HTMLResponse:
        done = enrolment.add_passkey(visit.session.subject, value, visit.challenge)
        return show(request, visit, 200 if done else 422, notice="saved" if done else "passkey_refused")

    @router.post("/enrol/recovery", dependencies=throttled)
    def recovery(request: Request, visit: Changing) -> HTMLResponse:
        return show(request, visit, recovery=enrolment.new_recovery_codes(visit.session.subject))

    @router.post("/enrol/remove", dependencies=throttled)
    def remove(request: Request, visit: Changing, factor: Field) -> HTMLResponse:
        chosen = next((each for each in FACTORS if each == factor), None)
        if chosen is not None:
            enrolment.remove(visit.session.subject, chosen)
        return show(request, visit, notice="saved")

    return router


def _json(options: dict[str, Any]) -> str:
    return msgspec.json.encode(options).decode()
