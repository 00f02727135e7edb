"""Messages that are no transactions, each wrong in its own way: exactly these must end on the dead-letter topic."""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

_GOOD = {
    "transaction_id": "poison", "account_id": "poison", "amount": 100, "currency": "EUR",
    "event_time": 1_522_540_800_000, "merchant_id": "poison",
}  # fmt: skip


def _but(**changed: object) -> bytes:
    return msgspec.json.encode({name: value for name, value in {**_GOOD, **changed}.items() if value is not None})


POISON: Mapping[str, bytes] = MappingProxyType(
    {
        "no JSON": b'{"transaction_id": "poison", "amount": ',
        "bytes that are no text": b"\x00\xff\xfe\x80poison",
        "nothing at all": b"",
        "a required field missing": _but(amount=None),
        "an amount in words": _but(amount="a hundred"),
        "an amount beyond all bounds": _but(amount=10**18),
        "dated far in the future": _but(event_time=4_000_000_000_000),
    }
)
"""What is wrong, and the message."""
