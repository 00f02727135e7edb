"""Publishing to Kafka from a queue: sent, waited for, and only then forgotten."""

import logging
from typing import Any

import confluent_kafka
import msgspec

from vedette.errors import DeliveryError
from vedette.events import Event
from vedette.settings import Settings

_FLUSH_S = 30.0


class Publisher:
    """A producer whose messages are acknowledged by every in-sync broker, in order, and not doubled by its retries.

    Args:
        settings: Where the broker is, and the prefix of topics.
    """

    def __init__(self, settings: Settings) -> None:
        self._prefix = settings.topics.prefix
        self._errors: list[str] = []
        self._producer = confluent_kafka.Producer(
            settings.kafka.client_config()
            | {
                "enable.idempotence": True,
                "acks": "all",
                "partitioner": "murmur2_random",
                "delivery.timeout.ms": 20_000,
                "delivery.report.only.error": True,
                "on_delivery": self._on_error,
            },
            logger=logging.getLogger("vedette.producer"),
        )

    def send(self, topic: str, key: str, event: Event) -> None:
        """Hand an event to the producer; flush says whether it arrived."""
        value = msgspec.json.encode(event)
        while True:
            try:
                self._producer.produce(self._prefix + topic, value, key)
            except BufferError:  # the local queue is full: let it drain
                self._producer.poll(0.1)
            else:
                return

    def flush(self) -> None:
        """Wait until all that was sent has arrived.

        Raises:
            DeliveryError: Some of it has not, so all of it must be sent again.
        """
        left = self._producer.flush(_FLUSH_S)
        errors, self._errors = self._errors, []
        if errors or left:
            raise DeliveryError(f"{len(errors) or left} messages were not delivered: {errors[:1] or 'no answer'}")

    def _on_error(self, error: Any, message: Any) -> None:
        self._errors.append(f"{message.topic()}: {error}")
