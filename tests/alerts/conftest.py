"""What tests of alerts share: a clock set by hand, databases of both kinds, and every channel with a real server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from sqlalchemy import Engine

from adapters.channels.message import Message, reference_of
from alerts.notify import outbox
from alerts.notify.channel_worker import ChannelWorker
from alerts.notify.retry_policy import RetryPolicy
from tests.alerts.desks import (
    AppriseDesk,
    Desk,
    EmailDesk,
    SmsDesk,
    SnsDesk,
    WebhookDesk,
    WhatsAppDesk,
)
from tests.conftest import NOW, Dial
from vedette.events import Alert, Reason
from vedette.wording import reason

ACCOUNT = "DE0212030000000020205155"
DESKS: dict[str, Callable[..., Desk]] = {
    desk.name: desk for desk in (EmailDesk, SmsDesk, WhatsAppDesk, WebhookDesk, SnsDesk, AppriseDesk)
}


@pytest.fixture
def alert() -> Callable[..., Alert]:
    """Makes an alert; keywords change its fields."""

    def make(number: int = 1, **changes: Any) -> Alert:
        fields: dict[str, Any] = {
            "alert_id": f"alert-{number}",
            "transaction_id": f"transaction-{number}",
            "account_id": ACCOUNT,
            "event_time": NOW - 60_000,
            "amount": 123_450,
            "currency": "EUR",
            "action": "decline",
            "score": 0.973,
            "expected_loss": 120_117,
            "reasons": [
                reason("amount-high", {"amount": 123_450, "usual": 10_000, "ratio": 12.3, "currency": "EUR"}, 2.5),
                Reason(code="rule.device", text="new device", weight=0.0),
            ],
            "merchant_id": "merchant-9",
        }
        return Alert(**fields | changes)

    return make


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """Moto's server, which answers like AWS, started once."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415, a second that other tests need not pay

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.servers) if name == "sns" else name for name in DESKS])
def desk(request: pytest.FixtureRequest, dial: Dial) -> Iterator[Desk]:
    """Each channel in turn, with its server: what all must do."""
    more = (request.getfixturevalue("moto_url"),) if request.param == "sns" else ()
    with DESKS[request.param](dial, *more) as opened:
        yield opened


@pytest.fixture
def sms_desk(dial: Dial) -> Iterator[SmsDesk]:
    """SMS with its server."""
    with SmsDesk(dial) as opened:
        yield opened


@pytest.fixture
def message(dial: Dial) -> Callable[..., Message]:
    """Makes the message with this number for a desk."""

    def make(desk: Desk, number: int = 1) -> Message:
        reference = reference_of(f"message-{number}")
        return Message(
            key=f"message-{number}", recipient=f"{desk.name}-desk", channel=desk.name, reference=reference,
            created_at=dial.now, incident=7, subject=f"[Vedette] message {number}",
            text=f"Vedette says something. Ref {reference}", html="<p>Vedette says something.</p>",
            data=f'{{"reference": "{reference}"}}',
        )  # fmt: skip

    return make


@pytest.fixture
def deliver(sqlite: Engine, dial: Dial, log: Any) -> Callable[..., None]:
    """Puts messages into the outbox and runs a worker until nothing is left to send.

    The clock goes on whenever the worker has nothing to do.
    """

    def left() -> int:
        with sqlite.connect() as connection:
            return outbox.unfinished(connection)

    async def work(desk: Desk, policy: RetryPolicy, parallel: int) -> None:
        async with opened(desk) as channel:
            worker = ChannelWorker(
                channel=channel, targets={f"{desk.name}-desk": desk.target}, engine=sqlite, policy=policy,
                parallel=parallel, clock=dial, random=Random(7), log=log,  # noqa: S311, jitter needs no secrecy
            )  # fmt: skip
            for _ in range(10_000):
                if not left():
                    return
                if not await worker.step():
                    dial.now += 1000
        pytest.fail("the worker never came to an end")

    def run(desk: Desk, *messages: Message, policy: RetryPolicy | None = None, parallel: int = 1) -> None:
        with sqlite.begin() as connection:
            outbox.add(connection, [outbox.Outgoing(each, dial.now) for each in messages], dial.now)
        asyncio.run(work(desk, policy or RetryPolicy(), parallel))

    return run


@asynccontextmanager
async def opened(desk: Desk) -> AsyncIterator[Any]:
    """The desk's channel, closed at the end in the loop that used it."""
    channel = desk.channel()
    try:
        yield channel
    finally:
        await channel.close()
