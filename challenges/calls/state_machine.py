"""The state machine of a call check: every transition maps the stored value to its replacement.

All functions are pure; `store` replaces the old value by the new one, unless it has changed meanwhile. The codes are
not stored: both are derived from the check and the key that was in force at its start.
"""

import hmac
from dataclasses import dataclass
from typing import Literal

import msgspec

from access.keyring import Keyring
from challenges.codes import CODE_DIGITS, typed
from challenges.records import Stored
from vedette.clock import MINUTE
from vedette.events import CallCheck, CallOutcome, Direction

replace = msgspec.structs.replace

LIFETIME = 2 * MINUTE
ATTEMPTS = 3
"""Maximum number of wrong codes; the third blocks the check."""

Status = Literal["started", "heard"] | CallOutcome
"""`started`: the customer has not yet heard code A; `heard`: they have, and were given code B."""

Side = Literal["a", "b"]


class Call(Stored, frozen=True, kw_only=True):
    """One call check.

    Attributes:
        direction: Who has called: the `bank` or the `customer`.
        representative: Id of their credential; empty until one has taken a check that the customer started.
        key: Id of the key that both codes follow from.
        attempts: Number of wrong codes entered.
    """

    version: int = 1
    call_id: str
    account_id: str
    direction: Direction
    status: Status = "started"
    representative: str = ""
    key: str
    attempts: int = 0
    started_at: int
    expires_at: int
    settled_at: int | None = None

    def open(self, now: int) -> bool:
        """Return whether anything can still happen to it."""
        return self.settled_at is None and now < self.expires_at


@dataclass(frozen=True, slots=True)
class DeskView:
    """The view of the representative: never code B."""

    call: Call
    status: Status
    code_a: str
    seconds_left: int
    attempts_left: int


@dataclass(frozen=True, slots=True)
class CustomerView:
    """The view of the customer: code A to compare, and code B once they have heard A."""

    call: Call
    status: Status
    code_a: str
    code_b: str
    seconds_left: int
    attempts_left: int


def code(call: Call, side: Side, keys: Keyring) -> str:
    """Return a code of eight digits (26 bits), unknown without the key; empty if that key is gone."""
    parts = (call.call_id, call.account_id, call.direction, call.started_at)
    for fingerprint in keys.fingerprints(f"call code {side}", *parts):
        key, _, digest = fingerprint.partition(":")
        if key == call.key:
            return f"{int(digest, 16) % 10**CODE_DIGITS:0{CODE_DIGITS}d}"
    return ""


def desk_view(call: Call, representative: str, keys: Keyring, now: int) -> DeskView:
    """Return the check as one representative sees it; code A only while it is theirs and open."""
    own = call.open(now) and call.representative == representative
    return DeskView(call, status(call, now), code(call, "a", keys) if own else "", *_left(call, now))


def customer_view(call: Call, keys: Keyring, now: int) -> CustomerView:
    """Return the check as its customer sees it."""
    shown = status(call, now)
    code_a = code(call, "a", keys) if shown in ("started", "heard") else ""
    code_b = code(call, "b", keys) if shown == "heard" else ""
    return CustomerView(call, shown, code_a, code_b, *_left(call, now))


def status(call: Call, now: int) -> Status:
    """Return the current status, even if its expiry has not been stored yet."""
    return "expired" if call.settled_at is None and now >= call.expires_at else call.status


def take(call: Call, representative: str, now: int) -> Call:
    """Return a representative takes a check that the customer started; unchanged if another has it."""
    if not call.open(now) or call.representative:
        return call
    return replace(call, representative=representative)


def hear(call: Call, now: int) -> Call:
    """Return the customer has heard code A, which only a representative can read out."""
    ready = call.open(now) and call.status == "started" and call.representative
    return replace(call, status="heard") if ready else call


def dispute(call: Call, now: int) -> Call:
    """Return the check after the customer heard a different code, or does not know of the call."""
    return _settle(call, "denied", now) if call.open(now) else call


def cancel(call: Call, representative: str, now: int) -> Call:
    """Return the check ended by the representative."""
    return _settle(call, "cancelled", now) if call.open(now) and call.representative == representative else call


def check_code(call: Call, representative: str, text: str, keys: Keyring, now: int) -> Call:
    """Return the check after a code entered by the representative; ignored before the customer has heard code A."""
    if not call.open(now) or call.status != "heard" or call.representative != representative:
        return call
    right = code(call, "b", keys)
    if right and hmac.compare_digest(typed(text).encode(), right.encode()):
        return _settle(call, "verified", now)
    call = replace(call, attempts=call.attempts + 1)
    return _settle(call, "blocked", now) if call.attempts >= ATTEMPTS else call


def expire(call: Call, now: int) -> Call:
    """Return the expired check."""
    return _settle(call, "expired", now) if call.settled_at is None and now >= call.expires_at else call


def event_of(call: Call) -> CallCheck:
    """Return the event of a settled check; deterministic."""
    return msgspec.convert(call, CallCheck, from_attributes=True)


def _settle(call: Call, outcome: CallOutcome, now: int) -> Call:
    return replace(call, status=outcome, settled_at=now)


def _left(call: Call, now: int) -> tuple[int, int]:
    """Return the remaining seconds and attempts."""
    if not call.open(now):
        return 0, 0
    return -(-(call.expires_at - now) // 1000), ATTEMPTS - call.attempts
