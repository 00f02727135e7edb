"""Runs the pipeline beside the event loop: one thread computes, one finishes, a watchdog looks on."""

import asyncio
import collections
import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import structlog

from streams.decode import Record
from streams.metrics import Metrics
from streams.partition import HELD, Partition
from streams.pipeline import Pipeline
from streams.work import Work
from vedette.clock import Clock
from vedette.errors import FencedError, UnavailableError, VedetteError
from vedette.topics import Name

_T = TypeVar("_T")
_log = structlog.get_logger("vedette.worker")

_GATHER_S = 0.2
_GATHERED = 1_000
_LOOK_S = 0.5
_NEED_STATE = ("load state", "write state")
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
EXIT_STUCK = 75


@dataclass(frozen=True)
class Batch:
    """Messages of one topic, and the assignment under which they were fetched."""

    topic: str
    """Without prefix."""
    records: Mapping[int, Sequence[Record]]
    """By partition, in order of their offsets; at least one each."""
    start: Mapping[int, int]
    """Where the batch before ended in each partition, or reading began: between there and the first message the log
    holds nothing."""
    generation: int


class Stopped(Exception):  # noqa: N818 — not an error: the worker was asked to stop while it waited
    """The worker stops; whatever was not finished will be done again from the watermark."""


class _OutOfPatienceError(Exception):
    """Redis has been away for longer than the policy lets payments wait."""


class Runner:
    """Takes batches through the pipeline in order, and keeps the partitions' watermarks.

    Args:
        pipeline: The work itself.
        metrics: Where it is counted.
        clock: For latencies.
        stuck_after_s: A step that takes longer ends the process (exit code EXIT_STUCK), so that the partitions move to
            another worker. Waiting for Redis or the broker does not count.
    """

    def __init__(self, pipeline: Pipeline, metrics: Metrics, clock: Clock, stuck_after_s: float) -> None:
        self.generation = 0
        self.on_failure: Callable[[BaseException], None] = lambda _: None
        self._pipeline = pipeline
        self._metrics = metrics
        self._clock = clock
        self._stuck_after_s = stuck_after_s
        self._compute = ThreadPoolExecutor(1, "compute")
        self._finish = ThreadPoolExecutor(1, "finish")
        self._free = asyncio.Semaphore(HELD)
        self._idle = asyncio.Event()
        self._idle.set()
        self._gathered: dict[str, list[Batch]] = {}
        self._computed: collections.deque[Work] = collections.deque()
        self._stopping = threading.Event()
        self._degraded = threading.Event()
        self.may_resume = False
        """Redis is back, and what was decided without history since is to be read again."""
        self._busy: dict[str, float] = {}
        self._failed: BaseException | None = None
        self._loop_seen = math.inf  # not before it turns: joining the group takes as long as the broker wants

    async def ready(self) -> None:
        """Wait until transactions would be computed at once: what arrives until then is fetched as one batch."""
        await self._idle.wait()

    def coming(self, batch: Batch) -> None:
        """Note that a batch has been fetched and will be submitted, unless partitions are assigned anew before."""
        if batch.topic == Name.TRANSACTIONS:
            self._idle.clear()

    async def submit(self, batch: Batch) -> None:
        """Take up a batch; waits while too much is in flight.

        Transactions are computed at once. Nothing waits for labels and activity, which come in many small messages, so
        they are gathered for a moment.
        """
        if batch.topic == Name.TRANSACTIONS:
            await self._take_up(batch.topic, [batch])
            self._idle.set()
            return
        gathered = self._gathered.setdefault(batch.topic, [])
        gathered.append(batch)
        if sum(len(records) for held in gathered for records in held.records.values()) >= _GATHERED:
            await self._take_up(batch.topic, self._gathered.pop(batch.topic))

    async def gather(self) -> None:
        """Take up, every now and then, what has been gathered; runs until cancelled."""
        while True:
            await asyncio.sleep(_GATHER_S)
            for topic in list(self._gathered):
                await self._take_up(topic, self._gathered.pop(topic, []))

    async def _take_up(self, topic: str, batches: Sequence[Batch]) -> None:
        """Compute batches of a topic as one and queue the result to be finished."""
        await self._free.acquire()
        if self._failed:
            raise self._failed
        loop = asyncio.get_running_loop()

        def compute() -> Work | None:
            work = self._compute_one(topic, batches)
            if work:
                self._computed.append(work)
                future = self._finish.submit(self._step, "finish", self._finish_waiting)
                future.add_done_callback(lambda done: loop.call_soon_threadsafe(self._finished, done))
            return work

        if not await loop.run_in_executor(self._compute, self._step, "compute", compute):
            self._free.release()

    async def assign(self, numbers: set[int]) -> dict[int, Partition]:
        """Finish what is in flight, then own exactly these partitions; batches fetched before are dropped."""

        def change() -> dict[int, Partition]:
            self._finish.submit(lambda: None).result()
            self.generation += 1
            owned = self._retry("claim partitions", lambda: self._pipeline.assign(numbers))
            self._degraded.clear()
            self._metrics.with_history()
            self.may_resume = False
            return owned

        loop = asyncio.get_running_loop()
        partitions = await loop.run_in_executor(self._compute, self._step, "compute", change)
        self._idle.set()
        self._metrics.owned(partitions)
        _log.info("partitions assigned", partitions=sorted(numbers), generation=self.generation)
        return partitions

    def revoked(self) -> None:
        """Note that, as far as the group knows, nothing is owned until the next assignment."""
        self._metrics.owned({})

    async def look(self) -> None:
        """While payments are decided without history, look whether Redis is back; runs until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_S)
            self.may_resume = self._degraded.is_set() and await asyncio.to_thread(self._pipeline.can_write)

    async def drain(self) -> None:
        """Wait until everything in flight is finished."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._compute, lambda: self._finish.submit(lambda: None).result())

    def watermark(self, topic: str, number: int) -> int | None:
        """The offset up to which a partition's messages have been taken in for good."""
        partition = self._pipeline.owned.get(number)
        return partition.written_position(topic) if partition else None

    def behind(self, topic: str, number: int, messages: int) -> None:
        """Note how many messages of a partition are still to come."""
        self._metrics.lag.labels(topic, str(number)).set(messages)

    def stop(self) -> None:
        """Give up waiting for parts that are away."""
        self._stopping.set()

    async def beat(self) -> None:
        """Show the watchdog that the event loop turns; runs until cancelled."""
        while True:
            self._loop_seen = time.monotonic()
            await asyncio.sleep(0.5)

    def start_watchdog(self) -> None:
        """Watch, from a thread of its own, that every step and, once it has begun to turn, the event loop get on."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def _watch(self) -> None:
        while not self._stopping.wait(1.0):
            now = time.monotonic()
            stuck = [step for step, since in list(self._busy.items()) if now - since > self._stuck_after_s]
            stuck += [
                f"partition {owned.number}: another worker has claimed it, but it was not reassigned"
                for owned in list(self._pipeline.owned.values())
                if owned.lost_since and now - owned.lost_since > self._stuck_after_s
            ]
            if now - self._loop_seen > self._stuck_after_s:
                stuck.append("event loop")
            if stuck:
                _log.critical("stuck; ending so that another worker takes over", step=stuck[0], s=self._stuck_after_s)
                os._exit(EXIT_STUCK)

    def _compute_one(self, topic: str, batches: Sequence[Batch]) -> Work | None:
        current = [batch for batch in batches if batch.generation == self.generation]
        if not self._degraded.is_set():
            try:
                return self._compute_with_history(topic, current)
            except _OutOfPatienceError:
                pass
        if topic == Name.TRANSACTIONS and current:  # labels and activity are for the state alone
            records = [record for batch in current for part in batch.records.values() for record in part]
            decided = self._retry("publish", lambda: self._pipeline.decide_without_history(records))
            self._metrics.degraded_decisions.inc(decided)
        return None

    def _compute_with_history(self, topic: str, batches: Sequence[Batch]) -> Work | None:
        messages: dict[int, list[Record]] = {}
        for batch in batches:
            for number, records in batch.records.items():
                mine = messages.setdefault(number, [])
                position = mine[-1].offset + 1 if mine else self._pipeline.owned[number].position(topic)
                if position is None or batch.start[number] > position:
                    raise VedetteError(
                        f"{topic} {number}: messages {position} to {batch.start[number] - 1} did not arrive",
                        remedy="nothing behind them was taken in; a new start reads on from the watermark",
                    )
                mine += records
        return self._retry("load state", lambda: self._pipeline.compute(topic, messages))

    def _finish_waiting(self) -> None:
        """Finish all that is computed: what was computed while the last lot was finished shares one round trip."""
        works: list[Work] = []
        while self._computed:
            works.append(self._computed.popleft())
        partitions = {part.partition.number: part.partition for work in works for part in work.parts}
        if not works or all(partition.lost_since for partition in partitions.values()):
            return
        if self._degraded.is_set():
            return  # what is not written will be computed again from the watermark
        self._retry("publish", lambda: self._pipeline.publish(works))
        try:
            for partition in partitions.values():
                self._commit(works, partition)
        except _OutOfPatienceError:
            return
        for work in works:
            self._metrics.finished(work, self._clock.now_ms())

    def _commit(self, works: Sequence[Work], partition: Partition) -> None:
        if partition.lost_since:
            return
        try:
            self._retry("write state", lambda: self._pipeline.commit(works, partition))
        except FencedError as error:
            partition.lost_since = time.monotonic()
            self._metrics.fenced.inc()
            _log.warning("partition lost", partition=partition.number, reason=str(error))

    def _finished(self, done: "Future[None]") -> None:
        self._free.release()
        error = done.exception()
        if error and not isinstance(error, Stopped) and not self._failed:
            self._failed = error
            self.on_failure(error)

    def _step(self, step: str, work: Callable[[], _T]) -> _T:
        self._busy[step] = time.monotonic()
        try:
            return work()
        finally:
            self._busy.pop(step, None)

    def _retry(self, what: str, attempt: Callable[[], _T]) -> _T:
        """Try until it works: while Redis or the broker is away nothing is read on, and so nothing is lost."""
        pause = _FIRST_PAUSE_S
        since = time.monotonic()
        while True:
            try:
                result = attempt()
            except UnavailableError as error:
                _log.warning("waiting", to=what, because=str(error), next_try_s=pause)
                self._metrics.waiting(what)
                if what in _NEED_STATE and self._gives_up(since):
                    raise _OutOfPatienceError from error
                step = threading.current_thread().name.split("_")[0]
                self._busy.pop(step, None)
                if self._stopping.wait(pause):
                    raise Stopped from error
                self._busy[step] = time.monotonic()
                pause = min(2 * pause, _LONGEST_PAUSE_S)
            else:
                self._metrics.waiting(None)
                return result

    def _gives_up(self, since: float) -> bool:
        """Whether to decide without history from now on, instead of waiting for Redis any longer."""
        if not self._degraded.is_set() and time.monotonic() - since >= self._pipeline.patience_s:
            self._degraded.set()
            self._metrics.without_history()
            _log.warning("deciding without history until Redis is back", waited_s=round(time.monotonic() - since, 1))
        return self._degraded.is_set()
