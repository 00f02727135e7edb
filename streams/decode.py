"""Decoding of raw messages into an Arrow batch. Unreadable messages are rejected with a reason.

Most messages have a regular form, which compiled code reads. msgspec, which defines what is valid, reads the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.transaction_schema import SCHEMA
from streams.canonical import canonical_addresses, misspelt
from streams.regular_transactions import read_regular
from vedette.card_numbers import REFUSE, CardNumbers, masked
from vedette.errors import CardNumberError, InputError
from vedette.events import PAYING, Event, Label, Transaction, canonical
from vedette.reading import UNREADABLE, too_far_ahead, why_unreadable

_EventT = TypeVar("_EventT", bound=Event)

_EXTRA = Transaction.__struct_fields__.index("extra")
_ADDRESS = Transaction.__struct_fields__.index("ip_address")
assert Transaction.__struct_fields__[_EXTRA:] == ("extra",)  # noqa: S101 — columns below rely on it being last


class Record(Protocol):
    """A message as delivered by a Kafka client."""

    @property
    def key(self) -> bytes | None:
        """Key of the message."""

    @property
    def value(self) -> bytes | None:
        """Content of the message."""

    @property
    def partition(self) -> int:
        """Partition of the message."""

    @property
    def offset(self) -> int:
        """Offset in the partition."""

    @property
    def timestamp(self) -> int:
        """Time at which it was produced, milliseconds."""


class RawMessage(NamedTuple):
    """A Record made by hand, or copied from a client's message."""

    key: bytes | None
    value: bytes | None
    partition: int
    offset: int
    timestamp: int


CARD_NUMBER = CardNumberError.__name__
"""Kind of a reject with a card number, which is refused."""


@dataclass(frozen=True)
class Reject:
    """A message that could not be read, for the dead-letter topic."""

    record: Record
    kind: str
    """Name of the kind of error."""
    reason: str
    """Description of the problem, naming the field."""


@dataclass(frozen=True)
class Transactions:
    """The readable part of a batch."""

    batch: pa.RecordBatch
    """One column per field of Transaction except `extra`."""
    records: list[Record]
    """The message of each row."""
    extra: list[dict[str, float]]
    """Vendor features of each row."""


_transaction = msgspec.json.Decoder(Transaction)
_label = msgspec.json.Decoder(Label)


def decode_transactions(
    records: Sequence[Record], max_future_ms: float, cards: CardNumbers = REFUSE
) -> tuple[Transactions, list[Reject]]:
    """Decode transactions.

    Args:
        records: Messages of any partitions, in order.
        max_future_ms: Maximum distance of the event time ahead of the message's timestamp; a later one would push the
            account's whole history out of its windows.
        cards: What happens to identifiers that are card numbers.
    """
    latest = np.fromiter((record.timestamp for record in records), np.float64, len(records)) + max_future_ms
    rows = np.arange(len(records))
    while len(rows):
        batch, regular = read_regular(
            [records[row].value or b"" for row in rows.tolist()], latest[rows], looks_for_cards=cards.looks
        )
        if batch is not None:
            break
        rows = rows[regular]
    else:
        return decode_by_event(records, max_future_ms, cards)
    good = [records[row] for row in rows.tolist()]
    compiled = Transactions(batch, good, [{}] * len(good))
    if len(good) == len(records):
        return compiled, []
    others = np.setdiff1d(np.arange(len(records)), rows).tolist()
    read, rejects = decode_by_event([records[row] for row in others], max_future_ms, cards)
    return _in_order(records, compiled, read), rejects


def _in_order(records: Sequence[Record], *parts: Transactions) -> Transactions:
    """Return the transactions of all parts in the order of their messages."""
    place = {id(record): row for row, record in enumerate(records)}
    good = [record for part in parts for record in part.records]
    order = np.argsort([place[id(record)] for record in good])
    extra = [values for part in parts for values in part.extra]
    batch = pa.Table.from_batches([part.batch for part in parts]).combine_chunks().to_batches()[0]
    rows = order.tolist()
    return Transactions(batch.take(pa.array(order)), [good[row] for row in rows], [extra[row] for row in rows])


def decode_by_event(
    records: Sequence[Record], max_future_ms: float, cards: CardNumbers = REFUSE
) -> tuple[Transactions, list[Reject]]:
    """Read transactions one by one, whatever their form; see `decode_transactions`, which is faster."""
    events, good, rejects = _decode(records, _transaction, cards)
    rows = [msgspec.structs.astuple(event) for event in events]
    columns = list(zip(*rows, strict=True)) if rows else [()] * (len(SCHEMA) + 1)
    extra = list(columns[_EXTRA])
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=False)]
    latest = np.fromiter((record.timestamp for record in good), np.float64, len(good)) + max_future_ms
    batch, wrong = refused(pa.RecordBatch.from_arrays(arrays, schema=SCHEMA), latest)
    if wrong.any():
        for row in np.flatnonzero(wrong).tolist():
            rejects.append(Reject(good[row], "ValidationError", masked(_reason(events[row], good[row]))))
        keep = np.flatnonzero(~wrong).tolist()
        batch = batch.filter(pa.array(~wrong))
        good, extra = [good[row] for row in keep], [extra[row] for row in keep]
    return Transactions(batch, good, extra), rejects


def refused(batch: pa.RecordBatch, latest: NDArray[np.float64]) -> tuple[pa.RecordBatch, NDArray[np.bool_]]:
    """Return n transactions with their addresses in canonical text, and bool[n], which of them are not valid.

    Args:
        batch: In the columns of SCHEMA.
        latest: float64[n], the latest event time of each.
    """
    addresses, wrong = canonical_addresses(batch.column(_ADDRESS))
    batch = batch.set_column(_ADDRESS, SCHEMA.field(_ADDRESS), addresses)
    wrong |= misspelt(batch) | (batch.column("event_time").to_numpy() > latest) | _incomplete(batch)
    return batch, wrong


def _incomplete(batch: pa.RecordBatch) -> NDArray[np.bool_]:
    """Return bool [n], whether each lacks something that `Transaction.missing` would name."""
    merchant, payee, kind, original = (
        batch.column(name) for name in ("merchant_id", "payee", "kind", "original_id")
    )  # fmt: skip
    nobody: NDArray[np.bool_] = pc.and_(merchant.is_null(), payee.is_null()).to_numpy(zero_copy_only=False)
    if kind.null_count == len(kind):
        return nobody
    pays = pc.or_kleene(kind.is_null(), pc.is_in(kind, pa.array(PAYING))).to_numpy(zero_copy_only=False)
    reversal = pc.equal(kind, "reversal").fill_null(False).to_numpy(zero_copy_only=False)
    incomplete: NDArray[np.bool_] = nobody & pays | reversal & original.is_null().to_numpy(zero_copy_only=False)
    return incomplete


def _reason(event: Transaction, record: Record) -> str:
    if reason := event.missing():
        return reason
    try:
        canonical(event)
    except InputError as error:
        return error.args[0]  # type: ignore[no-any-return]
    return too_far_ahead(event.event_time, record.timestamp)


def decode_labels(
    records: Sequence[Record], cards: CardNumbers = REFUSE
) -> tuple[list[Label], list[Record], list[Reject]]:
    """Return the labels, the message of each, and the unreadable messages."""
    decoded, messages, rejects = _decode(records, _label, cards)
    labels: list[Label] = []
    good: list[Record] = []
    for label, record in zip(decoded, messages, strict=True):
        try:
            labels.append(canonical(label))
            good.append(record)
        except InputError as error:
            rejects.append(Reject(record, "ValidationError", masked(error.args[0])))
    return labels, good, rejects


def _decode(
    records: Sequence[Record], decoder: msgspec.json.Decoder[_EventT], cards: CardNumbers
) -> tuple[list[_EventT], list[Record], list[Reject]]:
    decode, admit = decoder.decode, cards.admit
    try:  # nearly always there is no error
        return [admit(decode(record.value)) for record in records], list(records), []  # type: ignore[arg-type]
    except (*UNREADABLE, TypeError, CardNumberError):  # a tombstone has no value
        pass
    events: list[_EventT] = []
    good: list[Record] = []
    rejects: list[Reject] = []
    for record in records:
        try:
            events.append(admit(decode(record.value or b"")))
            good.append(record)
        except UNREADABLE as error:
            rejects.append(Reject(record, type(error).__name__, masked(why_unreadable(error, record.value))))
        except CardNumberError as error:
            rejects.append(Reject(record, CARD_NUMBER, f"{error.args[0]}: {error.remedy}"))
    return events, good, rejects
