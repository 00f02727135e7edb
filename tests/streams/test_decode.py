import json
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.transaction_schema import SCHEMA
from producers.poison import MOMENT, POISON, Poison, transaction
from streams.decode import Transactions, decode_labels, decode_transactions
from vedette.clock import DAY, MINUTE
from vedette.errors import InputError
from vedette.events import MAX_TIME, MIN_TIME, Transaction, canonical

NOW = MOMENT + DAY
LABEL = {
    "transaction_id": "t", "account_id": "a", "fraud": True, "source": "analyst",
    "event_time": MOMENT, "labelled_at": MOMENT,
}  # fmt: skip
SPELT = ("account_id", "payee", "device_id", "account_type", "mcc", "ip_address")
SPELLINGS = (
    st.ip_addresses().map(str)
    | st.ip_addresses(v=6).map(lambda address: address.exploded.upper())
    | st.from_regex(r"[0-9a-f:.]{2,20}", fullmatch=True)
    | st.from_regex(r"[0-9٣ ]{4}", fullmatch=True)
    | st.text(max_size=8)
)


@dataclass(frozen=True)
class Record:
    """A message as a consumer returns it."""

    value: bytes | None
    offset: int = 0
    key: bytes | None = b"A1"
    partition: int = 0
    timestamp: int = NOW


def records(*values: bytes | None) -> list[Record]:
    """Return messages with consecutive offsets."""
    return [Record(value, offset) for offset, value in enumerate(values)]


def accounted_for(messages: list[Record], decoded: Transactions, rejected: list[Any]) -> None:
    """Every message is a row or a reject, never both, and rows keep their order."""
    assert decoded.batch.schema == SCHEMA
    assert len(decoded.batch) == len(decoded.records) == len(decoded.extra)
    offsets = [record.offset for record in decoded.records]
    assert offsets == sorted(offsets)
    assert sorted(offsets + [reject.record.offset for reject in rejected]) == [record.offset for record in messages]
    assert all(reject.reason for reject in rejected)


@pytest.mark.parametrize("poison", POISON, ids=lambda poison: poison.name)
def test_poison_is_set_aside_with_its_reason(poison: Poison) -> None:
    """Whatever cannot be read is rejected with a reason that names the field; the messages around it are read."""
    messages = records(transaction(transaction_id="before"), poison.value, transaction(transaction_id="after"))
    decoded, rejected = decode_transactions(messages, DAY)
    accounted_for(messages, decoded, rejected)
    assert decoded.batch.column("transaction_id").to_pylist() == ["before", "after"]
    (reject,) = rejected
    assert reject.record is messages[1]
    assert poison.says in reject.reason
    assert reject.kind.endswith("Error")


def test_batch_of_poison_gives_an_empty_batch() -> None:
    """When nothing can be read there are no rows, and a reject for each message."""
    messages = records(*(poison.value for poison in POISON))
    decoded, rejected = decode_transactions(messages, DAY)
    accounted_for(messages, decoded, rejected)
    assert len(decoded.batch) == 0
    assert len(rejected) == len(POISON)


def test_clock_skew_of_an_hour_is_no_poison() -> None:
    """A clock an hour off the broker's, in either direction, is tolerated; beyond the limit a payment is refused."""
    messages = records(
        *(transaction(event_time=NOW + ahead) for ahead in (-60 * MINUTE, 60 * MINUTE, DAY, DAY + 1)),
    )
    decoded, rejected = decode_transactions(messages, DAY)
    assert [record.offset for record in decoded.records] == [0, 1, 2]
    assert rejected[0].reason == f"`event_time` {NOW + DAY + 1} is 86,400 s ahead of the message's own time"


def test_unknown_fields_are_left_out() -> None:
    """A field that Vedette does not know does not make it refuse a payment, whatever its content."""
    raw = transaction()[:-1] + b',"loyalty":{"points":[1,2]},"\xff":"\xff"}'
    decoded, rejected = decode_transactions(records(raw), DAY)
    assert rejected == []
    assert "loyalty" not in decoded.batch.schema.names


def test_every_field_arrives_in_its_column() -> None:
    """A payment with all fields is returned unchanged, including extra values."""
    given_fields = {
        "transaction_id": "t", "account_id": "a\u0000b", "amount": 10**15, "currency": "JPY", "event_time": MIN_TIME,
        "merchant_id": "m", "payee": "p", "mcc": "5411", "channel": "ecom", "country": "NO", "lat": -90.0, "lon": 180.0,
        "device_id": "d", "ip_address": "::1", "balance": -(10**15), "account_type": "prepaid", "account_opened_at": 1,
        "kind": "refund", "original_id": "t0",
        "extra": {"vendor": 0.5},
    }  # fmt: skip
    assert set(given_fields) == set(Transaction.__struct_fields__)
    decoded, rejected = decode_transactions(records(json.dumps(given_fields).encode()), DAY)
    assert rejected == []
    assert decoded.extra == [given_fields.pop("extra")]
    assert decoded.batch.to_pylist() == [given_fields]


def test_poisoned_labels_are_set_aside() -> None:
    """Labels are refused by the same rules, and their neighbours are read."""
    label, good = LABEL, json.dumps(LABEL).encode()
    bad = [
        b"", None, b"\xff", json.dumps(label | {"fraud": "yes"}).encode(), json.dumps(label | {"fraud": 1}).encode(),
        json.dumps({name: value for name, value in label.items() if name != "event_time"}).encode(),
        json.dumps(label | {"labelled_at": MAX_TIME + 1}).encode(),
        json.dumps(label | {"ip_address": "10.0.0.1:443"}).encode(), json.dumps(label | {"device_id": " d"}).encode(),
    ]  # fmt: skip
    labels, kept, rejected = decode_labels(records(good, *bad, good))
    assert [each.transaction_id for each in labels] == ["t", "t"]
    assert [record.offset for record in kept] == [0, len(bad) + 1]
    assert [reject.record.value for reject in rejected] == bad
    assert [
        field in reject.reason
        for field, reject in zip(
            ("fraud", "fraud", "event_time", "labelled_at", "ip_address", "device_id"), rejected[3:], strict=True
        )
    ] == [True] * 6


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid payment with some fields replaced by any JSON, and then perhaps some bytes by any others."""
    fields = msgspec.json.decode(transaction(payee="p", lat=1.5, balance=3, extra={"v": 1.0}))
    for name in draw(st.lists(st.sampled_from(Transaction.__struct_fields__), max_size=3)):
        fields[name] = draw(JSON)
    raw = bytearray(json.dumps(fields, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass"))
    for place in draw(st.lists(st.integers(0, len(raw) - 1), max_size=3)):
        raw[place] = draw(st.integers(0, 255))
    return bytes(raw[: draw(st.integers(0, len(raw)))] if draw(st.booleans()) else raw)


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault of the strategy
@given(st.lists(st.none() | st.binary(max_size=200) | mutated(), max_size=12))
def test_nothing_makes_decoding_fail(values: list[bytes | None]) -> None:
    """Random bytes and mutated payments become rows or rejects, one for one, and what is read is a valid payment."""
    messages = records(*values)
    decoded, rejected = decode_transactions(messages, DAY)
    accounted_for(messages, decoded, rejected)
    for row, extra in zip(decoded.batch.to_pylist(), decoded.extra, strict=True):
        read = msgspec.convert(row | {"extra": extra}, Transaction)
        assert not read.missing()
        assert read.event_time <= NOW + DAY
        assert canonical(read) == read


@given(st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(SPELT, SPELLINGS)), max_size=6))
def test_a_batch_is_spelt_as_its_events_are(payments: list[dict[str, str]]) -> None:
    """The columns of a batch refuse and rewrite the same values as `canonical` does event by event."""
    valid = [json.loads(transaction(transaction_id=str(i), **payment)) for i, payment in enumerate(payments)]
    decoded, rejected = decode_transactions(records(*(json.dumps(payment).encode() for payment in valid)), DAY)
    expected, refused = [], []
    for i, payment in enumerate(valid):
        try:
            expected.append(canonical(msgspec.convert(payment, Transaction)).ip_address)
        except (InputError, msgspec.ValidationError):
            refused.append(i)
    assert decoded.batch.column("ip_address").to_pylist() == expected
    assert sorted(reject.record.offset for reject in rejected) == refused


@pytest.mark.parametrize(
    ("written", "canonical_form"),
    [
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_an_address_has_one_spelling(written: str, canonical_form: str) -> None:
    """However a producer writes an address, activity, lists and labels have one and the same form."""
    decoded, _ = decode_transactions(records(transaction(ip_address=written)), DAY)
    assert decoded.batch.column("ip_address").to_pylist() == [canonical_form]
    (label,), _, _ = decode_labels(records(json.dumps(LABEL | {"ip_address": written}).encode()))
    assert label.ip_address == canonical_form


@pytest.mark.parametrize(
    ("time", "unit"),
    [(1_522_540_800, "seconds"), (1_522_540_800_000_000, "microseconds"), (1_522_540_800_000_000_000, "nanoseconds")],
)
def test_a_time_in_another_unit_is_refused_with_its_name(time: int, unit: str) -> None:
    """Seconds would mean January 1970; the reason suggests the unit."""
    _, (reject,) = decode_transactions(records(transaction(event_time=time)), DAY)
    assert "$.event_time" in reject.reason
    assert reject.reason.endswith(f"it looks like {unit}, write milliseconds")
    _, _, (reject,) = decode_labels(records(json.dumps(LABEL | {"labelled_at": time}).encode()))
    assert reject.reason.endswith(f"it looks like {unit}, write milliseconds")


@given(st.lists(mutated(), min_size=1, max_size=6), st.integers(0, 5))
def test_neighbours_do_not_change_what_is_read(values: list[bytes], place: int) -> None:
    """A message is read or refused on its own: the result is the same alone and in a batch."""
    value = values[place % len(values)]
    alone, _ = decode_transactions(records(value), DAY)
    together, _ = decode_transactions(records(*values), DAY)
    mine = [
        row
        for row, record in zip(together.batch.to_pylist(), together.records, strict=True)
        if record.offset == place % len(values)
    ]
    assert mine == alone.batch.to_pylist()
    assert isinstance(alone.batch, pa.RecordBatch)
