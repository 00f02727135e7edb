"""Posting: real requests to a real receiver, which verifies them with the library of Standard Webhooks."""

import asyncio
import socket
import threading
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
import structlog
from sqlalchemy import Engine
from standardwebhooks import Webhook

from access.keyring import Keyring
from gateway.webhooks import outbox
from gateway.webhooks.endpoints import Endpoints
from gateway.webhooks.metrics import WebhookMetrics
from gateway.webhooks.sender import ATTEMPT_PAUSES_MS, WebhookSender
from tests.conftest import wait_for
from tests.gateway.webhooks.conftest import Receiver, SetClock
from tests.gateway.webhooks.test_endpoints_and_outbox import add, event
from vedette.clock import DAY, SystemClock
from vedette.settings import WebhookSettings

MakeSender = Callable[..., WebhookSender]


@pytest.fixture
def engine(sqlite: Engine) -> Engine:
    """SQLite: what differs between databases is in the outbox."""
    return sqlite


@pytest.fixture
def sender(engine: Engine, keyring: Keyring, clock: SetClock) -> MakeSender:
    """Makes a sender."""

    def make(**settings: Any) -> WebhookSender:
        return WebhookSender(
            engine, keyring, WebhookSettings(**{"allow_private": True, "timeout_s": 5.0} | settings), clock=clock,
            random=Random(1), metrics=WebhookMetrics(), log=structlog.get_logger("test"),  # noqa: S311
        )  # fmt: skip

    return make


def run_until(sender: WebhookSender, condition: Callable[[], bool]) -> None:
    """Send until a condition holds."""
    stop = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(sender.run(stop.is_set)))
    thread.start()
    try:
        wait_for(condition)
    finally:
        stop.set()
        thread.join()


def statuses(engine: Engine) -> list[tuple[str, int, str]]:
    """Status, attempts and answer of all deliveries, oldest first."""
    with engine.begin() as connection:
        found = outbox.listing(connection, "", None, 100)
    return [(each.status, each.attempts, each.code) for each in reversed(found)]


def test_receivers_can_verify_what_they_get(
    sender: MakeSender, endpoints: Endpoints, engine: Engine, receiver: Receiver, clock: SetClock
) -> None:
    """Each event arrives once, signed for this moment; with another secret, body or id verification fails."""
    clock.now = SystemClock().now_ms()
    made = endpoints.add(receiver.url, [])
    with engine.begin() as connection:
        outbox.add(connection, [event(n, at=clock.now) for n in range(20)], [made.endpoint], clock.now)
    run_until(sender(), lambda: statuses(engine) == [("sent", 1, "200")] * 20)
    assert sorted(headers["webhook-id"] for headers, _ in receiver.got) == sorted(f"msg_{n}" for n in range(20))
    for headers, body in receiver.got:
        assert Webhook(made.secret).verify(body.decode(), headers) == {}
        assert headers["content-type"] == "application/json"


def test_what_is_not_taken_is_sent_again_under_the_same_id(
    sender: MakeSender, endpoints: Endpoints, engine: Engine, receiver: Receiver, clock: SetClock
) -> None:
    """It follows a pause; a single event probes a failing endpoint, and a success ends that."""
    add(engine, endpoints.add(receiver.url, []).endpoint, *(event(n) for n in range(10)))
    receiver.answers = [500] * 8
    sending = sender()
    run_until(sending, lambda: sum(code == "500" for *_, code in statuses(engine)) == 8)
    assert len(receiver.got) == 8
    assert endpoints.all()[0].failures == 1
    clock.now += ATTEMPT_PAUSES_MS[0] * 2
    run_until(sending, lambda: statuses(engine).count(("sent", 2, "200")) == 8)
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 10
    assert endpoints.all()[0].failures == 0


def test_after_the_last_attempt_it_is_a_dead_letter(
    sender: MakeSender, endpoints: Endpoints, engine: Engine, receiver: Receiver, clock: SetClock
) -> None:
    """It has nine attempts over most of a day; a replay starts again."""
    made = endpoints.add(receiver.url, [])
    add(engine, made.endpoint, event(1))
    receiver.answers = [404] * 9
    sending = sender()
    for attempt in range(1, 10):
        run_until(sending, lambda attempt=attempt: len(receiver.got) == attempt)
        clock.now += DAY
    assert statuses(engine) == [("failed", 9, "404")]
    run_until(sending, lambda: True)
    assert len(receiver.got) == 9
    with engine.begin() as connection:
        assert outbox.replay(connection, made.endpoint.id, None, clock.now) == 1
    run_until(sending, lambda: statuses(engine) == [("sent", 1, "200")])


def test_an_endpoint_that_is_gone_is_paused(
    sender: MakeSender, endpoints: Endpoints, engine: Engine, receiver: Receiver
) -> None:
    """The status is 410, as Standard Webhooks specifies; waiting events are sent when it is resumed."""
    made = endpoints.add(receiver.url, [])
    add(engine, made.endpoint, event(1))
    receiver.answers = [410]
    run_until(sender(), lambda: endpoints.all()[0].state == "paused")
    assert endpoints.all()[0].paused_because == "it answered 410 Gone"
    assert [status for status, *_ in statuses(engine)] == ["pending"]


def test_redirects_are_not_followed(
    sender: MakeSender, endpoints: Endpoints, engine: Engine, receiver: Receiver
) -> None:
    """A receiver could otherwise send requests anywhere."""
    add(engine, endpoints.add(receiver.url, []).endpoint, event(1))
    receiver.answers, receiver.headers = [307], {"Location": receiver.url}
    run_until(sender(), lambda: statuses(engine) == [("pending", 1, "307")])
    assert len(receiver.got) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_private_address_is_not_contacted(
    sender: MakeSender, endpoints: Endpoints, engine: Engine, receiver: Receiver, host: str
) -> None:
    """This holds even for a registered one: names change. The endpoint pauses with the reason, and its events wait."""
    add(engine, endpoints.add(receiver.url.replace("127.0.0.1", host), []).endpoint, event(1))
    run_until(sender(allow_private=False), lambda: endpoints.all()[0].state == "paused")
    assert "private address" in endpoints.all()[0].paused_because
    assert statuses(engine) == [("pending", 1, "private-address")]
    assert receiver.got == []


def test_a_slow_endpoint_holds_up_no_other(
    sender: MakeSender, endpoints: Endpoints, engine: Engine, receiver: Receiver
) -> None:
    """One that never answers times out; the other has received everything long before."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        slow = endpoints.add(f"http://127.0.0.1:{silent.getsockname()[1]}/", []).endpoint
        add(engine, slow, event(1))
        add(engine, endpoints.add(receiver.url, []).endpoint, *(event(n) for n in range(2, 12)))
        run_until(sender(timeout_s=1.0), lambda: statuses(engine).count(("sent", 1, "200")) == 10)
        assert statuses(engine)[0] in (("pending", 1, ""), ("pending", 1, "TimeoutError"))
