"""Compiled code and msgspec read the same transactions, and reject the same messages for the same reason."""

import json
from typing import Any, get_args

import msgspec
import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from producers.poison import MOMENT
from streams.decode import decode_by_event, decode_transactions
from streams.regular_transactions import read_regular
from tests.streams.feed import Record
from vedette.events import MAX_AMOUNT, MAX_TIME, MIN_TIME, Kind, Transaction

_DAY = 86_400_000.0
_WHOLE = {
    "transaction_id": "t1", "account_id": "a1", "amount": 1234, "currency": "EUR", "event_time": MOMENT,
    "merchant_id": "m1", "payee": "p1", "mcc": "5812", "channel": "pos", "country": "FR", "lat": 53.32251,
    "lon": -1.02536, "device_id": "d1", "ip_address": "10.0.0.1", "balance": -5, "account_type": "debit",
    "account_opened_at": 0, "kind": "completion", "original_id": "t0",
}  # fmt: skip

_LEAST = {name: _WHOLE[name] for name in ("transaction_id", "account_id", "amount", "currency", "event_time")}

_ANY_TEXT = st.text(max_size=66)
_NUMBER = st.integers(-(2**70), 2**70) | st.floats() | st.integers(-3, 3)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "amount": st.sampled_from([-1, 0, MAX_AMOUNT, MAX_AMOUNT + 1]) | _NUMBER,
    "event_time": st.sampled_from([MIN_TIME - 1, MIN_TIME, MAX_TIME, MOMENT + 86_400_000, MOMENT + 86_400_001]),
    "currency": st.sampled_from(["EUR", "JPY", "XXX", "QQQ", "eur", "EURO", "EU"]),
    "country": st.sampled_from(["FR", "XK", "ZZ", "fr", "F", "FRA"]),
    "kind": st.sampled_from([*get_args(Kind), "REFUND", "refunds", ""]),
    "channel": st.sampled_from(["pos", "ecom", "atm", "transfer", "phone", "POS", "web", ""]),
    "mcc": st.sampled_from(["5812", "581", "58120", "58a2", "٥٨١٢"]),
    "ip_address": st.ip_addresses().map(str) | st.sampled_from(
        ["010.0.0.1", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1.2.3.4 ", "::ffff:1.2.3.4", "0:0::1", "FE80::1", "x"]
    ),
    "lat": st.floats(-91, 91) | st.decimals(-90, 90, places=6).map(float) | st.sampled_from([90, -90, 0, -0.0, 1e-7]),
    "lon": st.floats(-181, 181) | st.decimals(-180, 180, places=6).map(float) | st.sampled_from([180.0, 180.0000001]),
    "balance": st.sampled_from([-MAX_AMOUNT, MAX_AMOUNT, -MAX_AMOUNT - 1]) | _NUMBER,
    "account_opened_at": st.sampled_from([-1, 0, MAX_TIME, MAX_TIME + 1]) | _NUMBER,
    "extra": st.dictionaries(st.text(max_size=4), st.floats(allow_nan=False), max_size=2),
}  # fmt: skip
_TEXT = st.sampled_from(["a", " a", "a ", "", "a" * 64, "a" * 65, "é", 'q"q', "b\\s", "\x7f", "\t"]) | _ANY_TEXT


@st.composite
def _message(draw: st.DrawFn) -> bytes:
    """A transaction with some fields changed, left out, repeated or unknown, in some spelling of JSON."""
    fields: dict[str, Any] = dict(_WHOLE)
    for name in draw(st.lists(st.sampled_from([*_WHOLE, "extra", "unknown"]), max_size=3)):
        value = draw(_VALUES.get(name, _TEXT) | st.none() | st.just(1) | st.just("1"))
        fields[name] = value
    for name in draw(st.lists(st.sampled_from(list(_WHOLE)), max_size=3)):
        fields.pop(name, None)
    items = list(fields.items())
    if draw(st.booleans()):
        items = draw(st.permutations(items))
    if items and draw(st.integers(0, 9)) == 0:
        items.append(items[0])
    comma, colon = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r")]))
    ascii_only = draw(st.booleans())
    body = comma.join(f"{json.dumps(name)}{colon}{json.dumps(value, ensure_ascii=ascii_only)}" for name, value in items)
    message = ("{" + body + "}").encode(errors="surrogatepass")
    return draw(st.sampled_from([message] * 8 + [message + b" ", b" " + message, message + b"x", message[:-1]]))


_RAW = st.sampled_from(
    [
        json.dumps(_WHOLE).encode().replace(b"1234", number)
        for number in (b"01", b"-0", b"1.0", b"1e3", b"1E3", b"+1", b"1.", b".5", b"--1", b"0", b"9" * 19, b"12 3", b"")
    ]
    + [
        json.dumps(_WHOLE).encode().replace(b"53.32251", number)
        for number in (b"-0", b"-0.0", b"0.1", b"5", b"5e0", b"00.5", b"1.", b"8.123456789012345", b"8.12345678901234")
    ]
    + [b"", b"{}", b"[]", b"{", b'{"transaction_id"', b"null", b"\xff", b'{"transaction_id":"t"}', b"{,}"]
)


@given(st.lists(_message() | _RAW, min_size=1, max_size=6))
@example([json.dumps(_WHOLE).encode()])
@example([json.dumps(dict.fromkeys(_WHOLE) | _LEAST | {"kind": kind}).encode() for kind in get_args(Kind)])
@example([json.dumps(_LEAST | {"kind": kind, "original_id": "t0"}).encode() for kind in get_args(Kind)])
@example([b"{}", json.dumps(_WHOLE).encode(), json.dumps(_WHOLE | {"ip_address": "no"}).encode()])
@example([json.dumps(_WHOLE | {"ip_address": "fe80::1"}).encode(), json.dumps(_WHOLE | {"ip_address": "no"}).encode()])
def test_compiled_code_reads_what_msgspec_reads(messages: list[bytes]) -> None:
    """Whatever a batch contains, both give the same transactions in the same order, and the same reasons otherwise."""
    records = [Record(b"a1", message, 0, offset, MOMENT) for offset, message in enumerate(messages)]
    read, rejects = decode_transactions(records, _DAY)
    expected, expected_rejects = decode_by_event(records, _DAY)
    assert read.batch.schema == expected.batch.schema
    assert read.batch.to_pylist() == expected.batch.to_pylist()
    for name in ("lat", "lon"):
        bits, expected_bits = (batch.column(name).fill_null(0.5).to_numpy() for batch in (read.batch, expected.batch))
        assert bits.tobytes() == expected_bits.tobytes()
    read.batch.validate(full=True)
    assert read.records == expected.records
    assert read.extra == expected.extra
    assert sorted(rejects, key=_offset) == sorted(expected_rejects, key=_offset)


def _offset(reject: Any) -> int:
    return int(reject.record.offset)


def test_what_producers_publish_is_regular() -> None:
    """An encoded transaction with plain ids takes the compiled path, with all optional fields and with none."""
    whole = msgspec.convert(_WHOLE, Transaction)
    bare = Transaction(
        transaction_id="t", account_id="a", amount=0, currency="EUR", event_time=MOMENT, payee="p"
    )  # fmt: skip
    batch, regular = read_regular([msgspec.json.encode(event) for event in (whole, bare)], np.full(2, np.inf))
    assert regular.all()
    assert batch is not None
    assert batch.column("payee").to_pylist() == ["p1", "p"]
