"""The institution's API: issue a challenge, get its status, submit an answer, notify the customer again."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from access.guard import actor_of
from access.ports import Authorise
from challenges.challenges import Challenges, ChangedError
from challenges.passkeys import request_options
from challenges.records import Binding, ChallengeRecord, Factor, NotificationStatus
from challenges.state_machine import ATTEMPTS, ChallengeAnswer, Result, State, passkey_challenge
from vedette.events import MAX_AMOUNT, ChallengeStatus, Currency

Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,64}$")]
Responses = dict[int | str, dict[str, Any]]
ChallengeId = Annotated[str, Path(pattern=r"^[0-9a-f][a-z2-7]{24}$", examples=["4k2vqo5i3jzq6w2x7c5m3a4dn"])]

NOT_FOUND: Responses = {404: {"description": "There is no such challenge."}}


class Payment(BaseModel):
    """The payment shown to the customer, for which alone the answer is valid."""

    model_config = ConfigDict(extra="forbid")

    amount: Annotated[int, Field(ge=0, le=MAX_AMOUNT, description="minor units", examples=[12_345])]
    currency: Annotated[Currency, Field(description="ISO 4217 alphabetic code", examples=["EUR"])]
    payee: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,64}$", examples=["Shop & Co"])]


class ChallengeRequest(Payment):
    """A payment to challenge."""

    transaction_id: Annotated[Text, Field(examples=["t-20260104-77"])]
    account_id: Annotated[Text, Field(examples=["a-1001"])]


class AnswerSubmission(BaseModel):
    """An answer."""

    model_config = ConfigDict(extra="forbid")

    factor: Annotated[Factor, Field(examples=["totp"])]
    value: Annotated[
        str, Field(min_length=1, max_length=8192, description="the code, or the passkey's assertion as JSON",
                   examples=["492039"])
    ]  # fmt: skip
    shown: Annotated[Payment, Field(description="what the customer saw when answering; anything else voids it")]


class ResendRequest(BaseModel):
    """Options of a resend."""

    model_config = ConfigDict(extra="forbid")

    factor: Annotated[Factor, Field(examples=["sms"])] = "sms"


class ChallengeView(BaseModel):
    """Status of a challenge. Times are milliseconds since 1970-01-01 UTC."""

    challenge_id: Annotated[str, Field(examples=["4k2vqo5i3jzq6w2x7c5m3a4dn"])]
    transaction_id: str
    account_id: str
    amount: int
    currency: str
    payee: str
    status: ChallengeStatus
    factor: Annotated[Factor | Literal[""], Field(description="asked for; empty when the account has none")]
    factors: Annotated[list[Factor], Field(description="all that the customer can answer with")]
    attempts_left: int
    issued_at: int
    expires_at: int
    settled_at: int | None
    notification: Annotated[
        NotificationStatus, Field(description="of the message to the customer; empty: there is nowhere to send one")
    ]
    cause: Annotated[str, Field(description="why it was not approved, once settled")]


class AnswerOutcome(BaseModel):
    """Result of an answer; `over`: the challenge was already settled."""

    result: Result
    challenge: ChallengeView


class ChallengeLink(BaseModel):
    """A link for the customer, valid once and for a short time. Creating another voids it."""

    url: Annotated[str, Field(examples=["https://pay.bank.example/c/Vq3…"])]


class ChallengeApi:
    """Routes under /v1/challenges.

    Args:
        challenges: The service.
        public_url: Public URL of the customers' pages.
    """

    def __init__(self, challenges: Challenges, public_url: str) -> None:
        self._challenges, self._url = challenges, public_url.rstrip("/")

    def router(self, authorise: Authorise) -> APIRouter:
        """Return the routes, each guarded by its scope."""
        router = APIRouter(prefix="/v1/challenges", tags=["challenges"])
        writes, reads = [Depends(authorise("challenges:write"))], [Depends(authorise("challenges:read"))]
        router.post(
            "", dependencies=writes, status_code=201, summary="Ask a customer about a payment",
            responses={
                200: {"description": "It was asked before; this is that challenge.", "model": ChallengeView},
                409: {"description": "It was asked before about another amount, currency or payee, and is now void."},
            },
        )(self.issue)  # fmt: skip
        router.get("/{challenge_id}", dependencies=reads, summary="How a challenge stands", responses=NOT_FOUND)(
            self.status
        )
        router.post("/{challenge_id}/answer", dependencies=writes, summary="Submit an answer", responses=NOT_FOUND)(
            self.answer
        )
        router.post(
            "/{challenge_id}/deny", dependencies=writes, summary="The customer says: this was not me",
            responses=NOT_FOUND,
        )(self.deny)  # fmt: skip
        router.post(
            "/{challenge_id}/ask", dependencies=writes, status_code=202,
            summary="Ask for another factor, or send another SMS; code and link before are void",
            responses=NOT_FOUND | {409: {"description": "It is settled, or the customer has no such factor."}},
        )(self.ask)  # fmt: skip
        router.post(
            "/{challenge_id}/link", dependencies=writes, status_code=201, summary="A link to the customer's page",
            responses=NOT_FOUND | {409: {"description": "It is settled."}},
        )(self.link)  # fmt: skip
        router.get(
            "/{challenge_id}/passkey", dependencies=reads, summary="Options for navigator.credentials.get()",
            responses=NOT_FOUND,
        )(self.passkey)  # fmt: skip
        return router

    def issue(self, request: Request, payment: ChallengeRequest, response: Response) -> ChallengeView:
        """Ask a customer about a payment."""
        binding = Binding(**payment.model_dump())
        known = self._challenges.find(binding)
        try:
            record = self._challenges.issue(binding, actor=actor_of(request))
        except ChangedError as error:
            raise HTTPException(409, str(error)) from error
        response.status_code = 200 if known else 201
        return self._view(record)

    def status(self, challenge_id: ChallengeId) -> ChallengeView:
        """Return the status of a challenge."""
        return challenge_view(self._found(challenge_id), self._challenges)

    def answer(self, request: Request, challenge_id: ChallengeId, submission: AnswerSubmission) -> AnswerOutcome:
        """Verify an answer."""
        binding = self._found(challenge_id).record.binding
        shown = Binding(
            transaction_id=binding.transaction_id, account_id=binding.account_id, **submission.shown.model_dump()
        )
        given = ChallengeAnswer(submission.factor, submission.value, self._challenges.shown(challenge_id, shown))
        result, record = self._challenges.answer(challenge_id, given, actor=actor_of(request))
        return AnswerOutcome(result=result, challenge=self._view(record))

    def deny(self, request: Request, challenge_id: ChallengeId) -> AnswerOutcome:
        """Return the customer says: this was not me."""
        self._found(challenge_id)
        result, record = self._challenges.deny(challenge_id, actor=actor_of(request))
        return AnswerOutcome(result=result, challenge=self._view(record))

    def ask(self, request: Request, challenge_id: ChallengeId, resend: ResendRequest) -> ChallengeView:
        """Ask for another factor, or send another SMS."""
        state = self._found(challenge_id)
        if not self._challenges.ask(challenge_id, resend.factor, actor=actor_of(request)):
            raise HTTPException(409, "the challenge is settled, or cannot be answered that way")
        return self._view(state.record)

    def link(self, request: Request, challenge_id: ChallengeId) -> ChallengeLink:
        """Return a link to the customer's page."""
        self._found(challenge_id)
        token = self._challenges.new_link(challenge_id, actor=actor_of(request))
        if token is None:
            raise HTTPException(409, "the challenge is settled")
        return ChallengeLink(url=f"{self._url}/c/{token}")

    def passkey(self, challenge_id: ChallengeId) -> dict[str, object]:
        """Return options for navigator.credentials.get()."""
        state = self._found(challenge_id)
        return request_options(state.account.passkeys, passkey_challenge(state.record), self._challenges.rules.party)

    def _found(self, challenge_id: str) -> State:
        state = self._challenges.get(challenge_id)
        if state is None:
            raise HTTPException(404, "there is no such challenge")
        return state

    def _view(self, record: ChallengeRecord) -> ChallengeView:
        return challenge_view(self._found(record.challenge_id), self._challenges)


def challenge_view(state: State, challenges: Challenges) -> ChallengeView:
    """Return a challenge for the API: without secrets, phone number or address."""
    record, binding = state.record, state.record.binding
    return ChallengeView(
        challenge_id=record.challenge_id,
        transaction_id=binding.transaction_id,
        account_id=binding.account_id,
        amount=binding.amount,
        currency=binding.currency,
        payee=binding.payee,
        status=record.status,
        factor=record.using,
        factors=[factor for factor in challenges.rules.order if state.account.enrolled(factor)],
        attempts_left=max(0, ATTEMPTS - record.attempts) if record.status == "issued" else 0,
        issued_at=record.issued_at,
        expires_at=record.expires_at,
        settled_at=record.settled_at,
        notification=record.notification,
        cause=record.cause,
    )
