"""From raw messages to an Arrow batch; what cannot be read is set aside with the reason, and nothing stops."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import msgspec
import pyarrow as pa

from vedette.events import Event, Label, Transaction

_EventT = TypeVar("_EventT", bound=Event)

_TYPES: dict[str, pa.DataType] = {
    "amount": pa.int64(),
    "event_time": pa.int64(),
    "lat": pa.float64(),
    "lon": pa.float64(),
    "balance": pa.int64(),
    "account_opened_at": pa.int64(),
}
_FIELDS = tuple(name for name in Transaction.__struct_fields__ if name != "extra")
SCHEMA = pa.schema([(name, _TYPES.get(name, pa.string())) for name in _FIELDS])
"""Columns of a decoded batch."""
_FIELD = re.compile(rb'"(\w+)"\s*:')
_EXTRA = Transaction.__struct_fields__.index("extra")
_TIME = Transaction.__struct_fields__.index("event_time")
assert Transaction.__struct_fields__[_EXTRA:] == ("extra",)  # noqa: S101 — columns below rely on it being last


class Record(Protocol):
    """A message as a Kafka client hands it over."""

    @property
    def key(self) -> bytes | None:
        """Its key."""

    @property
    def value(self) -> bytes | None:
        """Its content."""

    @property
    def partition(self) -> int:
        """Of the topic it was read from."""

    @property
    def offset(self) -> int:
        """Where it stands in its partition."""

    @property
    def timestamp(self) -> int:
        """When it was produced, milliseconds."""


@dataclass(frozen=True)
class Reject:
    """A message that could not be read, for the dead-letter topic."""

    record: Record
    kind: str
    """Name of the kind of error."""
    reason: str
    """What is wrong, naming the field."""


@dataclass(frozen=True)
class Transactions:
    """The readable part of a batch."""

    batch: pa.RecordBatch
    """One column per field of Transaction but `extra`."""
    records: list[Record]
    """The message of each row."""
    extra: list[dict[str, float]]
    """Vendor features of each row."""


_transaction = msgspec.json.Decoder(Transaction)
_label = msgspec.json.Decoder(Label)


def decode_transactions(records: Sequence[Record], max_future_ms: float) -> tuple[Transactions, list[Reject]]:
    """Read transactions.

    Args:
        records: Messages of one partition, in order.
        max_future_ms: An event time further ahead of its message's own time is refused: it would push the
            account's whole history out of its windows.
    """
    events, good, rejects = _decode(records, _transaction)
    rows = [msgspec.structs.astuple(event) for event in events]
    if invalid := [i for i, row in enumerate(rows) if row[_TIME] > good[i].timestamp + max_future_ms] + [
        i for i, event in enumerate(events) if event.missing_counterparty()
    ]:
        for i in sorted(set(invalid)):
            rejects.append(Reject(good[i], "ValidationError", _reason(events[i], good[i])))
        keep = sorted(set(range(len(rows))) - set(invalid))
        rows = [rows[i] for i in keep]
        good = [good[i] for i in keep]
    columns = list(zip(*rows, strict=True)) if rows else [()] * (len(_FIELDS) + 1)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=False)]
    batch = pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)
    return Transactions(batch, good, list(columns[_EXTRA])), rejects


def _reason(event: Transaction, record: Record) -> str:
    if event.missing_counterparty():
        return "neither `merchant_id` nor `payee` is given"
    ahead = (event.event_time - record.timestamp) / 1000
    return f"`event_time` {event.event_time} is {ahead:,.0f} s ahead of the message's own time"


def decode_labels(records: Sequence[Record]) -> tuple[list[Label], list[Record], list[Reject]]:
    """Read labels: the labels, the message of each, and what could not be read."""
    return _decode(records, _label)


def _decode(
    records: Sequence[Record], decoder: msgspec.json.Decoder[_EventT]
) -> tuple[list[_EventT], list[Record], list[Reject]]:
    decode = decoder.decode
    try:  # nearly always nothing is wrong
        return [decode(record.value) for record in records], list(records), []  # type: ignore[arg-type]
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
        pass
    events: list[_EventT] = []
    good: list[Record] = []
    rejects: list[Reject] = []
    for record in records:
        try:
            events.append(decode(record.value or b""))
            good.append(record)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            rejects.append(Reject(record, type(error).__name__, _why(error, record.value)))
    return events, good, rejects


def _why(error: Exception, value: bytes | None) -> str:
    """The reason in words; msgspec says neither field nor place of text that is no UTF-8."""
    if not value:
        return "the message is empty"
    if not isinstance(error, UnicodeDecodeError):
        return str(error)
    place = _no_utf8(value)
    fields = _FIELD.findall(value[:place])
    where = f" - at `$.{fields[-1].decode()}`" if fields else ""
    return f"no UTF-8 ({error.reason}, byte {place}){where}"


def _no_utf8(value: bytes) -> int:
    try:
        value.decode()
    except UnicodeDecodeError as error:
        return error.start
    return 0
