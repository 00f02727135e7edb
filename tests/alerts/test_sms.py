import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from alerts.notify import outbox
from alerts.notify.channel import Outcome, Permanent, Question, Retry, Sent, Unknown
from alerts.notify.message import Message
from alerts.notify.outbox import Tally
from stack.sms import BROKEN, BROKEN_BUT_KEPT, SILENT, SILENT_BUT_KEPT
from stack.sms_http import Answer
from tests.alerts.conftest import opened
from tests.alerts.desks import NUMBER, SmsDesk, WhatsAppDesk
from vedette.errors import UnavailableError

MakeMessage = Callable[..., Message]
Deliver = Callable[..., None]


def send(desk: SmsDesk, message: Message) -> Outcome:
    """Send one message."""

    async def go() -> Outcome:
        async with opened(desk) as channel:
            outcome: Outcome = await channel.send(message, desk.target)
            return outcome

    return asyncio.run(go())


def find(desk: SmsDesk, *messages: Message) -> dict[str, Sent]:
    """Look messages up."""

    async def go() -> dict[str, Sent]:
        async with opened(desk) as channel:
            questions = [Question(message, desk.target, message.created_at) for message in messages]
            found: dict[str, Sent] = await channel.find(questions)
            return found

    return asyncio.run(go())


@pytest.mark.parametrize("answer", [BROKEN, BROKEN_BUT_KEPT, SILENT, SILENT_BUT_KEPT])
def test_an_error_or_silence_after_post_sends_exactly_one(
    sms_desk: SmsDesk, message: MakeMessage, sqlite: Engine, deliver: Deliver, answer: Answer
) -> None:
    """Whether or not Twilio took the message before it failed or timed out, one SMS is there in the end."""
    sms_desk.sink.script(answer)
    deliver(sms_desk, message(sms_desk))
    assert len(sms_desk.sink.messages) == 1
    with sqlite.connect() as connection:
        assert outbox.tally(connection) == [Tally("sms", "sent", 1)]


@pytest.mark.parametrize("answer", [BROKEN, SILENT])
def test_an_error_or_silence_after_post_is_unknown(sms_desk: SmsDesk, message: MakeMessage, answer: Answer) -> None:
    """500 and a time-out say nothing about the message."""
    sms_desk.sink.script(answer)
    assert isinstance(send(sms_desk, message(sms_desk)), Unknown)


def test_429_waits_as_long_as_twilio_asks(sms_desk: SmsDesk, message: MakeMessage) -> None:
    """The Retry-After header becomes the least delay."""
    sms_desk.sink.script(Answer(429, 20429, "Too Many Requests", retry_after_s=7))
    outcome = send(sms_desk, message(sms_desk))
    assert isinstance(outcome, Retry)
    assert (outcome.code, outcome.after_ms) == ("20429", 7000)


def test_429_rests_the_whole_channel(sms_desk: SmsDesk, message: MakeMessage, deliver: Deliver, dial: Any) -> None:
    """A rate limit concerns the account, so no message is tried before the time is over."""
    sms_desk.sink.script(Answer(429, 20429, "Too Many Requests", retry_after_s=7))
    began = dial.now
    deliver(sms_desk, message(sms_desk, 1), message(sms_desk, 2))
    assert {each.sent_at >= began + 7000 for each in sms_desk.sink.messages} == {True}
    assert len(sms_desk.sink.messages) == 2


def test_a_dead_letter_keeps_twilios_code_and_not_the_number(
    sms_desk: SmsDesk, message: MakeMessage, sqlite: Engine, deliver: Deliver
) -> None:
    """400 with 21211 is a failed message whose code says why; Twilio's own words, with the number, are not kept."""
    sms_desk.to = "+1"
    deliver(sms_desk, message(sms_desk))
    with sqlite.connect() as connection:
        (dead,) = outbox.listing(connection, ["failed"], 5)
    assert (dead.code, dead.error) == ("21211", "Twilio answered 400, error 21211")


def test_a_look_up_without_an_answer_is_no_answer(sms_desk: SmsDesk, message: MakeMessage) -> None:
    """When Twilio does not list its messages, nothing may be concluded."""
    send(sms_desk, message(sms_desk))
    sms_desk.sink.refuse_lists(1)
    with pytest.raises(UnavailableError):
        find(sms_desk, message(sms_desk))
    assert find(sms_desk, message(sms_desk))


def test_a_look_up_reads_more_than_one_page(sms_desk: SmsDesk, message: MakeMessage) -> None:
    """Messages are found among many later ones to the same number; one that is not there is not."""
    for number in range(1200):
        sms_desk.sink.post({"To": NUMBER, "From": "+14155550100", "Body": f"later {number}"})
        if number < 2:
            send(sms_desk, message(sms_desk, number))
    found = find(sms_desk, *(message(sms_desk, number) for number in range(3)))
    assert set(found) == {message(sms_desk, number).reference for number in range(2)}


def test_a_wrong_token_is_permanent(sms_desk: SmsDesk, message: MakeMessage) -> None:
    """401 is told apart by Twilio's code 20003."""
    sms_desk.sink.auth_token = "changed"
    outcome = send(sms_desk, message(sms_desk))
    assert isinstance(outcome, Permanent)
    assert outcome.code == "20003"


def test_whatsapp_goes_to_the_number_with_its_prefix(message: MakeMessage, dial: Any) -> None:
    """Twilio tells WhatsApp from SMS by the prefix of both numbers."""
    with WhatsAppDesk(dial) as desk:
        send(desk, message(desk))
        (sent,) = desk.sink.messages
    assert (sent.to, sent.sender) == (f"whatsapp:{NUMBER}", "whatsapp:+14155550100")
