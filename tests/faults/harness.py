"""A deployment under test: real broker, real Redis, real worker processes, and everything they left behind."""

import os
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from threading import Event
from typing import Any

import confluent_kafka
import msgspec
from confluent_kafka import KafkaException

from features.store import RedisStore
from stack.process import Child
from stack.topics import apply
from tests.conftest import wait_for
from tests.streams.outcome import Outcome, Published, Topics, outcome
from vedette import keys
from vedette.errors import UnavailableError
from vedette.settings import Settings, describe
from vedette.topics import Name

ROOT = Path(__file__).parents[2]
PATIENCE_S = 240.0
"""No run takes anywhere near as long on an idle machine; a busy one may."""
_READ = (Name.TRANSACTIONS, Name.LABELS, Name.ACTIVITY)
_VEDETTE = (sys.executable, "-c", "from cli.main import main; main()")


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that takes some work to find out, asking only a few times a second."""
    pause = Event()

    def asked() -> bool:
        return condition() or pause.wait(0.1)

    wait_for(asked, PATIENCE_S)


@dataclass(frozen=True)
class Message:
    """What is published: poison has no transaction id."""

    topic: Name
    key: bytes | None
    value: bytes | None
    transaction_id: str | None = None
    poison: bool = False


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
        until(lambda: not self.running)
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
    """Topics, keys and group of one run, and its workers."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        self.settings = settings
        self.published = Published()
        self.workers: list[Worker] = []
        self._directory = directory
        self._prefix = settings.topics.prefix
        self._store = RedisStore(settings.redis)
        client = settings.kafka.client_config() | {"log_level": 0}
        self.topics = Topics(settings)
        self._producer = confluent_kafka.Producer(
            client | {"enable.idempotence": True, "partitioner": "murmur2_random", "linger.ms": 20}
        )
        apply(settings)

    def worker(self, **changes: Any) -> Worker:
        """Start one more worker, with some of its settings changed."""
        worker_settings = msgspec.structs.replace(self.settings.worker, **changes)
        settings = msgspec.structs.replace(self.settings, worker=worker_settings)
        worker = Worker(settings, self._directory, f"worker-{len(self.workers)}")
        self.workers.append(worker)
        return worker

    def publish(self, messages: Iterable[Message]) -> None:
        """Publish in order and wait until the broker has all of it."""

        def remember(message: Message) -> Callable[[Any, Any], None]:
            def delivered(error: Any, sent: Any) -> None:
                assert error is None
                self.published.poison[sent.partition(), sent.offset()] = (message.key, message.value)

            return delivered

        for message in messages:
            callback = remember(message) if message.poison else None
            while True:
                try:
                    self._producer.produce(
                        self._prefix + message.topic, message.value, message.key, on_delivery=callback
                    )
                    break
                except BufferError:
                    self._producer.poll(0.1)
            if message.transaction_id:
                self.published.transactions.add(message.transaction_id)
            self._producer.poll(0)
        assert self._producer.flush(PATIENCE_S) == 0

    def position(self, topic: Name) -> dict[int, int]:
        """The watermark of each partition in Redis."""
        metas = {number: self._store.meta(number) for number in range(self.settings.topics.partitions)}
        return {number: meta.get(keys.position(topic), 0) for number, meta in metas.items()}

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
            return all(self.position(topic) == self.topics.ends(topic) for topic in _READ)
        except (UnavailableError, KafkaException):
            return False

    def finish(self) -> None:
        """Wait until everything published has been taken in by workers that are still alive."""

        def done() -> bool:
            alive = any(worker.running for worker in self.workers)
            assert alive, f"all workers have ended; the last one's log ends with {_tail(self.workers[-1].log)}"
            return self.done()

        until(done)

    def stop(self) -> None:
        """End every worker that is left, and give up the connections."""
        for worker in self.workers:
            if worker.running:
                worker.kill()
        self._store.close()
        self.topics.close()

    def outcome(self) -> Outcome:
        """Read everything back."""
        return outcome(self.settings, self.topics)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-30:])
