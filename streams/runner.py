"""Runs the pipeline next to the event loop: one thread computes batches, another one finishes them."""

import asyncio
import collections
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from streams.batch import Computed, SentBatch
from streams.decode import Record
from streams.health import Attempt, Step
from streams.metrics import Metrics
from streams.partition import HELD, Partition
from streams.pipeline import Pipeline
from streams.retry import DegradedMode, OutOfPatienceError, RetryLoop, Stopped
from streams.watchdog import Watchdog
from vedette.clock import Clock
from vedette.errors import VedetteError
from vedette.topics import Name

_T = TypeVar("_T")
_log = structlog.get_logger("vedette.worker")

_FINISH_EVERY_S = 0.01
"""Least time from one finish to the next while there is room: nobody waits for a finish, and each has a fixed cost."""
_GATHER_S = 0.1
_GATHERED = 1_000
_LOOK_S = 0.5
_BEAT_S = 0.5


@dataclass(frozen=True)
class Batch:
    """Messages of one topic, and the assignment under which they were fetched."""

    topic: str
    """Name of the topic without prefix."""
    records: Mapping[int, Sequence[Record]]
    """Messages by partition, in order of their offsets; at least one each."""
    start: Mapping[int, int]
    """End of the previous batch in each partition, or the start of reading: there are no messages between it and the
    first message."""
    generation: int
    handed_over: float = field(default_factory=time.perf_counter)
    """When it was handed over by the consumer."""


class Runner:
    """Takes batches through the pipeline in order, and keeps the partitions' watermarks.

    Args:
        pipeline: The stages of a batch.
        metrics: Counts the batches.
        clock: Clock for latencies.
        stuck_after_s: A step that takes longer ends the process, so that the partitions move to another worker.
            Waiting for Redis or the broker does not count.
    """

    def __init__(self, pipeline: Pipeline, metrics: Metrics, clock: Clock, stuck_after_s: float) -> None:
        self.generation = 0
        self.on_failure: Callable[[BaseException], None] = lambda _: None
        self.may_resume = False
        """Whether Redis is back, and payments decided without history are to be read again."""
        self._pipeline = pipeline
        self._metrics = metrics
        self._clock = clock
        self._stopping = threading.Event()
        self.watchdog = Watchdog(stuck_after_s, lambda: list(pipeline.owned.values()), self._stopping)
        self._degraded = DegradedMode(lambda: pipeline.patience_s, metrics.health)
        self._retry = RetryLoop(metrics.health, self.watchdog, self._degraded, self._stopping)
        self._compute_thread = ThreadPoolExecutor(1, Step.COMPUTE)
        self._finish_thread = ThreadPoolExecutor(1, Step.FINISH)
        self._free = asyncio.Semaphore(HELD)
        self._idle = asyncio.Event()
        self._idle.set()
        self._gathered: dict[str, list[Batch]] = {}
        self._computed: collections.deque[tuple[Computed, float]] = collections.deque()
        self._failed: BaseException | None = None
        self._finished_at = 0.0

    async def ready(self) -> None:
        """Wait until transactions would be computed at once: messages that arrive until then form one batch."""
        await self._idle.wait()

    def coming(self, batch: Batch) -> None:
        """Record that a batch has been fetched and will be submitted, unless partitions are reassigned before."""
        if batch.topic == Name.TRANSACTIONS:
            self._idle.clear()

    async def submit(self, batch: Batch) -> None:
        """Accept a batch, waiting while too many are in flight.

        Transactions are computed at once. Labels and activity are not time-critical and come in many small messages, so
        they are gathered for a moment.
        """
        if batch.topic == Name.TRANSACTIONS:
            await self._process(batch.topic, [batch])
            self._idle.set()
            return
        gathered = self._gathered.setdefault(batch.topic, [])
        gathered.append(batch)
        if sum(len(records) for held in gathered for records in held.records.values()) >= _GATHERED:
            await self._process(batch.topic, self._gathered.pop(batch.topic))

    async def gather(self) -> None:
        """Process gathered messages at intervals; runs until cancelled."""
        while True:
            await asyncio.sleep(_GATHER_S)
            for topic in list(self._gathered):
                await self._process(topic, self._gathered.pop(topic, []))

    async def assign(self, numbers: set[int]) -> dict[int, Partition]:
        """Finish batches in flight, then own exactly these partitions; batches fetched before are dropped."""

        def change() -> dict[int, Partition]:
            self._finish_thread.submit(lambda: None).result()
            self.generation += 1
            owned = self._retry(Step.COMPUTE, Attempt.CLAIM, lambda: self._pipeline.assign(numbers))
            self._degraded.end()
            self.may_resume = False
            return owned

        partitions = await self._in_compute_thread(change)
        self._idle.set()
        self._metrics.owned(partitions)
        _log.info("partitions assigned", partitions=sorted(numbers), generation=self.generation)
        return partitions

    def revoked(self) -> None:
        """Record that, for the group, nothing is owned until the next assignment."""
        self._metrics.owned({})

    async def look(self) -> None:
        """Check whether Redis is back while payments are decided without history; runs until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_S)
            self.may_resume = self._degraded.active and await asyncio.to_thread(self._pipeline.can_write)

    async def drain(self) -> None:
        """Wait until everything in flight is finished."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._compute_thread, lambda: self._finish_thread.submit(lambda: None).result())

    def watermark(self, topic: str, number: int) -> int | None:
        """Return the offset up to which a partition's messages have been applied durably."""
        partition = self._pipeline.owned.get(number)
        return partition.written_position(topic) if partition else None

    def behind(self, topic: str, number: int, messages: int, produced_at: int) -> None:
        """Record the number of messages of a partition still to be read, and the time of the newest one read, ms."""
        self._metrics.lag.set(topic, number, messages, produced_at)

    def stop(self) -> None:
        """Stop waiting for unavailable parts."""
        self._stopping.set()

    async def beat(self) -> None:
        """Signal to the watchdog that the event loop is running; runs until cancelled."""
        while True:
            self.watchdog.beat()
            await asyncio.sleep(_BEAT_S)

    async def _process(self, topic: str, batches: Sequence[Batch]) -> None:
        """Compute batches of a topic as one, and queue the result to be finished."""
        await self._free.acquire()
        if self._failed:
            raise self._failed
        loop = asyncio.get_running_loop()

        def compute() -> bool:
            started = time.perf_counter()
            computed = self._compute(topic, batches)
            if computed is None:
                return False
            if topic == Name.TRANSACTIONS:  # the others are gathered on purpose
                computed.stages["wait_compute"] = started - batches[-1].handed_over
            self._computed.append((computed, time.perf_counter()))
            future = self._finish_thread.submit(self._watched, Step.FINISH, self._finish)
            future.add_done_callback(lambda done: loop.call_soon_threadsafe(self._finished, done))
            return True

        if not await self._in_compute_thread(compute):
            self._free.release()

    async def _in_compute_thread(self, work: Callable[[], _T]) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._compute_thread, self._watched, Step.COMPUTE, work)

    def _watched(self, step: Step, work: Callable[[], _T]) -> _T:
        with self.watchdog.step(step):
            return work()

    def _compute(self, topic: str, batches: Sequence[Batch]) -> Computed | None:
        current = [batch for batch in batches if batch.generation == self.generation]
        if not self._degraded.active:
            try:
                messages = self._in_sequence(topic, current)
                return self._retry(Step.COMPUTE, Attempt.LOAD, lambda: self._pipeline.compute(topic, messages))
            except OutOfPatienceError:
                pass
        if topic == Name.TRANSACTIONS and current:  # labels and activity only affect state
            self._decide_without_history(current)
        return None

    def _decide_without_history(self, batches: Sequence[Batch]) -> None:
        records = [record for batch in batches for part in batch.records.values() for record in part]
        decided, delivery = self._pipeline.decide_without_history(records)
        self._retry(Step.COMPUTE, Attempt.PUBLISH, lambda: self._pipeline.wait(delivery))
        self._metrics.degraded_decisions.inc(decided)

    def _in_sequence(self, topic: str, batches: Sequence[Batch]) -> dict[int, list[Record]]:
        """Return the messages of batches by partition.

        Raises:
            VedetteError: A batch does not begin where the one before it ended.
        """
        messages: dict[int, list[Record]] = {}
        for batch in batches:
            for number, records in batch.records.items():
                before = messages.setdefault(number, [])
                position = before[-1].offset + 1 if before else self._pipeline.owned[number].position(topic)
                if position is None or batch.start[number] > position:
                    raise VedetteError(
                        f"{topic} {number}: messages {position} to {batch.start[number] - 1} did not arrive",
                        remedy="nothing after them was applied; after a restart the worker reads from the watermark",
                    )
                before += records
        return messages

    def _finish(self) -> None:
        """Publish and commit all computed batches: those computed meanwhile share one round trip."""
        if not self._computed:
            return  # finished with the one before
        self._pace()
        computed: list[Computed] = []
        while self._computed:
            batch, since = self._computed.popleft()
            batch.stages["wait_finish"] = time.perf_counter() - since
            computed.append(batch)
        partitions = {update.partition.number: update.partition for batch in computed for update in batch.updates}
        if all(partition.lost_since for partition in partitions.values()):
            return
        if self._degraded.active:
            return  # unwritten batches will be computed again from the watermark
        self._retry(Step.FINISH, Attempt.PUBLISH, lambda: self._pipeline.settle(computed))
        sent = self._pipeline.send(computed)
        self._retry(Step.FINISH, Attempt.PUBLISH, lambda: self._pipeline.confirm(sent))
        try:
            self._commit(sent, [partition for partition in partitions.values() if not partition.lost_since])
        except OutOfPatienceError:
            return
        for batch in computed:
            self._metrics.finished(batch, self._clock.now_ms())

    def _pace(self) -> None:
        """Let small batches gather while they come in quick succession, unless they soon hold up the next ones."""
        wait = self._finished_at + _FINISH_EVERY_S - time.monotonic()
        if wait > 0 and len(self._computed) < HELD // 2:
            self._stopping.wait(wait)
        self._finished_at = time.monotonic()

    def _commit(self, sent: Sequence[SentBatch], partitions: Sequence[Partition]) -> None:
        lost = self._retry(Step.FINISH, Attempt.WRITE, lambda: self._pipeline.commit_all(sent, partitions))
        for partition in partitions:
            if refusal := lost.get(partition.number):
                partition.lost_since = time.monotonic()
                self._metrics.partitions_lost.inc()
                _log.warning("partition lost", partition=partition.number, reason=str(refusal))

    def _finished(self, done: "Future[None]") -> None:
        self._free.release()
        error = done.exception()
        if error and not isinstance(error, Stopped) and not self._failed:
            self._failed = error
            _log.critical("worker ends", because=str(error))
            self.on_failure(error)
