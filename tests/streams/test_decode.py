import json
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.faults.poison import MOMENT, POISON, Poison, transaction
from streams.decode import SCHEMA, Transactions, decode_labels, decode_transactions
from vedette.clock import DAY, MINUTE
from vedette.events import MAX_TIME, Transaction

NOW = MOMENT + DAY


@dataclass(frozen=True)
class Record:
    """A message as a consumer hands it over."""

    value: bytes | None
    offset: int = 0
    key: bytes | None = b"A1"
    partition: int = 0
    timestamp: int = NOW


def records(*values: bytes | None) -> list[Record]:
    """Messages one behind the other."""
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
    """A clock an hour ahead of the broker's or behind it is put up with; beyond the limit a payment is refused."""
    messages = records(
        *(transaction(event_time=NOW + ahead) for ahead in (-60 * MINUTE, 60 * MINUTE, DAY, DAY + 1)),
    )
    decoded, rejected = decode_transactions(messages, DAY)
    assert [record.offset for record in decoded.records] == [0, 1, 2]
    assert rejected[0].reason == f"`event_time` {NOW + DAY + 1} is 86,400 s ahead of the message's own time"


def test_unknown_fields_are_left_out() -> None:
    """A field that Vedette does not know is no reason to refuse a payment, whatever its content."""
    raw = transaction()[:-1] + b',"loyalty":{"points":[1,2]},"\xff":"\xff"}'
    decoded, rejected = decode_transactions(records(raw), DAY)
    assert rejected == []
    assert "loyalty" not in decoded.batch.schema.names


def test_every_field_arrives_in_its_column() -> None:
    """A payment with all fields comes out as it went in, extra values beside it."""
    given_fields = {
        "transaction_id": "t", "account_id": "a\u0000b", "amount": 10**15, "currency": "JPY", "event_time": 0,
        "merchant_id": "m", "payee": "p", "mcc": "5411", "channel": "ecom", "country": "NO", "lat": -90.0, "lon": 180.0,
        "device_id": "d", "ip_address": "::1", "balance": -(10**15), "account_type": "prepaid", "account_opened_at": 1,
        "extra": {"vendor": 0.5},
    }  # fmt: skip
    assert set(given_fields) == set(Transaction.__struct_fields__)
    decoded, rejected = decode_transactions(records(json.dumps(given_fields).encode()), DAY)
    assert rejected == []
    assert decoded.extra == [given_fields.pop("extra")]
    assert decoded.batch.to_pylist() == [given_fields]


def test_poisoned_labels_are_set_aside() -> None:
    """Labels are refused by the same rules, and their neighbours are read."""
    label = {
        "transaction_id": "t", "account_id": "a", "fraud": True, "source": "analyst", "event_time": 1, "labelled_at": 2,
    }  # fmt: skip
    good = json.dumps(label).encode()
    bad = [
        b"", None, b"\xff", json.dumps(label | {"fraud": "yes"}).encode(), json.dumps(label | {"fraud": 1}).encode(),
        json.dumps({name: value for name, value in label.items() if name != "event_time"}).encode(),
        json.dumps(label | {"labelled_at": MAX_TIME + 1}).encode(),
    ]  # fmt: skip
    labels, kept, rejected = decode_labels(records(good, *bad, good))
    assert [each.transaction_id for each in labels] == ["t", "t"]
    assert [record.offset for record in kept] == [0, len(bad) + 1]
    assert [reject.record.value for reject in rejected] == bad
    assert [
        field in reject.reason
        for field, reject in zip(("fraud", "fraud", "event_time", "labelled_at"), rejected[3:], strict=True)
    ] == [True] * 4


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
        assert not read.missing_counterparty()
        assert read.event_time <= NOW + DAY


@given(st.lists(mutated(), min_size=1, max_size=6), st.integers(0, 5))
def test_neighbours_do_not_change_what_is_read(values: list[bytes], place: int) -> None:
    """A message is read or refused for itself: alone it fares as it does in a batch."""
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
