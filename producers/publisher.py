"""Transactions and labels onto their topics, each under its account's key, or an error that says why not."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import msgspec
import pyarrow as pa
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from producers.frame import rows_to_labels, rows_to_transactions
from vedette.errors import DeliveryError, UnavailableError
from vedette.events import Label, Transaction
from vedette.settings import Settings
from vedette.topics import Name


class Publisher:
    """Publishes events; what was handed over counts as sent only after flush().

    Messages go out idempotently and are acknowledged by all replicas. The partition is the one that Java clients
    and the worker compute for the account (murmur2).

    Args:
        settings: Where the broker is and what the topics are called.
        compression: As librdkafka names it.
        connect_timeout_s: How long the broker may take to answer at first.
        delivery_timeout_s: How long a message may wait for its acknowledgement.

    Raises:
        UnavailableError: The broker does not answer, or the topics have not been created.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        compression: str = "lz4",
        connect_timeout_s: float = 10.0,
        delivery_timeout_s: float = 60.0,
    ) -> None:
        self.transactions_topic = settings.topics.prefix + Name.TRANSACTIONS
        self.labels_topic = settings.topics.prefix + Name.LABELS
        self._encoder = msgspec.json.Encoder()
        self._failed: tuple[str, str] | None = None
        self._failures = 0
        self._producer = Producer(
            settings.kafka.client_config()
            | {
                "enable.idempotence": True,
                "acks": "all",
                "partitioner": "murmur2_random",
                "compression.type": compression,
                "linger.ms": 20,
                "batch.num.messages": 100_000,
                "batch.size": 500_000,
                "queue.buffering.max.messages": 200_000,
                "delivery.timeout.ms": round(delivery_timeout_s * 1000),
                "delivery.report.only.error": True,
                "log_level": 2,
            }
        )
        self._check(settings, connect_timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, DeliveryError | KeyboardInterrupt):
            self._producer.purge()  # nothing more will be acknowledged, or nobody wants to wait for it
        else:
            self.flush()

    def send_transactions(self, batch: pa.RecordBatch) -> int:
        """Hand over every row of a canonical batch; returns how many those are.

        Raises:
            DeliveryError: A message handed over earlier was not acknowledged.
        """
        return self.send(rows_to_transactions(batch))

    def send_labels(self, batch: pa.RecordBatch, source: str, *, frauds_only: bool = True) -> int:
        """Hand over the labels of a canonical batch; returns how many those are.

        Raises:
            DeliveryError: A message handed over earlier was not acknowledged.
        """
        return self.send(rows_to_labels(batch, source, frauds_only=frauds_only))

    def send(self, events: Sequence[Transaction] | Sequence[Label]) -> int:
        """Hand over events of one kind; blocks while the queue is full.

        Raises:
            DeliveryError: A message handed over earlier was not acknowledged.
        """
        if not events:
            return 0
        topic = self.labels_topic if isinstance(events[0], Label) else self.transactions_topic
        produce, encode, callback = self._producer.produce, self._encoder.encode, self._delivered
        for event in events:
            value = encode(event)
            while True:
                try:
                    produce(topic, value, event.account_id, on_delivery=callback)
                    break
                except BufferError:  # the queue is full: what waits in it must go first
                    self._producer.poll(0.05)
                    self._raise_failure()
        self._producer.poll(0)
        self._raise_failure()
        return len(events)

    def flush(self) -> None:
        """Wait until everything handed over is acknowledged.

        Raises:
            DeliveryError: Something was not; the message names the topic and the broker's reason.
        """
        while self._producer.flush(0.1):
            self._raise_failure()
        self._raise_failure()

    def _check(self, settings: Settings, timeout_s: float) -> None:
        where = settings.kafka.bootstrap_servers
        try:
            present = self._producer.list_topics(timeout=timeout_s).topics
        except KafkaException as error:
            raise UnavailableError(
                f"the broker at {where} does not answer: {error.args[0].str()}",
                remedy="check [kafka] bootstrap_servers; `vedette stack up` starts a broker on this machine",
            ) from error
        for topic in (self.transactions_topic, self.labels_topic):
            if topic not in present:
                raise UnavailableError(
                    f"the broker at {where} has no topic {topic}", remedy="create it with `vedette topics apply`"
                )

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failures += 1
            self._failed = self._failed or (message.topic() or "", error.str())

    def _raise_failure(self) -> None:
        if self._failed:
            topic, reason = self._failed
            raise DeliveryError(
                f"{self._failures} messages to topic {topic} were not acknowledged: {reason}",
                remedy="see what the broker says and send again from there; events sent twice are recognised by id",
            )
