"""The institution's API of call checks: links for its app, checks for its back office, outcomes for its analysts."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from access.guard import actor_of
from access.ports import Authorise
from access.roles import Scope
from challenges.calls.checks import BusyError, CallChecks
from challenges.calls.state_machine import Call, Status
from vedette.events import Direction

CallId = Annotated[str, Path(pattern=r"^[0-9a-f][a-z2-7]{24}$", examples=["4k2vqo5i3jzq6w2x7c5m3a4dn"])]

NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"description": "There is no such call check, or it is another representative's."}
}


class CallAccount(BaseModel):
    """The account of a call."""

    model_config = ConfigDict(extra="forbid")

    account_id: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,64}$", examples=["a-1001"])]


class ReadBack(BaseModel):
    """The code that the customer read out."""

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
    """A link to the customer's page, valid once and for ten minutes."""

    url: Annotated[str, Field(examples=["https://pay.bank.example/call/link/Vq3…"])]


def call_link(public_url: str, token: str) -> str:
    """Return the URL of a token."""
    return f"{public_url.rstrip('/')}/call/link/{token}"


class CallApi:
    """Routes under /v1/calls and /v1/call-links.

    Args:
        checks: The call checks.
        public_url: Public URL of the customers' pages.
    """

    def __init__(self, checks: CallChecks, public_url: str) -> None:
        self._checks, self._url = checks, public_url

    def router(self, authorise: Authorise) -> APIRouter:
        """Return the routes, each guarded by its scope."""
        router = APIRouter(prefix="/v1", tags=["calls"])
        invites, checks, reads = (
            [Depends(authorise(scope))] for scope in (Scope.CALLS_INVITE, Scope.CALLS_CHECK, Scope.CALLS_READ)
        )
        router.post(
            "/call-links", dependencies=invites, status_code=201,
            summary="A link to the customer's page, for the institution's app to open",
        )(self.link)  # fmt: skip
        router.post(
            "/calls", dependencies=checks, status_code=201,
            summary="Start a check, or take the one that the customer has started",
            responses={409: {"description": "Another representative has it, or there were too many of this account."}},
        )(self.start)  # fmt: skip
        router.get("/calls/{call_id}", dependencies=reads, summary="How a check stands", responses=NOT_FOUND)(
            self.status
        )
        router.post(
            "/calls/{call_id}/code", dependencies=checks, summary="Type in what the customer reads out",
            responses=NOT_FOUND,
        )(self.check_code)  # fmt: skip
        router.post(
            "/calls/{call_id}/invite", dependencies=checks, status_code=202,
            summary="Send the customer a link to their page by SMS",
            responses=NOT_FOUND | {409: {"description": "The check is over, or the customer cannot get an SMS now."}},
        )(self.invite)  # fmt: skip
        router.post("/calls/{call_id}/end", dependencies=checks, summary="End a check", responses=NOT_FOUND)(self.end)
        return router

    def link(self, request: Request, account: CallAccount) -> PageLink:
        """Return a link to the customer's page."""
        token = self._checks.new_link(account.account_id, actor=actor_of(request))
        return PageLink(url=call_link(self._url, token))

    def start(self, request: Request, account: CallAccount) -> CallView:
        """Start a check, or take the one that the customer has started."""
        representative = actor_of(request)
        try:
            return self._view(self._checks.start(account.account_id, representative), representative)
        except BusyError as error:
            raise HTTPException(409, str(error)) from error

    def status(self, request: Request, call_id: CallId) -> CallView:
        """Return the status of a check."""
        return self._view(self._checks.get(call_id), actor_of(request))

    def check_code(self, request: Request, call_id: CallId, read_back: ReadBack) -> CallView:
        """Verify the code that the customer reads out."""
        call = self._own(request, call_id)
        return self._view(self._checks.check_code(call_id, call.representative, read_back.code), call.representative)

    def invite(self, request: Request, call_id: CallId) -> CallView:
        """Send the customer a link to their page by SMS."""
        call = self._own(request, call_id)
        if not self._checks.invite(call):
            raise HTTPException(409, "the check is over, or the customer cannot get an SMS now")
        return self._view(call, call.representative)

    def end(self, request: Request, call_id: CallId) -> CallView:
        """End a check."""
        call = self._own(request, call_id)
        return self._view(self._checks.cancel(call_id, call.representative), call.representative)

    def _own(self, request: Request, call_id: str) -> Call:
        call = self._checks.get(call_id)
        if call is None or call.representative != actor_of(request):
            raise HTTPException(404, "there is no such call check")
        return call

    def _view(self, call: Call | None, reader: str) -> CallView:
        if call is None:
            raise HTTPException(404, "there is no such call check")
        shown = self._checks.desk_view(call, reader)
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
