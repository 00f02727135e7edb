"""The web app: a factory that combines routers and gives every response the same protection."""

from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

import structlog
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from adapters.http_app import GATE_RESPONSES, protected_app
from adapters.http_server import Readiness
from challenges.view import REFUSALS, refusal
from vedette import __version__
from vedette.errors import StateError, UnavailableError, VedetteError

_log = structlog.get_logger("vedette.challenges")
_STATIC = Path(__file__).with_name("static")

_PROGRAMS = ("v1", "oauth")
"""Path prefixes used only by programs."""


def build_app(
    routers: Sequence[APIRouter], *, public_url: str, name: str = "Vedette", readiness: Readiness | None = None
) -> FastAPI:
    """Return the app that answers under `public_url` with the given routers, in the name of an institution.

    Every response has the security headers and, unless it is a static file, must not be cached. When a dependency does
    not answer, the caller gets 503 and a time to try again. A browser gets a page.
    """
    app = protected_app(
        title="Vedette challenges",
        version=__version__,
        summary="Ask a customer about a payment, take the answer, and settle it once.",
        openapi_url="/openapi.json",
        public_url=public_url,
        responses=GATE_RESPONSES,
    )
    app.state.name = name
    for router in routers:
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")

    @app.exception_handler(StateError)
    @app.exception_handler(UnavailableError)
    async def unavailable(request: Request, error: VedetteError) -> Response:
        _log.error("request not answered", reason=str(error))  # the failing part is not revealed to the caller
        return await _refused(request, HTTPException(503, "not available now, please come again", {"Retry-After": "5"}))

    app.exception_handler(HTTPException)(_refused)

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> JSONResponse:
        missing = sorted(readiness.missing()) if readiness else []
        return JSONResponse({"missing": missing}, 503 if missing else 200)

    return app


async def _refused(request: Request, error: HTTPException) -> Response:
    """Return the response to a refused request: a page for people, JSON for programs."""
    room = request.url.path.split("/")[1]
    if room not in _PROGRAMS and "text/html" in request.headers.get("accept", ""):
        if error.status_code in REFUSALS:
            return refusal(request, error.status_code, error.headers)
        if request.method == "GET" and error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            # The address of a form, opened again or in another language: redirect to its page.
            return RedirectResponse(f"/{room}?{request.url.query}", 303)
    return await http_exception_handler(request, error)
