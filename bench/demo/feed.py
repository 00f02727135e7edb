"""The stream onto Kafka: paced, with labels and poison, and with the moment noted at which each transaction left."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from threading import Event

import pyarrow as pa

from bench.demo.customers import Customers
from bench.demo.poison import POISON
from bench.demo.source import Source
from features import RedisStore
from producers.align import Aligner, BrokerEnds
from producers.publisher import Publisher
from producers.replay import Plan, Replay, Report
from vedette import Label, Settings, Transaction
from vedette.clock import DAY

_STAMPED = 100  # transactions that share a stamp
_TICK_S = 0.02
_DELIVERY_S = 20.0
_POISON_EVERY = 250
_ALIGN_MS = 6 * DAY  # less than the labels' delay, so that merchants' features are exact at any speed


@dataclass
class Sent:
    """What has been published, and what is known about it."""

    left_at: dict[str, float] = field(default_factory=dict)
    """When each transaction was handed to the producer, by transaction id, on time.monotonic."""
    truth: dict[str, bool] = field(default_factory=dict)
    """Whether it was fraud, where that is known; also of transactions not published."""
    planted: list[bytes] = field(default_factory=list)
    """The poison."""
    event_time: int = 0
    """Of the transactions published last, milliseconds since epoch."""


class Feed:
    """Publishes the stream, in a thread of its own.

    Args:
        settings: Where broker and Redis are.
        source: Its stream is published.
        rate: Transactions per second; 0 is flat out.
        limit: Stop after so many transactions; 0 is all.
        stopping: When set, the stream ends there.
        customers: Get to know every payment before it is made.
    """

    def __init__(
        self, settings: Settings, source: Source, *, rate: float, limit: int, stopping: Event, customers: Customers
    ) -> None:
        self.sent = Sent()
        self._settings = settings
        self._source = source
        self._rate = rate
        self._plan = Plan(source=source.name, limit=limit)
        self._stopping = stopping
        self._customers = customers

    def run(self) -> None:
        """Publish until the stream ends, or is stopped; returns once everything is acknowledged.

        Raises:
            InputError: The rows are not in order of time.
            UnavailableError: Broker, Redis or worker do not answer.
            DeliveryError: The broker did not acknowledge a message.
        """
        poison = iter(POISON.values())

        def progress(report: Report) -> None:
            self.sent.event_time = report.last_event_time or 0
            if report.transactions >= len(self.sent.planted) * _POISON_EVERY:
                self._plant(publisher, next(poison, None))

        with ExitStack() as parts:
            publisher = parts.enter_context(_Stamping(self._settings, self.sent.left_at))
            ends = parts.enter_context(closing(BrokerEnds(self._settings)))
            store = parts.enter_context(closing(RedisStore(self._settings.redis)))
            aligner = Aligner(_ALIGN_MS, ends, store.positions, stopping=self._stopping, warn=lambda _: None)
            replay = Replay(publisher, self._plan, stopping=self._stopping, aligner=aligner, on_progress=progress)
            replay.run(self._noting(_paced(self._source.stream, self._rate, self._stopping)))
            for value in poison:
                self._plant(publisher, value)

    def _plant(self, publisher: "_Stamping", value: bytes | None) -> None:
        if value is not None:
            self.sent.planted.append(value)
            publisher.send_bytes(value, f"poison-{len(self.sent.planted)}")

    def _noting(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            ids, frauds = batch.column("transaction_id").to_pylist(), batch.column("fraud").to_pylist()
            known = zip(ids, frauds, strict=True)
            self.sent.truth.update((id_, fraud) for id_, fraud in known if fraud is not None)
            columns = (batch.column(name).to_pylist() for name in ("account_id", "amount", "currency", "fraud"))
            self._customers.meet(zip(*columns, strict=True))
            yield batch


class _Stamping(Publisher):
    """Notes when it was given each transaction."""

    def __init__(self, settings: Settings, left_at: dict[str, float]) -> None:
        super().__init__(settings, delivery_timeout_s=_DELIVERY_S)
        self._left_at = left_at

    def send(self, events: Sequence[Transaction] | Sequence[Label]) -> int:
        """See Publisher."""
        for start in range(0, len(events), _STAMPED):
            part = events[start : start + _STAMPED]
            if isinstance(part[0], Transaction):
                self._left_at.update(dict.fromkeys((event.transaction_id for event in part), time.monotonic()))
            super().send(part)
        return len(events)

    def send_bytes(self, value: bytes, key: str) -> None:
        """Hand over whatever this is as a transaction."""
        self._producer.produce(self.transactions_topic, value, key, on_delivery=self._delivered)


def _paced(
    batches: Iterable[pa.RecordBatch], rate: float, stopping: Event, monotonic: Callable[[], float] = time.monotonic
) -> Iterator[pa.RecordBatch]:
    """The same rows, so many per second; 0 is as they come. What was held up is not caught up with."""
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
