"""The web app: one factory that puts routers together and gives every answer the same protection."""

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from alerts.mfa.view import REFUSALS, refusal
from vedette import __version__
from vedette.errors import UnavailableError

_STATIC = Path(__file__).with_name("static")

# Nothing but the app's own files, no inline script or style, no frame around it (OWASP ASVS V50).
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": (
        "camera=(), geolocation=(), microphone=(), "
        "publickey-credentials-get=(self), publickey-credentials-create=(self)"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_PROGRAMS = ("v1", "oauth")
"""Where only programs come."""

_HSTS = "max-age=63072000; includeSubDomains"


def build_app(routers: Sequence[APIRouter], *, public_url: str, name: str = "Vedette") -> FastAPI:
    """The app that answers under `public_url` with the given routers, in the name of an institution.

    Every answer carries the security headers and, unless it is a static file, must not be cached. When a part that
    the app depends on does not answer, the caller is told 503 and to come again. Who asks for HTML reads a page.
    """
    app = FastAPI(
        title="Vedette challenges",
        version=__version__,
        summary="Ask a customer about a payment, take the answer, and settle it once.",
        openapi_url="/openapi.json",
        docs_url=None,  # its page loads scripts from elsewhere, which the policy above forbids
        redoc_url=None,
    )
    app.state.name = name
    for router in routers:
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    secure = public_url.startswith("https://")

    @app.middleware("http")
    async def protect(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        response.headers.update(SECURITY_HEADERS)
        if secure:
            response.headers["Strict-Transport-Security"] = _HSTS
        if not request.url.path.startswith("/static/"):
            response.headers["Cache-Control"] = "no-store"
        return response

    @app.exception_handler(UnavailableError)
    async def unavailable(request: Request, error: UnavailableError) -> Response:
        del error  # what exactly is down is for the log, not for the caller
        return await _refused(request, HTTPException(503, "not available now, please come again", {"Retry-After": "5"}))

    app.exception_handler(HTTPException)(_refused)

    @app.get("/healthz", include_in_schema=False)
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    return app


async def _refused(request: Request, error: HTTPException) -> Response:
    """The answer to a request that cannot be met: people read a page, programs JSON."""
    room = request.url.path.split("/")[1]
    if room not in _PROGRAMS and "text/html" in request.headers.get("accept", ""):
        if error.status_code in REFUSALS:
            return refusal(request, error.status_code, error.headers)
        if request.method == "GET" and error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            # Where a form was sent to, looked at again or in another language: back to the page it was on.
            return RedirectResponse(f"/{room}?{request.url.query}", 303)
    return await http_exception_handler(request, error)
