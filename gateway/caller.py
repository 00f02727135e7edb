"""Authentication with a cache of a few seconds, as one credential sends hundreds of payments per second."""

import time
from collections import OrderedDict
from hashlib import blake2b
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import SecurityScopes
from starlette.concurrency import run_in_threadpool

from access.guard import API_KEY, BEARER, Authorizer, Caller
from access.ports import Dependency
from gateway.problems import problem

KNOWN_S = 5.0
"""Seconds for which a credential is cached, and so the maximum delay of a revocation."""
_KNOWN = 1_000
"""Maximum number of cached keys and tokens."""


class GatewayGuard:
    """Guards routes like Authorizer, which it asks at most every KNOWN_S seconds for each key or token and scope.

    The audit log has each such question, so a record of use stands for the calls of a few seconds. A refusal is never
    remembered.

    Args:
        authorizer: Knows the credentials.
        payments_per_s: Payments a second from one credential; see `charge`.
        key: Secret bytes, under which presented keys and tokens are remembered.
    """

    def __init__(self, authorizer: Authorizer, payments_per_s: int, key: bytes) -> None:
        self._authorizer, self._key = authorizer, key
        self._known: OrderedDict[tuple[bytes, str], tuple[Caller, float]] = OrderedDict()
        self._rate = payments_per_s
        self._budget: dict[str, tuple[float, float]] = {}
        self._in_force: dict[str, float] = {}

    def authorise(self, scope: str) -> Dependency:
        """Return a dependency that gives the id of a credential with the scope; 401, 403 or 429 to others."""

        async def allowed(
            request: Request, credential_id: Annotated[str, Security(self._caller, scopes=[scope])]
        ) -> str:
            request.state.credential_id = credential_id
            return credential_id

        return allowed

    def charge(self, credential_id: str, payments: int) -> None:
        """Count payments of a credential.

        Raises:
            ProblemError: 429, they are more than it may send.
        """
        now = time.monotonic()
        left, since = self._budget.get(credential_id, (float(self._rate), now))
        left = min(float(self._rate), left + (now - since) * self._rate)
        if left < payments:
            wait_s = max(1, round((payments - left) / self._rate))
            raise problem(
                "too-many-payments", 429, f"a credential may send {self._rate} payments a second", retry_after_s=wait_s,
                remedy="send them again later; the operator raises [gateway] payments_per_s",
            )  # fmt: skip
        self._budget[credential_id] = (left - payments, now)

    def in_force(self, credential_id: str) -> bool:
        """Return whether a credential is in force, or was within the last KNOWN_S seconds; for what outlasts a request.

        Raises:
            StateError: The database does not answer.
        """
        if time.monotonic() > self._in_force.get(credential_id, 0.0):
            if self._authorizer.credentials.by_id(credential_id) is None:
                return False
            self._in_force[credential_id] = time.monotonic() + KNOWN_S
        return True

    def remembered(self, authorization: str | None, api_key: str | None, scope: str) -> str:
        """Return the id of a credential that was let in with this scope a moment ago; empty: ask the ordinary way."""
        caller, until = self._known.get(self._key_of(authorization, api_key, scope), (None, 0.0))
        return caller.credential.id if caller is not None and time.monotonic() <= until else ""

    def _key_of(self, authorization: str | None, api_key: str | None, scope: str) -> tuple[bytes, str]:
        presented = f"{authorization or ''}\n{api_key or ''}".encode("utf-8", "replace")
        return blake2b(presented, digest_size=32, key=self._key).digest(), scope

    async def _caller(
        self, request: Request, needed: SecurityScopes, authorization: Annotated[str | None, Depends(BEARER)],
        api_key: Annotated[str | None, Depends(API_KEY)],
    ) -> str:  # fmt: skip
        key = self._key_of(authorization, api_key, needed.scope_str)
        caller, until = self._known.get(key, (None, 0.0))
        if caller is None or time.monotonic() > until:
            self._known.pop(key, None)
            caller = await run_in_threadpool(self._ask, request, needed.scope_str, authorization, api_key)
            self._known[key] = (caller, time.monotonic() + KNOWN_S)
            if len(self._known) > _KNOWN:
                self._known.popitem(last=False)
        return caller.credential.id

    def _ask(self, request: Request, scope: str, authorization: str | None, api_key: str | None) -> Caller:
        caller = self._authorizer.identify(request, authorization, api_key)
        self._authorizer.demand(request, caller.credential, caller.scopes, scope)
        return caller
