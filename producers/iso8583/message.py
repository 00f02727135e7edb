"""One message: its fields, and what may be kept of them.

Number of the card, tracks, PIN and chip data are used while a message is answered and end with it: what is kept is
chosen field by field, never what is left over. Reasons of refusals contain no data.
"""

import re
from datetime import UTC, datetime
from typing import Any

import iso8583

from producers.iso8583.form import Form
from vedette.card_numbers import CardTokens
from vedette.codes import country_code
from vedette.errors import InputError

REQUESTS = frozenset({"0100", "0101", "0120", "0121", "0400", "0401", "0420", "0421"})
"""Authorisation requests, advices, reversals and reversal advices, each also repeated."""
ADVICES = frozenset({"0120", "0121", "0420", "0421"})
_KEPT = ("3", "4", "7", "11", "18", "19", "22", "25", "32", "37", "41", "42", "43", "49", "90", "95")
_CARD = re.compile(r"^[0-9]{12,19}$")
_TRACK = re.compile(r"^;?([0-9]{12,19})[=Dd]")
_TIME = re.compile(r"^(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])([01][0-9]|2[0-3])[0-5][0-9][0-5][0-9]$")
_ENTRY = {
    "02": "pos", "05": "pos", "07": "pos", "90": "pos", "91": "pos", "95": "pos", "80": "pos",
    "09": "ecom", "10": "ecom", "81": "ecom",
}  # fmt: skip
"""Channel by the first two digits of DE 22; a number that was keyed in says nothing of it."""
_KINDS = {"00": "authorisation", "01": "withdrawal", "09": "authorisation", "20": "refund", "21": "deposit"}
"""Kind by the first two digits of DE 3."""
_CASH_MACHINE = "6011"


class NotAPaymentError(InputError):
    """A message that is valid and moves no money, such as the question for a balance."""


class CardMessage:
    """The fields of a message, by number, and its type as `t`. Its printed form has no data.

    Args:
        fields: The fields as text.
    """

    def __init__(self, fields: dict[str, str]) -> None:
        self.fields = fields

    def __repr__(self) -> str:
        return f"CardMessage({self.type})"

    @property
    def type(self) -> str:
        """The message type, four digits."""
        return self.fields["t"]


def decode(raw: bytes, form: Form) -> CardMessage:
    """Return a message.

    Raises:
        InputError: It cannot be read; the reason names the field and repeats nothing of it.
    """
    try:
        fields, _ = iso8583.decode(raw, form)
    except iso8583.DecodeError as error:
        # Without its cause, which holds what was decoded.
        raise InputError(f"is not ISO 8583: field {error.field} at byte {error.pos}") from None
    if not (fields["t"].isascii() and fields["t"].isdigit()):
        raise InputError("is not ISO 8583: field t at byte 0")
    return CardMessage(fields)


def encode(message: CardMessage, form: Form) -> bytes:
    """Return the bytes of a message.

    Raises:
        InputError: A field does not have the form.
    """
    try:
        raw, _ = iso8583.encode(message.fields, form)
    except iso8583.EncodeError as error:
        raise InputError(f"cannot be written as ISO 8583: field {error.field}") from None
    return bytes(raw)


def record_of(message: CardMessage, cards: CardTokens, near_ms: int) -> dict[str, Any]:
    """Return what may be kept of a request: its fields as `de3` and so on, and what they mean.

    `id` is acquirer, trace number and time of transmission, `original` the id of what a reversal takes back, `account`
    the card's token, `amount` minor units without what a partial reversal leaves standing.

    Args:
        message: A message.
        cards: Makes account ids.
        near_ms: A time, milliseconds: ISO 8583 has no years, so the one is taken that brings the message closest.

    Raises:
        NotAPaymentError: It moves no money.
        InputError: A field is missing or has another form; the reason names it.
    """
    if message.type not in REQUESTS:
        raise NotAPaymentError(f"message type {message.type} is no authorisation and no reversal")
    fields = message.fields
    number = _card_number(fields)
    kept = {name: fields[name].rstrip() if name == "43" else fields[name].strip() for name in _KEPT if name in fields}
    for name, text in kept.items():
        if number in text:
            raise InputError(f"DE {name} repeats the number of the card, which is not kept")
    time = _moment(_field(kept, "7"), "7", near_ms)
    acquirer = kept.get("32", "")
    record: dict[str, Any] = {f"de{name}": text or None for name, text in kept.items()}
    record |= {
        "mti": message.type,
        "account": cards.account_of(number),
        "time": time.isoformat(),
        "channel": _channel(kept),
        "country": _country(kept),
        "amount": str(_amount(kept, reversal=message.type.startswith("04"))),
    }
    name = _id(acquirer, _field(kept, "11"), time)
    if message.type.startswith("04"):
        return record | {"id": f"r-{name}", "kind": "reversal", "original": _original(kept, acquirer, time)}
    code = _field(kept, "3")[:2]
    if code not in _KINDS:
        raise NotAPaymentError(f"DE 3 begins with {code}, which moves no money from or to the account")
    return record | {"id": name, "kind": _KINDS[code], "original": None}


def _field(kept: dict[str, str], name: str) -> str:
    if not kept.get(name):
        raise InputError(f"DE {name} is missing")
    return kept[name]


def _card_number(fields: dict[str, str]) -> str:
    """Return the number of the card, from its field or from a track."""
    if number := fields.get("2", ""):
        if not _CARD.match(number):
            raise InputError("DE 2 is no card number")
        return number
    if found := _TRACK.match(fields.get("35", "")):
        return found[1]
    raise InputError("DE 2 is missing, and DE 35 has no card number")


def _moment(text: str, name: str, near_ms: int) -> datetime:
    """Return the instant of month, day and time of day in UTC that is closest to a time."""
    if not _TIME.match(text):
        raise InputError(f"DE {name} has no month, day and time")
    near = datetime.fromtimestamp(near_ms / 1000, UTC)
    found = []
    for year in (near.year - 1, near.year, near.year + 1):
        try:
            found.append(datetime.strptime(f"{year}{text}", "%Y%m%d%H%M%S").replace(tzinfo=UTC))
        except ValueError:  # 29 February, or a day that no year has
            continue
    if not found:
        raise InputError(f"DE {name} has a day that none of these years has")
    return min(found, key=lambda moment: abs(moment - near))


def _id(acquirer: str, trace: str, time: datetime) -> str:
    return f"{acquirer.lstrip('0') or '0'}-{trace}-{time:%Y%m%d%H%M%S}"


def _original(kept: dict[str, str], acquirer: str, time: datetime) -> str:
    """Return the id of what a reversal takes back: type, trace number, time, acquirer and forwarder follow in DE 90."""
    original = _field(kept, "90")
    if not (original.isascii() and original.isdigit() and len(original) == 42):
        raise InputError("DE 90 has not the form of original data elements")
    sent = _moment(original[10:20], "90", round(time.timestamp() * 1000))
    return _id(original[20:31] if original[20:31].strip("0") else acquirer, original[4:10], sent)


def _amount(kept: dict[str, str], *, reversal: bool) -> int:
    """Return the amount; of a partial reversal, what comes back: DE 95 begins with what stays."""
    text, replaced = _field(kept, "4"), kept.get("95", "")[:12] if reversal else ""
    if not (text.isascii() and text.isdigit()):
        raise InputError("DE 4 is no amount")
    if replaced and not (replaced.isascii() and replaced.isdigit() and int(replaced) <= int(text)):
        raise InputError("DE 95 is no part of the amount")
    return int(text) - int(replaced or "0")


def _channel(kept: dict[str, str]) -> str | None:
    if kept.get("18") == _CASH_MACHINE:
        return "atm"
    return _ENTRY.get(kept.get("22", "")[:2])


def _country(kept: dict[str, str]) -> str | None:
    """Return the country of the place: the last two letters of its name, else that of the acquirer."""
    try:
        return country_code(kept.get("43", "").ljust(40)[38:40])
    except InputError:
        return kept.get("19")
