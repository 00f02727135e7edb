"""Endpoints and their outbox, on SQLite and on PostgreSQL."""

import os

import pytest
from sqlalchemy import Engine, select

from access.keyring import Keyring
from gateway.webhooks import outbox
from gateway.webhooks.endpoints import Endpoints, WebhookEndpoint, secret_of
from gateway.webhooks.events import TYPES, WebhookEvent
from gateway.webhooks.outbox import AttemptResult
from gateway.webhooks.tables import deliveries
from gateway.webhooks.tables import endpoints as table
from tests.gateway.webhooks.conftest import NOW, Recorded, SetClock
from vedette.errors import InputError


def event(number: int, *, at: int = NOW, action: str = "approve") -> WebhookEvent:
    """Return a decision's event."""
    return WebhookEvent(id=f"msg_{number}", type="decision.final", action=action, at=at, body=b"{}")


def add(engine: Engine, endpoint: WebhookEndpoint, *events: WebhookEvent) -> int:
    """Write events for an endpoint."""
    with engine.begin() as connection:
        return outbox.add(connection, events, [endpoint], NOW)


def test_an_endpoint_is_registered_listed_paused_and_removed(
    endpoints: Endpoints, engine: Engine, keyring: Keyring, audit: Recorded
) -> None:
    """The secret is shown once and stored encrypted; each action is audited, without path and query of the URL."""
    made = endpoints.add("https://bank.example/in?token=t0p", ["decision.final"], ["decline"], actor="c1")
    id_ = made.endpoint.id
    assert endpoints.all() == [made.endpoint]
    assert (made.endpoint.events, made.endpoint.actions, made.endpoint.state) == (
        ["decision.final"], ["decline"], "active",
    )  # fmt: skip
    with engine.begin() as connection:
        assert secret_of(connection, id_, keyring) == made.secret
        assert made.secret not in connection.scalars(select(table.c.secret)).one()
    assert endpoints.pause(id_, actor="c1").state == "paused"
    assert endpoints.resume(id_, actor="c1").state == "active"
    add(engine, made.endpoint, event(1, action="decline"))
    endpoints.remove(id_, actor="c1")
    assert endpoints.all() == []
    assert [name for name, *_ in audit.records] == [
        "webhook.added", "webhook.paused", "webhook.resumed", "webhook.removed",
    ]  # fmt: skip
    assert "t0p" not in str(audit.records)
    assert {actor for *_, actor in audit.records} == {"c1"}


def test_without_a_choice_an_endpoint_gets_everything(endpoints: Endpoints) -> None:
    """It gets all types and all actions."""
    made = endpoints.add("https://bank.example/", [])
    assert made.endpoint.events == list(TYPES)
    assert made.endpoint.actions == []


@pytest.mark.parametrize("id_", ["we_0", "", "we_\0", "'; --", "wé", "x" * 500])
def test_an_unknown_endpoint_is_named(endpoints: Endpoints, id_: str) -> None:
    """This holds for any id, and nothing is audited as done."""
    for action in (endpoints.pause, endpoints.resume, endpoints.remove):
        with pytest.raises(InputError, match="there is no webhook"):
            action(id_)


def test_wrong_events_actions_and_urls_are_refused(engine: Engine, keyring: Keyring, audit: Recorded) -> None:
    """The error names them, and nothing is registered."""
    strict = Endpoints(engine, keyring, SetClock(), os.urandom, audit, allow_private=False)
    for url, events, actions in (
        ("https://bank.example/", ["decision"], []),
        ("https://bank.example/", [], ["allow"]),
        ("http://bank.example/", [], []),
        ("https://10.0.0.1/", [], []),
    ):
        with pytest.raises(InputError):
            strict.add(url, events, actions)
    assert strict.all() == []
    assert audit.records == []


def test_an_event_is_written_once_for_who_wants_it(endpoints: Endpoints, engine: Engine) -> None:
    """Read again after a crash it is recognised; other actions and what preceded the endpoint are left out."""
    endpoint = endpoints.add("https://bank.example/", ["decision.final"], ["decline"]).endpoint
    wanted, other, early = event(1, action="decline"), event(2), event(3, action="decline", at=NOW - 1)
    assert add(engine, endpoint, wanted, other, early) == 1
    assert add(engine, endpoint, wanted, other, early) == 0


def test_a_claim_ends_by_itself(endpoints: Endpoints, engine: Engine) -> None:
    """What a killed sender had claimed becomes due again; until then no other sender gets it."""
    endpoint = endpoints.add("https://bank.example/", []).endpoint
    add(engine, endpoint, event(1), event(2), event(3))
    with engine.begin() as connection:
        first = outbox.claim(connection, endpoint.id, NOW, 2, NOW + 1000)
    with engine.begin() as connection:
        others = outbox.claim(connection, endpoint.id, NOW, 9, NOW + 1000)
    assert ([each.event_id for each in first], [each.event_id for each in others]) == (["msg_1", "msg_2"], ["msg_3"])
    with engine.begin() as connection:
        again = outbox.claim(connection, endpoint.id, NOW + 1000, 9, NOW + 2000)
    assert [(each.event_id, each.attempts) for each in again] == [("msg_1", 2), ("msg_2", 2), ("msg_3", 2)]


def test_dead_letters_are_replayed_and_what_was_sent_on_request(endpoints: Endpoints, engine: Engine) -> None:
    """Without a time only dead letters are replayed; with one also what was sent since. Old sent events are deleted."""
    endpoint = endpoints.add("https://bank.example/", []).endpoint
    add(engine, endpoint, event(1), event(2))
    with engine.begin() as connection:
        sent, dead = outbox.claim(connection, endpoint.id, NOW, 2, NOW + 1)
        results = [
            AttemptResult(id=sent.id, status="sent", due_at=None, code="200"),
            AttemptResult(id=dead.id, status="failed", due_at=None, code="500"),
        ]
        outbox.settle(connection, results, NOW)
        assert outbox.tally(connection) == {"failed": 1, "sent": 1}
        assert [each.code for each in outbox.listing(connection, endpoint.id, "failed", 9)] == ["500"]
        assert outbox.replay(connection, endpoint.id, None, NOW) == 1
        assert outbox.replay(connection, endpoint.id, NOW + 1, NOW) == 0
        assert outbox.replay(connection, endpoint.id, NOW, NOW) == 1
        assert outbox.tally(connection) == {"pending": 2}
        outbox.settle(connection, results, NOW)
        assert outbox.purge(connection, NOW) == 0
        assert outbox.purge(connection, NOW + 1) == 1
        assert connection.scalars(select(deliveries.c.status)).all() == ["failed"]


def test_nothing_is_ready_for_a_paused_endpoint_or_one_that_has_failed(endpoints: Endpoints, engine: Engine) -> None:
    """Events wait until it is resumed, or until its pause is over."""
    endpoint = endpoints.add("https://bank.example/", []).endpoint
    with engine.begin() as connection:
        assert outbox.ready(connection, NOW) == []
    add(engine, endpoint, event(1))
    with engine.begin() as connection:
        assert [each.id for each in outbox.ready(connection, NOW)] == [endpoint.id]
        outbox.set_back(connection, endpoint.id, 1, NOW + 5)
        assert outbox.ready(connection, NOW + 4) == []
        assert [each.failures for each in outbox.ready(connection, NOW + 5)] == [1]
        outbox.pause(connection, endpoint.id, "it answered 410 Gone")
        assert outbox.ready(connection, NOW + 5) == []
    assert endpoints.all()[0].paused_because == "it answered 410 Gone"
    endpoints.resume(endpoint.id)
    with engine.begin() as connection:
        assert [each.failures for each in outbox.ready(connection, NOW)] == [0]
