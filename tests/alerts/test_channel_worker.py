"""The worker of a channel: the pauses after setbacks, the messages that wait, and the log."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from sqlalchemy import Engine

from adapters.channels.message import Message
from alerts.notify import failures, outbox
from alerts.notify.channel_worker import ChannelWorker
from alerts.notify.outbox import MessageCount, Outgoing
from alerts.notify.retry_policy import RetryPolicy
from tests.alerts.conftest import opened
from tests.alerts.desks import Desk, EmailDesk, SmsDesk
from tests.conftest import Dial
from vedette.clock import DAY, HOUR, MINUTE, SECOND

MakeMessage = Callable[..., Message]


class Shift:
    """A worker whose clock is set by hand."""

    def __init__(self, engine: Engine, desk: Desk, dial: Dial, log: Any, parallel: int) -> None:
        self.engine, self.desk, self.dial = engine, desk, dial
        self._log, self._parallel = log, parallel

    def add(self, *messages: Message, urgent: bool = False) -> None:
        """Put messages into the outbox, due now."""
        with self.engine.begin() as connection:
            outbox.add(connection, [Outgoing(each, self.dial.now, urgent) for each in messages], self.dial.now)

    def work(self, for_ms: int, tick_ms: int = SECOND, *, until: Callable[[], bool] = lambda: False) -> None:
        """Let a new worker work for a time or until a condition holds; the clock ticks when it has nothing to do."""

        async def go() -> None:
            async with opened(self.desk) as channel:
                worker = ChannelWorker(
                    channel=channel, targets={f"{self.desk.name}-desk": self.desk.target}, engine=self.engine,
                    policy=RetryPolicy(), parallel=self._parallel, clock=self.dial, log=self._log,
                    random=Random(7),  # noqa: S311, jitter needs no secrecy
                )  # fmt: skip
                end = self.dial.now + for_ms
                while self.dial.now < end and not until():
                    if not await worker.step():
                        self.dial.now += tick_ms
                await worker.finish()

        asyncio.run(go())

    def counts(self) -> list[MessageCount]:
        """Count the messages by status."""
        with self.engine.connect() as connection:
            return outbox.tally(connection)

    def failures(self) -> list[failures.ComponentFailure]:
        """Return what does not work."""
        with self.engine.connect() as connection:
            return failures.listing(connection)


@pytest.fixture
def shift(sqlite: Engine, dial: Dial, log: Any) -> Callable[..., Shift]:
    """Makes a worker for a desk."""

    def make(desk: Desk, parallel: int = 1) -> Shift:
        return Shift(sqlite, desk, dial, log, parallel)

    return make


def test_a_wrong_login_holds_every_message_until_it_is_right(
    sms_desk: SmsDesk, message: MakeMessage, shift: Callable[..., Shift], dial: Dial, lines: list[dict[str, Any]]
) -> None:
    """For a day no message fails and the failure is logged with host and remedy; with the right token all are sent."""
    token, sms_desk.sink.auth_token = sms_desk.sink.auth_token, "changed"
    at_work, tomorrow = shift(sms_desk, parallel=8), dial.now + DAY
    at_work.add(*(message(sms_desk, number) for number in range(20)))
    found: list[failures.ComponentFailure] = []

    def done() -> bool:
        if not found and dial.now >= tomorrow:
            assert at_work.counts() == [MessageCount("sms", "pending", 20)]
            found.extend(at_work.failures())
            sms_desk.sink.auth_token = token
        return len(sms_desk.sink.messages) == 20

    at_work.work(2 * DAY, MINUTE, until=done)
    assert at_work.counts() == [MessageCount("sms", "sent", 20)]
    assert at_work.failures() == []
    (failure,) = found
    assert (failure.component, failure.code) == ("channel sms", "20003")
    assert f"{sms_desk.sink.host}:{sms_desk.sink.port}" in failure.reason
    assert "auth_token" in failure.remedy
    loud = [line for line in lines if line["event"] == "channel down, its messages are held"]
    assert loud
    assert {line["remedy"] for line in loud} == {failure.remedy}
    assert [line["event"] for line in lines].count("channel works again") == 1


def test_a_mail_server_that_is_away_for_a_night_costs_no_message(
    message: MakeMessage, shift: Callable[..., Shift], dial: Dial
) -> None:
    """Nobody listens for eight hours: the messages are held, the failure names host and port, and then all are sent."""
    with EmailDesk(dial) as gone:
        port = gone.sink.port
        gone.go_away()
        at_work = shift(gone, parallel=4)
        at_work.add(*(message(gone, number) for number in range(5)))
        at_work.work(8 * HOUR, MINUTE)
        assert at_work.counts() == [MessageCount("email", "pending", 5)]
        (failure,) = at_work.failures()
        assert f"127.0.0.1:{port} cannot be reached" in failure.reason
    with EmailDesk(dial) as back:
        at_work.desk = back
        at_work.work(HOUR, until=lambda: len(back.sink.mails) == 5)
    assert at_work.counts() == [MessageCount("email", "sent", 5)]


def test_a_burst_of_refused_mails_is_one_setback(
    message: MakeMessage, shift: Callable[..., Shift], dial: Dial, lines: list[dict[str, Any]]
) -> None:
    """Sixteen mails refused at once pause the channel for a second, not ten minutes, and are logged once."""
    with EmailDesk(dial) as desk:
        desk.sink.script(*16 * ["451"])
        began = dial.now
        at_work = shift(desk, parallel=16)
        at_work.add(*(message(desk, number) for number in range(16)))
        at_work.work(HOUR, 100, until=lambda: len(desk.sink.mails) == 16)
        assert at_work.counts() == [MessageCount("email", "sent", 16)]
        assert dial.now - began < 10 * SECOND
        (pause,) = [line for line in lines if line["event"] == "channel pauses"]
        assert (pause["setbacks"], pause["code"]) == (1, "451")
        assert f"127.0.0.1:{desk.sink.port}" in pause["reason"]


def test_urgent_messages_go_first_and_probe_a_paused_channel_sooner(
    message: MakeMessage, shift: Callable[..., Shift], dial: Dial
) -> None:
    """While ordinary mail waits for minutes, an urgent one is sent within half a minute, then the rest at once."""
    times: dict[str, int] = {}
    with EmailDesk(dial) as desk:
        at_work = shift(desk)
        at_work.add(*(message(desk, number) for number in range(3)))
        desk.sink.script(*1000 * ["451"])

        def done() -> bool:
            if not times and any(each.retry_at > dial.now + 3 * MINUTE for each in at_work.failures()):
                desk.sink.unscript()
                at_work.add(message(desk, 9), urgent=True)
                times["added"] = dial.now
            if desk.sink.mails:
                times.setdefault("first", dial.now)
            return len(desk.sink.mails) == 4

        at_work.work(DAY, until=done)
    assert desk.sink.mails[0].subject == "[Vedette] message 9"
    assert times["first"] - times["added"] <= 31 * SECOND
    assert at_work.counts() == [MessageCount("email", "sent", 4)]
