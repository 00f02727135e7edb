"""How often something may happen: fixed windows, counted in Redis, over all processes of the service."""

from dataclasses import dataclass

from alerts.mfa.keyring import Keyring
from alerts.mfa.store import Store
from vedette.clock import MINUTE


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so many in a window of so many milliseconds."""

    name: str
    most: int
    window_ms: int


REQUESTS_PER_ADDRESS = Limit("address", 60, MINUTE)
"""POSTs from one network address."""


class Limiter:
    """Counts. What is counted is kept as a keyed hash: no address or number stands in a key.

    Args:
        store: Where.
        keys: Hashes what is counted.
    """

    def __init__(self, store: Store, keys: Keyring) -> None:
        self._store = store
        self._keys = keys

    def allows(self, limit: Limit, what: str, now: int) -> bool:
        """Count one more; False if that is more than the limit."""
        window = now // limit.window_ms
        name = f"{limit.name}:{self._keys.hash('limit', limit.name, what)}:{window}"
        return self._store.count(name, limit.window_ms) <= limit.most
