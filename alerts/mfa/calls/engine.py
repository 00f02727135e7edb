"""What may happen to a call check: every step takes what is stored and gives what shall be stored instead.

Nothing here reads or writes anything; `store` puts the new value in place of the old one, or not at all if that has
changed meanwhile. The codes are stored nowhere: both follow from the check and the key that was in force at its start.
"""

import hmac
from dataclasses import dataclass
from typing import Literal

import msgspec

from alerts.mfa.codes import CODE_DIGITS, typed
from alerts.mfa.keyring import Keyring
from alerts.mfa.records import Stored
from vedette.clock import MINUTE
from vedette.events import CallCheck, CallOutcome, Direction

replace = msgspec.structs.replace

LIFETIME = 2 * MINUTE
ATTEMPTS = 3
"""Wrong codes the representative may type in; the third blocks the check."""

Status = Literal["started", "heard"] | CallOutcome
"""`started`: the customer has not yet heard code A; `heard`: they have, and were given code B."""

Side = Literal["a", "b"]


class Call(Stored, frozen=True, kw_only=True):
    """One call check.

    Attributes:
        direction: Who has called: the `bank` or the `customer`.
        representative: Id of their credential; empty until one has taken a check that the customer started.
        key: Id of the key that both codes follow from.
        attempts: Wrong codes typed in.
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
        """Whether anything can still happen to it."""
        return self.settled_at is None and now < self.expires_at


@dataclass(frozen=True, slots=True)
class DeskView:
    """What the representative is shown: never code B."""

    call: Call
    status: Status
    code_a: str
    seconds_left: int
    attempts_left: int


@dataclass(frozen=True, slots=True)
class CustomerView:
    """What the customer is shown: code A to compare, and code B once they have heard A."""

    call: Call
    status: Status
    code_a: str
    code_b: str
    seconds_left: int
    attempts_left: int


def code(call: Call, side: Side, keys: Keyring) -> str:
    """A code of eight digits (26 bits), unknown without the key; empty if that key is gone."""
    parts = (call.call_id, call.account_id, call.direction, call.started_at)
    for fingerprint in keys.fingerprints(f"call code {side}", *parts):
        key, _, digest = fingerprint.partition(":")
        if key == call.key:
            return f"{int(digest, 16) % 10**CODE_DIGITS:0{CODE_DIGITS}d}"
    return ""


def desk_view(call: Call, representative: str, keys: Keyring, now: int) -> DeskView:
    """The check as one representative sees it; code A only while it is theirs and open."""
    mine = call.open(now) and call.representative == representative
    return DeskView(call, status(call, now), code(call, "a", keys) if mine else "", *_left(call, now))


def customer_view(call: Call, keys: Keyring, now: int) -> CustomerView:
    """The check as its customer sees it."""
    shown = status(call, now)
    code_a = code(call, "a", keys) if shown in ("started", "heard") else ""
    code_b = code(call, "b", keys) if shown == "heard" else ""
    return CustomerView(call, shown, code_a, code_b, *_left(call, now))


def status(call: Call, now: int) -> Status:
    """As it is now, even if nobody has yet written down that it has expired."""
    return "expired" if call.settled_at is None and now >= call.expires_at else call.status


def take(call: Call, representative: str, now: int) -> Call:
    """A representative takes a check that the customer started; unchanged if another has it."""
    if not call.open(now) or call.representative:
        return call
    return replace(call, representative=representative)


def hear(call: Call, now: int) -> Call:
    """The customer has heard code A, which only a representative can read out."""
    ready = call.open(now) and call.status == "started" and call.representative
    return replace(call, status="heard") if ready else call


def dispute(call: Call, now: int) -> Call:
    """The customer heard something else, or does not know of the call."""
    return _settle(call, "denied", now) if call.open(now) else call


def cancel(call: Call, representative: str, now: int) -> Call:
    """The representative ends it."""
    return _settle(call, "cancelled", now) if call.open(now) and call.representative == representative else call


def judge(call: Call, representative: str, text: str, keys: Keyring, now: int) -> Call:
    """The representative types in what the customer reads out; before the customer has heard A nothing is judged."""
    if not call.open(now) or call.status != "heard" or call.representative != representative:
        return call
    right = code(call, "b", keys)
    if right and hmac.compare_digest(typed(text).encode(), right.encode()):
        return _settle(call, "verified", now)
    call = replace(call, attempts=call.attempts + 1)
    return _settle(call, "blocked", now) if call.attempts >= ATTEMPTS else call


def expire(call: Call, now: int) -> Call:
    """Its time is over."""
    return _settle(call, "expired", now) if call.settled_at is None and now >= call.expires_at else call


def event_of(call: Call) -> CallCheck:
    """What is published of a settled check; the same whenever it is asked for."""
    return msgspec.convert(call, CallCheck, from_attributes=True)


def _settle(call: Call, outcome: CallOutcome, now: int) -> Call:
    return replace(call, status=outcome, settled_at=now)


def _left(call: Call, now: int) -> tuple[int, int]:
    """Seconds and attempts that are left."""
    if not call.open(now):
        return 0, 0
    return -(-(call.expires_at - now) // 1000), ATTEMPTS - call.attempts
