import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from alerts.notify.channel import Permanent, Retry, Sent, Unknown
from alerts.notify.courier import Courier
from alerts.notify.ledger import Ledger, Tally
from alerts.notify.message import Message
from stack.sms import BROKEN, BROKEN_BUT_KEPT, SILENT, SILENT_BUT_KEPT
from stack.sms_http import Answer
from vedette.errors import UnavailableError

MakeMessage = Callable[..., Message]
MakeCourier = Callable[..., Courier]


@pytest.mark.parametrize("answer", [BROKEN, BROKEN_BUT_KEPT, SILENT, SILENT_BUT_KEPT])
def test_an_error_or_silence_after_post_sends_exactly_one(
    sms_desk: Any,
    message: MakeMessage,
    ledger: Ledger,
    courier: MakeCourier,
    deliver: Callable[[Courier], None],
    answer: Answer,
) -> None:
    """Whether or not Twilio took the message before it failed or timed out, one SMS is there in the end."""
    sms_desk.sink.script(answer)
    ledger.record([message(sms_desk)], [], 0)
    deliver(courier(sms_desk))
    assert len(sms_desk.sink.messages) == 1
    assert ledger.tally() == [Tally("sms", "sent", 1)]


@pytest.mark.parametrize("answer", [BROKEN, SILENT])
def test_an_error_or_silence_after_post_is_unknown(sms_desk: Any, message: MakeMessage, answer: Answer) -> None:
    """500 and a time-out say nothing about the message."""
    sms_desk.sink.script(answer)
    assert isinstance(asyncio.run(sms_desk.channel.send(message(sms_desk))), Unknown)


def test_429_waits_as_long_as_twilio_asks(sms_desk: Any, message: MakeMessage) -> None:
    """The Retry-After header becomes the least delay."""
    sms_desk.sink.script(Answer(429, 20429, "Too Many Requests", retry_after_s=7))
    outcome = asyncio.run(sms_desk.channel.send(message(sms_desk)))
    assert outcome == Retry(code="20429", reason=outcome.reason, after_ms=7000)


def test_429_rests_the_whole_channel(
    sms_desk: Any, message: MakeMessage, ledger: Ledger, courier: MakeCourier, dial: Any
) -> None:
    """A rate limit concerns the account, so no other message is tried before the time is over."""
    sms_desk.sink.script(Answer(429, 20429, "Too Many Requests", retry_after_s=7))
    ledger.record([message(sms_desk, 1), message(sms_desk, 2)], [], 0)
    working = courier(sms_desk)

    async def steps(count: int) -> list[bool]:
        return [await working.step() for _ in range(count)]

    assert asyncio.run(steps(2)) == [True, False]
    dial.now += 6999
    assert asyncio.run(steps(1)) == [False]
    dial.now += 1
    assert asyncio.run(steps(3)) == [True, True, False]
    assert len(sms_desk.sink.messages) == 2


def test_a_wrong_number_keeps_twilios_code_in_the_ledger(
    sms_desk: Any, message: MakeMessage, ledger: Ledger, courier: MakeCourier, lines: list[dict[str, Any]]
) -> None:
    """400 with 21211 is a failed message whose code says why."""
    sms_desk.recipient = "+1"
    ledger.record([message(sms_desk)], [], 0)
    asyncio.run(courier(sms_desk).step())
    assert ledger.tally() == [Tally("sms", "failed", 1)]
    assert [(line["event"], line["code"]) for line in lines] == [("message not sent", "21211")]


def test_a_look_up_without_an_answer_is_no_answer(sms_desk: Any, message: MakeMessage) -> None:
    """When Twilio does not list its messages, nothing may be concluded."""
    asyncio.run(sms_desk.channel.send(message(sms_desk)))
    sms_desk.sink.refuse_lists(1)
    with pytest.raises(UnavailableError):
        asyncio.run(sms_desk.channel.find(message(sms_desk)))
    assert isinstance(asyncio.run(sms_desk.channel.find(message(sms_desk))), Sent)


def test_a_look_up_reads_more_than_one_page(sms_desk: Any, message: MakeMessage) -> None:
    """A message is found among many later ones to the same recipient."""
    for number in range(120):
        sms_desk.sink.post({"To": sms_desk.recipient, "From": "+14155550100", "Body": f"later {number}"})
        if number == 0:
            asyncio.run(sms_desk.channel.send(message(sms_desk)))
    assert isinstance(asyncio.run(sms_desk.channel.find(message(sms_desk))), Sent)


def test_a_wrong_token_is_permanent(sms_desk: Any, message: MakeMessage) -> None:
    """401 is told apart by Twilio's code 20003."""
    sms_desk.sink.auth_token = "changed"
    outcome = asyncio.run(sms_desk.channel.send(message(sms_desk)))
    assert isinstance(outcome, Permanent)
    assert outcome.code == "20003"
