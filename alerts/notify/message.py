"""A message to one recipient, and what may be shown in it.

Messages say as little as they can: accounts and payees are masked, and an SMS names no counterparty at all. Only a
webhook, which is a machine of the institution's own, gets the alerts as they are.
"""

import base64
import hashlib
import unicodedata

import msgspec

from alerts.incidents.routing import ChannelName
from vedette.errors import InputError
from vedette.events import MAX_AMOUNT, MAX_TIME, Alert

SMS_LIMIT = 306  # two concatenated segments of 153 septets (3GPP TS 23.040)

# The part of the GSM 7-bit alphabet (3GPP TS 23.038) that is also ASCII and costs one septet a character. Any other
# character would switch the whole SMS to UCS-2, where two segments hold 134 characters.
_GSM = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 @$_!\"#%&'()*+,-./:;<=>?")


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one recipient is told; stored as it is, so that a second send has the same content.

    Attributes:
        key: What it is about. For one recipient and channel there is one message of a key.
        recipient: Name in the routing; the address stays there.
        channel: The way it takes.
        reference: Ten letters and digits by which a provider's copy is recognised.
        created_at: Its date, ms since 1970 UTC.
        text: What every channel can show.
        incident: Which one it is about; a digest is about many.
        subject: Of an e-mail, and the title elsewhere.
        html: Of an e-mail.
        picture: PNG, shown in the HTML.
        data: What a webhook gets: JSON.
    """

    key: str
    recipient: str
    channel: ChannelName
    reference: str
    created_at: int
    text: str
    incident: int | None = None
    subject: str = ""
    html: str = ""
    picture: bytes = b""
    data: str = ""


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
    for name, longest in (("alert_id", 128), ("account_id", 64)):
        if not 0 < len(getattr(alert, name)) <= longest:
            raise InputError(f"not an alert: {name} is empty or longer than {longest} characters")
    if not 0 <= alert.event_time <= MAX_TIME:
        raise InputError(f"not an alert: event_time {alert.event_time} is not between 1970 and 2100")
    for name in ("amount", "expected_loss"):
        if not 0 <= getattr(alert, name) <= MAX_AMOUNT:
            raise InputError(f"not an alert: {name} {getattr(alert, name)} is not between 0 and 10**15 minor units")
    return alert


def reference_of(key: str) -> str:
    """Ten letters and digits (50 bits) that name a key in every message about it."""
    return base64.b32encode(hashlib.sha256(key.encode()).digest()[:10]).decode()[:10]


def mask_account(account: str) -> str:
    """The last four characters of an account or payee, never more than half of it."""
    shown = min(4, len(account) // 2)
    return "****" + account[len(account) - shown :]


def printable(text: str) -> str:
    """Text without control, formatting and line-breaking characters, so that it cannot forge lines or headers."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else " " for character in text)


def gsm(text: str) -> str:
    """Text in the one-septet part of the GSM alphabet: accents are dropped, the rest becomes a question mark."""
    if _GSM.issuperset(text):
        return text
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return "".join(character if character in _GSM else "?" for character in plain)


def fit_sms(head: str, middle: str, tail: str) -> str:
    """At most two GSM segments: the middle gives way when space is short, then the head, the tail never."""
    head, middle, tail = gsm(head), gsm(middle), gsm(tail)
    head = head[: SMS_LIMIT - len(tail)]
    room = SMS_LIMIT - len(head) - len(tail)
    if len(middle) > room:
        middle = middle[: room - 3] + "..." if room > 3 else ""
    return head + middle + tail
