"""The factory of all web apps: FastAPI behind the gate, with responses that do not repeat secrets."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from adapters.http_limits import CONTENT_POLICY, HttpGate, HttpLimits

# Responses of the gate, for the OpenAPI description of every route that takes a body.
GATE_RESPONSES: dict[int | str, dict[str, Any]] = {
    408: {"description": "The body does not arrive in time."},
    413: {"description": "The body is too large."},
    415: {"description": "The body is of another media type."},
}


def protected_app(
    *, title: str, public_url: str, log: Any = None, limits: HttpLimits | None = None,
    content_policy: str = CONTENT_POLICY, openapi_url: str | None = None, problems: bool = False, **described: Any,
) -> FastAPI:  # fmt: skip
    """Return an app without routes behind an HttpGate. Further middleware must be added before serving.

    There is no redirect to add slashes, as it would send the token of a link to any Host that the request names; and
    the response to an invalid request does not contain its values.

    Args:
        title: Title of the OpenAPI description.
        public_url: See HttpGate.
        log: See HttpGate.
        limits: See HttpGate.
        content_policy: See HttpGate.
        problems: See HttpGate.
        openapi_url: Path of the OpenAPI description; None: not served.
        **described: Further arguments of FastAPI, such as `version`.
    """
    app = FastAPI(
        title=title,
        openapi_url=openapi_url,
        docs_url=None,  # their pages load external scripts, which the content policy forbids
        redoc_url=None,
        redirect_slashes=False,
        **described,
    )
    app.exception_handler(RequestValidationError)(_invalid)
    app.add_middleware(
        HttpGate, public_url=public_url, limits=limits, content_policy=content_policy, problems=problems, log=log
    )
    return app


def validation_errors(errors: Sequence[Any]) -> list[dict[str, Any]]:
    """Return Pydantic's errors without the values: place, message and type."""
    return [
        {"loc": list(error["loc"][:-1] if error["type"] == "extra_forbidden" else error["loc"])}
        | {"msg": error["msg"], "type": error["type"]}
        for error in errors
    ]


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    del request
    return JSONResponse({"detail": validation_errors(error.errors())}, 422)
