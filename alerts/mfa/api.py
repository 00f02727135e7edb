"""The institution's API: issue a challenge, see how it stands, submit an answer, tell the customer again."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from alerts.mfa.challenges import Challenges, ChangedError
from alerts.mfa.engine import ATTEMPTS, Answer, Result, State, passkey_challenge
from alerts.mfa.passkeys import request_options
from alerts.mfa.ports import Authorise
from alerts.mfa.records import Binding, Factor, Record
from vedette.events import MAX_AMOUNT, ChallengeStatus

Text = Annotated[str, Field(min_length=1, max_length=64)]
Responses = dict[int | str, dict[str, Any]]
ChallengeId = Annotated[str, Path(pattern=r"^[0-9a-f][a-z2-7]{24}$", examples=["4k2vqo5i3jzq6w2x7c5m3a4dn"])]

NOT_FOUND: Responses = {404: {"description": "There is no such challenge."}}


class Payment(BaseModel):
    """What the customer is shown, and all that the answer is good for."""

    model_config = ConfigDict(extra="forbid")

    amount: Annotated[int, Field(ge=0, le=MAX_AMOUNT, description="minor units", examples=[12_345])]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$", description="ISO 4217", examples=["EUR"])]
    payee: Annotated[str, Field(min_length=1, max_length=64, examples=["Shop & Co"])]


class Issue(Payment):
    """A payment to ask about."""

    transaction_id: Annotated[Text, Field(examples=["t-20260104-77"])]
    account_id: Annotated[Text, Field(examples=["a-1001"])]


class Submission(BaseModel):
    """An answer."""

    model_config = ConfigDict(extra="forbid")

    factor: Annotated[Factor, Field(examples=["totp"])]
    value: Annotated[
        str, Field(min_length=1, max_length=8192, description="the code, or the passkey's assertion as JSON",
                   examples=["492039"])
    ]  # fmt: skip
    shown: Annotated[Payment, Field(description="what the customer saw when answering; anything else voids it")]


class Again(BaseModel):
    """How to ask again."""

    model_config = ConfigDict(extra="forbid")

    factor: Annotated[Factor, Field(examples=["sms"])] = "sms"


class ChallengeView(BaseModel):
    """How a challenge stands. Times are milliseconds since 1970-01-01 UTC."""

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
    told: Annotated[str, Field(description="whether the customer was told: pending, sending, sent, failed or empty")]
    cause: Annotated[str, Field(description="why it was not approved, once settled")]


class Outcome(BaseModel):
    """What became of an answer; `over`: the challenge had been settled before."""

    result: Result
    challenge: ChallengeView


class Link(BaseModel):
    """A link for the customer, good once and for a short time. Making another voids it."""

    url: Annotated[str, Field(examples=["https://pay.bank.example/c/Vq3…"])]


def api_router(challenges: Challenges, authorise: Authorise, *, public_url: str) -> APIRouter:
    """Routes under /v1/challenges."""
    router = APIRouter(prefix="/v1/challenges", tags=["challenges"])
    write, read = Depends(authorise("challenges:write")), Depends(authorise("challenges:read"))

    def found(challenge_id: str) -> State:
        state = challenges.get(challenge_id)
        if state is None:
            raise HTTPException(404, "there is no such challenge")
        return state

    def view(record: Record) -> ChallengeView:
        return challenge_view(found(record.challenge_id), challenges)

    @router.post(
        "", dependencies=[write], status_code=201, summary="Ask a customer about a payment",
        responses={
            200: {"description": "It was asked before; this is that challenge.", "model": ChallengeView},
            409: {"description": "It was asked before about another amount, currency or payee, and is now void."},
        },
    )  # fmt: skip
    def issue(payment: Issue, response: Response) -> ChallengeView:
        binding = Binding(**payment.model_dump())
        known = challenges.find(binding)
        try:
            record = challenges.issue(binding)
        except ChangedError as error:
            raise HTTPException(409, str(error)) from error
        response.status_code = 200 if known else 201
        return view(record)

    @router.get("/{challenge_id}", dependencies=[read], summary="How a challenge stands", responses=NOT_FOUND)
    def status(challenge_id: ChallengeId) -> ChallengeView:
        return challenge_view(found(challenge_id), challenges)

    @router.post("/{challenge_id}/answer", dependencies=[write], summary="Submit an answer", responses=NOT_FOUND)
    def answer(challenge_id: ChallengeId, submission: Submission) -> Outcome:
        about = found(challenge_id).record.binding
        shown = Binding(
            transaction_id=about.transaction_id, account_id=about.account_id, **submission.shown.model_dump()
        )
        seal = challenges.shown(challenge_id, shown)
        result, record = challenges.answer(challenge_id, Answer(submission.factor, submission.value, seal))
        return Outcome(result=result, challenge=view(record))

    @router.post(
        "/{challenge_id}/deny", dependencies=[write], summary="The customer says: this was not me", responses=NOT_FOUND
    )
    def deny(challenge_id: ChallengeId) -> Outcome:
        found(challenge_id)
        result, record = challenges.deny(challenge_id)
        return Outcome(result=result, challenge=view(record))

    @router.post(
        "/{challenge_id}/ask", dependencies=[write], status_code=202,
        summary="Ask for another factor, or send another SMS; code and link before are void",
        responses=NOT_FOUND | {409: {"description": "It is settled, or the customer has no such factor."}},
    )  # fmt: skip
    def ask(challenge_id: ChallengeId, again: Again) -> ChallengeView:
        state = found(challenge_id)
        if not challenges.ask(challenge_id, again.factor):
            raise HTTPException(409, "the challenge is settled, or cannot be answered that way")
        return view(state.record)

    @router.post(
        "/{challenge_id}/link", dependencies=[write], status_code=201, summary="A link to the customer's page",
        responses=NOT_FOUND | {409: {"description": "It is settled."}},
    )  # fmt: skip
    def link(challenge_id: ChallengeId) -> Link:
        found(challenge_id)
        token = challenges.new_link(challenge_id)
        if token is None:
            raise HTTPException(409, "the challenge is settled")
        return Link(url=f"{public_url.rstrip('/')}/c/{token}")

    @router.get(
        "/{challenge_id}/passkey", dependencies=[read], summary="Options for navigator.credentials.get()",
        responses=NOT_FOUND,
    )  # fmt: skip
    def passkey(challenge_id: ChallengeId) -> dict[str, object]:
        state = found(challenge_id)
        return request_options(state.account.passkeys, passkey_challenge(state.record), challenges.rules.party)

    return router


def challenge_view(state: State, challenges: Challenges) -> ChallengeView:
    """A challenge as the API shows it: nothing secret, and no number or address."""
    record, about = state.record, state.record.binding
    return ChallengeView(
        challenge_id=record.challenge_id,
        transaction_id=about.transaction_id,
        account_id=about.account_id,
        amount=about.amount,
        currency=about.currency,
        payee=about.payee,
        status=record.status,
        factor=record.using,
        factors=[factor for factor in challenges.rules.order if state.account.enrolled(factor)],
        attempts_left=max(0, ATTEMPTS - record.attempts) if record.status == "issued" else 0,
        issued_at=record.issued_at,
        expires_at=record.expires_at,
        settled_at=record.settled_at,
        told=record.told,
        cause=record.cause,
    )
