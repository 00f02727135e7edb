"""A past stretch of the topics: transactions, their labels, and what was decided about them."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa

from features.history import History, opened
from streams.decode import decode_labels, decode_transactions
from streams.log import TopicLog
from streams.policy import ACTIONS
from vedette.clock import DAY
from vedette.errors import InputError
from vedette.events import EXTRA, Action
from vedette.settings import Settings
from vedette.topics import Name

RECORDED = pa.schema(
    [("transaction_id", pa.string()), ("recorded_action", pa.int8()), ("recorded_score", pa.float64())]
)
"""What stands beside each transaction: index into ACTIONS and probability of a decision that is not degraded and of
no challenge's outcome; null without one. Where a crash had it made twice, it is either of them."""

_LABELS = pa.schema([("transaction_id", pa.string()), ("fraud", pa.bool_()), ("labelled_at", pa.int64())])
_NO_LABEL = {"fraud": pa.bool_(), "labelled_at": pa.int64()}

Show = Callable[[int], None]


class _Message(NamedTuple):
    """A message as streams.decode takes it."""

    key: bytes | None
    value: bytes | None
    partition: int
    offset: int
    timestamp: int


class _Decided(msgspec.Struct, gc=False):
    """What counts of a decision."""

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
    """The transactions of a stretch of event time, as far as the topics still hold them; nobody notices.

    Args:
        settings: Where the broker is.
        scratch: A directory for what does not fit into memory.
        start_ms: Leave out what happened before; messages published a day before it, and earlier, are not even read.
        end_ms: Leave out what happened then or later.
        extra: Names of vendor features, which become columns `extra.<name>`.
        on_read: Asked for each topic, with the number of its messages, whom to tell how many have been read.

    Yields:
        Transactions with `fraud` and `labelled_at` as the labels topic says, and the columns of RECORDED. One that was
        published again is there once; what the worker would set aside is left out.

    Raises:
        InputError: There are no transactions, or something else than decisions stands among these.
        UnavailableError: The broker or a topic is not there.
    """
    with ExitStack() as stack:

        def messages(topic: Name) -> Iterator[list[Any]]:
            log = stack.enter_context(closing(TopicLog(settings, topic, max(start_ms - DAY, 0))))
            show, read = on_read(topic, log.messages), 0
            for piece in log:
                yield piece
                show(read := read + len(piece))

        transactions = _transactions(
            messages(Name.TRANSACTIONS), start_ms, end_ms, extra, settings.worker.max_future_s * 1000
        )
        labels = pa.RecordBatchReader.from_batches(_LABELS, _labels(messages(Name.LABELS)))
        decided = pa.RecordBatchReader.from_batches(RECORDED, _decisions(messages(Name.DECISIONS)))
        yield stack.enter_context(opened(transactions, scratch, labels=labels, beside=decided, once=True))


def _transactions(
    pieces: Iterator[list[Any]], start_ms: int, end_ms: int, extra: tuple[str, ...], max_future_ms: float
) -> Iterator[pa.RecordBatch]:
    for piece in pieces:
        read, _ = decode_transactions([_message(message) for message in piece], max_future_ms)
        batch = read.batch
        for name, kind in _NO_LABEL.items():
            batch = batch.append_column(name, pa.nulls(len(batch), kind))
        for name in extra:
            values = pa.array([values.get(name) for values in read.extra], pa.float64())
            batch = batch.append_column(EXTRA + name, values)
        time = batch.column("event_time").to_numpy()
        yield batch.filter(pa.array((time >= start_ms) & (time < end_ms)))


def _labels(pieces: Iterator[list[Any]]) -> Iterator[pa.RecordBatch]:
    for piece in pieces:
        labels, _, _ = decode_labels([_message(message) for message in piece])
        yield _batch([(label.transaction_id, label.fraud, label.labelled_at) for label in labels], _LABELS)


def _decisions(pieces: Iterator[list[Any]]) -> Iterator[pa.RecordBatch]:
    decode = msgspec.json.Decoder(list[_Decided]).decode
    numbers = {action: number for number, action in enumerate(ACTIONS)}
    for piece in pieces:
        try:
            decided = decode(b"[" + b",".join([message.value() for message in piece]) + b"]")
        except msgspec.MsgspecError as error:
            raise InputError(f"topic {Name.DECISIONS} holds what is no decision: {error}") from error
        yield _batch(
            [(d.transaction_id, numbers[d.action], d.score) for d in decided if not (d.follows or d.degraded)], RECORDED
        )


def _batch(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.RecordBatch:
    columns: Iterable[tuple[Any, ...]] = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _message(message: Any) -> _Message:
    return _Message(message.key(), message.value(), message.partition(), message.offset(), message.timestamp()[1])
