"""The contract of every channel, run over e-mail and SMS with real servers behind them."""

import asyncio
from collections.abc import Callable
from typing import Any

from alerts.notify.channel import Permanent, Retry, Sent, Unknown
from alerts.notify.courier import Courier
from alerts.notify.ledger import Ledger, Tally
from alerts.notify.message import Message
from alerts.notify.sender import RetryPolicy

MakeMessage = Callable[..., Message]
MakeCourier = Callable[..., Courier]


def test_what_the_provider_takes_is_sent(desk: Any, message: MakeMessage) -> None:
    """An accepted message is Sent with an id, and arrived once."""
    outcome = asyncio.run(desk.channel.send(message(desk)))
    assert isinstance(outcome, Sent)
    assert outcome.provider_id
    assert len(desk.received()) == 1


def test_what_the_provider_refuses_for_now_may_be_sent_again(desk: Any, message: MakeMessage) -> None:
    """A temporary refusal is Retry and nothing arrived; the next send goes through."""
    desk.refuse_for_now()
    assert isinstance(asyncio.run(desk.channel.send(message(desk))), Retry)
    assert desk.received() == []
    assert isinstance(asyncio.run(desk.channel.send(message(desk))), Sent)


def test_what_the_provider_refuses_for_good_is_permanent(desk: Any, message: MakeMessage) -> None:
    """A final refusal is Permanent with the provider's own code."""
    desk.refuse_for_good()
    outcome = asyncio.run(desk.channel.send(message(desk)))
    assert isinstance(outcome, Permanent)
    assert outcome.code == desk.permanent_code
    assert desk.received() == []


def test_what_the_provider_takes_without_saying_so_is_unknown(desk: Any, message: MakeMessage) -> None:
    """A lost answer is Unknown, never Retry; a provider that can be asked then has the message."""
    desk.take_without_saying_so()
    assert isinstance(asyncio.run(desk.channel.send(message(desk))), Unknown)
    found = asyncio.run(desk.channel.find(message(desk)))
    assert isinstance(found, Sent) == desk.answers_look_ups


def test_what_was_never_sent_is_not_found(desk: Any, message: MakeMessage) -> None:
    """A look-up finds this very message, not another one to the same recipient."""
    asyncio.run(desk.channel.send(message(desk, 2)))
    assert asyncio.run(desk.channel.find(message(desk, 1))) is None


def test_a_provider_that_is_away_may_be_tried_again(desk: Any, message: MakeMessage) -> None:
    """With nobody listening the message has certainly not gone."""
    desk.sink.close()
    assert isinstance(asyncio.run(desk.channel.send(message(desk))), Retry)


def test_a_repeated_alert_sends_nothing_more(
    desk: Any, message: MakeMessage, ledger: Ledger, courier: MakeCourier, deliver: Callable[[Courier], None]
) -> None:
    """Recorded twice, before and after its delivery, an alert is one message."""
    for _ in range(2):
        ledger.record([message(desk), message(desk)], [], 0)
        deliver(courier(desk))
    assert len(desk.received()) == 1


def test_a_refused_message_is_tried_until_it_goes(
    desk: Any, message: MakeMessage, ledger: Ledger, courier: MakeCourier, deliver: Callable[[Courier], None]
) -> None:
    """Temporary refusals cost time, not messages."""
    for _ in range(4):
        desk.refuse_for_now()
    ledger.record([message(desk, number) for number in range(3)], [], 0)
    deliver(courier(desk))
    assert len(set(desk.received())) == len(desk.received()) == 3
    assert ledger.tally() == [Tally(desk.name, "sent", 3)]


def test_attempts_are_bounded(
    desk: Any, message: MakeMessage, ledger: Ledger, courier: MakeCourier, deliver: Callable[[Courier], None]
) -> None:
    """A message that is refused for ever is given up, and said to be."""
    for _ in range(10):
        desk.refuse_for_now()
    ledger.record([message(desk)], [], 0)
    deliver(courier(desk, RetryPolicy(attempts=3)))
    assert ledger.tally() == [Tally(desk.name, "failed", 1)]
    assert desk.received() == []


def test_a_refusal_for_good_is_not_repeated(
    desk: Any, message: MakeMessage, ledger: Ledger, courier: MakeCourier, deliver: Callable[[Courier], None]
) -> None:
    """One refused message fails at once, and the next one goes."""
    desk.refuse_for_good()
    ledger.record([message(desk, 1), message(desk, 2)], [], 0)
    deliver(courier(desk))
    assert ledger.tally() == [Tally(desk.name, "failed", 1), Tally(desk.name, "sent", 1)]
    assert len(desk.received()) == 1


def test_a_doubtful_message_is_looked_up_before_any_second_send(
    desk: Any, message: MakeMessage, ledger: Ledger, courier: MakeCourier, deliver: Callable[[Courier], None]
) -> None:
    """Where it can be found it is not sent again; where nobody can be asked, the second copy bears the same id."""
    desk.take_without_saying_so()
    ledger.record([message(desk)], [], 0)
    deliver(courier(desk))
    assert ledger.tally() == [Tally(desk.name, "sent", 1)]
    assert len(desk.received()) == (1 if desk.answers_look_ups else 2)
    assert len(set(desk.received())) == 1


def test_a_crash_while_sending_is_a_doubt(
    desk: Any, message: MakeMessage, ledger: Ledger, courier: MakeCourier, deliver: Callable[[Courier], None]
) -> None:
    """A process that ended between the provider's taking and the ledger's knowing does not send knowingly twice."""
    ledger.record([message(desk)], [], 0)
    ledger.begin(message(desk), 0)
    asyncio.run(desk.channel.send(message(desk)))
    ledger.recover(0, 0)
    deliver(courier(desk))
    assert ledger.tally() == [Tally(desk.name, "sent", 1)]
    assert len(desk.received()) == (1 if desk.answers_look_ups else 2)
    assert len(set(desk.received())) == 1


def test_doubts_without_end_are_left_to_a_person(
    desk: Any, message: MakeMessage, ledger: Ledger, courier: MakeCourier, deliver: Callable[[Courier], None]
) -> None:
    """A message whose answer is lost every time stays unknown and is tried no more."""
    if desk.answers_look_ups:
        desk.take_without_saying_so()
        desk.sink.refuse_lists(100)
    else:
        for _ in range(10):
            desk.take_without_saying_so()
    ledger.record([message(desk)], [], 0)
    deliver(courier(desk, RetryPolicy(attempts=3)))
    assert ledger.tally() == [Tally(desk.name, "unknown", 1)]
    assert len(set(desk.received())) == 1


def test_logs_name_the_alert_and_never_the_recipient_or_a_secret(
    desk: Any,
    message: MakeMessage,
    ledger: Ledger,
    courier: MakeCourier,
    deliver: Callable[[Courier], None],
    lines: list[dict[str, Any]],
) -> None:
    """Every line has alert id and channel; none has an address, a number, an account or the token."""
    desk.refuse_for_now()
    desk.refuse_for_good()
    desk.take_without_saying_so()
    ledger.record([message(desk, number) for number in range(3)], [], 0)
    deliver(courier(desk))
    assert {line["event"] for line in lines} == {"message sent", "message deferred", "message not sent"}
    for line in lines:
        assert line["alert_id"].startswith("alert-")
        assert line["channel"] == desk.name
        whole = repr(line)
        for private in (desk.recipient, desk.recipient[1:], "DE0212030000000020205155", "a-token-nobody-may-see"):
            assert private not in whole
