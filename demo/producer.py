"""The stream onto Kafka: paced, with labels and poison, recording when each transaction was handed over."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from threading import Event

import pyarrow as pa

from demo.customers import SimulatedCustomers
from demo.source import Source
from features.store import RedisStore
from producers.aligner import Aligner, BrokerEnds
from producers.poison import POISON
from producers.publisher import TransactionPublisher
from producers.replay import Plan, Replay, ReplayReport
from vedette import Label, Settings, Transaction
from vedette.clock import DAY

_STAMPED = 100  # transactions that share a time stamp
_TICK_S = 0.02
_DELIVERY_S = 20.0
_POISON_EVERY = 250
_POISON = (
    "truncated", "bytes", "empty", "no-amount", "amount-as-text", "amount-too-large", "time-in-far-future",
)  # fmt: skip
"""The unreadable messages that are sent: one of each kind that a faulty producer causes."""
_ALIGN_MS = 6 * DAY  # less than the labels' delay, so that merchants' features are exact at any speed


@dataclass
class PublishedStream:
    """The published messages, with their times and labels."""

    sent_at: dict[str, float] = field(default_factory=dict)
    """Time at which each transaction was handed to the producer, by transaction id, on time.monotonic."""
    truth: dict[str, bool] = field(default_factory=dict)
    """Labels by transaction id, where known; also of transactions not published."""
    poison: list[bytes] = field(default_factory=list)
    """Messages that are not transactions."""
    event_time: int = 0
    """Event time of the transactions published last, milliseconds since 1970 UTC."""


class StreamProducer:
    """Publishes the stream; `run` belongs in a separate thread.

    Args:
        settings: Settings of broker and Redis.
        source: The stream.
        rate: Transactions per second; 0 is flat out.
        limit: Largest number of transactions; 0 is all.
        stopping: Ends the stream when set.
        customers: Registered with every payment before it is published.
    """

    def __init__(
        self,
        settings: Settings,
        source: Source,
        *,
        rate: float,
        limit: int,
        stopping: Event,
        customers: SimulatedCustomers,
    ) -> None:
        self.sent = PublishedStream()
        self._settings = settings
        self._source = source
        self._rate = rate
        self._plan = Plan(source=source.name, limit=limit)
        self._stopping = stopping
        self._customers = customers

    def run(self) -> None:
        """Publish until the stream ends or is stopped; return once everything is acknowledged.

        Raises:
            InputError: The rows are not in order of time.
            UnavailableError: Broker, Redis or worker does not answer.
            DeliveryError: The broker did not acknowledge a message.
        """
        poison = iter([message.value for message in POISON if message.name in _POISON])

        def progress(report: ReplayReport) -> None:
            self.sent.event_time = report.last_event_time or 0
            if report.transactions >= len(self.sent.poison) * _POISON_EVERY:
                self._send_poison(publisher, next(poison, None))

        with ExitStack() as parts:
            publisher = parts.enter_context(_StampingPublisher(self._settings, self.sent.sent_at))
            ends = parts.enter_context(closing(BrokerEnds(self._settings)))
            store = parts.enter_context(closing(RedisStore(self._settings.redis)))
            aligner = Aligner(_ALIGN_MS, ends, store.positions, stopping=self._stopping, warn=lambda _: None)
            replay = Replay(publisher, self._plan, stopping=self._stopping, aligner=aligner, on_progress=progress)
            replay.run(self._registered(_paced(self._source.stream, self._rate, self._stopping)))
            for value in poison:
                self._send_poison(publisher, value)

    def _send_poison(self, publisher: "_StampingPublisher", value: bytes | None) -> None:
        if value is not None:
            self.sent.poison.append(value)
            publisher.send_bytes(value, f"poison-{len(self.sent.poison)}")

    def _registered(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            ids, frauds = batch.column("transaction_id").to_pylist(), batch.column("fraud").to_pylist()
            known = zip(ids, frauds, strict=True)
            self.sent.truth.update((id_, fraud) for id_, fraud in known if fraud is not None)
            columns = (batch.column(name).to_pylist() for name in ("account_id", "amount", "currency", "fraud"))
            self._customers.register(zip(*columns, strict=True))
            yield batch


class _StampingPublisher(TransactionPublisher):
    """Records the time at which each transaction was handed to it."""

    def __init__(self, settings: Settings, sent_at: dict[str, float]) -> None:
        super().__init__(settings, delivery_timeout_s=_DELIVERY_S)
        self._sent_at = sent_at

    def send(self, events: Sequence[Transaction] | Sequence[Label]) -> int:
        """See TransactionPublisher."""
        for start in range(0, len(events), _STAMPED):
            part = events[start : start + _STAMPED]
            if isinstance(part[0], Transaction):
                self._sent_at.update(dict.fromkeys((event.transaction_id for event in part), time.monotonic()))
            super().send(part)
        return len(events)

    def send_bytes(self, value: bytes, key: str) -> None:
        """Publish these bytes as a transaction."""
        self._producer.send(self.transactions_topic, value, key)


def _paced(
    batches: Iterable[pa.RecordBatch], rate: float, stopping: Event, monotonic: Callable[[], float] = time.monotonic
) -> Iterator[pa.RecordBatch]:
    """Yield the same rows at this many per second, 0 for unlimited; it does not catch up after a delay."""
    if not rate:
        yield from batches
        return
    rows = max(round(rate * _TICK_S), 1)
    due = monotonic()
    for batch in batches:
        for start in range(0, len(batch), rows):
            part = batch.slice(start, rows)
            due = max(due, monotonic() - _TICK_S)
            stopping.wait(max(due - monotonic(), 0))
            yield part
            due += len(part) / rate
