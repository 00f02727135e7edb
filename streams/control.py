"""The compacted `control` topic: what is in force is published here, and read here by every worker."""

import msgspec
from confluent_kafka import Producer

from vedette.control import Record, key_of
from vedette.errors import DeliveryError
from vedette.settings import Settings
from vedette.topics import Name

_TIMEOUT_S = 10.0


def publish(settings: Settings, record: Record) -> None:
    """Say what is in force from now on.

    Raises:
        DeliveryError: The broker did not take it.
    """
    failed: list[str] = []
    producer = Producer(
        settings.kafka.client_config()
        | {
            "enable.idempotence": True,
            "delivery.timeout.ms": int(_TIMEOUT_S * 1000),
            "log_level": 0,
            "on_delivery": lambda error, _: failed.append(str(error)) if error else None,
        }
    )
    producer.produce(settings.topics.prefix + Name.CONTROL, msgspec.json.encode(record), key_of(record))
    if producer.flush(_TIMEOUT_S + 1) or failed:
        raise DeliveryError(
            f"the control record was not delivered: {failed[0] if failed else 'no answer'}",
            remedy="what was decided is kept in the registry: `vedette models publish` sends it again",
        )
