"""Rate limits: sliding windows in Redis, shared by all processes of the service.

A window holds the times of the events it has allowed, so no more than the limit fall into any span of its length, even
across a full hour. Refused events are not counted, so refusals cannot use up a budget. (The library `limits` also has
such windows, but accepts neither a Redis client nor a clock as an argument.)
"""

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from access.keyring import Keyring
from adapters.redis import reachable
from vedette.clock import MINUTE

_SCRIPT = Path(__file__).with_name("sliding_window.lua")


def network_of(address: str) -> str:
    """Return the network that counts as one client: an IPv4 address, or the /64 of an IPv6 host."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # a socket without an address
        return address
    if parsed.version == 4:
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `count` events in any span of `window_ms` milliseconds."""

    name: str
    count: int
    window_ms: int


REQUESTS_PER_ADDRESS = RateLimit("address", 60, MINUTE)
"""Limit on POSTs from one network address."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """Counted events that can be released if they do not happen."""

    events: tuple[tuple[str, str], ...] = ()
    refused: str = ""
    """Name of the limit that was exceeded; nothing is counted then."""


class RateLimiter:
    """Counts events. Subjects are stored as keyed hashes: keys contain no address or phone number.

    Every method raises UnavailableError when Redis does not answer.

    Args:
        client: See adapters.redis.connect.
        prefix: Prefix of every key.
        keys: Keyring for the hashes of subjects.
    """

    def __init__(self, client: Any, prefix: str, keys: Keyring) -> None:
        self._client, self._prefix, self._keys = client, f"{prefix}limit:", keys
        self._count = client.register_script(_SCRIPT.read_text(encoding="utf-8"))

    def allows(self, limit: RateLimit, subject: str, now: int) -> bool:
        """Count an event and return True, or return False if that would be more than the limit."""
        return self.wait_ms(limit, subject, now) == 0

    def wait_ms(self, limit: RateLimit, subject: str, now: int) -> int:
        """Count an event and return 0, or return the milliseconds until one is allowed."""
        return self._counted(self._key(limit, subject), limit, now, os.urandom(8).hex())

    def reserve(self, limits: Sequence[tuple[RateLimit, str]], now: int) -> Reservation:
        """Count an event against several limits: all of them, or, if one refuses, none."""
        events: list[tuple[str, str]] = []
        for limit, subject in limits:
            key, event = self._key(limit, subject), os.urandom(8).hex()
            if self._counted(key, limit, now, event):
                self.cancel(Reservation(tuple(events)))
                return Reservation(refused=limit.name)
            events.append((key, event))
        return Reservation(tuple(events))

    def cancel(self, reservation: Reservation) -> None:
        """Release events that have not happened."""
        with reachable():
            for key, event in reservation.events:
                self._client.zrem(key, event)

    def _counted(self, key: str, limit: RateLimit, now: int, event: str) -> int:
        with reachable():
            return int(self._count(keys=[key], args=[now, limit.window_ms, limit.count, event]))

    def _key(self, limit: RateLimit, subject: str) -> str:
        return f"{self._prefix}{limit.name}:{self._keys.hash('limit', limit.name, subject)}"
