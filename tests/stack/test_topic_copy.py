from collections.abc import Callable

import msgspec
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from adapters.kafka_client import client_config
from stack.doctor import keys_placed
from stack.local import LocalStack
from stack.topic_copy import copy, sample
from stack.topics import apply, diff
from tests.conftest import SettingsFor
from vedette.clock import MINUTE, SystemClock
from vedette.errors import InputError, VedetteError
from vedette.partitioner import PARTITIONER, partition_of
from vedette.settings import Settings
from vedette.topics import Name

_NOW = SystemClock().now_ms() - MINUTE  # what is older than the retention may be gone at any moment


@pytest.fixture
def settings(any_stack: LocalStack, topic_prefix: str, settings_for: SettingsFor) -> Settings:
    """Settings of a stack with all topics."""
    settings = settings_for(any_stack, topic_prefix)
    apply(settings)
    return settings


def under(settings: Settings, prefix: str, partitions: int) -> Settings:
    """Return the same settings with another prefix and number of partitions."""
    topics = msgspec.structs.replace(settings.topics, prefix=prefix, partitions=partitions)
    return msgspec.structs.replace(settings, topics=topics)


def payment(number: int) -> bytes:
    """Return the part of a payment that determines its key."""
    return msgspec.json.encode({"transaction_id": f"T{number}", "account_id": f"C{number % 7}"})


def publish(settings: Settings, numbers: range, *, key: Callable[[int], bytes | None], partitioner: str) -> None:
    """Publish payments from a producer with its own keys and partitioner."""
    producer = Producer(client_config(settings.kafka) | {"partitioner": partitioner})
    for number in numbers:
        producer.produce(
            settings.topics.prefix + Name.TRANSACTIONS, payment(number), key(number), timestamp=_NOW + number,
            headers=[("number", str(number).encode())],
        )  # fmt: skip
    assert producer.flush(20) == 0


def contents(settings: Settings, topic: Name) -> dict[int, list[tuple[bytes | None, bytes, int, bytes]]]:
    """Return key, value, timestamp and header of every committed message, by partition."""
    name = settings.topics.prefix + topic
    consumer = Consumer(
        client_config(settings.kafka)
        | {"group.id": "test", "isolation.level": "read_committed", "enable.partition.eof": True}
    )
    found: dict[int, list[tuple[bytes | None, bytes, int, bytes]]] = {}
    consumer.assign([TopicPartition(name, number, 0) for number in range(settings.topics.partitions)])
    ended: set[int] = set()
    while len(ended) < settings.topics.partitions:
        for message in consumer.consume(100, 1):
            if message.error():
                ended.add(message.partition())
            else:
                found.setdefault(message.partition(), []).append(
                    (message.key(), message.value(), message.timestamp()[1], message.headers()[0][1])
                )
    consumer.close()
    return found


def test_misplaced_and_keyless_messages_are_found(settings: Settings) -> None:
    """Account keys with the default partitioner are in order; a null key or another partitioner is a finding."""
    publish(settings, range(40), key=lambda number: f"C{number % 7}".encode(), partitioner=PARTITIONER)
    assert keys_placed(settings) == "40 messages on the partitions of their accounts"
    publish(settings, range(40, 80), key=lambda _: None, partitioner="random")
    found = sample(settings, Name.TRANSACTIONS)
    assert (found.messages, found.without_key) == (80, 40)
    assert 0 < found.misplaced <= 40
    with pytest.raises(VedetteError, match="not on the partition of their account") as raised:
        keys_placed(settings)
    assert "vedette topics copy" in raised.value.remedy


def test_a_copy_places_every_message_once_and_goes_on_where_it_ended(settings: Settings) -> None:
    """Each message arrives once, keyed by account, with its timestamp and headers; a second copy adds what is new."""
    publish(settings, range(50), key=lambda _: None, partitioner="random")
    target = under(settings, f"{settings.topics.prefix}new-", 7)
    assert copy(settings, target) == {Name.TRANSACTIONS: 50, Name.LABELS: 0}
    publish(settings, range(50, 60), key=lambda number: str(number).encode(), partitioner="fnv1a")
    assert copy(settings, target) == {Name.TRANSACTIONS: 10, Name.LABELS: 0}
    assert copy(settings, target) == {Name.TRANSACTIONS: 0, Name.LABELS: 0}
    found = contents(target, Name.TRANSACTIONS)
    assert sorted(message for queue in found.values() for message in queue) == sorted(
        (f"C{number % 7}".encode(), payment(number), _NOW + number, str(number).encode()) for number in range(60)
    )
    assert all(
        partition_of(message[0] or b"", 7) == partition for partition, queue in found.items() for message in queue
    )
    assert diff(target) == []
    assert sample(target, Name.TRANSACTIONS).misplaced == 0


def test_what_cannot_be_read_is_copied_under_its_own_key(settings: Settings) -> None:
    """A message without a readable account keeps its key and its bytes: the worker rejects it with the reason."""
    producer = Producer(client_config(settings.kafka))
    producer.produce(settings.topics.prefix + Name.TRANSACTIONS, b"\xff", b"key", headers=[("number", b"0")])
    assert producer.flush(20) == 0
    target = under(settings, f"{settings.topics.prefix}new-", 2)
    copy(settings, target)
    (queue,) = contents(target, Name.TRANSACTIONS).values()
    assert [(key, value) for key, value, *_ in queue] == [(b"key", b"\xff")]


def test_a_copy_onto_itself_is_refused(settings: Settings) -> None:
    """The same prefix would copy forever."""
    with pytest.raises(InputError, match="the prefix of the original"):
        copy(settings, settings)
