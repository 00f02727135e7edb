import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from adapters.channels.channel import ChannelDown, DoubtfulMessage, Retry, SendOutcome, Sent, Unknown
from adapters.channels.message import Message
from alerts.notify import outbox
from alerts.notify.outbox import MessageCount
from stack.sms import BROKEN, BROKEN_BUT_KEPT, SILENT, SILENT_BUT_KEPT
from stack.sms_http import SmsResponse
from tests.alerts.conftest import opened
from tests.alerts.desks import NUMBER, SmsDesk, WhatsAppDesk
from vedette.errors import UnavailableError

MakeMessage = Callable[..., Message]
Deliver = Callable[..., None]


def send(desk: SmsDesk, message: Message) -> SendOutcome:
    """Send one message."""

    async def go() -> SendOutcome:
        async with opened(desk) as channel:
            outcome: SendOutcome = await channel.send(message, desk.target)
            return outcome

    return asyncio.run(go())


def find(desk: SmsDesk, *messages: Message) -> dict[str, Sent]:
    """Look up messages."""

    async def go() -> dict[str, Sent]:
        async with opened(desk) as channel:
            questions = [DoubtfulMessage(message, desk.target, message.created_at) for message in messages]
            found: dict[str, Sent] = await channel.find(questions)
            return found

    return asyncio.run(go())


@pytest.mark.parametrize("answer", [BROKEN, BROKEN_BUT_KEPT, SILENT, SILENT_BUT_KEPT])
def test_an_error_or_silence_after_post_sends_exactly_one(
    sms_desk: SmsDesk, message: MakeMessage, sqlite: Engine, deliver: Deliver, answer: SmsResponse
) -> None:
    """Whether or not Twilio accepted the message before it failed or timed out, exactly one SMS is sent in the end."""
    sms_desk.sink.script(answer)
    deliver(sms_desk, message(sms_desk))
    assert len(sms_desk.sink.messages) == 1
    with sqlite.connect() as connection:
        assert outbox.tally(connection) == [MessageCount("sms", "sent", 1)]


@pytest.mark.parametrize("answer", [BROKEN, SILENT])
def test_an_error_or_silence_after_post_is_unknown(
    sms_desk: SmsDesk, message: MakeMessage, answer: SmsResponse
) -> None:
    """500 and a time-out say nothing about the message."""
    sms_desk.sink.script(answer)
    assert isinstance(send(sms_desk, message(sms_desk)), Unknown)


def test_429_waits_as_long_as_twilio_asks(sms_desk: SmsDesk, message: MakeMessage) -> None:
    """The Retry-After header becomes the least delay."""
    sms_desk.sink.script(SmsResponse(429, 20429, "Too Many Requests", retry_after_s=7))
    outcome = send(sms_desk, message(sms_desk))
    assert isinstance(outcome, Retry)
    assert (outcome.code, outcome.after_ms) == ("20429", 7000)


def test_429_rests_the_whole_channel(sms_desk: SmsDesk, message: MakeMessage, deliver: Deliver, dial: Any) -> None:
    """A rate limit concerns the account, so no message is tried before the time has passed."""
    sms_desk.sink.script(SmsResponse(429, 20429, "Too Many Requests", retry_after_s=7))
    began = dial.now
    deliver(sms_desk, message(sms_desk, 1), message(sms_desk, 2))
    assert {each.sent_at >= began + 7000 for each in sms_desk.sink.messages} == {True}
    assert len(sms_desk.sink.messages) == 2


def test_a_dead_letter_keeps_twilios_code_and_not_the_number(
    sms_desk: SmsDesk, message: MakeMessage, sqlite: Engine, deliver: Deliver
) -> None:
    """400 with 21211 is a failed message with its code; Twilio's own text, which has the number, is not kept."""
    sms_desk.to = "+1"
    deliver(sms_desk, message(sms_desk))
    with sqlite.connect() as connection:
        (dead,) = outbox.listing(connection, ["failed"], 5)
    assert (dead.code, dead.error) == ("21211", "Twilio answered 400, error 21211")


def test_a_look_up_without_an_answer_is_no_answer(sms_desk: SmsDesk, message: MakeMessage) -> None:
    """When Twilio does not list its messages, nothing is concluded."""
    send(sms_desk, message(sms_desk))
    sms_desk.sink.refuse_lists(1)
    with pytest.raises(UnavailableError):
        find(sms_desk, message(sms_desk))
    assert find(sms_desk, message(sms_desk))


def test_a_look_up_reads_more_than_one_page(sms_desk: SmsDesk, message: MakeMessage) -> None:
    """Messages are found among many later ones to the same number; one that does not exist is not found."""
    for number in range(1200):
        sms_desk.sink.post({"To": NUMBER, "From": "+14155550100", "Body": f"later {number}"})
        if number < 2:
            send(sms_desk, message(sms_desk, number))
    found = find(sms_desk, *(message(sms_desk, number) for number in range(3)))
    assert set(found) == {message(sms_desk, number).reference for number in range(2)}


def test_a_wrong_token_is_the_channels_failure(sms_desk: SmsDesk, message: MakeMessage) -> None:
    """401 with Twilio's code 20003 is not about the message; the outcome names host and remedy."""
    sms_desk.sink.auth_token = "changed"
    outcome = send(sms_desk, message(sms_desk))
    assert isinstance(outcome, ChannelDown)
    assert outcome.code == "20003"
    assert f"{sms_desk.sink.host}:{sms_desk.sink.port}" in outcome.reason
    assert "[twilio] account_sid and auth_token" in outcome.remedy


@pytest.mark.parametrize("code", [21212, 21659, 63007])
def test_a_sender_that_twilio_refuses_is_the_channels_failure(
    sms_desk: SmsDesk, message: MakeMessage, code: int
) -> None:
    """All messages have the same sender, so no single message fails because of it."""
    sms_desk.sink.script(SmsResponse(400, code, "The 'From' number is not yours."))
    outcome = send(sms_desk, message(sms_desk))
    assert isinstance(outcome, ChannelDown)
    assert outcome.code == str(code)


def test_whatsapp_goes_to_the_number_with_its_prefix(message: MakeMessage, dial: Any) -> None:
    """Twilio distinguishes WhatsApp from SMS by the prefix of both numbers."""
    with WhatsAppDesk(dial) as desk:
        send(desk, message(desk))
        (sent,) = desk.sink.messages
    assert (sent.to, sent.sender) == (f"whatsapp:{NUMBER}", "whatsapp:+14155550100")
