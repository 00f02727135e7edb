"""Publishing from the event loop: acknowledgements come back to it from the producer's thread."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from adapters.kafka_producer import KafkaProducer
from vedette.settings import KafkaSettings

Acknowledged = Callable[[Any, int, int], None]
"""Called with an error or None, the partition and the offset."""

_TIMEOUT_S = 10.0
_POLL_S = 0.05


class Publisher:
    """A producer for coroutines; start it in the event loop that uses it.

    Args:
        kafka: Settings of the broker.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        # Without linger, every payment would be a separate request and keep the broker busy.
        tuning: dict[str, str | int | float | bool] = {"linger.ms": 1, "socket.nagle.disable": True}
        self._producer = KafkaProducer(kafka, delivery_timeout_s=_TIMEOUT_S, tuning=tuning, reports=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = threading.Event()
        self._reports: deque[tuple[Acknowledged, Any, int, int]] = deque()
        self._scheduled = False
        self._thread = threading.Thread(target=self._poll, name="publisher", daemon=True)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let acknowledgements come in."""
        self._loop = loop
        self._thread.start()

    def connect(self, topic: str) -> None:
        """Return once the producer is connected and knows a topic, so that the first payment does not wait for that.

        Raises:
            UnavailableError: The broker does not answer, or has no such topic.
        """
        self._producer.check(topic, timeout_s=_TIMEOUT_S)

    def close(self) -> None:
        """Wait for what was sent to be acknowledged, for a few seconds."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._producer.flush()

    def send(self, topic: str, value: bytes, key: str, acknowledged: Acknowledged) -> None:
        """Hand a message over.

        Args:
            topic: The topic with its prefix.
            value: The message.
            key: Key from which the partition is computed.
            acknowledged: Called in the event loop once the result of the message is known.

        Raises:
            RefusedError: The producer has failed permanently.
        """

        def report(error: Any, message: Any) -> None:
            partition, offset = (-1, -1) if error else (message.partition(), message.offset())
            self._reports.append((acknowledged, error, partition, offset))
            if not self._scheduled and self._loop is not None and not self._loop.is_closed():
                self._scheduled = True
                self._loop.call_soon_threadsafe(self._deliver)

        self._producer.send(topic, value, key, on_delivery=report)

    def _deliver(self) -> None:
        self._scheduled = False  # first: what is reported from now on is scheduled again
        while self._reports:
            acknowledged, error, partition, offset = self._reports.popleft()
            acknowledged(error, partition, offset)

    def _poll(self) -> None:
        while not self._stop.is_set():
            self._producer.poll(_POLL_S)
