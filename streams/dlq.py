"""The dead-letter topic: what is in it and why, and its way back after a fix."""

from collections.abc import Iterator
from typing import Any

import confluent_kafka
import msgspec

from vedette.errors import DeliveryError, InputError, UnavailableError
from vedette.settings import Settings
from vedette.topics import Name

_HEADERS = "__connect.errors."
_REPLAYED = "vedette.replayed-from"
_TIMEOUT_S = 10.0


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that could not be read."""

    partition: int
    offset: int
    at: int
    """When it was set aside, milliseconds."""
    topic: str
    """Where it came from."""
    source: str
    """Its partition and offset there."""
    kind: str
    reason: str
    key: bytes | None
    value: bytes | None

    @property
    def id(self) -> str:
        """How to name it: partition:offset in the dead-letter topic."""
        return f"{self.partition}:{self.offset}"


def letters(settings: Settings, *, fresh: bool = False, reason: str = "") -> Iterator[DeadLetter]:
    """The dead letters, partition by partition, oldest first.

    Args:
        settings: Where the broker is.
        fresh: Only those that were not replayed yet.
        reason: Only those whose reason contains this text.

    Raises:
        UnavailableError: The broker or the topic is not there.
    """
    consumer = _consumer(settings)
    name = settings.topics.prefix + Name.DLQ
    try:
        for partition in range(settings.topics.partitions):
            start, end = consumer.get_watermark_offsets(confluent_kafka.TopicPartition(name, partition), _TIMEOUT_S)
            if fresh:
                (mark,) = consumer.committed([confluent_kafka.TopicPartition(name, partition)], _TIMEOUT_S)
                start = max(start, mark.offset)
            if start >= end:
                continue
            consumer.assign([confluent_kafka.TopicPartition(name, partition, start)])
            for message in _messages(consumer, end):
                letter = _letter(message)
                if reason.lower() in letter.reason.lower():
                    yield letter
    except confluent_kafka.KafkaException as error:
        raise UnavailableError(f"topic {name}: {error.args[0].str()}", remedy="`vedette doctor` looks") from error
    finally:
        consumer.close()


def find(settings: Settings, identifier: str) -> DeadLetter:
    """One dead letter by its id.

    Raises:
        InputError: There is none.
    """
    for letter in letters(settings):
        if letter.id == identifier:
            return letter
    raise InputError(f"there is no dead letter {identifier!r}", remedy="`vedette dlq list` shows the ids there are")


def replay(settings: Settings, chosen: list[DeadLetter], *, remember: bool) -> None:
    """Send letters back to the topics they came from, as they were, with a header that names the dead letter.

    Args:
        settings: Where the broker is.
        chosen: Which.
        remember: Whether everything up to the last one of each partition counts as replayed from now on.

    Raises:
        DeliveryError: The broker did not take one; none of them counts as replayed.
    """
    failed: list[str] = []
    producer = confluent_kafka.Producer(
        settings.kafka.client_config()
        | {
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "delivery.report.only.error": True,
            "on_delivery": lambda error, _: failed.append(str(error)),
        }
    )
    for letter in chosen:
        producer.produce(letter.topic, letter.value, letter.key, headers=[(_REPLAYED, letter.id.encode())])
    if producer.flush(60) or failed:
        raise DeliveryError(f"dead letters were not delivered: {failed[0] if failed else 'no answer in 60 s'}")
    if not (remember and chosen):
        return
    name = settings.topics.prefix + Name.DLQ
    done = {letter.partition: letter.offset + 1 for letter in chosen}
    consumer = _consumer(settings)
    try:
        offsets = [confluent_kafka.TopicPartition(name, partition, offset) for partition, offset in done.items()]
        consumer.commit(offsets=offsets, asynchronous=False)
    finally:
        consumer.close()


def _consumer(settings: Settings) -> confluent_kafka.Consumer:
    return confluent_kafka.Consumer(
        settings.kafka.client_config()
        | {"group.id": f"{settings.worker.group}-dlq", "enable.auto.commit": False, "log_level": 2}
    )


def _messages(consumer: confluent_kafka.Consumer, end: int) -> Iterator[Any]:
    while True:
        message = consumer.poll(_TIMEOUT_S)
        if message is None:
            raise UnavailableError("the broker stopped answering while the dead-letter topic was read")
        if message.error():
            raise confluent_kafka.KafkaException(message.error())
        yield message
        if message.offset() + 1 >= end:
            return


def _letter(message: Any) -> DeadLetter:
    headers = {name: value.decode(errors="replace") for name, value in message.headers() or () if value is not None}
    about = {name.removeprefix(_HEADERS): value for name, value in headers.items() if name.startswith(_HEADERS)}
    return DeadLetter(
        partition=message.partition(),
        offset=message.offset(),
        at=message.timestamp()[1],
        topic=about.get("topic", ""),
        source=f"{about.get('partition', '?')}:{about.get('offset', '?')}",
        kind=about.get("exception.class.name", ""),
        reason=about.get("exception.message", ""),
        key=message.key(),
        value=message.value(),
    )
