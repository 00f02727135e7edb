"""What the challenge service needs from outside: somebody who keeps a log of its steps, and a guard at its API."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

Dependency = Callable[..., Any]
"""A FastAPI dependency."""


class Audit(Protocol):
    """A log that is only ever added to."""

    def record(self, event: str, subject: str, details: Mapping[str, str]) -> None:
        """Keep one step.

        Args:
            event: What happened, such as `challenge.approved`.
            subject: What it happened to: a challenge or an account.
            details: More about it; never a code, a secret or a link.
        """
        ...


class Authorise(Protocol):
    """Makes the guard of a route."""

    def __call__(self, scope: str) -> Dependency:
        """A dependency that gives the name of a client holding the scope, and answers 401 or 403 to any other."""
        ...
