"""The webhook receiver of Prometheus' Alertmanager."""

import hmac
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from alerts.notify.operations import OperationsAlert, read_post
from vedette.errors import InputError, VedetteError
from vedette.settings_base import Secret

Take = Callable[[Sequence[OperationsAlert]], int]
"""Writes messages about alerts, and returns their number."""


def receiver(token: Secret, take: Take, log: Any) -> APIRouter:
    """Return the route; only who knows the token may post."""
    router = APIRouter()

    @router.post("/v1/alertmanager")
    async def post(request: Request) -> Response:
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {token.value}".encode()):
            return JSONResponse({"detail": "the token is missing or wrong"}, 401, {"WWW-Authenticate": "Bearer"})
        try:
            alerts = read_post(await request.body())  # HttpGate has bounded it
        except InputError as error:
            return JSONResponse({"detail": str(error)}, 422)
        try:
            messages = await run_in_threadpool(take, alerts)
        except VedetteError as error:
            log.error("alerts not taken", reason=str(error))  # noqa: TRY400, the reason is enough
            return JSONResponse({"detail": "not available now"}, 503, {"Retry-After": "5"})
        for alert in alerts:
            log.info("operations alert", alert=alert.name, status=alert.status)
        return JSONResponse({"messages": messages})

    return router
