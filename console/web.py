"""The web app: all pages behind the gate and the guard."""

from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from adapters.http_app import protected_app
from adapters.http_limits import HttpLimits
from adapters.http_server import Readiness
from console.guard import ConsoleGuard, SignInNeededError, sign_in_path
from console.routes import ROUTES
from console.view import refusal
from vedette import __version__
from vedette.clock import Clock
from vedette.errors import InputError, ModelError, PolicyError, StateError, UnavailableError, VedetteError

_LIMITS = HttpLimits(larger={"/policy/drafts/": 2 * 1024 * 1024})
"""A policy comes with its lists."""
_STATIC = Path(__file__).with_name("static")


def build_app(
    routers: Sequence[APIRouter], guard: ConsoleGuard, *, public_url: str, name: str, clock: Clock,
    readiness: Readiness, log: Any,
) -> FastAPI:  # fmt: skip
    """Return the app.

    Raises:
        LookupError: A route has no entry in `routes.ROUTES`, or an entry has no route.
    """
    app = protected_app(title="Vedette console", version=__version__, public_url=public_url, log=log, limits=_LIMITS)
    app.state.name, app.state.clock, app.state.secure = name, clock, public_url.startswith("https://")
    routers = [_health(readiness), *routers]
    _check_routes(routers)
    for router in routers:
        app.include_router(router, dependencies=[Depends(guard)])
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")

    @app.exception_handler(SignInNeededError)
    async def sign_in(request: Request, error: SignInNeededError) -> Response:
        del error
        path = sign_in_path(request)
        if request.headers.get("hx-request"):
            return Response(status_code=401, headers={"HX-Redirect": path})
        if request.url.path == "/live/stream":
            return Response(status_code=204)  # tells the browser to stop asking
        return RedirectResponse(path, 303)

    @app.exception_handler(StateError)
    @app.exception_handler(PolicyError)
    @app.exception_handler(ModelError)
    @app.exception_handler(UnavailableError)
    @app.exception_handler(SQLAlchemyError)
    async def unavailable(request: Request, error: Exception) -> Response:
        # Errors other than Vedette's may quote what was sent, so only their kind is logged.
        log.error(
            "request not answered", reason=str(error) if isinstance(error, VedetteError) else type(error).__name__
        )
        return _refused(request, 503, {"Retry-After": "5"})

    @app.exception_handler(InputError)
    async def unknown(request: Request, error: InputError) -> Response:
        return refusal(request, 404, reason=str(error.args[0]))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        del error
        return _refused(request, 422)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        return _refused(request, error.status_code, dict(error.headers or {}))

    return app


def _refused(request: Request, status: int, headers: dict[str, str] | None = None) -> Response:
    if not hasattr(request.state, "visit"):
        request.state.visit = None
    if status == HTTPStatus.METHOD_NOT_ALLOWED and request.method == "GET":
        return RedirectResponse("/", 303)  # the address of a form, opened again
    return refusal(request, status, headers)


def _check_routes(routers: Sequence[APIRouter]) -> None:
    """Check that the table of permissions is complete."""
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    served = {(method, route.path) for route in routes for method in route.methods or ()}
    if served != ROUTES.keys():
        raise LookupError(f"routes and their permissions differ: {sorted(served ^ ROUTES.keys())}")


def _health(readiness: Readiness) -> APIRouter:
    router = APIRouter()

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/readyz")
    async def readyz() -> JSONResponse:
        missing = sorted(readiness.missing())
        return JSONResponse({"missing": missing}, 503 if missing else 200)

    return router
