"""Publishing of transactions and labels to their topics, keyed by account."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import msgspec
import pyarrow as pa

from adapters.kafka_producer import KafkaProducer
from producers.frame import rows_to_labels, rows_to_transactions
from vedette.errors import DeliveryError
from vedette.events import Label, Transaction
from vedette.settings import Settings
from vedette.topics import Name


class TransactionPublisher:
    """Publishes events; they count as sent only after flush().

    Messages go out idempotently and are acknowledged by all replicas. The partition is the one that Java clients
    and the worker compute for the account (murmur2).

    Args:
        settings: Settings of the broker and the topics.
        compression: Compression type of librdkafka.
        connect_timeout_s: Time-out of the first connection.
        delivery_timeout_s: Time-out of the acknowledgement of a message.

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
        self._producer = KafkaProducer(
            settings.kafka,
            delivery_timeout_s=delivery_timeout_s,
            tuning={
                "compression.type": compression,
                "linger.ms": 20,
                "batch.num.messages": 100_000,
                "batch.size": 500_000,
                "queue.buffering.max.messages": 200_000,
            },
            quiet=True,
        )
        self._producer.check(self.transactions_topic, self.labels_topic, timeout_s=connect_timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, DeliveryError | KeyboardInterrupt):
            self._producer.purge()  # nothing more will be acknowledged, or the caller does not wait
        else:
            self.flush()

    def send_transactions(self, batch: pa.RecordBatch) -> int:
        """Hand over every row of a canonical batch, and return their number.

        Raises:
            DeliveryError: A message handed over earlier was not acknowledged.
        """
        return self.send(rows_to_transactions(batch))

    def send_labels(self, batch: pa.RecordBatch, source: str, *, frauds_only: bool = True) -> int:
        """Hand over the labels of a canonical batch, and return their number.

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
        send, encode = self._producer.send, self._encoder.encode
        for event in events:
            send(topic, encode(event), event.account_id)
        self._producer.poll()
        self._producer.raise_failure()
        return len(events)

    def flush(self) -> None:
        """Wait until everything handed over is acknowledged.

        Raises:
            DeliveryError: A message was not acknowledged; the error names the topic and the broker's reason.
        """
        self._producer.flush()
