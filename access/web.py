"""The token endpoint: OAuth2 client credentials (RFC 6749, 4.4 and 5)."""

import base64
from typing import Annotated
from urllib.parse import unquote_plus

from fastapi import APIRouter, Form, Header, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from access.guard import TOKEN_PATH, Authorizer
from access.tokens import LIFETIME
from vedette.clock import SECOND


class Token(BaseModel):
    """An access token."""

    access_token: str
    token_type: str = Field(examples=["Bearer"])
    expires_in: int = Field(description="seconds", examples=[300])
    scope: str = Field(examples=["challenges:read challenges:write"])


class TokenFailure(BaseModel):
    """The error of a refused token request."""

    error: str = Field(examples=["invalid_client"])
    error_description: str


def token_router(guard: Authorizer) -> APIRouter:
    """Return the token endpoint of a guard."""
    router = APIRouter(tags=["access"])

    @router.post(
        TOKEN_PATH,
        summary="Exchange a credential for a token",
        response_model=Token,
        responses={400: {"model": TokenFailure}, 401: {"model": TokenFailure}, 429: {"description": "too often"}},
    )
    def token(
        request: Request,
        grant_type: Annotated[str, Form(max_length=64, examples=["client_credentials"])] = "",
        client_id: Annotated[str, Form(max_length=64)] = "",
        client_secret: Annotated[str, Form(max_length=128)] = "",
        scope: Annotated[str, Form(max_length=512, description="separated by spaces; all, if empty")] = "",
        authorization: Annotated[str, Header(max_length=512, description="or id and secret by HTTP Basic")] = "",
    ) -> JSONResponse:
        if grant_type != "client_credentials":
            return _failure(400, "unsupported_grant_type", "grant_type must be client_credentials")
        id_, secret = _basic(authorization) if authorization else (client_id, client_secret)
        credential = guard.credentials.by_secret(id_, secret)
        if credential is None:
            refused = guard.refuse(request, "no such client")
            if refused.status_code != 401:
                raise refused
            return _failure(401, "invalid_client", "id or secret is wrong, expired or revoked")
        asked = frozenset(scope.split()) or frozenset(credential.scopes)
        if not asked <= frozenset(credential.scopes):
            return _failure(400, "invalid_scope", f"this client has {' '.join(credential.scopes)}")
        granted = tuple(s for s in credential.scopes if s in asked)
        guard.admit(request, credential, "access.token", {"scope": " ".join(granted)})
        return JSONResponse(
            Token(
                access_token=guard.tokens.give(credential.id, granted),
                token_type="Bearer",  # noqa: S106, its name
                expires_in=LIFETIME // SECOND,
                scope=" ".join(granted),
            ).model_dump()
        )

    return router


def _basic(header: str) -> tuple[str, str]:
    """Return id and secret of an Authorization header; empty if it is not Basic (RFC 6749, 2.3.1)."""
    kind, _, encoded = header.partition(" ")
    try:
        text = base64.b64decode(encoded, validate=True).decode() if kind.lower() == "basic" else ""
    except ValueError:  # neither base64 nor text
        text = ""
    id_, _, secret = text.partition(":")
    return unquote_plus(id_), unquote_plus(secret)


def _failure(status: int, error: str, description: str) -> JSONResponse:
    headers = {"WWW-Authenticate": "Basic"} if status == 401 else {}
    return JSONResponse({"error": error, "error_description": description}, status, headers)
