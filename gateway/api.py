"""The routes: thin, and hand-written for thousands of requests per second, so that nothing is decoded twice."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import APIRouter, Depends, Header, Path, Request, Response
from sse_starlette import EventSourceResponse

from access.guard import actor_of
from access.ports import Dependency
from adapters.event_streams import EventStreams, Part
from gateway.answers import preview
from gateway.caller import GatewayGuard
from gateway.decision_gateway import DecisionGateway
from gateway.metrics import GatewayMetrics
from gateway.openapi import (
    BATCH,
    BATCH_OK,
    DECISION_OK,
    EVENTS_OK,
    LABELS,
    LINES_OK,
    LOOK_UP,
    PAYMENT,
    PREVIEW,
    PREVIEW_OK,
    PROBLEMS,
    TRANSACTIONS,
)  # fmt: skip
from gateway.preview import PreviewService
from gateway.problems import MEDIA_TYPE, card_number, invalid_event, problem
from vedette.card_numbers import CardNumbers
from vedette.client import Answer, BatchAnswer, BatchItem, LineResult, ProblemError
from vedette.errors import CardNumberError, InputError
from vedette.events import Label, Transaction
from vedette.reading import UNREADABLE, read_label, read_transaction
from vedette.settings_gateway import GatewaySettings

LARGEST_BATCH = 100
MOST_LINES = 500
NDJSON = "application/x-ndjson"
_ACKNOWLEDGED_S = 5.0
"""Time-out for the acknowledgement of an event whose decision is not awaited, in seconds."""

Deadline = Annotated[
    int | None,
    Header(
        alias="Vedette-Deadline-Ms", ge=1, le=2000,
        description="milliseconds from the arrival of the request until a provisional answer",
    ),
]  # fmt: skip
_EventT = TypeVar("_EventT", Transaction, Label)
TransactionId = Annotated[str, Path(min_length=1, max_length=64, examples=["t-1"])]


class _Batch(msgspec.Struct):
    transactions: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1, max_length=LARGEST_BATCH)]


_batch = msgspec.json.Decoder(_Batch)


class GatewayApi:
    """Routes under /v1.

    Args:
        gateway: The gateway itself.
        guard: Authorisation and rate limits.
        settings: Settings of the gateway.
        metrics: Counts answers.
        streams: Bounds the streams of events.
        previews: Decides without any effect.
        cards: What happens to identifiers that are card numbers.
    """

    def __init__(
        self, gateway: DecisionGateway, guard: GatewayGuard, settings: GatewaySettings, metrics: GatewayMetrics,
        streams: EventStreams, previews: PreviewService, cards: CardNumbers,
    ) -> None:  # fmt: skip
        self._gateway, self._guard, self._settings = gateway, guard, settings
        self._metrics, self._streams, self._previews, self._cards = metrics, streams, previews, cards

    def router(self, authorise: Callable[[str], Dependency]) -> APIRouter:
        """Return the routes, each guarded by its scope."""
        router = APIRouter(prefix="/v1", responses=PROBLEMS, default_response_class=Response)
        asks, reads = [Depends(authorise("decisions:write"))], [Depends(authorise("decisions:read"))]
        router.post(
            "/decisions", dependencies=asks, tags=["decisions"], summary="Submit a payment and get its decision",
            responses=DECISION_OK, openapi_extra=PAYMENT,
        )(self.decide)  # fmt: skip
        router.post(
            "/decisions:batch", dependencies=asks, tags=["decisions"], responses=BATCH_OK, openapi_extra=BATCH,
            summary=f"Submit up to {LARGEST_BATCH} payments and get their decisions",
        )(self.decide_batch)  # fmt: skip
        router.post(
            "/decisions:preview", dependencies=[Depends(authorise("decisions:preview"))], tags=["decisions"],
            responses=PREVIEW_OK, openapi_extra=PREVIEW, summary="The decision that a payment would get now",
        )(self.preview)  # fmt: skip
        router.get(
            "/decisions/{transaction_id:path}/events", dependencies=reads, tags=["decisions"], responses=EVENTS_OK,
            summary="Follow a payment until its decision is final",
        )(self.events)  # fmt: skip
        router.get(
            "/decisions/{transaction_id:path}", dependencies=reads, tags=["decisions"], responses=LOOK_UP,
            summary="The newest decision on a recent payment",
        )(self.look_up)  # fmt: skip
        router.post(
            "/transactions", dependencies=[Depends(authorise("transactions:write"))], tags=["events"], status_code=202,
            summary="Submit payments without waiting for decisions", responses=LINES_OK, openapi_extra=TRANSACTIONS,
        )(self.transactions)  # fmt: skip
        router.post(
            "/labels", dependencies=[Depends(authorise("labels:write"))], tags=["events"], status_code=202,
            summary="Say which payments were fraud", responses=LINES_OK, openapi_extra=LABELS,
        )(self.labels)  # fmt: skip
        return router

    async def decide(self, request: Request, deadline: Deadline = None) -> Response:
        """Publish the payment and answer with its decision, or provisionally once the deadline has passed.

        The same id and body always get the same decision; another body under the id is 409.
        """
        started = time.perf_counter()
        return await self.decide_body(actor_of(request), await request.body(), deadline, started)

    async def decide_body(self, caller: str, body: bytes, deadline_ms: int | None, started: float) -> Response:
        """Answer a payment of a caller who may submit it; see decide.

        Args:
            caller: Id of the credential.
            body: The payment.
            deadline_ms: Milliseconds until a provisional answer; None or 0: as the gateway is set.
            started: When the request came, by time.perf_counter.

        Raises:
            ProblemError: The payment is refused.
        """
        self._guard.charge(caller, 1)
        return _json(await self._decided(body, self._deadline_s(deadline_ms), started))

    async def decide_batch(self, request: Request, deadline: Deadline = None) -> Response:
        """Publish all payments in order and answer with all decisions: each is what it would have been alone."""
        started = time.perf_counter()
        body = await request.body()
        try:
            payments = _batch.decode(body).transactions
        except UNREADABLE as error:
            raise problem(
                "invalid-request", 422, str(error), field="transactions",
                remedy=f'send {{"transactions": […]}} with 1 to {LARGEST_BATCH} payments',
            ) from error  # fmt: skip
        self._guard.charge(actor_of(request), len(payments))
        deadline_s = self._deadline_s(deadline)

        async def one(body: bytes) -> BatchItem:
            try:
                return BatchItem(status=200, decision=await self._decided(body, deadline_s, started))
            except ProblemError as refused:
                return BatchItem(status=refused.problem.status, problem=refused.problem)

        results = await asyncio.gather(*(one(bytes(payment)) for payment in payments))
        return _json(BatchAnswer(results=results))

    async def preview(self, request: Request) -> Response:
        """Decide with the state as it is; the payment is not published, and nothing changes."""
        started = time.perf_counter()
        body = await request.body()
        self._guard.charge(actor_of(request), 1)
        transaction = self._read(read_transaction, body)
        self._gateway.check_time(transaction)
        decision = await self._previews.decide(transaction)
        return _json(preview(decision, (time.perf_counter() - started) * 1000))

    async def look_up(self, transaction_id: TransactionId) -> Response:
        """Answer with the final decision, else the standing one, else the one without history."""
        return _json(self._gateway.look_up(self._known_as(transaction_id)))

    async def events(self, request: Request, transaction_id: TransactionId) -> EventSourceResponse:
        """Send the newest decision whenever there is a newer one, and end after the final one."""
        ended, caller, transaction_id = False, actor_of(request), self._known_as(transaction_id)

        def read() -> Part | None:
            nonlocal ended
            if ended or not self._guard.in_force(caller):  # the credential may have been revoked since
                return None
            try:
                newest = self._gateway.look_up(transaction_id)
            except ProblemError as refused:
                if refused.problem.status != 409:
                    return None
                return "", ""
            ended = newest.final
            state = "final" if newest.final else "degraded" if newest.degraded else "standing"
            return state, msgspec.json.encode(newest).decode()

        try:
            self._gateway.look_up(transaction_id)
        except ProblemError as refused:
            if not refused.problem.type.endswith(":undecided"):
                raise
        return self._streams.follow(caller, read, request.headers.get("last-event-id", "")[:16])

    async def transactions(self, request: Request) -> Response:
        """Publish the payments, one JSON object a line; a result for each line says whether it was accepted."""

        async def accept(line: bytes) -> str:
            transaction = self._read(read_transaction, line)
            await self._gateway.accept(transaction, _ACKNOWLEDGED_S)
            return transaction.transaction_id

        return await self._lines(request, accept)

    async def labels(self, request: Request) -> Response:
        """Publish the labels, one JSON object a line; a result for each line says whether it was accepted."""

        async def accept(line: bytes) -> str:
            label = self._read(read_label, line)
            await self._gateway.label(label, _ACKNOWLEDGED_S)
            return label.transaction_id

        return await self._lines(request, accept)

    async def _decided(self, body: bytes, deadline_s: float, started: float) -> Answer:
        try:
            answer = await self._gateway.decide(self._read(read_transaction, body), deadline_s, started)
        except ProblemError as refused:
            self._metrics.answers.labels(refused.problem.type.rpartition(":")[2]).inc()
            raise
        outcome = "degraded" if answer.degraded else "provisional" if answer.provisional else "decided"
        self._metrics.answers.labels(outcome).inc()
        if outcome == "decided":
            self._metrics.latency.observe(answer.latency_ms / 1000)
        return answer

    async def _lines(self, request: Request, accept: Callable[[bytes], Awaitable[str]]) -> Response:
        lines = [line for line in (await request.body()).split(b"\n") if line.strip()]
        if not 1 <= len(lines) <= MOST_LINES:
            raise problem(
                "invalid-request", 422, f"the body has {len(lines)} lines", value=len(lines),
                remedy=f"send 1 to {MOST_LINES} lines, each a JSON object",
            )  # fmt: skip
        self._guard.charge(actor_of(request), len(lines))

        async def one(number: int, line: bytes) -> LineResult:
            try:
                return LineResult(line=number, status=202, transaction_id=await accept(line))
            except ProblemError as refused:
                return LineResult(line=number, status=refused.problem.status, problem=refused.problem)

        results: Sequence[Any] = await asyncio.gather(*(one(number, line) for number, line in enumerate(lines, 1)))
        return Response(msgspec.json.Encoder().encode_lines(results), 202, media_type=NDJSON)

    def _read(self, read: Callable[[bytes], _EventT], body: bytes) -> _EventT:
        """Return an event of a request, without card numbers.

        Raises:
            ProblemError: 422, it cannot be read, or has a card number that is refused.
        """
        try:
            return self._cards.admit(read(body))
        except CardNumberError as error:
            raise card_number(error) from error
        except InputError as error:
            raise invalid_event(error, body) from error

    def _known_as(self, transaction_id: str) -> str:
        """Return the id under which a payment was admitted."""
        try:
            return self._cards.identifier("transaction_id", transaction_id)
        except CardNumberError as error:
            raise card_number(error) from error

    def _deadline_s(self, deadline_ms: int | None) -> float:
        return (deadline_ms or self._settings.deadline_ms) / 1000


def _json(content: Any) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")


def problem_response(refused: ProblemError) -> Response:
    """Return the answer that a refusal is."""
    return Response(
        msgspec.json.encode(refused.problem), refused.problem.status, refused.headers, media_type=MEDIA_TYPE
    )
