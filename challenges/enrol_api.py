"""The institution's API for enrolment: list, add, change and reset the factors of an account."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, HTTPException, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from access.guard import actor_of
from access.ports import Authorise
from challenges.api import ChallengeLink, Responses
from challenges.enrolment import Enrolment, Holder, TooOftenError, UnprovenError
from challenges.links import AccountLinks
from challenges.records import Factor

AccountId = Annotated[str, Path(pattern=r"^[^\x00-\x1f\x7f]{1,64}$", examples=["a-1001"])]
Code = Annotated[str, Field(min_length=1, max_length=64, examples=["492039"])]
Phone = Annotated[str, Field(pattern=r"^\+[1-9][0-9]{6,14}$", description="E.164", examples=["+34600000001"])]

REFUSED: Responses = {403: {"description": "The account has a factor, and the proof is missing or wrong."}}
WRONG: Responses = {400: {"description": "The code is wrong, used, too late, or there were too many."}}
TOO_OFTEN: Responses = {429: {"description": "There were too many in the last hour."}}
NO_SMS: Responses = {409: {"description": "No SMS can be sent to this number now."}}


class HolderProof(BaseModel):
    """Proof of the holder, needed once the account has a factor: changing a factor needs a factor."""

    model_config = ConfigDict(extra="forbid")

    kind: Annotated[Literal["totp", "recovery", "sms"], Field(examples=["totp"])]
    value: Annotated[str, Field(min_length=1, max_length=64, examples=["492039"])]


class FactorChange(BaseModel):
    """A change of factors."""

    model_config = ConfigDict(extra="forbid")

    proof: HolderProof | None = None


class PhoneChange(FactorChange):
    """Another phone."""

    phone: Phone


class CodeConfirmation(BaseModel):
    """The code that confirms a factor."""

    model_config = ConfigDict(extra="forbid")

    code: Code


class Contact(BaseModel):
    """Contact data verified by the institution; omitted fields stay unchanged."""

    model_config = ConfigDict(extra="forbid")

    phone: Annotated[str, Field(pattern=r"^(\+[1-9][0-9]{6,14})?$", examples=["+34600000001"])] = ""
    email: Annotated[str, Field(pattern=r"^([!-?A-~]+@[A-Za-z0-9.-]+)?$", max_length=254)] = ""
    language: Annotated[str, Field(pattern=r"^(en|es)?$", examples=["es"])] = ""
    proof: HolderProof | None = None


class Factors(BaseModel):
    """The factors of an account's holder. An unknown account has none."""

    factors: list[Factor]
    passkeys: int
    recovery_codes_left: int


class NewApp(BaseModel):
    """A new secret for an authenticator app, in force once confirmed."""

    uri: Annotated[str, Field(description="for a QR code")]
    secret: Annotated[str, Field(description="base32, to type in")]


class RecoveryCodes(BaseModel):
    """Codes in case every factor is lost; shown only once, each valid once."""

    codes: list[str]


class EnrolmentApi:
    """Routes under /v1/accounts.

    Args:
        enrolment: The service.
        links: Links to the enrolment pages.
        public_url: Public URL of the pages.
    """

    def __init__(self, enrolment: Enrolment, links: AccountLinks, public_url: str) -> None:
        self._enrolment, self._links, self._url = enrolment, links, public_url.rstrip("/")

    def router(self, authorise: Authorise) -> APIRouter:
        """Return the routes, each guarded by its scope."""
        router = APIRouter(prefix="/v1/accounts/{account_id}", tags=["enrolment"])
        reads, writes = [Depends(authorise("enrolment:read"))], [Depends(authorise("enrolment:write"))]
        router.get("/factors", dependencies=reads, summary="What a customer can answer with")(self.factors)
        router.post("/enrolment-link", dependencies=writes, status_code=201, summary="A link to the enrolment pages")(
            self.link
        )
        router.post(
            "/totp", dependencies=writes, status_code=201, summary="Begin an authenticator app", responses=REFUSED
        )(self.begin_totp)
        router.post("/totp/confirm", dependencies=writes, summary="Take the app into use", responses=WRONG | REFUSED)(
            self.confirm_totp
        )
        router.post(
            "/phone", dependencies=writes, status_code=202, summary="Send a code to a phone", responses=REFUSED | NO_SMS
        )(self.begin_phone)
        router.post(
            "/phone/confirm", dependencies=writes, summary="Take the phone into use", responses=WRONG | REFUSED
        )(self.confirm_phone)
        router.put(
            "/contact", dependencies=writes, status_code=204, responses=REFUSED,
            summary="Take over a phone, e-mail address or language that the institution has verified",
        )(self.contact)  # fmt: skip
        router.post(
            "/recovery-codes", dependencies=writes, status_code=201, summary="New recovery codes",
            responses=REFUSED | TOO_OFTEN,
        )(self.recovery_codes)  # fmt: skip
        router.post(
            "/factors/{factor}/remove", dependencies=writes, status_code=204, summary="Remove a factor",
            responses=REFUSED,
        )(self.remove)  # fmt: skip
        router.post(
            "/reset", dependencies=writes, status_code=204,
            summary="Remove all factors of a customer who lost them and was identified again",
            description="Ends every session, link and pending code of the account.",
        )(self.reset)  # fmt: skip
        return router

    def factors(self, account_id: AccountId) -> Factors:
        """Return the factors of a customer."""
        account = self._enrolment.account(account_id)
        return Factors(
            factors=list(account.factors), passkeys=len(account.passkeys), recovery_codes_left=len(account.recovery)
        )

    def link(self, request: Request, account_id: AccountId) -> ChallengeLink:
        """Return a link for the identified holder of an account; it voids the previous one."""
        return ChallengeLink(url=enrolment_link(self._enrolment, self._links, self._url, account_id, actor_of(request)))

    def begin_totp(self, request: Request, account_id: AccountId, change: FactorChange) -> NewApp:
        """Begin an authenticator app."""
        with _allowed():
            uri, secret, _ = self._enrolment.begin_totp(self._holder(request, account_id, change.proof))
        return NewApp(uri=uri, secret=secret)

    def confirm_totp(self, request: Request, account_id: AccountId, confirmation: CodeConfirmation) -> Factors:
        """Take the app into use."""
        with _allowed():
            done = self._enrolment.confirm_totp(self._begun(request, account_id, "totp"), confirmation.code)
        return self._confirmed(account_id, done)

    def begin_phone(self, request: Request, account_id: AccountId, change: PhoneChange) -> None:
        """Send a code to a phone."""
        with _allowed():
            sent = self._enrolment.begin_phone(self._holder(request, account_id, change.proof), change.phone)
        if not sent:
            raise HTTPException(409, "no SMS can be sent to this number now")

    def confirm_phone(self, request: Request, account_id: AccountId, confirmation: CodeConfirmation) -> Factors:
        """Take the phone into use."""
        with _allowed():
            done = self._enrolment.confirm_phone(self._begun(request, account_id, "phone"), confirmation.code)
        return self._confirmed(account_id, done)

    def contact(self, request: Request, account_id: AccountId, given: Contact) -> None:
        """Import contact data that the institution has verified."""
        holder = (
            self._holder(request, account_id, given.proof)
            if given.phone
            else self._enrolment.trusted(account_id, actor_of(request))
        )
        with _allowed():
            self._enrolment.vouch(holder, phone=given.phone, email=given.email, language=given.language)

    def recovery_codes(self, request: Request, account_id: AccountId, change: FactorChange) -> RecoveryCodes:
        """Create new recovery codes."""
        try:
            with _allowed():
                holder = self._holder(request, account_id, change.proof)
                return RecoveryCodes(codes=self._enrolment.new_recovery_codes(holder))
        except TooOftenError as error:
            raise HTTPException(429, str(error), {"Retry-After": "3600"}) from error

    def remove(self, request: Request, account_id: AccountId, factor: Factor, change: FactorChange) -> None:
        """Remove a factor."""
        with _allowed():
            self._enrolment.remove(self._holder(request, account_id, change.proof), factor)

    def reset(self, request: Request, account_id: AccountId) -> None:
        """Remove all factors."""
        self._enrolment.reset(account_id, actor=actor_of(request))

    def _holder(self, request: Request, account_id: str, proof: HolderProof | None) -> Holder:
        """Return the right to change the account: with a valid proof, or without one if it has no factor.

        Raises:
            HTTPException: 403, the account has a factor, and the proof is missing or wrong.
        """
        account, actor = self._enrolment.account(account_id), actor_of(request)
        if not account.factors:
            return Holder(account_id, account.epoch, proven=False, actor=actor)
        if proof is None or not self._enrolment.prove(account_id, proof.kind, proof.value, actor=actor):
            raise _refused()
        return Holder(account_id, account.epoch, proven=True, actor=actor)

    def _begun(self, request: Request, account_id: str, what: Literal["totp", "phone"]) -> Holder:
        """Return the right to confirm a change: that with which it began, which without proof is to a first factor."""
        return self._enrolment.begun(account_id, what, actor_of(request))

    def _confirmed(self, account_id: str, done: Holder | None) -> Factors:
        if done is None:
            raise HTTPException(400, "the code is wrong")
        return self.factors(account_id)


def enrolment_link(enrolment: Enrolment, links: AccountLinks, public_url: str, account_id: str, maker: str) -> str:
    """Return a link to the enrolment pages; `maker` is the credential that asks for it, or empty for the operator."""
    token = links.make(account_id, maker)
    enrolment.audit.record("enrolment.link", f"account:{account_id}", {}, actor=maker)
    return f"{public_url.rstrip('/')}/e/{token}"


@contextmanager
def _allowed() -> Iterator[None]:
    """Answer 403 where a change is refused."""
    try:
        yield
    except UnprovenError as error:
        raise _refused() from error


def _refused() -> HTTPException:
    return HTTPException(403, "changing a factor needs a factor: the proof is missing or wrong")
