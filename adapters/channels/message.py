"""A message to one recipient, and the data that it may show.

Messages contain as little as possible: accounts and payees are masked, and an SMS names no counterparty. Only a
webhook, which is a machine of the institution, gets the complete alerts.
"""

import base64
import hashlib
import re
import unicodedata

import msgspec

from adapters.channels.target import ChannelName
from vedette.errors import InputError
from vedette.events import LONGEST_ID, MAX_AMOUNT, MAX_TIME, Alert
from vedette.reading import UNREADABLE, why_unreadable

INLINE_IMAGE_ID = "days"
"""Content id of the image in an e-mail."""

SMS_LIMIT = 306  # two concatenated segments of 153 septets (3GPP TS 23.040)

# The part of the GSM 7-bit alphabet (3GPP TS 23.038) that is also ASCII and takes one septet per character. Any other
# character would switch the whole SMS to UCS-2, where two segments hold 134 characters.
_GSM = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 @$_!\"#%&'()*+,-./:;<=>?")


_LINKED = re.compile(r"([.:/@])(?=\S)")
"""Delimiter required after a link or an address that is directly followed by text."""


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The message to one recipient; stored unchanged, so that a second send has the same content.

    Attributes:
        key: Identifier of its subject: a recipient gets one message per key and channel.
        recipient: Name in the routing; the address stays there.
        channel: The channel it is sent on.
        reference: Ten letters and digits by which a provider's copy is recognised.
        created_at: When it was created, ms since 1970 UTC.
        text: Text for every channel.
        incident: The incident's id; None for a digest.
        subject: The subject of an e-mail, and the title elsewhere.
        html: The HTML part of an e-mail.
        picture: A PNG shown in the HTML.
        data: The JSON for a webhook.
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
    """Return the alert in the bytes of a Kafka message, checked as far as the text of a notification needs it.

    Raises:
        InputError: The bytes are not JSON, not an alert, or have a value that cannot be shown; the field is named.
    """
    if value is None:
        raise InputError("the message has no value")
    try:
        alert = msgspec.json.decode(value, type=Alert)
    except UNREADABLE as error:
        raise InputError(f"not an alert: {why_unreadable(error, value)}") from error
    for name, longest in (("alert_id", 128), ("account_id", LONGEST_ID)):
        if not 0 < len(getattr(alert, name)) <= longest:
            raise InputError(f"not an alert: {name} is empty or longer than {longest} characters")
        if "\0" in getattr(alert, name):
            raise InputError(f"not an alert: {name} has a NUL, which databases do not take")
    if not 0 <= alert.event_time <= MAX_TIME:
        raise InputError(f"not an alert: event_time {alert.event_time} is not between 1970 and 2100")
    for name in ("amount", "expected_loss"):
        if not 0 <= getattr(alert, name) <= MAX_AMOUNT:
            raise InputError(f"not an alert: {name} {getattr(alert, name)} is not between 0 and 10**15 minor units")
    return alert


def reference_of(key: str) -> str:
    """Return ten letters and digits (50 bits) that represent a key in every message about it."""
    return base64.b32encode(hashlib.sha256(key.encode()).digest()[:10]).decode()[:10]


def mask_account(account: str) -> str:
    """Return the last four characters of an account or payee, never more than half of it."""
    shown = min(4, len(account) // 2)
    return "****" + account[len(account) - shown :]


def printable(text: str) -> str:
    """Return text without control, formatting and line-break characters, so that it cannot forge lines or headers."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else " " for character in text)


def gsm(text: str) -> str:
    """Return text in the one-septet part of the GSM alphabet: accents are dropped, the rest becomes a question mark."""
    if _GSM.issuperset(text):
        return text
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return "".join(character if character in _GSM else "?" for character in plain)


def unlinked(text: str) -> str:
    """Return text of somebody else's choice so that no phone or mail program makes a link of it."""
    return _LINKED.sub(r"\1 ", text)


def fit_sms(head: str, middle: str, tail: str) -> str:
    """Return at most two GSM segments: the middle is cut when space is short, then the head, the tail never."""
    head, middle, tail = gsm(head), gsm(middle), gsm(tail)
    head = head[: SMS_LIMIT - len(tail)]
    room = SMS_LIMIT - len(head) - len(tail)
    if len(middle) > room:
        middle = middle[: room - 3] + "..." if room > 3 else ""
    return head + middle + tail
