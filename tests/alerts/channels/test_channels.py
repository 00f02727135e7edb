"""The contract of every channel, run over each of them with a real server behind it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from adapters.channels.channel import (
    Channel,
    ChannelDown,
    DoubtfulMessage,
    Permanent,
    Retry,
    SendOutcome,
    Sent,
    Unknown,
)
from adapters.channels.message import Message
from alerts.notify import outbox
from alerts.notify.outbox import MessageCount
from alerts.notify.retry_policy import RetryPolicy
from tests.alerts.conftest import opened
from tests.alerts.desks import KEY, TOKEN, Desk

MakeMessage = Callable[..., Message]
Deliver = Callable[..., None]


def send(desk: Desk, message: Message) -> SendOutcome:
    """Send one message."""

    async def go() -> SendOutcome:
        async with opened(desk) as channel:
            outcome: SendOutcome = await channel.send(message, desk.target)
            return outcome

    return asyncio.run(go())


def find(desk: Desk, message: Message) -> dict[str, Sent]:
    """Look up one message."""

    async def go() -> dict[str, Sent]:
        channel: Channel
        async with opened(desk) as channel:
            return await channel.find([DoubtfulMessage(message, desk.target, message.created_at)])

    return asyncio.run(go())


def tally(engine: Engine) -> list[MessageCount]:
    """Count the messages by status."""
    with engine.connect() as connection:
        return outbox.tally(connection)


def only_where_refusals_are_told(desk: Desk) -> None:
    """Apprise cannot distinguish a refusal from an unknown outcome; a separate test covers that."""
    if not desk.tells_refusals:
        pytest.skip("Apprise says whether a service took a message, and no more")


def test_what_the_provider_takes_is_sent(desk: Desk, message: MakeMessage) -> None:
    """An accepted message is Sent, has an id, and arrived once."""
    outcome = send(desk, message(desk))
    assert isinstance(outcome, Sent)
    assert outcome.provider_id
    assert len(desk.received()) == 1


def test_what_the_provider_refuses_for_now_may_be_sent_again(desk: Desk, message: MakeMessage) -> None:
    """After a temporary refusal the outcome is Retry and nothing has arrived; the next send succeeds."""
    only_where_refusals_are_told(desk)
    desk.refuse_for_now()
    assert isinstance(send(desk, message(desk)), Retry)
    assert desk.received() == []
    assert isinstance(send(desk, message(desk)), Sent)


def test_what_the_provider_refuses_for_good_is_permanent(desk: Desk, message: MakeMessage) -> None:
    """The outcome of a final refusal is Permanent, with the provider's own code."""
    only_where_refusals_are_told(desk)
    desk.refuse_for_good()
    outcome = send(desk, message(desk))
    assert isinstance(outcome, Permanent)
    assert outcome.code == desk.permanent_code
    assert desk.received() == []


def test_what_the_provider_takes_without_saying_so_is_unknown(desk: Desk, message: MakeMessage) -> None:
    """A lost answer is Unknown, never Retry; a provider that can be asked then has the message."""
    desk.take_without_saying_so()
    assert isinstance(send(desk, message(desk)), Unknown)
    assert bool(find(desk, message(desk))) == desk.answers_look_ups


def test_what_was_never_sent_is_not_found(desk: Desk, message: MakeMessage) -> None:
    """A look-up finds exactly this message, not another one to the same recipient."""
    send(desk, message(desk, 2))
    assert find(desk, message(desk, 1)) == {}


def test_a_provider_that_is_away_may_be_tried_again(desk: Desk, message: MakeMessage) -> None:
    """Where no server listens, the message was certainly not sent."""
    only_where_refusals_are_told(desk)

    async def go() -> SendOutcome:
        async with opened(desk) as channel:
            desk.go_away()
            outcome: SendOutcome = await channel.send(message(desk), desk.target)
            return outcome

    assert isinstance(asyncio.run(go()), Retry | ChannelDown)


def test_many_messages_go_side_by_side_each_once(
    desk: Desk, message: MakeMessage, sqlite: Engine, deliver: Deliver
) -> None:
    """Four are sent at a time, none is lost or duplicated, and recording a message again adds nothing."""
    deliver(desk, *(message(desk, number) for number in range(12)), parallel=4)
    deliver(desk, *(message(desk, number) for number in range(12)), parallel=4)
    assert len(set(desk.received())) == len(desk.received()) == 12
    assert tally(sqlite) == [MessageCount(desk.name, "sent", 12)]


def test_a_refused_message_is_tried_until_it_goes(
    desk: Desk, message: MakeMessage, sqlite: Engine, deliver: Deliver
) -> None:
    """Temporary refusals cost time, but no messages."""
    for _ in range(4):
        desk.refuse_for_now()
    deliver(desk, *(message(desk, number) for number in range(3)))
    assert len(set(desk.received())) == len(desk.received()) == 3
    assert tally(sqlite) == [MessageCount(desk.name, "sent", 3)]


def test_attempts_are_bounded(desk: Desk, message: MakeMessage, sqlite: Engine, deliver: Deliver) -> None:
    """A message that is refused permanently is abandoned, and this is logged."""
    only_where_refusals_are_told(desk)
    for _ in range(10):
        desk.refuse_for_now()
    deliver(desk, message(desk), policy=RetryPolicy(attempts=3))
    assert tally(sqlite) == [MessageCount(desk.name, "failed", 1)]
    assert desk.received() == []


def test_a_refusal_for_good_is_a_dead_letter_until_somebody_retries_it(
    desk: Desk, message: MakeMessage, sqlite: Engine, deliver: Deliver, dial: Any
) -> None:
    """A refused message fails at once and the next one is sent; retried after a fix, it is sent as well."""
    only_where_refusals_are_told(desk)
    desk.refuse_for_good()
    deliver(desk, message(desk, 1), message(desk, 2))
    assert tally(sqlite) == [MessageCount(desk.name, "failed", 1), MessageCount(desk.name, "sent", 1)]
    with sqlite.begin() as connection:
        (dead,) = outbox.listing(connection, ["failed"], 10)
        assert (dead.subject, dead.code) == ("message-1", desk.permanent_code)
        assert outbox.retry(connection, [dead.id + 1], dial.now) == 0  # what was sent is never sent again
        assert outbox.retry(connection, [dead.id], dial.now) == 1
    deliver(desk)
    assert tally(sqlite) == [MessageCount(desk.name, "sent", 2)]
    assert len(desk.received()) == 2


def test_a_doubtful_message_is_looked_up_before_any_second_send(
    desk: Desk, message: MakeMessage, sqlite: Engine, deliver: Deliver
) -> None:
    """Where look-ups are possible it is not sent again; where they are not, the second copy has the same id."""
    desk.take_without_saying_so()
    deliver(desk, message(desk))
    assert tally(sqlite) == [MessageCount(desk.name, "sent", 1)]
    assert len(desk.received()) == (1 if desk.answers_look_ups else 2)
    assert len(set(desk.received())) == 1


def test_a_crash_while_sending_is_a_doubt(
    desk: Desk, message: MakeMessage, sqlite: Engine, deliver: Deliver, dial: Any
) -> None:
    """A process that ended between the provider's acceptance and the outbox's record does not knowingly send twice."""
    with sqlite.begin() as connection:
        outbox.add(connection, [outbox.Outgoing(message(desk), dial.now)], dial.now)
        assert len(outbox.claim(connection, desk.name, dial.now, 5)) == 1
    send(desk, message(desk))
    with sqlite.begin() as connection:
        assert outbox.recover(connection, dial.now, dial.now) == 1
    deliver(desk)
    assert tally(sqlite) == [MessageCount(desk.name, "sent", 1)]
    assert len(desk.received()) == (1 if desk.answers_look_ups else 2)
    assert len(set(desk.received())) == 1


def test_doubts_without_end_are_left_to_a_person(
    desk: Desk, message: MakeMessage, sqlite: Engine, deliver: Deliver
) -> None:
    """A message whose answer is lost every time stays unknown and is not tried again."""
    for _ in range(10):
        desk.take_without_saying_so()
        if desk.answers_look_ups:
            desk.sink.refuse_lists(100)  # type: ignore[attr-defined]
    deliver(desk, message(desk), policy=RetryPolicy(attempts=3))
    assert tally(sqlite) == [MessageCount(desk.name, "unknown", 1)]
    assert len(set(desk.received())) == 1


def test_a_recipient_who_left_the_routing_is_a_dead_letter(
    desk: Desk, message: MakeMessage, sqlite: Engine, deliver: Deliver
) -> None:
    """A message that can no longer be delivered is reported, and is not dropped."""
    deliver(desk, type(message(desk))(**{**_fields(message(desk)), "recipient": "gone"}))
    with sqlite.connect() as connection:
        (dead,) = outbox.listing(connection, ["failed"], 10)
    assert dead.code == "recipient"
    assert desk.received() == []


def test_logs_name_the_incident_and_never_the_address_or_a_secret(
    desk: Desk, message: MakeMessage, deliver: Deliver, lines: list[dict[str, Any]]
) -> None:
    """Every line has the channel, the incident and the recipient's name; none has an address, number, key or token."""
    desk.refuse_for_now()
    desk.take_without_saying_so()
    deliver(desk, *(message(desk, number) for number in range(3)))
    assert {line["event"] for line in lines} - {"channel pauses", "channel works again"} == {
        "message sent",
        "message deferred",
    }
    for line in lines:
        assert line["channel"] == desk.name
        if line["event"].startswith("message"):
            assert (line["incident"], line["recipient"]) == (7, f"{desk.name}-desk")
        whole = repr(line)
        for private in (desk.to, desk.to.removeprefix("+"), TOKEN, KEY):
            assert private not in whole


def _fields(message: Message) -> dict[str, Any]:
    return {name: getattr(message, name) for name in message.__struct_fields__}
