"""From messages of the log to the events of webhooks. Bodies follow Standard Webhooks: type, timestamp, data."""

import datetime as dt
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, Literal

import msgspec

from gateway.answers import answer
from vedette.client import Answer
from vedette.events import Challenge, ClosedIncident, Decision
from vedette.reading import UNREADABLE
from vedette.topics import Name

EventType = Literal["decision.final", "challenge.issued", "challenge.settled", "incident.closed"]
TYPES: tuple[EventType, ...] = ("decision.final", "challenge.issued", "challenge.settled", "incident.closed")

_LONGEST = 64 * 1024
"""Maximum number of bytes of a message; a longer one is not by Vedette."""


class WebhookEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event to be posted.

    Attributes:
        id: The `webhook-id`, derived from the event, so that one that is read twice is recognised.
        type: Its type.
        action: Action of a decision, by which endpoints filter; empty for other events.
        at: Time of the message in the log, ms since 1970 UTC.
        body: What is posted, JSON.
    """

    id: str
    type: EventType
    action: str
    at: int
    body: bytes


def events_of(topic: Name, value: bytes, at: int) -> list[WebhookEvent]:
    """Return the events of a message: at most one, as of now.

    Args:
        topic: Topic of the message, one of TOPICS.
        value: The message, which somebody else than Vedette may have published.
        at: Its timestamp.

    Raises:
        One of vedette.reading.UNREADABLE: It is not a message of the topic.
    """
    if len(value) > _LONGEST:
        raise msgspec.ValidationError(f"it has {len(value)} bytes, more than {_LONGEST}")
    return _READERS[topic](value, at)


def _decision(value: bytes, at: int) -> list[WebhookEvent]:
    decision = _decisions.decode(value)
    answered = answer(decision, challenges="")  # what is final asks nobody
    if not answered.final:
        return []
    state = "settled" if decision.final is True else "standing"
    keys = ("decision", decision.account_id, decision.transaction_id, state)
    return [_event("decision.final", keys, _data(answered), at, answered.action)]


def _challenge(value: bytes, at: int) -> list[WebhookEvent]:
    challenge = _challenges.decode(value)
    data = {
        name: getattr(challenge, name)
        for name in ("challenge_id", "transaction_id", "status", "factor", "issued_at", "expires_at", "settled_at")
    }
    kind: EventType = "challenge.issued" if challenge.status == "issued" else "challenge.settled"
    return [_event(kind, ("challenge", challenge.challenge_id, challenge.status), data, at)]


def _incident(value: bytes, at: int) -> list[WebhookEvent]:
    incident = _incidents.decode(value)
    data = {
        "incident_id": incident.incident_id, "state": incident.state, "transaction_ids": incident.transaction_ids,
        "closed_at": incident.closed_at,
    }  # fmt: skip
    return [_event("incident.closed", ("incident", str(incident.incident_id), incident.account_id), data, at)]


def _data(answered: Answer) -> dict[str, Any]:
    """Return the answer without what only concerns a request."""
    fields: dict[str, Any] = msgspec.to_builtins(answered)
    return {name: value for name, value in fields.items() if name not in ("latency_ms", "provisional")}


def _event(kind: EventType, keys: tuple[str, ...], data: Mapping[str, Any], at: int, action: str = "") -> WebhookEvent:
    digest = blake2b(msgspec.json.encode(keys), digest_size=16).hexdigest()
    time = dt.datetime.fromtimestamp(at / 1000, dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = msgspec.json.encode({"type": kind, "timestamp": time, "data": data})
    return WebhookEvent(id=f"msg_{digest}", type=kind, action=action, at=at, body=body)


_decisions = msgspec.json.Decoder(Decision)
_challenges = msgspec.json.Decoder(Challenge)
_incidents = msgspec.json.Decoder(ClosedIncident)
_READERS: Mapping[Name, Callable[[bytes, int], list[WebhookEvent]]] = {
    Name.DECISIONS: _decision, Name.CHALLENGES: _challenge, Name.INCIDENTS: _incident,
}  # fmt: skip
TOPICS: tuple[Name, ...] = tuple(_READERS)
UNREADABLE_EVENT = (*UNREADABLE, OverflowError, ValueError)
"""What reading a message of others may raise: also a timestamp beyond the calendar."""
