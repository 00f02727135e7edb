"""The contract of every channel, run over each of them with a real server behind it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from alerts.notify import outbox
from alerts.notify.channel import Channel, Outcome, Permanent, Question, Retry, Sent, Unknown
from alerts.notify.message import Message
from alerts.notify.outbox import Tally
from alerts.notify.sender import RetryPolicy
from tests.alerts.conftest import opened
from tests.alerts.desks import KEY, TOKEN, Desk

MakeMessage = Callable[..., Message]
Deliver = Callable[..., None]


def send(desk: Desk, message: Message) -> Outcome:
    """Send one message."""

    async def go() -> Outcome:
        async with opened(desk) as channel:
            outcome: Outcome = await channel.send(message, desk.target)
            return outcome

    return asyncio.run(go())


def find(desk: Desk, message: Message) -> dict[str, Sent]:
    """Look one message up."""

    async def go() -> dict[str, Sent]:
        channel: Channel
        async with opened(desk) as channel:
            return await channel.find([Question(message, desk.target, message.created_at)])

    return asyncio.run(go())


def tally(engine: Engine) -> list[Tally]:
    """What became of the messages."""
    with engine.connect() as connection:
        return outbox.tally(connection)


def only_where_refusals_are_told(desk: Desk) -> None:
    """Apprise cannot tell a refusal from a doubt; its own test says what holds instead."""
    if not desk.tells_refusals:
        pytest.skip("Apprise says whether a service took a message, and no more")


def test_what_the_provider_takes_is_sent(desk: Desk, message: MakeMessage) -> None:
    """An accepted message is Sent with an id, and arrived once."""
    outcome = send(desk, message(desk))
    assert isinstance(outcome, Sent)
    assert outcome.provider_id
    assert len(desk.received()) == 1


def test_what_the_provider_refuses_for_now_may_be_sent_again(desk: Desk, message: MakeMessage) -> None:
    """A temporary refusal is Retry and nothing arrived; the next send goes through."""
    only_where_refusals_are_told(desk)
    desk.refuse_for_now()
    assert isinstance(send(desk, message(desk)), Retry)
    assert desk.received() == []
    assert isinstance(send(desk, message(desk)), Sent)


def test_what_the_provider_refuses_for_good_is_permanent(desk: Desk, message: MakeMessage) -> None:
    """A final refusal is Permanent with the provider's own code."""
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
    """A look-up finds this very message, not another one to the same recipient."""
    send(desk, message(desk, 2))
    assert find(desk, message(desk, 1)) == {}


def test_a_provider_that_is_away_may_be_tried_again(desk: Desk, message: MakeMessage) -> None:
    """With nobody listening the message has certainly not gone."""
    only_where_refusals_are_told(desk)

    async def go() -> Outcome:
        async with opened(desk) as channel:
            desk.go_away()
            outcome: Outcome = await channel.send(message(desk), desk.target)
            return outcome

    assert isinstance(asyncio.run(go()), Retry)


def test_many_messages_go_side_by_side_each_once(
    desk: Desk, message: MakeMessage, sqlite: Engine, deliver: Deliver
) -> None:
    """Four at a time, none is lost and none is doubled, and a message recorded again adds nothing."""
    deliver(desk, *(message(desk, number) for number in range(12)), parallel=4)
    deliver(desk, *(message(desk, number) for number in range(12)), parallel=4)
    assert len(set(desk.received())) == len(desk.received()) == 12
    assert tally(sqlite) == [Tally(desk.name, "sent", 12)]


def test_a_refused_message_is_tried_until_it_goes(
    desk: Desk, message: MakeMessage, sqlite: Engine, deliver: Deliver
) -> None:
    """Temporary refusals cost time, not messages."""
    for _ in range(4):
        desk.refuse_for_now()
    deliver(desk, *(message(desk, number) for number in range(3)))
    assert len(set(desk.received())) == len(desk.received()) == 3
    assert tally(sqlite) == [Tally(desk.name, "sent", 3)]


def test_attempts_are_bounded(desk: Desk, message: MakeMessage, sqlite: Engine, deliver: Deliver) -> None:
    """A message that is refused for ever is given up, and said to be."""
    only_where_refusals_are_told(desk)
    for _ in range(10):
        desk.refuse_for_now()
    deliver(desk, message(desk), policy=RetryPolicy(attempts=3))
    assert tally(sqlite) == [Tally(desk.name, "failed", 1)]
    assert desk.received() == []


def test_a_refusal_for_good_is_a_dead_letter_until_somebody_retries_it(
    desk: Desk, message: MakeMessage, sqlite: Engine, deliver: Deliver, dial: Any
) -> None:
    """One refused message fails at once, the next one goes; tried anew after its cause is gone, it goes, too."""
    only_where_refusals_are_told(desk)
    desk.refuse_for_good()
    deliver(desk, message(desk, 1), message(desk, 2))
    assert tally(sqlite) == [Tally(desk.name, "failed", 1), Tally(desk.name, "sent", 1)]
    with sqlite.begin() as connection:
        (dead,) = outbox.listing(connection, ["failed"], 10)
        assert (dead.subject, dead.code) == ("message-1", desk.permanent_code)
        assert outbox.retry(connection, [dead.id + 1], dial.now) == 0  # what was sent is never sent again
        assert outbox.retry(connection, [dead.id], dial.now) == 1
    deliver(desk)
    assert tally(sqlite) == [Tally(desk.name, "sent", 2)]
    assert len(desk.received()) == 2


def test_a_doubtful_message_is_looked_up_before_any_second_send(
    desk: Desk, message: MakeMessage, sqlite: Engine, deliver: Deliver
) -> None:
    """Where it can be found it is not sent again; where nobody can be asked, the second copy bears the same id."""
    desk.take_without_saying_so()
    deliver(desk, message(desk))
    assert tally(sqlite) == [Tally(desk.name, "sent", 1)]
    assert len(desk.received()) == (1 if desk.answers_look_ups else 2)
    assert len(set(desk.received())) == 1


def test_a_crash_while_sending_is_a_doubt(
    desk: Desk, message: MakeMessage, sqlite: Engine, deliver: Deliver, dial: Any
) -> None:
    """A process that ended between the provider's taking and the outbox's knowing does not send knowingly twice."""
    with sqlite.begin() as connection:
        outbox.add(connection, [(message(desk), dial.now)], dial.now)
        assert len(outbox.claim(connection, desk.name, dial.now, 5)) == 1
    send(desk, message(desk))
    with sqlite.begin() as connection:
        assert outbox.recover(connection, dial.now, dial.now) == 1
    deliver(desk)
    assert tally(sqlite) == [Tally(desk.name, "sent", 1)]
    assert len(desk.received()) == (1 if desk.answers_look_ups else 2)
    assert len(set(desk.received())) == 1


def test_doubts_without_end_are_left_to_a_person(
    desk: Desk, message: MakeMessage, sqlite: Engine, deliver: Deliver
) -> None:
    """A message whose answer is lost every time stays unknown and is tried no more."""
    for _ in range(10):
        desk.take_without_saying_so()
        if desk.answers_look_ups:
            desk.sink.refuse_lists(100)  # type: ignore[attr-defined]
    deliver(desk, message(desk), policy=RetryPolicy(attempts=3))
    assert tally(sqlite) == [Tally(desk.name, "unknown", 1)]
    assert len(set(desk.received())) == 1


def test_a_recipient_who_left_the_routing_is_a_dead_letter(
    desk: Desk, message: MakeMessage, sqlite: Engine, deliver: Deliver
) -> None:
    """What nobody can be told any more is said, not dropped."""
    deliver(desk, type(message(desk))(**{**_fields(message(desk)), "recipient": "gone"}))
    with sqlite.connect() as connection:
        (dead,) = outbox.listing(connection, ["failed"], 10)
    assert dead.code == "recipient"
    assert desk.received() == []


def test_logs_name_the_incident_and_never_the_address_or_a_secret(
    desk: Desk, message: MakeMessage, deliver: Deliver, lines: list[dict[str, Any]]
) -> None:
    """Every line has channel, incident and the recipient's name; none has an address, a number, a key or a token."""
    desk.refuse_for_now()
    desk.take_without_saying_so()
    deliver(desk, *(message(desk, number) for number in range(3)))
    assert {line["event"] for line in lines} == {"message sent", "message deferred"}
    for line in lines:
        assert (line["incident"], line["channel"], line["recipient"]) == (7, desk.name, f"{desk.name}-desk")
        whole = repr(line)
        for private in (desk.to, desk.to.removeprefix("+"), TOKEN, KEY):
            assert private not in whole


def _fields(message: Message) -> dict[str, Any]:
    return {name: getattr(message, name) for name in message.__struct_fields__}
