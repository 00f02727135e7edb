"""Copies the input topics to new ones, each message exactly once and to the partition of its account.

It repairs topics whose producers used another partitioner or no key, and it is the way to more partitions: a worker
keeps an account's state with the partition of its messages, so messages have to move before state can.
"""

import contextlib
from collections.abc import Callable, Iterator
from threading import Event
from typing import Any

import confluent_kafka
import msgspec
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from adapters.kafka_client import client_config
from stack.topics import apply, unavailable
from vedette.errors import InputError, VedetteError
from vedette.partitioner import PARTITIONER, partition_of
from vedette.reading import UNREADABLE
from vedette.settings import Settings
from vedette.topics import Name

INPUTS = (Name.TRANSACTIONS, Name.LABELS)
"""The topics that producers write, keyed by account."""

_AT_ONCE = 2_000
_PAUSE_S = 0.2
_TIMEOUT_S = 30.0
_SAMPLE = 500


class _Keyed(msgspec.Struct, gc=False):
    account_id: str


_decode = msgspec.json.Decoder(_Keyed).decode


class Sample(msgspec.Struct, kw_only=True):
    """The newest messages of a topic, and those among them that are not on the partition of their account.

    Attributes:
        topic: The topic with its prefix.
        messages: Number of messages examined.
        misplaced: Number on another partition than that of their account.
        without_key: Number without a key.
        example: One misplaced message, in words; empty if there is none.
    """

    topic: str
    messages: int = 0
    misplaced: int = 0
    without_key: int = 0
    example: str = ""


def account_key(key: bytes | None, value: bytes | None) -> bytes | None:
    """Return the key that a message should have: its account's id, or its own key if it cannot be read."""
    with contextlib.suppress(*UNREADABLE):
        return _decode(value or b"").account_id.encode()
    return key


def sample(settings: Settings, topic: Name, newest: int = _SAMPLE) -> Sample:
    """Examine the newest messages of each partition of an input topic.

    Raises:
        UnavailableError: The broker does not answer.
    """
    name = settings.topics.prefix + topic
    found = Sample(topic=name)
    consumer = _consumer(settings, f"{settings.worker.group}-doctor")
    try:
        bounds = _bounds(consumer, name)
        for partition, (start, end) in bounds.items():
            places = {partition: (max(start, end - newest), end)}
            for message in (each for piece in _read(consumer, name, places, None) for each in piece):
                found.messages += 1
                found.without_key += message.key() is None
                key = account_key(message.key(), message.value())
                belongs = partition if key is None else partition_of(key, len(bounds))
                if belongs != partition:
                    found.misplaced += 1
                    found.example = f"message {partition}:{message.offset()} belongs on partition {belongs}"
    except KafkaException as error:
        raise unavailable(settings.kafka, error) from error
    finally:
        consumer.close()
    return found


def keys_placed(settings: Settings) -> str:
    """Check that the newest messages of the input topics are on the partitions of their accounts.

    Raises:
        VedetteError: At least one is not.
    """
    looked = [sample(settings, topic) for topic in INPUTS]
    if wrong := [each for each in looked if each.misplaced]:
        raise VedetteError(
            "; ".join(
                f"{each.misplaced} of the newest {each.messages} messages of {each.topic} are not on the partition of "
                f"their account ({each.without_key} have no key): {each.example}"
                for each in wrong
            )
            + "; the state of such an account is split between partitions",
            remedy="let producers use the account id as key and Kafka's default partitioner "
            f"(`partitioner={PARTITIONER}` in librdkafka); `vedette topics copy` repairs what is there",
        )
    return f"{sum(each.messages for each in looked)} messages on the partitions of their accounts"


def copy(
    settings: Settings,
    target: Settings,
    *,
    follow: bool = False,
    stopping: Event | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> dict[str, int]:
    """Copy the input topics to those of other settings, keyed by account, and return the messages copied by topic.

    Each batch of messages is written in one Kafka transaction with the position reached, so an interrupted copy resumes
    where it ended and duplicates nothing. Messages of one partition stay in order; those of several that are read
    together are ordered by timestamp. Timestamps and headers are kept.

    Args:
        settings: Settings of the source.
        target: Settings of the destination; missing topics are created.
        follow: Whether to continue with messages published later, until `stopping` is set.
        stopping: Ends the copy after the current batch.
        on_progress: Called with the number of messages copied so far.

    Raises:
        InputError: Source and target are the same topics.
        UnavailableError: The broker does not answer.
        VedetteError: The target topics cannot be created, or the broker refuses a transaction.
    """
    if settings.topics.prefix == target.topics.prefix:
        raise InputError("the copy has the prefix of the original", remedy="name another prefix")
    if left := [change for change in apply(target) if change.note]:
        raise VedetteError("; ".join(map(str, left)), remedy="choose a prefix whose topics do not exist yet")
    copied: dict[str, int] = dict.fromkeys(INPUTS, 0)
    group = f"{settings.topics.prefix}copy-to-{target.topics.prefix}"
    try:
        with contextlib.closing(_consumer(settings, group)) as consumer:
            producer = _producer(settings, group)
            for topic, lot in _lots(consumer, settings.topics.prefix, follow=follow, stopping=stopping or Event()):
                _transfer(producer, consumer, target.topics.prefix + topic, lot)
                copied[topic] += len(lot)
                on_progress(sum(copied.values()))
    except KafkaException as error:
        raise unavailable(settings.kafka, error) from error
    return copied


def _lots(
    consumer: confluent_kafka.Consumer, prefix: str, *, follow: bool, stopping: Event
) -> Iterator[tuple[Name, list[Any]]]:
    """Yield batches of messages that are not copied yet, topic by topic; a followed topic never ends."""
    while True:
        for topic in INPUTS:
            bounds = _bounds(consumer, prefix + topic)
            asked = [TopicPartition(prefix + topic, partition) for partition in bounds]
            done = {place.partition: place.offset for place in consumer.committed(asked, timeout=_TIMEOUT_S)}
            places = {number: (max(start, done[number]), end) for number, (start, end) in bounds.items()}
            for lot in _read(consumer, prefix + topic, places, stopping):
                yield topic, sorted(lot, key=lambda message: message.timestamp()[1])
                if stopping.is_set():
                    return
        if not follow or stopping.wait(_PAUSE_S):
            return


def _transfer(producer: Any, consumer: confluent_kafka.Consumer, topic: str, lot: list[Any]) -> None:
    """Produce a batch and commit its position in one transaction."""
    producer.begin_transaction()
    reached: dict[int, int] = {}
    for message in lot:
        producer.produce(
            topic, message.value(), account_key(message.key(), message.value()), headers=message.headers(),
            timestamp=max(message.timestamp()[1], 0),
        )  # fmt: skip
        reached[message.partition()] = max(reached.get(message.partition(), 0), message.offset() + 1)
    offsets = [TopicPartition(lot[0].topic(), partition, offset) for partition, offset in reached.items()]
    producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), _TIMEOUT_S)
    producer.commit_transaction(_TIMEOUT_S)


def _read(
    consumer: confluent_kafka.Consumer, topic: str, places: dict[int, tuple[int, int]], stopping: Event | None
) -> Iterator[list[Any]]:
    """Yield the committed messages between two offsets of each partition."""
    left = {partition: end for partition, (start, end) in places.items() if start < end}
    consumer.assign([TopicPartition(topic, partition, places[partition][0]) for partition in left])
    silent = 0
    while left and not (stopping and stopping.is_set()):
        piece = []
        received = consumer.consume(_AT_ONCE, _PAUSE_S)
        for message in received:
            error = message.error()
            if error and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 — its public name
                if message.topic() is not None:
                    raise KafkaException(error)
                continue
            end = left.get(message.partition())
            if end is not None and (error or message.offset() + 1 >= end):
                del left[message.partition()]
            if not error and end is not None and message.offset() < end:
                piece.append(message)
        if piece:
            yield piece
        silent = 0 if received else silent + 1
        if silent * _PAUSE_S > _TIMEOUT_S:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001
    consumer.unassign()


def _bounds(consumer: confluent_kafka.Consumer, topic: str) -> dict[int, tuple[int, int]]:
    found = consumer.list_topics(topic, timeout=_TIMEOUT_S).topics[topic]
    if found.error:
        raise KafkaException(found.error)
    return {
        partition: consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_TIMEOUT_S)
        for partition in sorted(found.partitions)
    }


def _consumer(settings: Settings, group: str) -> confluent_kafka.Consumer:
    return confluent_kafka.Consumer(
        client_config(settings.kafka)
        | {
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",  # retention may delete the oldest meanwhile
            "log_level": 2,
        }
    )


def _producer(settings: Settings, transactional_id: str) -> Any:
    producer = confluent_kafka.Producer(
        client_config(settings.kafka)
        | {
            "transactional.id": transactional_id,
            "partitioner": PARTITIONER,
            "compression.type": "lz4",
            "log_level": 2,
        }
    )
    producer.init_transactions(_TIMEOUT_S)
    return producer
