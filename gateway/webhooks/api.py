"""The routes of webhooks: register, list, pause, resume, remove; deliveries and their replay."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from access.guard import actor_of
from access.ports import Dependency
from adapters.database import database_errors
from gateway.openapi import (
    PROBLEMS,
    REPLAY,
    REPLAY_OK,
    WEBHOOK,
    WEBHOOK_DELIVERIES_OK,
    WEBHOOK_LIST_OK,
    WEBHOOK_NEW_OK,
    WEBHOOK_OK,
)
from gateway.problems import problem
from gateway.webhooks import outbox
from gateway.webhooks.endpoints import Endpoints, get
from gateway.webhooks.outbox import DeliveryStatus
from vedette.clock import Clock
from vedette.errors import InputError
from vedette.reading import UNREADABLE

WebhookId = Annotated[str, Path(min_length=1, max_length=40, examples=["we_0123456789abcdef"])]
Limit = Annotated[int, Query(ge=1, le=500)]
Status = Annotated[DeliveryStatus | None, Query()]

_MOST = 20
_T = TypeVar("_T")


class _NewWebhook(msgspec.Struct):
    url: str
    events: Annotated[list[str], msgspec.Meta(max_length=_MOST)] = []
    actions: Annotated[list[str], msgspec.Meta(max_length=_MOST)] = []


class _Replay(msgspec.Struct):
    since: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None = None


class WebhookApi:
    """Routes under /v1/webhooks.

    Args:
        endpoints: The registered endpoints.
        engine: The database.
        clock: The clock.
    """

    def __init__(self, endpoints: Endpoints, engine: Engine, clock: Clock) -> None:
        self._endpoints, self._engine, self._clock = endpoints, engine, clock

    def router(self, authorise: Callable[[str], Dependency]) -> APIRouter:
        """Return the routes, each guarded by its scope."""
        reads, writes = [Depends(authorise("webhooks:read"))], [Depends(authorise("webhooks:write"))]
        router = APIRouter(
            prefix="/v1/webhooks", responses=PROBLEMS, default_response_class=Response, tags=["webhooks"]
        )
        router.post(
            "", dependencies=writes, status_code=201, summary="Register a webhook", responses=WEBHOOK_NEW_OK,
            openapi_extra=WEBHOOK,
        )(self.add)  # fmt: skip
        router.get("", dependencies=reads, summary="All webhooks", responses=WEBHOOK_LIST_OK)(self.all)
        router.post(
            "/{webhook_id}/pause", dependencies=writes, summary="Post nothing until it is resumed",
            responses=WEBHOOK_OK,
        )(self.pause)  # fmt: skip
        router.post(
            "/{webhook_id}/resume", dependencies=writes, summary="Post again, what has waited first",
            responses=WEBHOOK_OK,
        )(self.resume)  # fmt: skip
        router.delete(
            "/{webhook_id}", dependencies=writes, status_code=204, summary="Remove a webhook and what waits for it"
        )(self.remove)  # fmt: skip
        router.get(
            "/{webhook_id}/deliveries", dependencies=reads, summary="Its newest deliveries",
            responses=WEBHOOK_DELIVERIES_OK,
        )(self.deliveries)  # fmt: skip
        router.post(
            "/{webhook_id}/replay", dependencies=writes, summary="Post dead letters again", responses=REPLAY_OK,
            openapi_extra=REPLAY,
        )(self.replay)  # fmt: skip
        return router

    async def add(self, request: Request) -> Response:
        """Register an address for events; the secret that verifies their signatures is shown only here."""
        asked = _decoded(_new, await request.body())
        actor = actor_of(request)
        made = await _done(lambda: self._endpoints.add(asked.url, asked.events, asked.actions, actor=actor))
        return _json(made, 201)

    async def all(self) -> Response:
        """List all webhooks, oldest first."""
        return _json(await _done(self._endpoints.all))

    async def pause(self, request: Request, webhook_id: WebhookId) -> Response:
        """Pause a webhook; its events wait."""
        actor = actor_of(request)
        return _json(await _done(lambda: self._endpoints.pause(webhook_id, actor=actor), 404))

    async def resume(self, request: Request, webhook_id: WebhookId) -> Response:
        """Resume a webhook."""
        actor = actor_of(request)
        return _json(await _done(lambda: self._endpoints.resume(webhook_id, actor=actor), 404))

    async def remove(self, request: Request, webhook_id: WebhookId) -> Response:
        """Remove a webhook."""
        actor = actor_of(request)
        await _done(lambda: self._endpoints.remove(webhook_id, actor=actor), 404)
        return Response(status_code=204)

    async def deliveries(self, webhook_id: WebhookId, status: Status = None, limit: Limit = 100) -> Response:
        """List the newest deliveries of a webhook, and what became of them."""

        def found() -> list[outbox.WebhookDelivery]:
            with self._engine.execution_options(reads=True).connect() as connection:
                get(connection, webhook_id)
                return outbox.listing(connection, webhook_id, status, limit)

        return _json(await _done(found, 404))

    async def replay(self, request: Request, webhook_id: WebhookId) -> Response:
        """Post again what was given up; with `since`, also what was sent of the events from then on."""
        body = await request.body()
        since = _decoded(_replay, body).since if body else None
        return _json({"replayed": await _done(lambda: self._replay(webhook_id, since), 404)})

    def _replay(self, webhook_id: str, since: int | None) -> int:
        with self._engine.begin() as connection:
            get(connection, webhook_id)
            return outbox.replay(connection, webhook_id, since, self._clock.now_ms())


_new = msgspec.json.Decoder(_NewWebhook)
_replay = msgspec.json.Decoder(_Replay)


def _decoded(decoder: msgspec.json.Decoder[_T], body: bytes) -> _T:
    try:
        return decoder.decode(body)
    except UNREADABLE as error:
        raise problem("invalid-request", 422, str(error), remedy="`/openapi.json` describes every request") from error


async def _done(work: Callable[[], _T], status: int = 422) -> _T:
    """Return what a thread does with the database, and answer wrong input with a problem of this status."""
    try:
        with database_errors("of webhooks"):
            return await run_in_threadpool(work)
    except InputError as error:
        kind = "unknown-webhook" if status == 404 else "invalid-request"
        raise problem(kind, status, error.args[0], remedy=error.remedy) from error


def _json(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")
