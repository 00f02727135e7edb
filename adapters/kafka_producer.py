"""The one Kafka producer: idempotent, acknowledged by every in-sync replica, placed by key as the worker expects."""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

import confluent_kafka
import msgspec

from adapters.kafka_client import ClientConfig, client_config
from adapters.kafka_errors import refused
from vedette.errors import DeliveryError, UnavailableError
from vedette.events import Event
from vedette.partitioner import PARTITIONER
from vedette.settings import KafkaSettings, Settings

Headers = list[tuple[str, bytes]]
OnDelivery = Callable[[Any, Any], None]
Outgoing = tuple[bytes, bytes, int, Headers | None, OnDelivery]

_DRAIN_S = 0.05
_GRACE_S = 5.0
"""Delay in seconds with which librdkafka reports a time-out of a message."""
_PURGE_S = 1.0
"""Time-out in seconds for the reports of discarded messages, which arrive at once."""


class KafkaProducer:
    """A producer whose messages arrive in order and are not duplicated by its retries; it must be flushed.

    Args:
        kafka: How to reach the broker.
        delivery_timeout_s: Time-out for the acknowledgement of a message.
        tuning: Further librdkafka properties, such as `linger.ms`.
        reports: Whether `on_delivery` is called for every message, or for failures only.
        quiet: Whether the client's log is limited to critical messages, for commands.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        *,
        delivery_timeout_s: float = 30.0,
        tuning: ClientConfig | None = None,
        reports: bool = False,
        quiet: bool = False,
    ) -> None:
        self._where = kafka.bootstrap_servers
        self._timeout_s = delivery_timeout_s
        self._failures = 0
        self._first_failure = ("", "")
        self._producer = confluent_kafka.Producer(
            client_config(kafka)
            | {
                "enable.idempotence": True,
                "acks": "all",
                "partitioner": PARTITIONER,
                "delivery.timeout.ms": round(delivery_timeout_s * 1000),
                "delivery.report.only.error": not reports,
            }
            | ({"log_level": 2} if quiet else {})
            | (tuning or {}),
            logger=logging.getLogger("vedette.producer"),  # otherwise it writes to standard error, bypassing the log
        )

    def check(self, *topics: str, timeout_s: float) -> None:
        """Check that the broker answers and has these topics.

        Raises:
            UnavailableError: The broker or a topic is missing; the message names the address or the topic.
        """
        try:
            present = self._producer.list_topics(timeout=timeout_s).topics
        except confluent_kafka.KafkaException as error:
            raise UnavailableError(
                f"the broker at {self._where} does not answer: {error.args[0].str()}",
                remedy="check [kafka] bootstrap_servers; `vedette stack up` starts a broker on this machine",
            ) from error
        for topic in topics:
            if topic not in present:
                raise UnavailableError(
                    f"the broker at {self._where} has no topic {topic}", remedy="create it with `vedette topics apply`"
                )

    def has(self, topic: str, partition: int, *, timeout_s: float) -> bool:
        """Return whether a partition may exist: False only if the broker reports that it does not."""
        try:
            found = self._producer.list_topics(topic, timeout=timeout_s).topics[topic]
        except confluent_kafka.KafkaException:
            return True
        return not found.error and partition < len(found.partitions)

    def send(
        self, topic: str, value: bytes | None, key: str | bytes | None = None, *, partition: int = -1,
        headers: Headers | None = None, timestamp_ms: int = 0, on_delivery: OnDelivery | None = None,
    ) -> None:  # fmt: skip
        """Hand over a message, blocking while the local queue is full.

        Args:
            topic: The topic with its prefix.
            value: The message; None is a tombstone.
            key: Key from which the partition is computed.
            partition: The partition; -1 uses the key.
            headers: The message's headers.
            timestamp_ms: Milliseconds since epoch; 0 is now.
            on_delivery: Called with an error or None, and the message. Without it, `flush` raises the failure.

        Raises:
            DeliveryError: The queue is full, and a message sent before was not delivered.
            RefusedError: The producer has failed permanently, or the partition does not exist.
        """
        while True:
            try:
                self._producer.produce(
                    topic, value, key, partition, on_delivery or self._note, timestamp=timestamp_ms, headers=headers
                )
            except BufferError:  # the local queue is full: let it drain
                self._producer.poll(_DRAIN_S)
                self.raise_failure()
            except confluent_kafka.KafkaException as error:
                raise refused(topic, error.args[0]) from error
            else:
                return

    def send_all(self, topic: str, messages: Iterable[Outgoing]) -> None:
        """Hand over messages as `send` does, in one loop, since there may be thousands.

        Args:
            topic: The topic with its prefix.
            messages: Key, value, partition, headers and `on_delivery` of each.

        Raises:
            DeliveryError: See `send`.
            RefusedError: See `send`.
        """
        produce = self._producer.produce
        for key, value, partition, headers, on_delivery in messages:
            try:
                produce(topic, value, key, partition, on_delivery, headers=headers)
            except (BufferError, confluent_kafka.KafkaException):
                self.send(topic, value, key, partition=partition, headers=headers, on_delivery=on_delivery)

    def poll(self, timeout_s: float = 0.0) -> None:
        """Process delivery reports."""
        self._producer.poll(timeout_s)

    def flush(self) -> None:
        """Wait until every message is acknowledged.

        Raises:
            DeliveryError: At least one was not; all that were sent since the last flush must be sent again.
        """
        deadline = time.monotonic() + self._timeout_s + _GRACE_S
        while left := self._producer.flush(0.1):
            self.raise_failure()
            if time.monotonic() > deadline:
                self.purge()
                topic = self._first_failure[0] if self._failures else ""  # else that of an earlier failure
                self._failures = 0
                raise _undelivered(left, topic, f"no answer in {self._timeout_s:g} s")
        self.raise_failure()

    def raise_failure(self) -> None:
        """Raise the failure that has been reported since the last call, if there is one.

        Raises:
            DeliveryError: Names the number of messages, the first one's topic and the broker's reason.
        """
        if self._failures:
            failures, self._failures = self._failures, 0
            raise _undelivered(failures, *self._first_failure)

    def purge(self) -> None:
        """Discard every message that has not been acknowledged."""
        self._producer.purge()
        self._producer.flush(_PURGE_S)

    def _note(self, error: Any, message: Any) -> None:
        if error is not None:
            if not self._failures:
                self._first_failure = (message.topic() or "", error.str())
            self._failures += 1


def _undelivered(count: int, topic: str, reason: str) -> DeliveryError:
    where = f" to topic {topic}" if topic else ""
    return DeliveryError(
        f"{count} messages{where} were not acknowledged: {reason}",
        remedy="`vedette doctor` looks at the broker; send again, since an event sent twice is recognised by its id",
    )


class EventProducer:
    """Publishes events as JSON, each under its key.

    Args:
        settings: Settings of the broker and the prefix of topics.
    """

    def __init__(self, settings: Settings) -> None:
        self._prefix = settings.topics.prefix
        self._encoder = msgspec.json.Encoder()
        self._producer = KafkaProducer(settings.kafka, delivery_timeout_s=20.0)

    def send(self, topic: str, key: str, event: Event) -> None:
        """Hand over an event; `flush` reports whether it arrived.

        Args:
            topic: The topic without its prefix.
            key: The account's id.
            event: The event.
        """
        self._producer.send(self._prefix + topic, self._encoder.encode(event), key)

    def flush(self) -> None:
        """Wait until all sent events have arrived.

        Raises:
            DeliveryError: Some events have not arrived, so all must be sent again.
        """
        self._producer.flush()
