"""Faust's Kafka transport, modified to hand a whole batch of messages to the agent as one event.

Faust spends some 80 microseconds on every event, which is negligible for a batch. The hooks used here are
internals of the pinned faust-streaming release, so tests/streams/test_faust_contract.py makes sure they still exist.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import structlog
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from adapters.kafka_consumer import TopicFollower
from streams.decode import RawMessage
from streams.group_member import without_fetches
from streams.runner import Batch, Runner
from vedette.errors import SettingsError, VedetteError
from vedette.topics import WORKER_INPUTS

_WAIT_S = 0.2
"""Limit in seconds to wait for a message; an assignment waits as long."""
_TUNING = {
    # A partition's first message waits until the fetch under way, in which it has no part, has been answered.
    "fetch.wait.max.ms": 50,
}
_log = structlog.get_logger("vedette.worker")


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread in which aiokafka runs, as a member of the group that reads no messages."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._contexts = contextlib.ExitStack()

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # By range, the same partition number of every topic goes to the same worker; round robin would separate them.
        consumer._partition_assignment_strategy = (RangePartitionAssignor,)  # noqa: SLF001 — no public way
        client = consumer._client  # noqa: SLF001 — no public way
        client.send = without_fetches(client.send)
        # Otherwise the member would seem stuck, since nothing is fetched through it.
        self._contexts.enter_context(consumer._subscription.fetch_context())  # noqa: SLF001 — no public way
        return consumer


class Consumer(driver.Consumer):
    """Delivers batches, starts from the watermarks of the store, and commits them.

    The messages are fetched by librdkafka, in its own threads and without the GIL: they are at hand when a batch has
    been computed. aiokafka, whose every fetch takes a millisecond of Python, only keeps the place in the group.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._next: dict[TP, int] = {}  # end of the delivered messages
        self._ends: dict[TP, int] = {}  # end of each partition, as far as known
        self._seeking = asyncio.Lock()
        self._fetch_thread = ThreadPoolExecutor(1, "fetch")
        self._follower: TopicFollower | None = None

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
        """Wait until the runner is ready, and yield what has arrived by then, by topic."""
        if self._runner.may_resume and self.flow_active:
            self.log.warning("Redis is back; what was decided without history is read again")
            await self.perform_seek()
        await self._runner.ready()
        generation = self._runner.generation
        records, active = await self._wait_next_records(timeout)
        if not records or self.should_stop:
            return
        for topic in WORKER_INPUTS:
            own = {tp: messages for tp, messages in records.items() if self._name(tp.topic) == topic}
            if not own:
                continue
            if not self._may_hand_over(own.keys(), generation, active):
                # A rebalance occurred in between. The fetched messages may be from before its seek, or from after it.
                await self._follow(self._next)
                return
            event = self._event(topic, own, generation)
            self._runner.coming(event.value)
            yield event.tp, event

    async def on_stop(self) -> None:
        """Stop fetching, and leave the group."""
        await self._follow({})
        await super().on_stop()

    async def _getmany(
        self,
        active_partitions: set[TP] | None,
        timeout: float,  # noqa: ASYNC109 — the signature of Faust's hook
    ) -> Mapping[TP, Sequence[RawMessage]]:
        del active_partitions, timeout
        records: dict[TP, list[RawMessage]] = await self.loop.run_in_executor(self._fetch_thread, self._fetch)
        return records

    def _fetch(self) -> dict[TP, list[RawMessage]]:
        if self._follower is None:
            time.sleep(_WAIT_S)
            return {}
        records: dict[TP, list[RawMessage]] = {}
        for message in self._follower.take(self.app.conf.broker_max_poll_records, _WAIT_S):
            tp = TP(message.topic(), message.partition())
            record = RawMessage(message.key(), message.value(), tp.partition, message.offset(), message.timestamp()[1])
            records.setdefault(tp, []).append(record)
        self._ends |= {tp: self._follower.end(*tp) for tp in records}
        return records

    async def _follow(self, start: Mapping[TP, int]) -> None:
        """Fetch exactly these partitions from these offsets on; drop what was fetched before."""

        def change() -> None:
            if self._follower is not None:
                self._follower.close()
            self._follower = (
                TopicFollower(
                    self.app.vedette_kafka, {tuple(tp): offset for tp, offset in start.items()}, _log,
                    tuning=_TUNING, throttled=True,
                )
                if start
                else None
            )  # fmt: skip

        await self.loop.run_in_executor(self._fetch_thread, change)

    def _may_hand_over(self, partitions: Collection[TP], generation: int, active: Collection[TP] | None) -> bool:
        paused = active is not None and not set(partitions) <= {*active, *self._buffered_partitions}
        return self.flow_active and not paused and self._runner.generation == generation

    def _event(self, topic: str, messages: Mapping[TP, Sequence[RawMessage]], generation: int) -> ConsumerMessage:
        start: dict[int, int] = {}
        for tp, records in messages.items():
            start[tp.partition], self._next[tp] = self._next[tp], records[-1].offset + 1
            behind = max(self._ends[tp] - self._next[tp], 0)
            self._runner.behind(topic, tp.partition, behind, records[-1].timestamp)
        tp, records = next(iter(messages.items()))
        last = records[-1]
        batch = Batch(topic, {tp.partition: records for tp, records in messages.items()}, start, generation)
        return ConsumerMessage(
            topic=tp.topic,
            partition=tp.partition,
            offset=last.offset,
            timestamp=last.timestamp / 1000,
            timestamp_type=0,
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
        """Acquire all assigned partitions and read from their watermarks; the committed offset is only a hint."""
        async with self._seeking:  # Redis may be back in the middle of an assignment
            await self._claim_and_seek()

    async def _claim_and_seek(self) -> None:
        assigned = {TP(tp.topic, tp.partition) for tp in self.assignment()}
        numbers = {tp.partition for tp in assigned}
        expected = self.app.conf.topic_partitions
        if beyond := {number for number in numbers if number >= expected}:
            raise SettingsError(
                f"partition {min(beyond)} was assigned, but [topics] partitions is {expected}",
                remedy="partitions were added to a topic: use a new [topics] prefix and replay",
            )
        apart = [
            tp
            for tp in numbers
            if len({other.topic for other in assigned if other.partition == tp}) != len(WORKER_INPUTS)
        ]
        if apart:
            raise VedetteError(
                f"partition {apart[0]} of transactions, labels and activity must go to one worker, but did not",
                remedy="give the three topics the same number of partitions: `vedette topics diff`",
            )
        await self._follow({})
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
        await self._follow(start)
        self._read_offset.update({tp: offset or None for tp, offset in start.items()})
        self._committed_offset.update(dict.fromkeys(assigned))

    def _name(self, topic: str) -> str:
        return topic.removeprefix(self.app.vedette_topic_prefix)

    def ack(self, message: ConsumerMessage) -> bool:
        """Ignore the acknowledgement; only the runner's watermark is committed."""
        message.acked = True
        self._unacked_messages.discard(message)
        return True

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        del topics
        return (TP(tp.topic, tp.partition) for tp in self.assignment())

    def _new_offset(self, tp: TP) -> int | None:
        return self._runner.watermark(self._name(tp.topic), tp.partition)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Do not look for fetches of aiokafka; the watchdog notices a worker that makes no progress."""

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Ignore gaps: the watermark belongs to the pipeline."""


class Transport(driver.Transport):
    """`batched://host:port`, registered under the entry point `faust.transports`."""

    Consumer: ClassVar[type[Consumer]] = Consumer
