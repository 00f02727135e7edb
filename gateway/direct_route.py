"""The way of most requests: `POST /v1/decisions` with a key that is known, without the framework's routing.

FastAPI resolves dependencies and parameters for each request, which takes as long as everything else that the gateway
does for it. What this does not recognise at once goes on to the ordinary route, which does the same.
"""

import time

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.api import GatewayApi, problem_response
from gateway.caller import GatewayGuard
from vedette.client import ProblemError

_PATH = "/v1/decisions"
_SCOPE = "decisions:write"
_LONGEST_MS = 2000


class DirectRoute:
    """An ASGI middleware directly in front of FastAPI, behind the HttpGate, which has the complete body.

    Args:
        app: FastAPI.
        api: The routes.
        guard: Remembers who was let in.
    """

    def __init__(self, app: ASGIApp, *, api: GatewayApi, guard: GatewayGuard) -> None:
        self._app, self._api, self._guard = app, api, guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "http" and scope["path"] == _PATH and scope["method"] == "POST":
            headers: dict[bytes, bytes] = dict(scope["headers"])
            deadline_ms = _deadline_ms(headers.get(b"vedette-deadline-ms"))
            caller = self._guard.remembered(_text(headers, b"authorization"), _text(headers, b"x-api-key"), _SCOPE)
            if caller and deadline_ms is not None:
                response = await self._decided(caller, receive, deadline_ms)
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _decided(self, caller: str, receive: Receive, deadline_ms: int) -> Response:
        started = time.perf_counter()
        body: bytes = (await receive())["body"]
        try:
            return await self._api.decide_body(caller, body, deadline_ms, started)
        except ProblemError as refused:
            return problem_response(refused)


def _deadline_ms(header: bytes | None) -> int | None:
    """Return the deadline, 0 if none is named, None if it is to be looked at by the ordinary route."""
    if header is None:
        return 0
    if not (header.isdigit() and len(header) <= 4):
        return None
    deadline_ms = int(header)
    return deadline_ms if 1 <= deadline_ms <= _LONGEST_MS else None


def _text(headers: dict[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")
