"""Replay of canonical batches onto Kafka: at full speed or in (accelerated) time, with labels, and stoppable."""

import heapq
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyarrow as pa

from producers.aligner import Aligner
from producers.frame import rows_to_labels, rows_to_transactions
from producers.publisher import TransactionPublisher
from vedette.clock import SECOND, format_time
from vedette.errors import InputError

if TYPE_CHECKING:
    from vedette.events import Label

LABELS = ("none", "at-once", "delayed")

_CHUNK_ROWS = 2_000  # handed over between two checks of the stop event
_TICK_S = 0.05  # resolution of a replay in time


@dataclass(frozen=True)
class Plan:
    """Options of a replay.

    Args:
        labels: `at-once` sends a label right after its transaction, `delayed` when event time reaches its arrival;
            those due after the last transaction follow it.
        all_labels: Also send the labels of genuine transactions.
        source: Source named by the labels.
        speed: Event time per real time, such as 60 for an hour per minute; 0 is as fast as possible.
        limit: Stop after this number of transactions; 0 is all.
    """

    labels: str = "at-once"
    all_labels: bool = False
    source: str = "file"
    speed: float = 0.0
    limit: int = 0

    def __post_init__(self) -> None:
        if self.labels not in LABELS:
            raise InputError(f"labels cannot be sent {self.labels!r}", remedy=f"one of {', '.join(LABELS)}")
        for name in ("speed", "limit"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} is {getattr(self, name)}", remedy="it cannot be negative")


class ReplayReport(msgspec.Struct):
    """Progress of a replay; the counted events are acknowledged once the replay returns."""

    transactions: int = 0
    labels: int = 0
    first_event_time: int | None = None
    last_event_time: int | None = None
    interrupted: bool = False


@contextmanager
def stop_on_interrupt() -> Iterator[Event]:
    """Yield an event that the first Ctrl-C (or SIGTERM) sets; a second one interrupts as usual."""
    stopping = Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        stopping.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, stop)
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Replay:
    """One run over a stream.

    Args:
        publisher: Publisher of the events.
        plan: Options of the replay.
        stopping: When set, the run ends after the current chunk, with everything handed over acknowledged.
        aligner: Limits the run to the worker's pace; None does not.
        on_progress: Called with the report after every chunk.
        monotonic: A monotonic clock, in seconds.
    """

    def __init__(
        self,
        publisher: TransactionPublisher,
        plan: Plan,
        *,
        stopping: Event,
        aligner: Aligner | None = None,
        on_progress: Callable[[ReplayReport], None] = lambda _: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.report = ReplayReport()
        self._publisher = publisher
        self._plan = plan
        self._stopping = stopping
        self._aligner = aligner
        self._on_progress = on_progress
        self._monotonic = monotonic
        self._began: tuple[float, int] | None = None  # real and event time of the first transaction
        self._slice_end: int | None = None
        self._waiting: list[tuple[int, int, Label]] = []
        self._arrivals = 0

    def run(self, batches: Iterable[pa.RecordBatch]) -> ReplayReport:
        """Send all batches, or those before the stop.

        Raises:
            InputError: The rows are not in order of time, but the plan needs them to be.
            DeliveryError: The broker did not acknowledge a message.
            UnavailableError: The worker, broker or Redis do not answer.
        """
        for batch in batches:
            for chunk in self._chunks(batch):
                if self._finished() or not self._ready(chunk):
                    break
                self._send(chunk)
                self._on_progress(self.report)
            if self._finished():
                break
        if not self._stopping.is_set():
            self._release(None)
        self._publisher.flush()
        self.report.interrupted = self._stopping.is_set()
        return self.report

    def _finished(self) -> bool:
        return self._stopping.is_set() or 0 < self._plan.limit <= self.report.transactions

    def _chunks(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Yield chunks small enough to stop between, each within one slice and one tick of event time."""
        times = batch.column("event_time").to_numpy()
        widths = [self._aligner.slice_ms] if self._aligner else []
        if self._plan.speed:
            widths.append(max(round(self._plan.speed * _TICK_S * SECOND), 1))
        cuts = {0, len(times), *range(0, len(times), _CHUNK_ROWS)}
        for width in widths:
            cuts.update((np.flatnonzero(np.diff(times // width)) + 1).tolist())
        if self._plan.limit:
            left = self._plan.limit - self.report.transactions
            cuts = {min(cut, left) for cut in cuts}
        edges = sorted(cuts)
        for start, end in pairwise(edges):
            yield batch.slice(start, end - start)

    def _ready(self, chunk: pa.RecordBatch) -> bool:
        """Wait until the chunk may be sent; return False if stopped meanwhile."""
        first = chunk.column("event_time")[0].as_py()
        self._check_order(first, chunk)
        if self._aligner and (self._slice_end is None or first >= self._slice_end):
            if self._slice_end is not None:
                self._publisher.flush()
                self._aligner.after(self._slice_end)
            start = first // self._aligner.slice_ms * self._aligner.slice_ms
            self._slice_end = start + self._aligner.slice_ms
            self._aligner.before(start)
        if self._plan.speed:
            self._began = self._began or (self._monotonic(), first)
            due = self._began[0] + (first - self._began[1]) / SECOND / self._plan.speed
            while not self._stopping.is_set() and (early := due - self._monotonic()) > 0:
                self._stopping.wait(min(early, 1.0))
        return not self._stopping.is_set()

    def _check_order(self, first: int, chunk: pa.RecordBatch) -> None:
        if not (self._aligner or self._plan.speed or self._plan.labels == "delayed"):
            return
        times = chunk.column("event_time").to_numpy()
        latest = self.report.last_event_time
        if (latest is not None and first < latest) or bool(np.any(np.diff(times) < 0)):
            raise InputError(
                f"the file is not in order of time: a row after {format_time(max(latest or 0, first))} is earlier",
                remedy="sort it by time, or replay it at full speed without --align and with labels at once",
            )

    def _send(self, chunk: pa.RecordBatch) -> None:
        transactions = rows_to_transactions(chunk)
        labels = (
            []
            if self._plan.labels == "none"
            else rows_to_labels(chunk, self._plan.source, frauds_only=not self._plan.all_labels)
        )
        if self._plan.labels == "delayed":
            for label in labels:
                heapq.heappush(self._waiting, (label.labelled_at, self._arrivals, label))
                self._arrivals += 1
            start = 0
            for row, transaction in enumerate(transactions):
                if self._waiting and self._waiting[0][0] < transaction.event_time:
                    self._publisher.send(transactions[start:row])
                    self._release(transaction.event_time)
                    start = row
            self._publisher.send(transactions[start:])
        else:
            self._publisher.send(transactions)
            self.report.labels += self._publisher.send(labels)
        self.report.transactions += len(transactions)
        if self.report.first_event_time is None:
            self.report.first_event_time = transactions[0].event_time
        self.report.last_event_time = transactions[-1].event_time

    def _release(self, before: int | None) -> None:
        """Send the waiting labels that arrive before this moment, or all of them."""
        due = []
        while self._waiting and (before is None or self._waiting[0][0] < before):
            due.append(heapq.heappop(self._waiting)[2])
        self.report.labels += self._publisher.send(due)
