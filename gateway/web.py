"""The web app: behind the HTTP gate, with a problem document for every refusal."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import msgspec
import structlog
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from adapters.http_app import protected_app
from adapters.http_limits import FORM, JSON, HttpLimits
from adapters.http_server import Readiness
from gateway.api import NDJSON, problem_response
from gateway.openapi import describe
from gateway.problems import MEDIA_TYPE, problem
from gateway.webhooks.endpoints import RegisteredEndpoint, WebhookEndpoint
from gateway.webhooks.outbox import WebhookDelivery
from vedette import __version__
from vedette.client import ProblemError
from vedette.client.answers import of_status
from vedette.errors import StateError, UnavailableError, VedetteError

_log = structlog.get_logger("vedette.gateway")

_LIMITS = HttpLimits(
    body_bytes=16 * 1024,
    larger={"/v1/decisions:batch": 1024 * 1024, "/v1/transactions": 4 * 1024 * 1024, "/v1/labels": 1024 * 1024},
    media_types=frozenset({JSON, FORM, NDJSON}),
)

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def build_app(routers: Sequence[APIRouter], *, lifespan: Lifespan, readiness: Readiness, public_url: str) -> FastAPI:
    """Return the app with the given routers.

    Args:
        routers: Routers of the API and of the token endpoint.
        lifespan: Starts and ends the parts in the app's event loop.
        readiness: Failing parts.
        public_url: See HttpGate.
    """
    app = protected_app(
        title="Vedette gateway",
        version=__version__,
        summary="A decision on a payment while the payer waits.",
        public_url=public_url,
        openapi_url="/openapi.json",
        problems=True,
        limits=_LIMITS,
        lifespan=lifespan,
    )
    for router in routers:
        app.include_router(router)
    describe(app, WebhookEndpoint, RegisteredEndpoint, WebhookDelivery)

    @app.exception_handler(ProblemError)
    async def refused(request: Request, error: ProblemError) -> Response:
        del request
        return problem_response(error)

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> Response:
        del request
        content = msgspec.json.encode(of_status(error.status_code, error.detail))
        return Response(content, error.status_code, error.headers, media_type=MEDIA_TYPE)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        del request
        first = error.errors()[0]
        field = str(first["loc"][-1])
        value = first.get("input")
        return problem_response(
            problem(
                "invalid-request", 422, f"`{field}`: {first['msg']}", field=field,
                value=value[:200] if isinstance(value, str) else None,
                remedy="`/openapi.json` describes every request",
            )
        )  # fmt: skip

    @app.exception_handler(StateError)
    @app.exception_handler(UnavailableError)
    async def unavailable(request: Request, error: VedetteError) -> Response:
        del request
        _log.error("request not answered", reason=str(error))  # the failing part is not revealed to the caller
        away = of_status(503, "not available now, please come again")
        return problem_response(ProblemError(away, retry_after_s=5))

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> JSONResponse:
        missing = sorted(readiness.missing())
        return JSONResponse({"missing": missing}, 503 if missing else 200)

    return app
