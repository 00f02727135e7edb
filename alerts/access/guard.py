"""The guard of the institution's API: who calls, whether they may, and how often."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import Depends, HTTPException, Request, Security
from fastapi.security import APIKeyHeader, OAuth2, SecurityScopes

from alerts.access.credentials import Credential, Credentials
from alerts.access.roles import ABOUT, Scope
from alerts.access.tokens import Tokens
from alerts.audit import Audit
from alerts.mfa.limits import Limit, Limiter
from alerts.mfa.ports import Dependency
from vedette.clock import MINUTE, SECOND, Clock

TOKEN_PATH = "/oauth/token"  # noqa: S105, an address

USES = Limit("uses", 600, MINUTE)
"""Calls with one credential."""

FAILURES = Limit("failures", 20, MINUTE)
"""Calls from one address that do not say who they are."""

_bearer = OAuth2(
    flows={"clientCredentials": {"tokenUrl": TOKEN_PATH, "scopes": {str(scope): ABOUT[scope] for scope in Scope}}},
    scheme_name="token",
    description="`Authorization: Bearer …` with a token from the token endpoint; it lives for five minutes.",
    auto_error=False,
)
_api_key = APIKeyHeader(
    name="X-API-Key", scheme_name="key", description="An API key as `vedette access create` shows it.", auto_error=False
)


class Guard:
    """Lets callers through who hold the scope that a route asks for; every use and every refusal is in the audit log.

    Args:
        credentials: Who there is.
        tokens: Gives and reads tokens.
        audit: The log.
        limiter: Counts uses and failures.
        clock: Tells the time.
    """

    def __init__(self, credentials: Credentials, tokens: Tokens, audit: Audit, limiter: Limiter, clock: Clock) -> None:
        self.credentials, self.tokens = credentials, tokens
        self._audit, self._limiter, self._clock = audit, limiter, clock

    def authorise(self, scope: str) -> Dependency:
        """A dependency that gives the id of a credential holding the scope, and answers 401, 403 or 429 to others."""

        def allowed(credential_id: Annotated[str, Security(self._caller, scopes=[scope])]) -> str:
            return credential_id

        return allowed

    def admit(self, request: Request, credential: Credential, event: str, details: Mapping[str, str]) -> None:
        """Record what a credential does, or raise 429 if it does too much."""
        if wait := self._wait(USES, credential.id):
            raise _too_often(wait)
        self._audit.record(event, _route(request), details, actor=credential.id)

    def demand(self, request: Request, credential: Credential, allowed: frozenset[str], needed: str) -> None:
        """Let a credential use a route that asks for a scope, or raise 403 or 429."""
        if needed not in allowed:
            self.admit(request, credential, "access.refused", {"missing": needed})
            raise HTTPException(403, f"this needs the scope {needed}")
        self.admit(request, credential, "access.used", {"scope": needed})

    def refuse(self, request: Request, why: str) -> HTTPException:
        """What to raise for a caller who did not say who they are: 401, and 429 if that happens often."""
        address = request.client.host if request.client else ""
        if wait := self._wait(FAILURES, address):
            return _too_often(wait)  # and no record, so that nobody fills the log
        self._audit.record("access.refused", _route(request), {"why": why, "address": address}, actor="unknown")
        return HTTPException(401, "a valid token or API key is needed", {"WWW-Authenticate": "Bearer"})

    def _wait(self, limit: Limit, what: str) -> int:
        """Count one; 0 if it is allowed, else the milliseconds until it will be."""
        now = self._clock.now_ms()
        return 0 if self._limiter.allows(limit, what, now) else limit.window_ms - now % limit.window_ms

    def _caller(
        self,
        request: Request,
        needed: SecurityScopes,
        authorization: Annotated[str | None, Depends(_bearer)],
        api_key: Annotated[str | None, Depends(_api_key)],
    ) -> str:
        kind, _, token = (authorization or "").partition(" ")
        if kind.lower() == "bearer":
            claims = self.tokens.read(token.strip())
            credential = self.credentials.by_id(claims.sub) if claims else None
            if claims is None or credential is None:
                raise self.refuse(request, "no such token")
            allowed = claims.scopes & frozenset(credential.scopes)
        elif api_key:
            credential = self.credentials.by_api_key(api_key)
            if credential is None:
                raise self.refuse(request, "no such key")
            allowed = frozenset(credential.scopes)
        else:
            raise self.refuse(request, "nothing presented")
        self.demand(request, credential, allowed, needed.scope_str)
        return credential.id


def _too_often(wait_ms: int) -> HTTPException:
    seconds = str(-(-wait_ms // SECOND))
    return HTTPException(429, f"too often; come again in {seconds} s", {"Retry-After": seconds})


def _route(request: Request) -> str:
    """The route as the app names it: the address itself may hold what should not be logged."""
    route = request.scope.get("route")
    return f"route:{request.method} {getattr(route, 'path', '')}"
