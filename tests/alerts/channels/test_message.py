import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.channels.message import SMS_LIMIT, Message, decode_alert, mask_account, reference_of
from alerts.incidents.incident import Incident
from alerts.notify.rendering import Audience, MessageExtras, Renderer
from vedette.codes import CURRENCIES
from vedette.errors import InputError, SettingsError
from vedette.events import Alert

MakeAlert = Callable[..., Alert]

GSM = set(string.ascii_letters + string.digits + " @$_!\"#%&'()*+,-./:;<=>?")
RENDERER = Renderer()
EMAIL, SMS = Audience("desk", "email", "en"), Audience("phone", "sms", "en")


def render(
    reader: Audience, *alerts: Alert, kind: Any = "incident", renderer: Renderer = RENDERER, **extras: Any
) -> Message:
    """Return the message about these alerts, as incident 17."""
    incident = Incident(
        id=17, account_id=alerts[0].account_id, state="open", expected_loss=sum(each.expected_loss for each in alerts),
        alerts=len(alerts), opened_at=5, updated_at=5,
    )  # fmt: skip
    return renderer.incident(
        kind, incident, alerts, reader, key="key", now=5, currency="EUR", extras=MessageExtras(**extras)
    )


def test_an_email_says_what_an_analyst_needs(alert: MakeAlert) -> None:
    """The text and the HTML contain amount, masked account, score, expected loss, reasons and the time in UTC."""
    message = render(EMAIL, alert())
    assert message.subject == "[Vedette] Incident #17: account ****5155"
    for body in (message.text, message.html):
        for fact in ("1,234.50 EUR", "97.3%", "1,201.17 EUR", "2023-11-14 22:12:20 UTC", "new device", "declined"):
            assert fact in body
        assert message.reference in body


def test_an_sms_says_the_essential_and_no_counterparty(alert: MakeAlert) -> None:
    """It has number, amount, action, masked account, top reason, count of others, possible replies and reference."""
    text = render(SMS, alert(1), alert(2), replies=True).text
    assert text == (
        "Vedette #17: 1,234.50 EUR declined (and 1 more), account ****5155, 2023-11-14 22:12 UTC. "
        "1,234.50 EUR is 12 times the account's usual amount of 100.00 EUR. Reply 17 FRAUD, 17 OK or 17 MINE. Ref "
        + reference_of("key\nphone")
    )


def test_a_webhook_gets_the_alerts_as_they_are(alert: MakeAlert) -> None:
    """A machine of the institution's own needs complete ids, as JSON."""
    body = msgspec.json.decode(render(Audience("hook", "webhook", "en"), alert(1), alert(2)).data)
    assert (body["type"], body["incident"]["id"]) == ("incident", 17)
    assert [each["transaction_id"] for each in body["alerts"]] == ["transaction-1", "transaction-2"]


def test_spanish_comes_along(alert: MakeAlert) -> None:
    """The same message exists in Spanish; an SMS loses its accents and nothing else."""
    email = render(Audience("mesa", "email", "es"), alert())
    assert "Pérdida esperada: 1,201.17 EUR" in email.text
    assert '<html lang="es">' in email.html
    assert "1,234.50 EUR es 12 veces el importe habitual de la cuenta, 100.00 EUR" in email.text
    text = render(Audience("movil", "sms", "es"), alert(), replies=True).text
    assert "Responda 17 FRAUDE, 17 OK o 17 MIO." in text
    assert "?" not in text


def test_templates_and_languages_can_be_replaced(alert: MakeAlert, tmp_path: Path) -> None:
    """A file of the same name takes precedence; another language is a file with the same keys, which is checked."""
    shipped = Path(__file__).parents[3] / "alerts" / "notify" / "languages" / "en.toml"
    (tmp_path / "email.txt").write_text("{{ t.incident }} in my words: {{ expected_loss }}")
    (tmp_path / "fr.toml").write_text(shipped.read_text().replace('"Incident"', '"Dossier"'))
    mine = Renderer(str(tmp_path))
    assert render(Audience("desk", "email", "fr"), alert(), renderer=mine).text == "Dossier in my words: 1,201.17 EUR"
    (tmp_path / "fr.toml").write_text(shipped.read_text().replace("incident =", "accident ="))
    with pytest.raises(SettingsError, match=r"'fr' lacks these phrases, .*: accident, incident"):
        Renderer(str(tmp_path))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    reasons=st.lists(st.text(max_size=400), max_size=3),
    account=st.text(min_size=1, max_size=64),
    currency=st.sampled_from(sorted(CURRENCIES)),
    amount=st.integers(0, 10**15),
    language=st.sampled_from(["en", "es"]),
)
def test_any_sms_fits_two_gsm_segments(
    alert: MakeAlert, reasons: list[str], account: str, currency: str, amount: int, language: str
) -> None:
    """Whatever an alert holds, its SMS has at most 306 one-septet characters and ends with the reference code."""
    made = alert(reasons=reasons, account_id=account, currency=currency, amount=amount)
    message = render(Audience("phone", "sms", language), made, replies=True)
    assert len(message.text) <= SMS_LIMIT
    assert set(message.text) <= GSM
    assert message.text.endswith(f" Ref {message.reference}")


def test_a_hostile_merchant_id_is_only_text(alert: MakeAlert) -> None:
    """Markup in a merchant id or a reason is escaped in the HTML, and unchanged in the plain text."""
    hostile = "<script>alert(1)</script>\"'&"
    message = render(EMAIL, alert(merchant_id=hostile, reasons=[hostile]))
    assert "<script" not in message.html
    assert message.html.count("&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&amp;") == 2
    assert message.text.count(hostile) == 2


@pytest.mark.parametrize("field", ["account_id", "merchant_id", "payee", "country", "channel"])
def test_no_field_can_forge_a_line(alert: MakeAlert, field: str) -> None:
    """Line breaks and direction marks in a field are removed, in the subject and in the body."""
    clean = render(EMAIL, alert(**{field: "ab cd"}))
    for forged in ("ab\ncd", "ab\rcd", "ab\u2028cd", "ab\u202ecd", "ab\x00cd"):
        message = render(EMAIL, alert(**{field: forged}))
        assert (message.subject, message.text) == (clean.subject, clean.text)


@pytest.mark.parametrize("channel", ["email", "sms", "whatsapp", "sns", "apprise"])
def test_no_message_to_people_shows_a_full_account_or_payee(alert: MakeAlert, channel: Any) -> None:
    """The account and the payee appear masked on every channel."""
    account, payee = "DE0212030000000020205155", "FR1420041010050500013M02606"
    whole = msgspec.json.encode(render(Audience("x", channel, "en"), alert(payee=payee))).decode()
    assert account not in whole
    assert payee not in whole


@given(st.text(min_size=1, max_size=64))
def test_a_mask_shows_four_characters_and_never_more_than_half(account: str) -> None:
    """Whatever the length, at most the last four characters and at most half of an account are shown."""
    shown = mask_account(account).removeprefix("****")
    assert account.endswith(shown)
    assert len(shown) <= min(4, len(account) / 2)


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
        ({"account_id": 65 * "x"}, "account_id"),
        ({"account_id": "a\0b"}, "account_id"),
        ({"alert_id": "\0"}, "alert_id"),
    ],
)
def test_an_alert_that_cannot_be_told_is_refused_by_field(alert: MakeAlert, change: dict[str, Any], named: str) -> None:
    """A value that no message can be written from is an InputError that names the field."""
    fields = msgspec.to_builtins(alert()) | change
    with pytest.raises(InputError, match=named):
        decode_alert(msgspec.json.encode(fields))


@pytest.mark.parametrize(
    "value", [None, b"", b"{", b"[]", b"\xff", b"{}", b'{"alert_id":"\xff"}', b'{"x":' + b"[" * 100_000]
)
def test_bytes_that_are_no_alert_are_refused(value: bytes | None) -> None:
    """Anything else on the topic is an InputError, not a crash."""
    with pytest.raises(InputError):
        decode_alert(value)
