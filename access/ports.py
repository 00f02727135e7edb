"""Ports of the services that authenticate people: an audit log, and a guard of an API."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from access.rate_limit import RateLimit

Dependency = Callable[..., Any]
"""A FastAPI dependency."""

CUSTOMER = "customer"
"""Actor of customers' actions."""


class AuditSink(Protocol):
    """An append-only log."""

    def record(self, event: str, subject: str, details: Mapping[str, str], *, actor: str = "") -> None:
        """Record one action.

        Args:
            event: Action, such as `challenge.approved`.
            subject: Subject as `kind:id`: a challenge, an account, a call check.
            details: Further details; never a code, a secret or a link.
            actor: Actor: a credential's id or `customer`; the service if empty.
        """
        ...


class Authorise(Protocol):
    """Creates the guard of a route."""

    def __call__(self, scope: str) -> Dependency:
        """Return a dependency that yields the id of a credential with the scope, and answers 401 or 403 to others."""
        ...


class CallLimiter(Protocol):
    """Counts calls."""

    def wait_ms(self, limit: RateLimit, subject: str, now: int) -> int:
        """Count a call of a subject and return 0, or return the milliseconds until one is allowed."""
        ...
