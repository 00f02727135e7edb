"""What the tests of this room share: small canonical batches, a stack with topics, and a reader of topics."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from adapters.kafka_client import client_config
from producers.frame import SCHEMA
from tests.conftest import wait_for
from vedette.settings import KafkaSettings, Settings

MakeFrame = Callable[..., pa.RecordBatch]
ReadTopic = Callable[..., list[Message]]

_DEADLINE_S = 60


@pytest.fixture
def frame() -> MakeFrame:
    """Makes a canonical batch from columns; other columns have a plain value, or are null."""

    def make(**columns: list[Any]) -> pa.RecordBatch:
        rows = len(next(iter(columns.values())))
        plain = {
            "transaction_id": [f"t{row}" for row in range(rows)],
            "account_id": [f"a{row % 7}" for row in range(rows)],
            "amount": [100] * rows,
            "currency": ["EUR"] * rows,
            "event_time": [1_500_000_000_000 + row * 1_000 for row in range(rows)],
            "merchant_id": ["m"] * rows,
        } | columns
        return pa.RecordBatch.from_arrays(
            [pa.array(plain.get(field.name, [None] * rows), field.type) for field in SCHEMA], schema=SCHEMA
        )

    return make


@pytest.fixture
def environ(settings: Settings) -> dict[str, str]:
    """The same settings as a command finds them in its environment."""
    return {
        "VEDETTE_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "VEDETTE_TOPICS__PREFIX": settings.topics.prefix,
        "VEDETTE_REDIS__URL": settings.redis.url,
        "VEDETTE_REDIS__PREFIX": settings.redis.prefix,
    }


@pytest.fixture
def read_topic(settings: Settings) -> Iterator[ReadTopic]:
    """Reads a topic from its start to its present end; `kind` decodes the values, without it messages come back."""
    consumer = Consumer(
        client_config(settings.kafka)
        | {"group.id": "test", "enable.partition.eof": True, "auto.offset.reset": "earliest", "log_level": 2}
    )

    def read(topic: str, kind: type | None = None) -> list[Any]:
        name = settings.topics.prefix + topic
        partitions = list(consumer.list_topics(name, timeout=10).topics[name].partitions)
        consumer.assign([TopicPartition(name, partition, 0) for partition in partitions])
        found: list[Message] = []
        ended: set[int] = set()
        deadline = time.monotonic() + _DEADLINE_S
        while len(ended) < len(partitions):
            assert time.monotonic() < deadline, f"topic {name} was not read to its end"
            message = consumer.poll(1.0)
            if message is None:
                continue
            if error := message.error():
                assert error.code() == KafkaError._PARTITION_EOF, error
                ended.add(message.partition())
            else:
                found.append(message)
        return found if kind is None else [msgspec.json.decode(message.value() or b"", type=kind) for message in found]

    yield read
    consumer.close()


def committed_messages(kafka: KafkaSettings, topic: str) -> list[Any]:
    """Return all committed messages of a topic."""
    consumer = Consumer(
        client_config(kafka) | {"group.id": "test", "enable.partition.eof": True, "isolation.level": "read_committed"}
    )
    partitions = list(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    found: list[Any] = []
    ended: set[int] = set()

    def complete() -> bool:
        for message in consumer.consume(10_000, 0.2):
            if error := message.error():
                assert error.code() == KafkaError._PARTITION_EOF, error
                ended.add(message.partition())
            else:
                found.append(message)
        return len(ended) == len(partitions)

    wait_for(complete, 60)
    consumer.close()
    return found
