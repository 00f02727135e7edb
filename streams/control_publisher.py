"""Publishes the models and the policy in force to the compacted `control` topic."""

import msgspec

from adapters.kafka_producer import KafkaProducer
from vedette.control import ControlRecord, key_of
from vedette.errors import DeliveryError
from vedette.settings import Settings
from vedette.topics import Name

_TIMEOUT_S = 10.0


def publish(settings: Settings, record: ControlRecord) -> None:
    """Publish a record that is in force from now on.

    Raises:
        DeliveryError: The broker did not acknowledge it.
    """
    producer = KafkaProducer(settings.kafka, delivery_timeout_s=_TIMEOUT_S, quiet=True)
    producer.send(settings.topics.prefix + Name.CONTROL, msgspec.json.encode(record), key_of(record))
    try:
        producer.flush()
    except DeliveryError as error:
        raise DeliveryError(
            f"the control record was not delivered: {error.args[0]}",
            remedy="check the broker, then run `vedette models publish` or the same command again",
        ) from error
