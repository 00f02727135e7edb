"""Messages of a card switch of our own making, with card numbers that are reserved for tests."""

import iso8583
from iso8583.specs import default, default_ascii

CARD = "5555341244441115"
KEY = "0123456789abcdef" * 4

REQUEST = {
    "t": "0100", "2": CARD, "3": "000000", "4": "000000012345", "7": "0704101500", "11": "000123", "14": "2812",
    "18": "5411", "19": "724", "22": "051", "32": "00123456", "35": f"{CARD}=28122011234512345678",
    "37": "618510000123", "41": "TERM0001", "42": "SHOP00000000017", "43": "A SHOP, MADRID".ljust(38) + "ES",
    "48": "CVV2 123", "49": "978", "52": "1122334455667788",
}  # fmt: skip
"""An authorisation of 123.45 EUR at a shop in Spain, on 4 July at 10:15 UTC."""


def message(form: str = "ascii", **changes: str | None) -> bytes:
    """A message; `t` is its type, `f4` the field 4, and None leaves a field out."""
    fields = REQUEST | {name.removeprefix("f"): text for name, text in changes.items()}
    raw, _ = iso8583.encode(
        {name: text for name, text in fields.items() if text is not None},
        default_ascii if form == "ascii" else default,
    )
    return bytes(raw)


def reversal(**changes: str | None) -> bytes:
    """The reversal of REQUEST, a minute later."""
    original = "0100" + "000123" + "0704101500" + "00000123456" + "0" * 11
    return message(**{"t": "0400", "f7": "0704101600", "f11": "000124", "f90": original} | changes)


def framed(*messages: bytes) -> bytes:
    """Messages behind their lengths."""
    return b"".join(len(raw).to_bytes(2, "big") + raw for raw in messages)
