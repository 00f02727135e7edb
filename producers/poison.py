"""Unreadable messages of every kind on the transactions topic, for the demo and the tests."""

import json
from dataclasses import dataclass
from typing import Any

from vedette.events import MAX_AMOUNT, MAX_TIME

MOMENT = 1_522_540_800_000  # long before any message is produced
_VALID = {
    "transaction_id": "poison", "account_id": "A1", "amount": 100, "currency": "EUR", "event_time": MOMENT,
    "merchant_id": "M1",
}  # fmt: skip


@dataclass(frozen=True)
class Poison:
    """One unreadable message and the reason that its dead letter must have."""

    name: str
    value: bytes | None
    says: str
    """A part of the reason; names the field where one can be named."""


def transaction(**changes: Any) -> bytes:
    """Return a valid transaction with some fields changed."""
    return json.dumps(_VALID | changes).encode()


def _with(field: str, raw: bytes) -> bytes:
    """Return a transaction with the raw JSON of one field."""
    return transaction(**{field: "here"}).replace(b'"here"', raw)


def _without(field: str) -> bytes:
    return json.dumps({name: value for name, value in _VALID.items() if name != field}).encode()


POISON = (
    # not JSON, or not an object
    Poison("bytes", bytes(range(256)), "malformed"),
    Poison("text", b"not json", "malformed"),
    Poison("truncated", transaction()[:-7], "truncated"),
    Poison("trailing", transaction() + b"x", "trailing"),
    Poison("two-in-one", transaction() + transaction(), "trailing"),
    Poison("byte-order-mark", b"\xef\xbb\xbf" + transaction(), "malformed"),
    Poison("utf-16", transaction().decode().encode("utf-16"), "malformed"),
    Poison("empty", b"", "the message is empty"),
    Poison("tombstone", None, "the message is empty"),
    Poison("array", b"[" + transaction() + b"]", "Expected `object`, got `array`"),
    Poison("number", b"42", "Expected `object`, got `int`"),
    Poison("null", b"null", "Expected `object`, got `null`"),
    Poison("bare-nesting", b"[" * 100_000, "Expected `object`, got `array`"),
    Poison("nested-unknown-field", transaction()[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "recursion"),
    Poison("nested-known-field", _with("extra", b'{"a":' * 100_000), "$.extra"),
    # text
    Poison("invalid-utf-8", _with("account_id", b'"\xff\xfe"'), "$.account_id"),
    Poison("overlong-utf-8", _with("account_id", b'"\xc0\x80"'), "$.account_id"),
    Poison(
        "surrogate-in-utf-8",
        _with("account_id", b'"\xed\xa0\x80"'),
        "not UTF-8 (invalid continuation byte, byte 44) - at `$.account_id`",
    ),
    Poison("lone-surrogate", _with("account_id", rb'"\ud800"'), "surrogate"),
    Poison("empty-id", transaction(account_id=""), "$.account_id"),
    Poison("long-id", transaction(transaction_id="x" * 65), "$.transaction_id"),
    Poison("endless-id", transaction(account_id="x" * 500_000), "$.account_id"),
    Poison("null-id", transaction(account_id=None), "$.account_id"),
    Poison("currency", transaction(currency="EURO"), "$.currency"),
    Poison("currency-in-small-letters", transaction(currency="eur"), "$.currency"),
    Poison("currency-unknown", transaction(currency="ZZZ"), "$.currency"),
    Poison("country-in-small-letters", transaction(country="kp"), "$.country"),
    Poison("country-unknown", transaction(country="ZZ"), "$.country"),
    Poison("category-with-letters", transaction(mcc="54l1"), "`mcc`"),
    Poison("id-with-a-space-around-it", transaction(account_id="A1 "), "`account_id`"),
    Poison("address-with-a-port", transaction(ip_address="192.0.2.1:443"), "`ip_address`"),
    Poison("channel", transaction(channel="carrier pigeon"), "$.channel"),
    # numbers
    Poison("amount-as-text", transaction(amount="100"), "$.amount"),
    Poison("amount-as-float", transaction(amount=12.5), "$.amount"),
    Poison("amount-as-whole-float", transaction(amount=100.0), "$.amount"),
    Poison("amount-as-bool", transaction(amount=True), "$.amount"),
    Poison("amount-negative", transaction(amount=-1), "$.amount"),
    Poison("amount-too-large", transaction(amount=MAX_AMOUNT + 1), "$.amount"),
    Poison("amount-beyond-64-bits", transaction(amount=10**30), "$.amount"),
    Poison("amount-beyond-floats", _with("amount", b"1e400"), "$.amount"),
    Poison("amount-nan", _with("amount", b"NaN"), "malformed"),
    Poison("latitude-nan", _with("lat", b"NaN"), "malformed"),
    Poison("latitude-infinite", _with("lat", b"-Infinity"), "malformed"),
    Poison("latitude-beyond-the-pole", transaction(lat=90.1), "$.lat"),
    Poison("balance-beyond-64-bits", transaction(balance=-(10**30)), "$.balance"),
    Poison("extra-as-text", transaction(extra={"v": "1"}), "$.extra"),
    Poison("extra-beyond-floats", _with("extra", b'{"v":1e999}'), "$.extra"),
    # time
    Poison("time-negative", transaction(event_time=-1), "$.event_time"),
    Poison("time-in-seconds", transaction(event_time=MOMENT // 1000), "it looks like seconds"),
    Poison("time-beyond-2100", transaction(event_time=MAX_TIME + 1), "$.event_time"),
    Poison("time-in-far-future", transaction(event_time=MAX_TIME), "`event_time` 4102444800000 is"),
    Poison("time-as-text", transaction(event_time="2018-04-01T00:00:00Z"), "$.event_time"),
    Poison("time-as-float", transaction(event_time=1.5e12 + 0.5), "$.event_time"),
    # missing
    *(
        Poison(f"no-{name}", _without(name), f"`{name}`")
        for name in ("transaction_id", "account_id", "amount", "currency", "event_time")
    ),
    Poison("no-counterparty", _without("merchant_id"), "neither `merchant_id` nor `payee`"),
)
