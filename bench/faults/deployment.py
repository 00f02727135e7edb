"""A deployment under test: real broker, real Redis, real worker processes, and all their output."""

from collections.abc import Callable, Iterable
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Any

import msgspec

from adapters.kafka_producer import KafkaProducer
from adapters.kafka_reader import committed_offsets
from bench.environment import wait_until
from bench.faults.stream import Stream, StreamMessage
from features.store import RedisStore
from stack.local import LocalStack
from stack.redis_pair import RedisPair
from stack.topics import apply
from stack.worker import WorkerProcess
from streams.history.run_output import RunInput, RunOutput, Topics, content, position, read_output
from vedette.errors import UnavailableError, VedetteError
from vedette.settings import Settings
from vedette.topics import WORKER_INPUTS, Name

if TYPE_CHECKING:
    from vedette.client import Answer

PATIENCE_S = 240.0
"""Time-out of a step, far above its usual duration, for busy machines."""
SLOW = 10
"""Messages per batch, so that a burst lasts long enough for a fault in the middle of it."""


def ensure(holds: bool, what: str) -> None:
    """Raise VedetteError unless the claim holds."""
    if not holds:
        raise VedetteError(f"it does not hold that {what}")


class Deployment:
    """Topics, keys and group of one run on a stack, its stream, and its workers.

    Args:
        stack: Broker and Redis.
        settings: Settings with a separate prefix for the run; Redis may differ from that of the stack.
        stream: Messages to publish.
        directory: Folder of settings and logs.
        pair: The Redis behind Sentinels, if the settings lead there.
    """

    def __init__(
        self, stack: LocalStack, settings: Settings, stream: Stream, directory: Path, pair: RedisPair | None = None
    ) -> None:
        self.stack = stack
        self.pair = pair
        self.settings = settings
        self.stream = stream
        self.directory = directory
        self.published = RunInput()
        self._kept: list[StreamMessage] = []
        self.workers: list[WorkerProcess] = []
        self.supervised = False
        """Whether workers that have ended are restarted."""
        self.answers: dict[str, list[Answer]] = {}
        """What gateways have answered, by payment."""
        self._prefix = settings.topics.prefix
        self.store = RedisStore(settings.redis)
        self.topics = Topics(settings)
        self._producer = KafkaProducer(
            settings.kafka, delivery_timeout_s=PATIENCE_S, tuning={"linger.ms": 20}, reports=True, quiet=True
        )
        apply(settings)

    def worker(
        self,
        redis_timeout_s: float | None = None,
        model: Path | None = None,
        policy: Path | None = None,
        **changes: Any,
    ) -> WorkerProcess:
        """Start one more worker, with some of its settings changed."""
        settings = msgspec.structs.replace(
            self.settings, worker=msgspec.structs.replace(self.settings.worker, **changes)
        )
        if model:
            decisions = msgspec.structs.replace(settings.decisions, model=str(model))
            settings = msgspec.structs.replace(settings, decisions=decisions)
        if policy:
            decisions = msgspec.structs.replace(settings.decisions, policy=str(policy))
            settings = msgspec.structs.replace(settings, decisions=decisions)
        if redis_timeout_s:
            redis = msgspec.structs.replace(settings.redis, timeout_s=redis_timeout_s)
            settings = msgspec.structs.replace(settings, redis=redis)
        worker = WorkerProcess(settings, self.directory, f"worker-{len(self.workers)}")
        self.workers.append(worker)
        return worker

    def publish(self, messages: Iterable[StreamMessage]) -> None:
        """Publish in order and wait until the broker has everything."""

        def remember(message: StreamMessage) -> Callable[[Any, Any], None]:
            def delivered(error: Any, sent: Any) -> None:
                if error is None:
                    place = position(message.topic, sent.partition(), sent.offset())
                    self.published.poison[place] = content(message.key, message.value)

            return delivered

        for message in messages:
            callback = remember(message) if message.poison else None
            self._producer.send(
                self._prefix + message.topic, message.value, message.key, on_delivery=callback,
                timestamp_ms=time_ns() // 1_000_000 + message.skew_ms if message.skew_ms else 0,
            )  # fmt: skip
            if message.transaction_id:
                self.published.transactions.add(message.transaction_id)
            self._producer.poll()
        self._producer.flush()

    def position(self, topic: Name) -> dict[int, int]:
        """Return the watermark of each partition in Redis."""
        return self.store.positions(topic, range(self.settings.topics.partitions))

    def committed(self, topic: Name) -> dict[int, int]:
        """Return the offsets that the group has committed to the broker."""
        return committed_offsets(
            self.settings.kafka,
            self.settings.worker.group,
            self._prefix + topic,
            range(self.settings.topics.partitions),
        )

    def consumed(self) -> int:
        """Return the number of messages of the transactions topic that are applied according to Redis."""
        return sum(self.position(Name.TRANSACTIONS).values())

    def decided(self) -> int:
        """Return the number of decisions on the broker, repeated ones included."""
        return sum(self.topics.ends(Name.DECISIONS).values())

    def done(self) -> bool:
        """Return whether everything published has been applied; False if a server is down."""
        try:
            # In this order: once payments and labels are applied, no more activity follows.
            return all(self.position(topic) == self.topics.ends(topic) for topic in WORKER_INPUTS)
        except UnavailableError:
            return False

    def alive(self) -> None:
        """Raise VedetteError if all workers have ended, or start one more if they are supervised."""
        if any(worker.running for worker in self.workers):
            return
        if not self.supervised:
            raise VedetteError(f"all workers have ended; the last one's log ends with {self.workers[-1].log_tail}")
        self.worker(batch_max=SLOW)

    def finish(self) -> None:
        """Wait until everything published has been applied by workers that are still running."""

        def done() -> bool:
            self.alive()
            return self.done()

        self.rest()
        wait_until(done, PATIENCE_S, "the last message", every_s=0.1)

    def reach(self, more: int) -> None:
        """Wait until this many more payments have been applied, with some still pending."""
        goal = self.consumed() + more
        wait_until(lambda: self._reached(goal), PATIENCE_S, f"payment {goal}")
        ensure(not self.done(), "some messages are still pending")

    def in_burst(self, more: int = 1000, batch_max: int = SLOW, **changes: Any) -> WorkerProcess:
        """Return a worker in the middle of the burst."""
        worker = self.worker(batch_max=batch_max, **changes)
        self.publish(self.stream.history)
        self.finish()
        kept = len(self.stream.burst) // 2
        self.publish(self.stream.burst[:-kept])
        self._kept = self.stream.burst[-kept:]
        self.reach(more)
        return worker

    def rest(self) -> int:
        """Publish the rest of the burst, if any, so that there is something to apply; return the number of payments."""
        kept, self._kept = self._kept, []
        self.publish(kept)
        return sum(message.transaction_id is not None for message in kept)

    def recovered(self, since: float) -> float:
        """Wait for the next payment to be applied; return the seconds since a time of the performance counter."""
        wait_until(lambda: self._reached(0), PATIENCE_S, "Redis")
        goal = self.consumed() + 1
        self.rest()

        def reached() -> bool:
            self.alive()
            return self._reached(goal)

        return wait_until(reached, PATIENCE_S, "the next payment") - since

    def _reached(self, goal: int) -> bool:
        try:
            return self.consumed() >= goal
        except UnavailableError:
            return False

    def stop(self) -> None:
        """Stop every remaining worker, and close the connections."""
        for worker in self.workers:
            if worker.running:
                worker.kill()
        self.store.close()
        self.topics.close()

    def output(self) -> RunOutput:
        """Read all output."""
        return read_output(self.settings, self.topics)
