"""The customer's page: the payment, a way to answer, and "this was not me". GET never changes anything."""

from typing import Annotated, Any, get_args

import msgspec
from fastapi import APIRouter, Depends, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from access.ports import Dependency
from access.rate_limit import REQUESTS_PER_ADDRESS, RateLimiter, network_of
from adapters.channels.message import printable
from challenges.challenges import Challenges
from challenges.passkeys import request_options
from challenges.records import Factor, masked
from challenges.sessions import Session, Sessions, Visit
from challenges.state_machine import ChallengeAnswer, State, passkey_challenge
from challenges.view import page, refusal
from vedette.clock import MINUTE, Clock
from vedette.money import format_amount

FACTORS: tuple[Factor, ...] = get_args(Factor)
Field = Annotated[str, Form(max_length=8192)]


def throttle(limiter: RateLimiter, clock: Clock) -> Dependency:
    """Return a dependency that answers 429 to an address that posts too often."""

    def check(request: Request) -> None:
        address = request.client.host if request.client else ""
        if not limiter.allows(REQUESTS_PER_ADDRESS, network_of(address), clock.now_ms()):
            raise HTTPException(429, "too often; please wait a minute", {"Retry-After": "60"})

    return check


class ChallengePages:
    """The pages under /c and /challenge.

    Args:
        challenges: The service.
        sessions: Sessions of challenges.
        limiter: Counts the posts of an address.
    """

    def __init__(self, challenges: Challenges, sessions: Sessions, limiter: RateLimiter) -> None:
        self._challenges, self._sessions, self._limiter = challenges, sessions, limiter

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(include_in_schema=False)
        throttled = [Depends(throttle(self._limiter, self._challenges.clock))]
        router.get("/c/{token}")(self.offer)
        router.post("/c/{token}", dependencies=throttled, response_model=None)(self.open)
        router.get("/challenge")(self.show)
        router.post("/challenge/answer", dependencies=throttled)(self.answer)
        router.post("/challenge/deny", dependencies=throttled)(self.deny)
        router.post("/challenge/ask", dependencies=throttled)(self.ask)
        return router

    def offer(self, request: Request, token: str) -> HTMLResponse:
        """Show the purpose of a link, without revealing whether it is valid."""
        del token
        return page(request, "open.html", what="open_challenge")

    def open(self, request: Request, token: str) -> HTMLResponse | RedirectResponse:
        """Consume a link."""
        state = self._challenges.follow(token)
        if state is None:
            return refusal(request, 404)
        response = RedirectResponse("/challenge", 303)
        self._sessions.start(response, Session(state.record.challenge_id, epoch=state.account.epoch))
        return response

    def show(self, request: Request) -> HTMLResponse:
        """Show the challenge."""
        return self._page(request, self._sessions.of(request))

    def answer(self, request: Request, csrf: Field, shown: Field, factor: Field, value: Field = "") -> HTMLResponse:
        """Take an answer."""
        visit = self._sessions.checked(request, csrf)
        chosen = _factor(factor)
        if chosen is None or not value.strip():
            return self._page(request, visit, 422, "answer_empty")
        result, _ = self._challenges.answer(visit.session.subject, ChallengeAnswer(chosen, value, shown))
        return self._page(request, visit, 422, "answer_wrong") if result == "wrong" else self._page(request, visit)

    def deny(self, request: Request, csrf: Field) -> HTMLResponse:
        """Record that the customer denies the payment."""
        visit = self._sessions.checked(request, csrf)
        self._challenges.deny(visit.session.subject)
        return self._page(request, visit)

    def ask(self, request: Request, csrf: Field, factor: Field) -> HTMLResponse:
        """Ask for another factor, or another code."""
        visit = self._sessions.checked(request, csrf)
        chosen = _factor(factor)
        if chosen is None or not self._challenges.ask(visit.session.subject, chosen):
            return self._page(request, visit, 422, "ask_refused")
        return self._page(request, visit, 200, "sms_coming" if chosen == "sms" else "")

    def _page(self, request: Request, visit: Visit | None, status: int = 200, notice: str = "") -> HTMLResponse:
        state = self._challenges.get(visit.session.subject) if visit else None
        if visit is None or state is None:
            return refusal(request, 404)
        values = _values(self._challenges, state)
        return page(request, "challenge.html", status, notice=notice, csrf=visit.csrf, **values)


def _factor(name: str) -> Factor | None:
    return next((factor for factor in FACTORS if factor == name), None)


def _values(challenges: Challenges, state: State) -> dict[str, Any]:
    """Return the values of a challenge's page. An overdue one is shown as expired even if that is not stored."""
    record, binding, now = state.record, state.record.binding, challenges.clock.now_ms()
    over = record.status == "issued" and now >= record.expires_at
    using = record.using
    return {
        "account": masked(binding.account_id),
        "standing": "expired" if over else record.status,
        "amount": format_amount(binding.amount, binding.currency),
        "payee": printable(binding.payee),
        "minutes": max(1, -(-(record.expires_at - now) // MINUTE)),
        "using": using,
        "others": [f for f in challenges.rules.order if state.account.enrolled(f) and f != using],
        "phone": state.account.phone[-2:],
        "shown": challenges.shown(record.challenge_id, binding),
        "passkey": msgspec.json.encode(
            request_options(state.account.passkeys, passkey_challenge(record), challenges.rules.party)
        ).decode()
        if using == "passkey"
        else "",
        "approved": record.status == "approved",
        "released": record.action == "approve",
    }
