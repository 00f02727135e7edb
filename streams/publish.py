"""What a batch publishes, and the producer that only says done when the broker has all of it."""

import itertools
import logging
import time
from dataclasses import dataclass, field
from typing import Any

import confluent_kafka
import msgspec

from streams.decode import Reject
from vedette.errors import DeliveryError
from vedette.events import Alert, Decision
from vedette.settings import KafkaSettings
from vedette.topics import Name

_QUEUE = 200_000
_WAIT_S = 60.0


@dataclass
class Outbox:
    """Messages of one batch."""

    topic: str
    """Topic of the batch, without prefix."""
    decisions: list[Decision] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    features: tuple[int, bytes] | None = None
    """Partition and record batch."""
    activity: dict[int, bytes] = field(default_factory=dict)
    """By partition."""

    def __len__(self) -> int:
        return (
            len(self.decisions)
            + len(self.alerts)
            + len(self.rejects)
            + (self.features is not None)
            + len(self.activity)
        )


class Receipt:
    """What the broker has confirmed of an outbox."""

    def __init__(self, messages: int) -> None:
        self.complete = not messages
        self.errors: list[str] = []
        self._messages = messages
        self._confirmed = itertools.count(1)  # whose next() is one step, whichever threads the callbacks come in

    def note(self, error: Any, message: Any) -> None:
        """Called by the producer for every message."""
        if error:
            self.errors.append(f"{message.topic()}: {error}")
        if next(self._confirmed) == self._messages:
            self.complete = True


class Publisher:
    """An idempotent producer for the worker's topics."""

    def __init__(self, settings: KafkaSettings, prefix: str) -> None:
        self._prefix = prefix
        self._encoder = msgspec.json.Encoder()
        self._producer = confluent_kafka.Producer(
            settings.client_config()
            | {
                "enable.idempotence": True,
                "acks": "all",
                "partitioner": "murmur2_random",
                "compression.type": "lz4",
                "linger.ms": 2,
                "socket.nagle.disable": True,
                "queue.buffering.max.messages": _QUEUE,
                "queue.buffering.max.kbytes": 1_048_576,
                "message.max.bytes": 16_000_000,
                "delivery.timeout.ms": 30_000,
            },
            logger=logging.getLogger("vedette.producer"),  # else it writes to standard error, past the log
        )

    def send(self, outbox: Outbox) -> Receipt:
        """Hand messages over, without waiting for the broker to have them."""
        receipt = Receipt(len(outbox))
        encode = self._encoder.encode
        decisions, alerts = self._prefix + Name.DECISIONS, self._prefix + Name.ALERTS
        for decision in outbox.decisions:
            self._hand_over(receipt, decisions, encode(decision), decision.account_id)
        for alert in outbox.alerts:
            self._hand_over(receipt, alerts, encode(alert), alert.account_id)
        for reject in outbox.rejects:
            headers = _headers(reject, self._prefix + outbox.topic)
            self._hand_over(receipt, self._prefix + Name.DLQ, reject.record.value, reject.record.key, headers=headers)
        if outbox.features:
            partition, message = outbox.features
            self._hand_over(receipt, self._prefix + Name.FEATURES, message, None, partition)
        for partition, message in outbox.activity.items():
            self._hand_over(receipt, self._prefix + Name.ACTIVITY, message, None, partition)
        return receipt

    def wait(self, *receipts: Receipt) -> None:
        """Return when every replica in sync has all of it.

        Raises:
            DeliveryError: The broker did not take all of it; some of it may be there, and will be again.
        """
        deadline = time.monotonic() + _WAIT_S
        while not all(receipt.complete for receipt in receipts):
            self._producer.poll(0.05)
            if time.monotonic() > deadline:
                break
        errors = [error for receipt in receipts for error in receipt.errors]
        if errors or not all(receipt.complete for receipt in receipts):
            raise DeliveryError(
                f"{len(errors) or 'some'} messages were not delivered: {errors[0] if errors else 'no answer in 60 s'}",
                remedy="is the broker up, and are the topics there? `vedette doctor` looks",
            )

    def _hand_over(
        self, receipt: Receipt, topic: str, value: bytes | None, key: str | bytes | None,
        partition: int = -1, headers: list[tuple[str, bytes]] | None = None,
    ) -> None:  # fmt: skip
        while True:
            try:
                self._producer.produce(topic, value, key, partition, receipt.note, headers=headers)
                break
            except BufferError:  # the local queue is full: let it drain
                self._producer.poll(0.1)


def _headers(reject: Reject, topic: str) -> list[tuple[str, bytes]]:
    """The reason in the form of Kafka Connect's dead-letter queues."""
    fields = {
        "topic": topic,
        "partition": str(reject.record.partition),
        "offset": str(reject.record.offset),
        "stage": "VALUE_CONVERTER",
        "exception.class.name": reject.kind,
        "exception.message": reject.reason,
    }
    return [(f"__connect.errors.{name}", value.encode()) for name, value in fields.items()]
