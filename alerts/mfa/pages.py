"""The customer's page: what the payment is, a way to answer, and "this was not me". GET never changes anything."""

from typing import Annotated, Any, get_args

import msgspec
from fastapi import APIRouter, Depends, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from alerts.mfa.challenges import Challenges
from alerts.mfa.engine import Answer, State, passkey_challenge
from alerts.mfa.limits import REQUESTS_PER_ADDRESS, Limiter
from alerts.mfa.passkeys import request_options
from alerts.mfa.ports import Dependency
from alerts.mfa.records import Factor
from alerts.mfa.sessions import Session, Sessions, Visit
from alerts.mfa.view import page, refusal
from vedette.clock import MINUTE, Clock
from vedette.money import format_amount

FACTORS: tuple[Factor, ...] = get_args(Factor)
Field = Annotated[str, Form(max_length=8192)]


def throttle(limiter: Limiter, clock: Clock) -> Dependency:
    """A dependency that answers 429 to an address that posts too often."""

    def check(request: Request) -> None:
        address = request.client.host if request.client else ""
        if not limiter.allows(REQUESTS_PER_ADDRESS, address, clock.now_ms()):
            raise HTTPException(429, "too often; please wait a minute", {"Retry-After": "60"})

    return check


def pages_router(challenges: Challenges, sessions: Sessions, limiter: Limiter) -> APIRouter:
    """The pages under /c and /challenge."""
    router = APIRouter(include_in_schema=False)
    throttled = [Depends(throttle(limiter, challenges.clock))]

    def show(request: Request, visit: Visit | None, status: int = 200, notice: str = "") -> HTMLResponse:
        state = challenges.get(visit.session.subject) if visit else None
        if visit is None or state is None:
            return refusal(request, 404)
        return page(request, "challenge.html", status, notice=notice, csrf=visit.csrf, **_values(challenges, state))

    @router.get("/c/{token}")
    def offer(request: Request, token: str) -> HTMLResponse:
        del token  # whether it is good is not said before it is used
        return page(request, "open.html", what="open_challenge")

    @router.post("/c/{token}", dependencies=throttled, response_model=None)
    def open_(request: Request, token: str) -> HTMLResponse | RedirectResponse:
        challenge_id = challenges.follow(token)
        if challenge_id is None:
            return refusal(request, 404)
        response = RedirectResponse("/challenge", 303)
        sessions.start(response, Session(subject=challenge_id))
        return response

    @router.get("/challenge")
    def challenge(request: Request) -> HTMLResponse:
        return show(request, sessions.of(request))

    @router.post("/challenge/answer", dependencies=throttled)
    def answer(request: Request, csrf: Field, shown: Field, factor: Field, value: Field = "") -> HTMLResponse:
        visit = sessions.check(sessions.of(request), csrf)
        chosen = next((each for each in FACTORS if each == factor), None)
        if chosen is None or not value.strip():
            return show(request, visit, 422, "answer_empty")
        result, _ = challenges.answer(visit.session.subject, Answer(chosen, value, shown))
        return show(request, visit, 422, "answer_wrong") if result == "wrong" else show(request, visit)

    @router.post("/challenge/deny", dependencies=throttled)
    def deny(request: Request, csrf: Field) -> HTMLResponse:
        visit = sessions.check(sessions.of(request), csrf)
        challenges.deny(visit.session.subject)
        return show(request, visit)

    @router.post("/challenge/ask", dependencies=throttled)
    def ask(request: Request, csrf: Field, factor: Field) -> HTMLResponse:
        visit = sessions.check(sessions.of(request), csrf)
        chosen = next((each for each in FACTORS if each == factor), None)
        if chosen is None or not challenges.ask(visit.session.subject, chosen):
            return show(request, visit, 422, "ask_refused")
        return show(request, visit, 200, "sms_coming" if chosen == "sms" else "")

    return router


def _values(challenges: Challenges, state: State) -> dict[str, Any]:
    """What the page says about a challenge. One whose time is over is shown as expired before the clerk gets to it."""
    record, about, now = state.record, state.record.binding, challenges.clock.now_ms()
    over = record.status == "issued" and now >= record.expires_at
    using = record.using
    return {
        "standing": "expired" if over else record.status,
        "amount": format_amount(about.amount, about.currency),
        "payee": about.payee,
        "minutes": max(1, -(-(record.expires_at - now) // MINUTE)),
        "using": using,
        "others": [f for f in challenges.rules.order if state.account.enrolled(f) and f != using],
        "phone": state.account.phone[-2:],
        "shown": challenges.shown(record.challenge_id, about),
        "passkey": msgspec.json.encode(
            request_options(state.account.passkeys, passkey_challenge(record), challenges.rules.party)
        ).decode()
        if using == "passkey"
        else "",
        "approved": record.status == "approved",
        "released": record.action == "approve",
    }
