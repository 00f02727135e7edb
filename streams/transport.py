"""Faust's Kafka transport, handing the agent a whole batch of messages as one event.

Faust spends some 80 microseconds on every event; on an event that is a batch, that is nothing. The hooks used here are
internals of the pinned faust-streaming release, so tests/streams/test_faust_contract.py makes sure they still exist.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import IllegalStateError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from streams.runner import Batch, Runner
from vedette.errors import VedetteError
from vedette.topics import TAKEN_IN

_FETCH_S = 0.004
"""As long as a fetch takes when there is something to fetch."""


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread in which aiokafka runs."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # By range, the same partition number of every topic goes to the same worker; round robin would part them.
        consumer._partition_assignment_strategy = (RangePartitionAssignor,)  # noqa: SLF001 — no public way
        return consumer


class Consumer(driver.Consumer):
    """Hands over batches, starts where the store says, and commits what the store holds."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._next: dict[TP, int] = {}  # where what was handed over ends
        self._seeking = asyncio.Lock()

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def _runner(self) -> Runner:
        runner: Runner = self.app.vedette_runner
        return runner

    async def getmany(
        self,
        timeout: float,  # noqa: ASYNC109 — the signature of Faust's hook
    ) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """Fetch messages, in one or two polls of half of batch_max each, and yield them by topic."""
        await self._runner.ready()
        if self._runner.may_resume and self.flow_active:
            self.log.warning("Redis is back; what was decided without history is read again")
            with contextlib.suppress(IllegalStateError):  # partitions are being assigned anew: perform_seek follows
                await self.perform_seek()
        generation = self._runner.generation
        records, active = await self._wait_next_records(timeout)
        if records:
            # That was fetched while the batch before it was computed, and stopped at what there was then.
            newer, active = await self._wait_next_records(_FETCH_S)
            for tp, messages in (newer or {}).items():
                records[tp] = [*records.get(tp, ()), *messages]
        if records is None or self.should_stop:
            return
        for topic in TAKEN_IN:
            mine = {tp: list(messages) for tp, messages in records.items() if self._name(tp.topic) == topic}
            if not mine:
                continue
            paused = active is not None and not mine.keys() <= {*active, *self._buffered_partitions}
            if paused or not self.flow_active or self._runner.generation != generation:
                # A rebalance came between. What was fetched may be from before its seek, or from after it.
                await self._rewind()
                return
            event = self._event(topic, mine, generation)
            self._runner.coming(event.value)
            yield event.tp, event

    async def _rewind(self) -> None:
        """Fetch again whatever was fetched and not handed over."""
        assigned = self.assignment()
        with contextlib.suppress(IllegalStateError):  # no longer assigned: perform_seek follows
            await self.seek_wait({tp: offset for tp, offset in self._next.items() if tp in assigned})

    def _event(self, topic: str, messages: dict[TP, list[Any]], generation: int) -> ConsumerMessage:
        start: dict[int, int] = {}
        for tp, records in messages.items():
            start[tp.partition], self._next[tp] = self._next[tp], records[-1].offset + 1
            self._runner.behind(topic, tp.partition, (self.highwater(tp) or 0) - self._next[tp])
        tp, records = next(iter(messages.items()))
        last = records[-1]
        batch = Batch(topic, {tp.partition: records for tp, records in messages.items()}, start, generation)
        return ConsumerMessage(
            topic=tp.topic,
            partition=tp.partition,
            offset=last.offset,
            timestamp=last.timestamp / 1000,
            timestamp_type=last.timestamp_type,
            headers=(),
            key=None,
            value=batch,
            checksum=None,
            serialized_key_size=0,
            serialized_value_size=0,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def perform_seek(self) -> None:
        """Claim all assigned partitions and read on from their watermarks; the committed offset is only a hint."""
        async with self._seeking:  # Redis may be back in the middle of an assignment
            await self._claim_and_seek()

    async def _claim_and_seek(self) -> None:
        assigned = {TP(tp.topic, tp.partition) for tp in self.assignment()}
        numbers = {tp.partition for tp in assigned}
        apart = [
            tp for tp in numbers if len({other.topic for other in assigned if other.partition == tp}) != len(TAKEN_IN)
        ]
        if apart:
            raise VedetteError(
                f"partition {apart[0]} of transactions, labels and activity must go to one worker, but did not",
                remedy="give the three topics the same number of partitions: `vedette topics diff`",
            )
        partitions = await self._runner.assign(numbers)
        earliest = await self.earliest_offsets(*assigned)
        start: dict[TP, int] = {}
        for tp in assigned:
            watermark = partitions[tp.partition].position(self._name(tp.topic))
            start[tp] = max(watermark or 0, earliest[tp])
            if watermark is not None and watermark < earliest[tp]:
                self.log.warning(
                    "%s: messages %s to %s were deleted before they were read", tp, watermark, earliest[tp] - 1
                )
            partitions[tp.partition].begin(self._name(tp.topic), start[tp])
        self._next = start
        await self.seek_wait(start)
        self._read_offset.update({tp: offset or None for tp, offset in start.items()})
        self._committed_offset.update(dict.fromkeys(assigned))

    def _name(self, topic: str) -> str:
        return topic.removeprefix(self.app.vedette_topic_prefix)

    def ack(self, message: ConsumerMessage) -> bool:
        """Forget a message; what may be committed is the runner's watermark alone."""
        message.acked = True
        self._unacked_messages.discard(message)
        return True

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        del topics
        return (TP(tp.topic, tp.partition) for tp in self.assignment())

    def _new_offset(self, tp: TP) -> int | None:
        return self._runner.watermark(self._name(tp.topic), tp.partition)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Gaps need no book-keeping: the watermark is the pipeline's."""


class Transport(driver.Transport):
    """`batched://host:port`, registered under the entry point `faust.transports`."""

    Consumer: ClassVar[type[Consumer]] = Consumer
