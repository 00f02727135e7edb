"""A past period of the topics: transactions with their labels and decisions."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from adapters.kafka_reader import TopicReader
from decisions.policy_form import ACTIONS
from features.history import ROW, History, opened
from streams.decode import RawMessage, decode_labels, decode_transactions
from vedette.card_numbers import CardNumbers
from vedette.clock import DAY
from vedette.errors import InputError
from vedette.events import EXTRA, Action
from vedette.reading import UNREADABLE
from vedette.settings import Settings
from vedette.topics import Name

RECORDED = pa.schema(
    [
        ("transaction_id", pa.string()),
        ("recorded_action", pa.int8()),
        ("recorded_score", pa.float64()),
        (ROW, pa.int64()),
    ]
)
"""Columns added to each transaction: index into ACTIONS and probability of the standing decision, the first that is
neither degraded nor the outcome of a challenge; null without one. ROW numbers the decisions."""

_LABELS = pa.schema([("transaction_id", pa.string()), ("fraud", pa.bool_()), ("labelled_at", pa.int64())])
_NO_LABEL = {"fraud": pa.bool_(), "labelled_at": pa.int64()}

Show = Callable[[int], None]


class _DecisionFields(msgspec.Struct, gc=False):
    """The relevant fields of a decision."""

    transaction_id: str
    action: Action
    score: float
    follows: str = ""
    degraded: bool = False


@contextmanager
def past(
    settings: Settings,
    scratch: Path,
    *,
    start_ms: int,
    end_ms: int,
    extra: tuple[str, ...] = (),
    on_read: Callable[[Name, int], Show] = lambda *_: lambda _: None,
) -> Iterator[History]:
    """Yield the transactions of a period of event time that the topics still hold, without side effects.

    Args:
        settings: Settings of the broker.
        scratch: A directory for data that does not fit into memory.
        start_ms: Leave out earlier transactions; messages published more than a day before it are not read.
        end_ms: Leave out transactions at this time or later.
        extra: Names of vendor features, which become columns `extra.<name>`.
        on_read: Called for each topic with the number of its messages; returns a callback for the number read.

    Yields: Transactions with `fraud` and `labelled_at` from the labels topic, and the columns of RECORDED. Repeated
        transactions are included once; unreadable ones are left out.

    Raises:
        InputError: There are no transactions, or the decisions topic has other messages.
        UnavailableError: The broker or a topic is not available.
    """
    cards = CardNumbers(settings.cards)
    with ExitStack() as stack:

        def messages(topic: Name) -> Iterator[list[Any]]:
            log = stack.enter_context(closing(TopicReader(settings, topic, max(start_ms - DAY, 0))))
            show, read = on_read(topic, log.messages), 0
            for piece in log:
                yield piece
                show(read := read + len(piece))

        transactions = _transactions(
            messages(Name.TRANSACTIONS), start_ms, end_ms, extra, settings.worker.max_future_s * 1000, cards
        )
        labels = pa.RecordBatchReader.from_batches(_LABELS, _labels(messages(Name.LABELS), cards))
        decided = pa.RecordBatchReader.from_batches(RECORDED, _decisions(messages(Name.DECISIONS)))
        yield stack.enter_context(opened(transactions, scratch, labels=labels, beside=decided, once=True))


def _transactions(
    pieces: Iterator[list[Any]],
    start_ms: int,
    end_ms: int,
    extra: tuple[str, ...],
    max_future_ms: float,
    cards: CardNumbers,
) -> Iterator[pa.RecordBatch]:
    for piece in pieces:
        read, _ = decode_transactions([_message(message) for message in piece], max_future_ms, cards)
        batch = read.batch
        for name, kind in _NO_LABEL.items():
            batch = batch.append_column(name, pa.nulls(len(batch), kind))
        for name in extra:
            values = pa.array([values.get(name) for values in read.extra], pa.float64())
            batch = batch.append_column(EXTRA + name, values)
        time = batch.column("event_time").to_numpy()
        yield batch.filter(pa.array((time >= start_ms) & (time < end_ms)))


def _labels(pieces: Iterator[list[Any]], cards: CardNumbers) -> Iterator[pa.RecordBatch]:
    for piece in pieces:
        labels, _, _ = decode_labels([_message(message) for message in piece], cards)
        yield _batch([(label.transaction_id, label.fraud, label.labelled_at) for label in labels], _LABELS)


def _decisions(pieces: Iterator[list[Any]]) -> Iterator[pa.RecordBatch]:
    decode = msgspec.json.Decoder(list[_DecisionFields]).decode
    numbers = {action: number for number, action in enumerate(ACTIONS)}
    row = count()
    for piece in pieces:
        try:
            decided = decode(b"[" + b",".join([message.value() for message in piece]) + b"]")
        except UNREADABLE as error:
            raise InputError(f"topic {Name.DECISIONS} has a message that is not a decision: {error}") from error
        standing = [d for d in decided if not (d.follows or d.degraded)]
        yield _batch([(d.transaction_id, numbers[d.action], d.score, next(row)) for d in standing], RECORDED)


def _batch(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.RecordBatch:
    columns: Iterable[tuple[Any, ...]] = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _message(message: Any) -> RawMessage:
    return RawMessage(message.key(), message.value(), message.partition(), message.offset(), message.timestamp()[1])
