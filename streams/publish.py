"""What a batch publishes, and the producer that only says done when the broker has all of it."""

import logging
from collections.abc import Callable
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


@dataclass
class Outbox:
    """Everything one batch has to say."""

    source: tuple[str, int]
    """Topic (without prefix) and partition of the batch."""
    decisions: list[Decision] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    features: bytes | None = None
    activity: dict[int, bytes] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to say."""
        return not (self.decisions or self.alerts or self.features or self.activity or self.rejects)


class Publisher:
    """An idempotent producer for the worker's topics."""

    def __init__(self, settings: KafkaSettings, prefix: str) -> None:
        self._errors: list[str] = []
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
                "delivery.report.only.error": True,
                "on_delivery": self._on_error,
            },
            logger=logging.getLogger("vedette.producer"),  # else it writes to standard error, past the log
        )

    def publish(self, outbox: Outbox) -> None:
        """Hand over a whole batch and wait until every replica in sync has it.

        Raises:
            DeliveryError: The broker did not take all of it; some of it may be there, and will be again.
        """
        if outbox.empty:
            return
        encode = self._encoder.encode
        topic, partition = outbox.source
        produce = self._producer.produce
        decisions = self._prefix + Name.DECISIONS
        for decision in outbox.decisions:
            self._hand_over(produce, decisions, encode(decision), decision.account_id)
        for alert in outbox.alerts:
            self._hand_over(produce, self._prefix + Name.ALERTS, encode(alert), alert.account_id)
        if outbox.features is not None:
            self._hand_over(produce, self._prefix + Name.FEATURES, outbox.features, None, partition)
        for owner, message in outbox.activity.items():
            self._hand_over(produce, self._prefix + Name.ACTIVITY, message, None, owner)
        for reject in outbox.rejects:
            self._hand_over(
                produce, self._prefix + Name.DLQ, reject.record.value, reject.record.key,
                headers=_headers(reject, self._prefix + topic, partition),
            )  # fmt: skip
        left = self._producer.flush(60)
        if self._errors or left:
            errors, self._errors = self._errors, []
            raise DeliveryError(
                f"{len(errors) or left} messages were not delivered: {errors[0] if errors else 'no answer in 60 s'}",
                remedy="is the broker up, and are the topics there? `vedette doctor` looks",
            )

    def _hand_over(
        self, produce: Callable[..., None], topic: str, value: bytes | None, key: str | bytes | None,
        partition: int = -1, headers: list[tuple[str, bytes]] | None = None,
    ) -> None:  # fmt: skip
        while True:
            try:
                return produce(topic, value, key, partition, headers=headers)
            except BufferError:  # the local queue is full: let it drain
                self._producer.poll(0.1)

    def _on_error(self, error: Any, message: Any) -> None:
        self._errors.append(f"{message.topic()}: {error}")


def _headers(reject: Reject, topic: str, partition: int) -> list[tuple[str, bytes]]:
    """The reason in the form of Kafka Connect's dead-letter queues."""
    fields = {
        "topic": topic,
        "partition": str(partition),
        "offset": str(reject.record.offset),
        "stage": "VALUE_CONVERTER",
        "exception.class.name": reject.kind,
        "exception.message": reject.reason,
    }
    return [(f"__connect.errors.{name}", value.encode()) for name, value in fields.items()]
