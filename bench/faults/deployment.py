"""A deployment under test: real broker, real Redis, real worker processes, and everything they left behind."""

import os
import signal
import sys
from collections.abc import Callable, Iterable
from http.client import HTTPConnection
from pathlib import Path
from time import time_ns
from typing import Any

import confluent_kafka
import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition

from bench.faults.outcome import Outcome, Published, Topics, content, outcome, position
from bench.faults.redis_pair import RedisPair
from bench.faults.stream import Message, Stream
from bench.rig import wait_until
from features.store import RedisStore
from stack.local import LocalStack
from stack.process import Child
from stack.topics import apply
from vedette.errors import UnavailableError, VedetteError
from vedette.settings import Settings, describe
from vedette.topics import TAKEN_IN, Name

PATIENCE_S = 240.0
"""No step takes anywhere near as long on an idle machine; a busy one may."""
SLOW = 10
"""Messages a batch, so that a burst lasts long enough for something to happen in the middle of it."""
_VEDETTE = (sys.executable, "-P", "-c", "from cli.main import main; main()")


def claim(holds: bool, what: str) -> None:
    """Raise VedetteError unless what is claimed holds."""
    if not holds:
        raise VedetteError(f"it does not hold that {what}")


class Worker:
    """A `vedette worker` process."""

    def __init__(self, settings: Settings, directory: Path, name: str) -> None:
        file = directory / f"{name}.toml"
        file.write_text(describe(settings), encoding="utf-8")
        self.log = directory / f"{name}.log"
        self._child = Child([*_VEDETTE, "--settings", str(file), "worker"], log=self.log)

    @property
    def running(self) -> bool:
        """Whether it lives."""
        return self._child.running

    def kill(self) -> None:
        """SIGKILL."""
        self._child.kill()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self._child.pid, number)

    def stop(self) -> int | None:
        """SIGTERM; the exit code, None if it does not end by itself."""
        if self.running:
            self.signal(signal.SIGTERM)
        code = self._child.exit_code(within_s=PATIENCE_S)
        if code is None:
            self._child.kill()
        return code

    def exit_code(self) -> int | None:
        """How it ended by itself, once it has."""
        wait_until(lambda: not self.running, PATIENCE_S, "the worker's end")
        return self._child.exit_code(within_s=0)

    def events(self, event: str) -> list[dict[str, Any]]:
        """What it logged under a name."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        records = [msgspec.json.decode(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [record for record in records if record["event"] == event]

    def get(self, path: str) -> tuple[int, str]:
        """Ask its endpoint: status and body; status 0 while it does not answer."""
        if not (started := self.events("worker starts")):
            return 0, ""
        connection = HTTPConnection(started[0]["metrics"].split("/")[2], timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        lines = self.get("/metrics")[1].splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    @property
    def ready(self) -> bool:
        """Whether it says so itself."""
        return self.get("/readyz")[0] == 200


class Deployment:
    """Topics, keys and group of one run on a stack, its stream, and its workers.

    Args:
        stack: Broker and Redis.
        settings: With a prefix of the run's own; where Redis is may differ from the stack.
        stream: What is to be published.
        directory: For settings and logs.
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
        self.published = Published()
        self._kept: list[Message] = []
        self.workers: list[Worker] = []
        self.supervised = False
        """Whether workers that have ended are started again."""
        self._prefix = settings.topics.prefix
        self.store = RedisStore(settings.redis)
        client = settings.kafka.client_config() | {"log_level": 0}
        self.topics = Topics(settings)
        self._producer = confluent_kafka.Producer(
            client | {"enable.idempotence": True, "partitioner": "murmur2_random", "linger.ms": 20}
        )
        apply(settings)

    def worker(self, redis_timeout_s: float | None = None, **changes: Any) -> Worker:
        """Start one more worker, with some of its settings changed."""
        settings = msgspec.structs.replace(
            self.settings, worker=msgspec.structs.replace(self.settings.worker, **changes)
        )
        if redis_timeout_s:
            redis = msgspec.structs.replace(settings.redis, timeout_s=redis_timeout_s)
            settings = msgspec.structs.replace(settings, redis=redis)
        worker = Worker(settings, self.directory, f"worker-{len(self.workers)}")
        self.workers.append(worker)
        return worker

    def publish(self, messages: Iterable[Message]) -> None:
        """Publish in order and wait until the broker has all of it."""

        def remember(message: Message) -> Callable[[Any, Any], None]:
            def delivered(error: Any, sent: Any) -> None:
                if error is None:
                    place = position(message.topic, sent.partition(), sent.offset())
                    self.published.poison[place] = content(message.key, message.value)

            return delivered

        for message in messages:
            callback = remember(message) if message.poison else None
            while True:
                try:
                    self._producer.produce(
                        self._prefix + message.topic, message.value, message.key, on_delivery=callback,
                        timestamp=time_ns() // 1_000_000 + message.skew_ms if message.skew_ms else 0,
                    )  # fmt: skip
                    break
                except BufferError:
                    self._producer.poll(0.1)
            if message.transaction_id:
                self.published.transactions.add(message.transaction_id)
            self._producer.poll(0)
        claim(self._producer.flush(PATIENCE_S) == 0, "the broker has all that was published")

    def position(self, topic: Name) -> dict[int, int]:
        """The watermark of each partition in Redis."""
        return self.store.positions(topic, range(self.settings.topics.partitions))

    def committed(self, topic: Name) -> dict[int, int]:
        """The offsets that the group has committed to the broker."""
        consumer = Consumer(
            self.settings.kafka.client_config() | {"group.id": self.settings.worker.group, "log_level": 0}
        )
        asked = [TopicPartition(self._prefix + topic, number) for number in range(self.settings.topics.partitions)]
        answer = consumer.committed(asked, timeout=30)
        consumer.close()
        return {each.partition: max(each.offset, 0) for each in answer}

    def taken_in(self) -> int:
        """How many messages of the transactions topic Redis says are done."""
        return sum(self.position(Name.TRANSACTIONS).values())

    def decided(self) -> int:
        """How many decisions the broker has, repeated ones included."""
        return sum(self.topics.ends(Name.DECISIONS).values())

    def done(self) -> bool:
        """Whether everything published has been taken in; parts that are away say no."""
        try:
            # In this order: once payments and labels are taken in, there is no more activity to come.
            return all(self.position(topic) == self.topics.ends(topic) for topic in TAKEN_IN)
        except (UnavailableError, KafkaException):
            return False

    def alive(self) -> None:
        """Raise VedetteError if all workers have ended, or start one more if they are supervised."""
        if any(worker.running for worker in self.workers):
            return
        if not self.supervised:
            raise VedetteError(f"all workers have ended; the last one's log ends with {_tail(self.workers[-1].log)}")
        self.worker(batch_max=SLOW)

    def finish(self) -> None:
        """Wait until everything published has been taken in by workers that are still alive."""

        def done() -> bool:
            self.alive()
            return self.done()

        self.rest()
        wait_until(done, PATIENCE_S, "the last message", every_s=0.1)

    def reach(self, more: int) -> None:
        """Wait until so many more payments have been taken in, with some still to come."""
        goal = self.taken_in() + more
        wait_until(lambda: self._reached(goal), PATIENCE_S, f"payment {goal}")
        claim(not self.done(), "there is still something to come")

    def in_burst(self, more: int = 1000, batch_max: int = SLOW, **changes: Any) -> Worker:
        """A worker in the middle of the burst."""
        worker = self.worker(batch_max=batch_max, **changes)
        self.publish(self.stream.history)
        self.finish()
        kept = len(self.stream.burst) // 2
        self.publish(self.stream.burst[:-kept])
        self._kept = self.stream.burst[-kept:]
        self.reach(more)
        return worker

    def rest(self) -> int:
        """Publish what was kept of the burst, if anything, so that there is something to take in; how many payments."""
        kept, self._kept = self._kept, []
        self.publish(kept)
        return sum(message.transaction_id is not None for message in kept)

    def recovered(self, since: float) -> float:
        """Wait for the next payment to be taken in; seconds since a moment of the performance counter."""
        wait_until(lambda: self._reached(0), PATIENCE_S, "Redis")
        goal = self.taken_in() + 1
        self.rest()

        def reached() -> bool:
            self.alive()
            return self._reached(goal)

        return wait_until(reached, PATIENCE_S, "the next payment") - since

    def _reached(self, goal: int) -> bool:
        try:
            return self.taken_in() >= goal
        except UnavailableError:
            return False

    def stop(self) -> None:
        """End every worker that is left, and give up the connections."""
        for worker in self.workers:
            if worker.running:
                worker.kill()
        self.store.close()
        self.topics.close()

    def outcome(self) -> Outcome:
        """Read everything back."""
        return outcome(self.settings, self.topics)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-30:])
