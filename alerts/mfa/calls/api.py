"""The institution's API of call checks: links for its app, checks for its back office, outcomes for its analysts."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path
from pydantic import BaseModel, ConfigDict, Field

from alerts.access import Guard, Scope
from alerts.mfa.calls.checks import BusyError, Checks
from alerts.mfa.calls.engine import Call, Status
from vedette.events import Direction

CallId = Annotated[str, Path(pattern=r"^[0-9a-f][a-z2-7]{24}$", examples=["4k2vqo5i3jzq6w2x7c5m3a4dn"])]

NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"description": "There is no such call check, or it is another representative's."}
}


class AccountId(BaseModel):
    """Whose call it is."""

    model_config = ConfigDict(extra="forbid")

    account_id: Annotated[str, Field(min_length=1, max_length=64, examples=["a-1001"])]


class ReadBack(BaseModel):
    """What the customer read out."""

    model_config = ConfigDict(extra="forbid")

    code: Annotated[str, Field(min_length=1, max_length=64, examples=["4821 7730"])]


class CallView(BaseModel):
    """A call check. Times are milliseconds since 1970-01-01 UTC."""

    call_id: Annotated[str, Field(examples=["4k2vqo5i3jzq6w2x7c5m3a4dn"])]
    account_id: str
    direction: Annotated[Direction, Field(description="who has called")]
    status: Status
    representative: Annotated[str, Field(description="id of their credential; empty if nobody has taken the call")]
    code_a: Annotated[str, Field(description="to read out; only while the check is open, and only to who made it")]
    attempts_left: int
    started_at: int
    expires_at: int
    settled_at: int | None


class PageLink(BaseModel):
    """A link to the customer's page, good once and for ten minutes."""

    url: Annotated[str, Field(examples=["https://pay.bank.example/call/link/Vq3…"])]


def call_link(public_url: str, token: str) -> str:
    """The address that a token opens."""
    return f"{public_url.rstrip('/')}/call/link/{token}"


def calls_router(checks: Checks, guard: Guard, *, public_url: str) -> APIRouter:
    """Routes under /v1/calls and /v1/call-links."""
    router = APIRouter(prefix="/v1", tags=["calls"])
    Representative = Annotated[str, Depends(guard.authorise(Scope.CALLS_CHECK))]  # noqa: N806, a type
    Reader = Annotated[str, Depends(guard.authorise(Scope.CALLS_READ))]  # noqa: N806, a type

    def view(call: Call | None, reader: str) -> CallView:
        if call is None:
            raise HTTPException(404, "there is no such call check")
        shown = checks.desk_view(call, reader)
        return CallView(
            call_id=call.call_id,
            account_id=call.account_id,
            direction=call.direction,
            status=shown.status,
            representative=call.representative,
            code_a=shown.code_a,
            attempts_left=shown.attempts_left,
            started_at=call.started_at,
            expires_at=call.expires_at,
            settled_at=call.settled_at,
        )

    def own(call_id: str, representative: str) -> Call:
        call = checks.get(call_id)
        if call is None or call.representative != representative:
            raise HTTPException(404, "there is no such call check")
        return call

    @router.post(
        "/call-links", status_code=201, summary="A link to the customer's page, for the institution's app to open",
        dependencies=[Depends(guard.authorise(Scope.CALLS_INVITE))],
    )  # fmt: skip
    def link(account: AccountId) -> PageLink:
        return PageLink(url=call_link(public_url, checks.new_link(account.account_id)))

    @router.post(
        "/calls", status_code=201, summary="Start a check, or take the one that the customer has started",
        responses={409: {"description": "Another representative has it, or there were too many of this account."}},
    )  # fmt: skip
    def start(account: AccountId, representative: Representative) -> CallView:
        try:
            return view(checks.start(account.account_id, representative), representative)
        except BusyError as error:
            raise HTTPException(409, str(error)) from error

    @router.get("/calls/{call_id}", summary="How a check stands", responses=NOT_FOUND)
    def status(call_id: CallId, reader: Reader) -> CallView:
        return view(checks.get(call_id), reader)

    @router.post("/calls/{call_id}/code", summary="Type in what the customer reads out", responses=NOT_FOUND)
    def judge(call_id: CallId, read_back: ReadBack, representative: Representative) -> CallView:
        own(call_id, representative)
        return view(checks.judge(call_id, representative, read_back.code), representative)

    @router.post(
        "/calls/{call_id}/invite", status_code=202, summary="Send the customer a link to their page by SMS",
        responses=NOT_FOUND | {409: {"description": "The check is over, or the customer cannot get an SMS now."}},
    )  # fmt: skip
    def invite(call_id: CallId, representative: Representative) -> CallView:
        call = own(call_id, representative)
        if not checks.invite(call):
            raise HTTPException(409, "the check is over, or the customer cannot get an SMS now")
        return view(call, representative)

    @router.post("/calls/{call_id}/end", summary="End a check", responses=NOT_FOUND)
    def end(call_id: CallId, representative: Representative) -> CallView:
        own(call_id, representative)
        return view(checks.cancel(call_id, representative), representative)

    return router
