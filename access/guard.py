"""The guard of the institution's API: authentication, authorisation and rate limits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, HTTPException, Request, Security
from fastapi.security import APIKeyHeader, OAuth2, SecurityScopes

from access.credentials import Credential, Credentials
from access.ports import AuditSink, CallLimiter, Dependency
from access.rate_limit import RateLimit, network_of
from access.roles import DESCRIPTIONS, Scope
from access.tokens import Tokens
from vedette.clock import MINUTE, SECOND, Clock

TOKEN_PATH = "/oauth/token"  # noqa: S105, an address

USES = RateLimit("uses", 600, MINUTE)
"""Limit on calls with one credential."""

FAILURES = RateLimit("failures", 20, MINUTE)
"""Limit on unauthenticated calls from one address."""

BEARER = OAuth2(
    flows={
        "clientCredentials": {"tokenUrl": TOKEN_PATH, "scopes": {str(scope): DESCRIPTIONS[scope] for scope in Scope}}
    },
    scheme_name="token",
    description="`Authorization: Bearer …` with a token from the token endpoint; it lives for five minutes.",
    auto_error=False,
)
API_KEY = APIKeyHeader(
    name="X-API-Key", scheme_name="key", description="An API key as `vedette access create` shows it.", auto_error=False
)


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller: a credential, and the scopes of its key or token."""

    credential: Credential
    scopes: frozenset[str]


class Authorizer:
    """Admits callers with the scope that a route requires; every use and every refusal is in the audit log.

    Args:
        credentials: The credentials.
        tokens: Issues and verifies tokens.
        audit: The log.
        limiter: Counts uses and failures.
        clock: Tells the time.
    """

    def __init__(
        self, credentials: Credentials, tokens: Tokens, audit: AuditSink, limiter: CallLimiter, clock: Clock
    ) -> None:
        self.credentials, self.tokens = credentials, tokens
        self._audit, self._limiter, self._clock = audit, limiter, clock

    def authorise(self, scope: str) -> Dependency:
        """Return a dependency that yields the id of a credential with the scope, or answers 401, 403 or 429."""

        def allowed(request: Request, credential_id: Annotated[str, Security(self._caller, scopes=[scope])]) -> str:
            request.state.credential_id = credential_id
            return credential_id

        return allowed

    def admit(self, request: Request, credential: Credential, event: str, details: Mapping[str, str]) -> None:
        """Record the use of a credential, or raise 429 if it exceeds its limit."""
        if wait := self._wait(USES, credential.id):
            raise _too_often(wait)
        self._audit.record(event, _route(request), details, actor=credential.id)

    def demand(self, request: Request, credential: Credential, allowed: frozenset[str], needed: str) -> None:
        """Admit a credential to a route that requires a scope, or raise 403 or 429."""
        if needed not in allowed:
            self.admit(request, credential, "access.refused", {"missing": needed})
            raise HTTPException(403, f"this needs the scope {needed}")
        self.admit(request, credential, "access.used", {"scope": needed})

    def refuse(self, request: Request, why: str) -> HTTPException:
        """Return the error for an unauthenticated caller: 401, or 429 if that happens often."""
        address = request.client.host if request.client else ""
        if wait := self._wait(FAILURES, network_of(address)):
            return _too_often(wait)  # and no record, so that the log cannot be flooded
        self._audit.record("access.refused", _route(request), {"why": why, "address": address}, actor="unknown")
        return HTTPException(401, "a valid token or API key is needed", {"WWW-Authenticate": "Bearer"})

    def identify(self, request: Request, authorization: str | None, api_key: str | None) -> Caller:
        """Return who calls, by the headers `Authorization` and `X-API-Key`, or raise 401 or 429."""
        kind, _, token = (authorization or "").partition(" ")
        if kind.lower() == "bearer":
            claims = self.tokens.read(token.strip())
            credential = self.credentials.by_id(claims.sub) if claims else None
            if claims is None or credential is None:
                raise self.refuse(request, "no such token")
            return Caller(credential, claims.scopes & frozenset(credential.scopes))
        if api_key:
            credential = self.credentials.by_api_key(api_key)
            if credential is None:
                raise self.refuse(request, "no such key")
            return Caller(credential, frozenset(credential.scopes))
        raise self.refuse(request, "nothing presented")

    def _wait(self, limit: RateLimit, subject: str) -> int:
        return self._limiter.wait_ms(limit, subject, self._clock.now_ms())

    def _caller(
        self,
        request: Request,
        needed: SecurityScopes,
        authorization: Annotated[str | None, Depends(BEARER)],
        api_key: Annotated[str | None, Depends(API_KEY)],
    ) -> str:
        caller = self.identify(request, authorization, api_key)
        self.demand(request, caller.credential, caller.scopes, needed.scope_str)
        return caller.credential.id


def actor_of(request: Request) -> str:
    """Return the id of the credential that a route's guard has let through, for the audit log."""
    return str(getattr(request.state, "credential_id", ""))


def _too_often(wait_ms: int) -> HTTPException:
    seconds = str(-(-wait_ms // SECOND))
    return HTTPException(429, f"too often; come again in {seconds} s", {"Retry-After": seconds})


def _route(request: Request) -> str:
    """Return the route as named by the app: the path itself may contain data that must not be logged."""
    route = request.scope.get("route")
    return f"route:{request.method} {getattr(route, 'path', '')}"
