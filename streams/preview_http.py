"""The HTTP side of previews: `POST /preview` for holders of the token, and readiness."""

import asyncio
import hmac
from concurrent.futures import ThreadPoolExecutor

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from adapters.http_limits import JSON, HttpGate, HttpLimits
from adapters.http_server import Readiness
from streams.preview import Previews
from vedette.errors import InputError, VedetteError

_log = structlog.get_logger("vedette.preview")

_WAITING = 64
"""Maximum number of previews that wait for their turn."""


def build_preview_app(previews: Previews, token: str, readiness: Readiness) -> ASGIApp:
    """Return the app behind an HttpGate.

    Args:
        previews: Decides.
        token: What callers present as `Authorization: Bearer …`.
        readiness: Failing parts.
    """
    expected = f"Bearer {token}".encode()
    thread = ThreadPoolExecutor(1, "preview")  # kernels and models run one after the other
    waiting = 0

    async def preview(request: Request) -> Response:
        nonlocal waiting
        if not hmac.compare_digest(request.headers.get("authorization", "").encode("latin-1"), expected):
            return _json({"detail": "a valid token is needed"}, 401)
        if waiting >= _WAITING:
            return _json({"detail": f"{waiting} previews wait already"}, 503)
        body = await request.body()
        waiting += 1
        try:
            decision = await asyncio.get_running_loop().run_in_executor(thread, previews.decide, body)
        except InputError as error:
            return _json({"detail": error.args[0]}, 422)
        except VedetteError as error:
            _log.error("no preview", reason=str(error))
            return _json({"detail": "the states cannot be read now"}, 503)
        finally:
            waiting -= 1
        if decision is None:
            return _json({"detail": "the payment has been decided before"}, 409)
        return Response(decision, media_type=JSON)

    async def readyz(request: Request) -> Response:
        del request
        missing = sorted(readiness.missing())
        return _json({"missing": missing}, 503 if missing else 200)

    app = Starlette(routes=[Route("/preview", preview, methods=["POST"]), Route("/readyz", readyz, methods=["GET"])])
    return HttpGate(app, limits=HttpLimits(body_bytes=16 * 1024, media_types=frozenset({JSON})), log=_log)


def _json(content: object, status: int) -> Response:
    return Response(msgspec.json.encode(content), status, media_type=JSON)
