"""From messages of the log to the bodies of webhooks."""

from typing import Any

import msgspec
import pytest

from gateway.webhooks.events import UNREADABLE_EVENT, events_of
from tests.gateway.webhooks.conftest import NOW
from vedette.events import Challenge, ClosedIncident
from vedette.topics import Name

_DECISION: dict[str, Any] = {
    "transaction_id": "t1", "account_id": "account-4711", "event_time": NOW, "amount": 100, "currency": "EUR",
    "action": "approve", "score": 0.1, "expected_loss": 10, "reasons": [], "rules": [], "model": "m@1",
    "policy": "p@1", "features_hash": "f", "degraded": False,
}  # fmt: skip


def read(topic: Name, content: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """Return id, type and data of each event of a message."""
    found = events_of(topic, msgspec.json.encode(content), NOW)
    bodies = [msgspec.json.decode(each.body) for each in found]
    assert all(body["timestamp"] == "2026-01-04T10:00:00.000Z" for body in bodies)
    return [(each.id, each.type, body["data"]) for each, body in zip(found, bodies, strict=True)]


def test_a_decision_is_an_event_once_it_is_final() -> None:
    """Decisions without history and during a challenge are not; what only concerns a request is left out."""
    ((id_, kind, data),) = read(Name.DECISIONS, _DECISION)
    assert (kind, data["transaction_id"], data["action"], data["final"]) == ("decision.final", "t1", "approve", True)
    assert "latency_ms" not in data
    assert id_ == read(Name.DECISIONS, _DECISION | {"score": 0.2})[0][0]
    assert read(Name.DECISIONS, _DECISION | {"degraded": True}) == []
    assert read(Name.DECISIONS, _DECISION | {"action": "challenge"}) == []
    settled = read(Name.DECISIONS, _DECISION | {"action": "decline", "final": True, "follows": "c"})
    assert settled[0][2]["action"] == "decline"
    assert settled[0][0] != id_


def test_challenges_and_incidents_are_events() -> None:
    """They are issued, settled and closed; account ids and amounts stay in the institution's own systems."""
    challenge = Challenge(
        challenge_id="c1", transaction_id="t1", account_id="account-4711", amount=100, currency="EUR", payee="p",
        status="issued", factor="sms", issued_at=NOW, expires_at=NOW + 1,
    )  # fmt: skip
    issued = read(Name.CHALLENGES, challenge)
    settled = read(Name.CHALLENGES, msgspec.structs.replace(challenge, status="approved", settled_at=NOW))
    assert [each[0][1] for each in (issued, settled)] == ["challenge.issued", "challenge.settled"]
    assert issued[0][0] != settled[0][0]
    incident = ClosedIncident(
        incident_id=7, account_id="account-4711", state="confirmed", transaction_ids=["t1"], closed_at=NOW
    )
    ((_, kind, data),) = read(Name.INCIDENTS, incident)
    assert (kind, data["incident_id"], data["transaction_ids"]) == ("incident.closed", 7, ["t1"])
    assert "4711" not in str([issued, settled, data])


@pytest.mark.parametrize("value", [b"", b"{}", b"null", b"[" * 5000, b"\xff", b"x" * 70_000, b'{"v":1}'])
@pytest.mark.parametrize("topic", [Name.DECISIONS, Name.CHALLENGES, Name.INCIDENTS])
def test_what_is_not_of_the_topic_is_refused(topic: Name, value: bytes) -> None:
    """The error is counted by the relay."""
    with pytest.raises(UNREADABLE_EVENT):
        events_of(topic, value, NOW)
