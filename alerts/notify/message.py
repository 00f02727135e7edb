"""A message to one person about one alert, and how an alert is put into words.

Messages say as little as they can: accounts and payees are masked, and an SMS names no counterparty at all.
"""

import base64
import hashlib
import unicodedata
from typing import Any, Literal

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from vedette.clock import format_time
from vedette.errors import InputError
from vedette.events import MAX_AMOUNT, MAX_TIME, Alert
from vedette.money import format_amount

ChannelName = Literal["email", "sms"]

SMS_LIMIT = 306  # two concatenated segments of 153 septets (3GPP TS 23.040)

# The part of the GSM 7-bit alphabet (3GPP TS 23.038) that is also ASCII and costs one septet a character. Any other
# character would switch the whole SMS to UCS-2, where two segments hold 134 characters.
_GSM = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 @$_!\"#%&'()*+,-./:;<=>?")


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What one recipient is told on one channel; stored as it is, so that a second send has the same content."""

    alert_id: str
    channel: ChannelName
    recipient: str
    reference: str
    created_at: int
    text: str
    subject: str = ""
    html: str = ""


def decode_alert(value: bytes | None) -> Alert:
    """An alert from the bytes on the topic, checked as far as the words of a message need it.

    Raises:
        InputError: Not JSON, not an Alert, or a value no message can be written from; the field is named.
    """
    if value is None:
        raise InputError("the message has no value")
    try:
        alert = msgspec.json.decode(value, type=Alert)
    except msgspec.DecodeError as error:  # ValidationError is a DecodeError
        raise InputError(f"not an alert: {error}") from error
    if not alert.alert_id:
        raise InputError("not an alert: alert_id is empty")
    if not 0 <= alert.event_time <= MAX_TIME:
        raise InputError(f"not an alert: event_time {alert.event_time} is not between 1970 and 2100")
    for name in ("amount", "expected_loss"):
        if not 0 <= getattr(alert, name) <= MAX_AMOUNT:
            raise InputError(f"not an alert: {name} {getattr(alert, name)} is not between 0 and 10**15 minor units")
    return alert


def reference_of(alert_id: str) -> str:
    """Ten letters and digits (50 bits) that name an alert in every message about it, and find it at a provider."""
    return base64.b32encode(hashlib.sha256(alert_id.encode()).digest()).decode()[:10]


def mask_account(account: str) -> str:
    """The last four characters of an account or payee, never more than half of it."""
    shown = min(4, len(account) // 2)
    return "****" + account[len(account) - shown :]


def mask_recipient(recipient: str) -> str:
    """A recipient as logs may show it: the domain of an address, the last two digits of a phone number."""
    name, at, domain = recipient.rpartition("@")
    return f"{name[:1]}***@{domain}" if at else f"***{recipient[-2:]}"


def printable(text: str) -> str:
    """Text without control, formatting and line-breaking characters, so that it cannot forge lines or headers."""
    return "".join(character if character.isprintable() else " " for character in text)


def gsm(text: str) -> str:
    """Text in the one-septet part of the GSM alphabet: accents are dropped, the rest becomes a question mark."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return "".join(character if character in _GSM else "?" for character in plain)


class Renderer:
    """Puts alerts into words, in English."""

    def __init__(self) -> None:
        self._templates = Environment(
            loader=PackageLoader("alerts.notify", "templates"),
            autoescape=select_autoescape(enabled_extensions=("html",), default=False),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )

    def render(self, alert: Alert, channel: ChannelName, recipient: str, now: int) -> Message:
        """The message that tells one recipient of an alert; `now` (ms) becomes its date."""
        words = _words(alert)
        reference = words["reference"]
        if channel == "sms":
            return Message(
                alert_id=alert.alert_id,
                channel=channel,
                recipient=recipient,
                reference=reference,
                created_at=now,
                text=_sms(words),
            )
        return Message(
            alert_id=alert.alert_id,
            channel=channel,
            recipient=recipient,
            reference=reference,
            created_at=now,
            subject=f"[Vedette] {words['action']}: {words['amount']} on account {words['account']}",
            text=self._templates.get_template("email.txt").render(words),
            html=self._templates.get_template("email.html").render(words),
        )


def _words(alert: Alert) -> dict[str, Any]:
    currency = printable(alert.currency)
    return {
        "alert_id": printable(alert.alert_id),
        "reference": reference_of(alert.alert_id),
        "action": alert.action.capitalize(),
        "amount": format_amount(alert.amount, currency),
        "expected_loss": format_amount(alert.expected_loss, currency),
        "score": f"{alert.score:.1%}",
        "account": mask_account(printable(alert.account_id)),
        "time": format_time(alert.event_time).replace("T", " ")[:19] + " UTC",
        "reasons": [printable(reason) for reason in alert.reasons],
        "merchant": printable(alert.merchant_id or ""),
        "payee": mask_account(printable(alert.payee)) if alert.payee else "",
        "payment_channel": printable(alert.channel or ""),
        "country": printable(alert.country or ""),
    }


def _sms(words: dict[str, Any]) -> str:
    """At most two GSM segments; the reason gives way when space is short, the reference code never."""
    head = gsm(f"Vedette {words['action']}: {words['amount']}, account {words['account']}, {words['time']}.")
    tail = f" Ref {words['reference']}"
    reason = gsm(f" {words['reasons'][0]}.") if words["reasons"] else ""
    head = head[: SMS_LIMIT - len(tail)]
    room = SMS_LIMIT - len(head) - len(tail)
    if len(reason) > room:
        reason = reason[: room - 3] + "..." if room > 3 else ""
    return head + reason + tail
