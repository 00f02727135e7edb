"""The institution's API for enrolment: which factors an account has, adding, changing, and starting over."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, HTTPException, Path
from pydantic import BaseModel, ConfigDict, Field

from alerts.mfa.api import Link, Responses
from alerts.mfa.enrol_pages import EnrolmentLinks
from alerts.mfa.enrolment import Enrolment
from alerts.mfa.ports import Authorise
from alerts.mfa.records import Factor

AccountId = Annotated[str, Path(min_length=1, max_length=64, examples=["a-1001"])]
Code = Annotated[str, Field(min_length=1, max_length=64, examples=["492039"])]
Phone = Annotated[str, Field(pattern=r"^\+[1-9][0-9]{6,14}$", description="E.164", examples=["+34600000001"])]

REFUSED: Responses = {403: {"description": "The account has a factor, and the proof is missing or wrong."}}
WRONG: Responses = {400: {"description": "The code is wrong, used, too late, or there were too many."}}
NO_SMS: Responses = {409: {"description": "No SMS can be sent to this number now."}}


class ProofOf(BaseModel):
    """Proof of the holder, needed once the account has a factor: changing a factor needs a factor."""

    model_config = ConfigDict(extra="forbid")

    kind: Annotated[Literal["totp", "recovery", "sms"], Field(examples=["totp"])]
    value: Annotated[str, Field(min_length=1, max_length=64, examples=["492039"])]


class Change(BaseModel):
    """A change of factors."""

    model_config = ConfigDict(extra="forbid")

    proof: ProofOf | None = None


class PhoneChange(Change):
    """Another phone."""

    phone: Phone


class Confirmation(BaseModel):
    """The code that shows that it works."""

    model_config = ConfigDict(extra="forbid")

    code: Code


class Contact(BaseModel):
    """What the institution has verified itself; what is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    phone: Annotated[str, Field(pattern=r"^(\+[1-9][0-9]{6,14})?$", examples=["+34600000001"])] = ""
    email: Annotated[str, Field(pattern=r"^([!-?A-~]+@[A-Za-z0-9.-]+)?$", max_length=254)] = ""
    language: Annotated[str, Field(pattern=r"^(en|es)?$", examples=["es"])] = ""
    proof: ProofOf | None = None


class Factors(BaseModel):
    """What an account's holder can answer with. An account never heard of has none."""

    factors: list[Factor]
    passkeys: int
    recovery_codes_left: int


class App(BaseModel):
    """A new secret for an authenticator app, in force once confirmed."""

    uri: Annotated[str, Field(description="for a QR code")]
    secret: Annotated[str, Field(description="base32, to type in")]


class RecoveryCodes(BaseModel):
    """Codes for when every factor is lost; shown this once, each good once."""

    codes: list[str]


def enrolment_router(enrolment: Enrolment, links: EnrolmentLinks, authorise: Authorise) -> APIRouter:
    """Routes under /v1/accounts."""
    router = APIRouter(prefix="/v1/accounts/{account_id}", tags=["enrolment"])
    write, read = Depends(authorise("enrolment:write")), Depends(authorise("enrolment:read"))

    def demand(account_id: str, proof: ProofOf | None) -> None:
        """Raise 403 unless the account has no factor yet, or the proof is right."""
        if not enrolment.account(account_id).factors:
            return
        if proof is None or not enrolment.prove(account_id, proof.kind, proof.value):
            raise HTTPException(403, "changing a factor needs a factor: the proof is missing or wrong")

    @router.get("/factors", dependencies=[read], summary="What a customer can answer with")
    def factors(account_id: AccountId) -> Factors:
        account = enrolment.account(account_id)
        return Factors(
            factors=list(account.factors), passkeys=len(account.passkeys), recovery_codes_left=len(account.recovery)
        )

    @router.post("/enrolment-link", dependencies=[write], status_code=201, summary="A link to the enrolment pages")
    def link(account_id: AccountId) -> Link:
        return Link(url=links.make(account_id))

    @router.post(
        "/totp", dependencies=[write], status_code=201, summary="Begin an authenticator app", responses=REFUSED
    )
    def begin_totp(account_id: AccountId, change: Change) -> App:
        demand(account_id, change.proof)
        uri, secret = enrolment.begin_totp(account_id)
        return App(uri=uri, secret=secret)

    @router.post("/totp/confirm", dependencies=[write], summary="Take the app into use", responses=WRONG)
    def confirm_totp(account_id: AccountId, confirmation: Confirmation) -> Factors:
        if not enrolment.confirm_totp(account_id, confirmation.code):
            raise HTTPException(400, "the code is wrong")
        return factors(account_id)

    @router.post(
        "/phone", dependencies=[write], status_code=202, summary="Send a code to a phone", responses=REFUSED | NO_SMS
    )
    def begin_phone(account_id: AccountId, change: PhoneChange) -> None:
        demand(account_id, change.proof)
        if not enrolment.begin_phone(account_id, change.phone):
            raise HTTPException(409, "no SMS can be sent to this number now")

    @router.post("/phone/confirm", dependencies=[write], summary="Take the phone into use", responses=WRONG)
    def confirm_phone(account_id: AccountId, confirmation: Confirmation) -> Factors:
        if not enrolment.confirm_phone(account_id, confirmation.code):
            raise HTTPException(400, "the code is wrong")
        return factors(account_id)

    @router.put(
        "/contact", dependencies=[write], status_code=204, responses=REFUSED,
        summary="Take over a phone, e-mail address or language that the institution has verified",
    )  # fmt: skip
    def contact(account_id: AccountId, given: Contact) -> None:
        if given.phone:
            demand(account_id, given.proof)
        enrolment.vouch(account_id, phone=given.phone, email=given.email, language=given.language)

    @router.post(
        "/recovery-codes", dependencies=[write], status_code=201, summary="New recovery codes", responses=REFUSED
    )
    def recovery_codes(account_id: AccountId, change: Change) -> RecoveryCodes:
        demand(account_id, change.proof)
        return RecoveryCodes(codes=enrolment.new_recovery_codes(account_id))

    @router.post(
        "/factors/{factor}/remove", dependencies=[write], status_code=204, summary="Remove a factor", responses=REFUSED
    )
    def remove(account_id: AccountId, factor: Factor, change: Change) -> None:
        demand(account_id, change.proof)
        enrolment.remove(account_id, factor)

    @router.post(
        "/reset", dependencies=[write], status_code=204,
        summary="Remove all factors of a customer who lost them and was identified anew",
    )  # fmt: skip
    def reset(account_id: AccountId) -> None:
        enrolment.reset(account_id)

    return router
