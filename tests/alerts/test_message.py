import string
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.notify.message import (
    SMS_LIMIT,
    Renderer,
    decode_alert,
    mask_account,
    mask_recipient,
    reference_of,
)
from vedette.errors import InputError
from vedette.events import Alert

MakeAlert = Callable[..., Alert]

GSM = set(string.ascii_letters + string.digits + " @$_!\"#%&'()*+,-./:;<=>?")


def test_an_email_says_what_an_analyst_needs(alert: MakeAlert) -> None:
    """Amount, masked account, score, expected loss, reasons and UTC time stand in the text and in the HTML."""
    message = Renderer().render(alert(), "email", "a@b.example", 5)
    assert message.subject == "[Vedette] Decline: 1,234.50 EUR on account ****5155"
    for body in (message.text, message.html):
        for fact in ("1,234.50 EUR", "****5155", "97.3%", "1,201.17 EUR", "2018-08-29 13:00:00 UTC", "new device"):
            assert fact in body
        assert reference_of("alert-1") in body


def test_an_sms_says_the_essential_and_no_counterparty(alert: MakeAlert) -> None:
    """Action, amount, masked account, top reason and reference code; neither merchant nor second reason."""
    text = Renderer().render(alert(), "sms", "+14155550101", 5).text
    assert text == (
        "Vedette Decline: 1,234.50 EUR, account ****5155, 2018-08-29 13:00:00 UTC."
        f" amount far above this account's usual. Ref {reference_of('alert-1')}"
    )


@given(
    reasons=st.lists(st.text(max_size=400), max_size=3),
    account=st.text(min_size=1, max_size=64),
    currency=st.text(max_size=8),
    amount=st.integers(0, 10**15),
)
def test_any_sms_fits_two_gsm_segments(reasons: list[str], account: str, currency: str, amount: int) -> None:
    """Whatever an alert holds, its SMS has at most 306 one-septet characters and ends with the reference code."""
    alert = Alert(
        alert_id="a", transaction_id="t", account_id=account, event_time=0, amount=amount, currency=currency,
        action="review", score=1.0, expected_loss=0, reasons=reasons,
    )  # fmt: skip
    text = Renderer().render(alert, "sms", "+14155550101", 5).text
    assert len(text) <= SMS_LIMIT
    assert set(text) <= GSM
    assert text.endswith(f" Ref {reference_of('a')}")


def test_a_long_reason_gives_way(alert: MakeAlert) -> None:
    """A reason too long for the SMS is cut, and shown to be."""
    text = Renderer().render(alert(reasons=[500 * "x"]), "sms", "+14155550101", 5).text
    assert len(text) == SMS_LIMIT
    assert f"xxx... Ref {reference_of('alert-1')}" in text


def test_a_hostile_merchant_id_is_only_text(alert: MakeAlert) -> None:
    """Markup in a merchant id, a reason or the alert id reaches the HTML escaped, and the plain text as it is."""
    hostile = "<script>alert(1)</script>\"'&"
    message = Renderer().render(
        alert(merchant_id=hostile, reasons=[hostile], alert_id=hostile), "email", "a@b.example", 5
    )
    assert "<script" not in message.html
    assert message.html.count("&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&amp;") == 3
    assert message.text.count(hostile) == 3


@pytest.mark.parametrize("field", ["account_id", "currency", "merchant_id", "payee", "country", "channel"])
def test_no_field_can_forge_a_line(alert: MakeAlert, field: str) -> None:
    """Line breaks and direction marks in a field are taken out, in the subject and in the body."""
    clean = Renderer().render(alert(**{field: "ab cd"}), "email", "a@b.example", 5)
    for forged in ("ab\ncd", "ab\rcd", "ab\u2028cd", "ab\u202ecd", "ab\x00cd"):
        message = Renderer().render(alert(**{field: forged}), "email", "a@b.example", 5)
        assert (message.subject, message.text) == (clean.subject, clean.text)


def test_no_message_shows_a_full_account_or_payee(alert: MakeAlert) -> None:
    """The account and the payee appear masked on every channel."""
    account, payee = "DE0212030000000020205155", "FR1420041010050500013M02606"
    for channel, recipient in (("email", "a@b.example"), ("sms", "+14155550101")):
        message = Renderer().render(alert(payee=payee), channel, recipient, 5)  # type: ignore[arg-type]
        whole = msgspec.json.encode(message).decode()
        assert account not in whole
        assert payee not in whole


@given(st.text(min_size=1, max_size=64))
def test_a_mask_shows_four_characters_and_never_more_than_half(account: str) -> None:
    """Whatever the length, at most the last four characters and at most half of an account are shown."""
    shown = mask_account(account).removeprefix("****")
    assert account.endswith(shown)
    assert len(shown) <= min(4, len(account) / 2)


def test_recipients_are_masked_for_logs() -> None:
    """A log line can tell two recipients apart without naming one."""
    assert mask_recipient("fraud.desk@bank.example") == "f***@bank.example"
    assert mask_recipient("+14155550101") == "***01"


def test_an_alert_comes_back_from_its_bytes(alert: MakeAlert) -> None:
    """Decoding is the inverse of encoding."""
    assert decode_alert(msgspec.json.encode(alert())) == alert()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"amount": "12"}, "amount"),
        ({"amount": -1}, "amount"),
        ({"amount": 10**16}, "amount"),
        ({"expected_loss": -5}, "expected_loss"),
        ({"event_time": 10**17}, "event_time"),
        ({"event_time": -1}, "event_time"),
        ({"action": "dance"}, "action"),
        ({"score": 1.5}, "score"),
        ({"alert_id": ""}, "alert_id"),
    ],
)
def test_an_alert_that_cannot_be_told_is_refused_by_field(alert: MakeAlert, change: dict[str, Any], named: str) -> None:
    """A value no message can be written from is an InputError that names the field."""
    fields = msgspec.to_builtins(alert()) | change
    with pytest.raises(InputError, match=named):
        decode_alert(msgspec.json.encode(fields))


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b"\xff", b"{}"])
def test_bytes_that_are_no_alert_are_refused(value: bytes | None) -> None:
    """Anything else on the topic is an InputError, not a crash."""
    with pytest.raises(InputError):
        decode_alert(value)
