import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from adapters.kafka_client import client_config
from adapters.kafka_producer import EventProducer, KafkaProducer
from stack.local import LocalStack
from stack.topics import apply
from tests.conftest import SettingsFor
from vedette.errors import DeliveryError, UnavailableError
from vedette.events import Label
from vedette.partitioner import partition_of
from vedette.settings import KafkaSettings, Settings
from vedette.topics import Name


def read_all(settings: Settings, topic: str) -> list[Any]:
    """Return all messages of a topic, partition by partition."""
    consumer = Consumer(client_config(settings.kafka) | {"group.id": "look", "enable.auto.commit": False})
    places = [TopicPartition(topic, number, 0) for number in range(settings.topics.partitions)]
    total = sum(high - low for low, high in (consumer.get_watermark_offsets(place, 10) for place in places))
    consumer.assign(places)
    found: list[Any] = []
    while len(found) < total:
        found += [message for message in consumer.consume(1000, 10) if message.error() is None]
    consumer.close()
    return found


def test_more_messages_than_the_queue_holds_arrive_in_order(settings: Settings) -> None:
    """The producer waits for a full local queue; nothing is lost or reordered, and keys decide the partition."""
    topic = settings.topics.prefix + Name.LABELS
    producer = KafkaProducer(settings.kafka, tuning={"queue.buffering.max.messages": 10})
    for number in range(500):
        producer.send(topic, b"%d" % number, f"account-{number % 7}")
    producer.flush()
    found = read_all(settings, topic)
    assert sorted(int(message.value()) for message in found) == list(range(500))
    for account in {message.key() for message in found}:
        mine = [message for message in found if message.key() == account]
        assert {message.partition() for message in mine} == {partition_of(account, settings.topics.partitions)}
        assert [int(message.value()) for message in mine] == sorted(int(message.value()) for message in mine)


def test_headers_time_partition_and_reports_are_passed_on(settings: Settings) -> None:
    """A message keeps its headers, time and partition, and its delivery is reported to the callback."""
    topic = settings.topics.prefix + Name.LABELS
    producer = KafkaProducer(settings.kafka, reports=True)
    errors: list[Any] = []
    at = time.time_ns() // 1_000_000 - 1_234  # recent, since the broker deletes what is older than its topic keeps
    producer.send(
        topic, None, b"k", partition=3, headers=[("h", b"v")], timestamp_ms=at,
        on_delivery=lambda error, _: errors.append(error),
    )  # fmt: skip
    producer.flush()
    (message,) = read_all(settings, topic)
    assert (message.partition(), message.timestamp()[1], message.headers()) == (3, at, [("h", b"v")])
    assert message.value() is None
    assert errors == [None]


def test_events_are_json_under_their_key(settings: Settings) -> None:
    """An event is published as its JSON on the prefixed topic."""
    label = Label(transaction_id="t", account_id="a", event_time=1, labelled_at=2, fraud=True, source="test")
    producer = EventProducer(settings)
    producer.send(Name.LABELS, "a", label)
    producer.flush()
    (message,) = read_all(settings, settings.topics.prefix + Name.LABELS)
    assert message.key() == b"a"
    assert b'"transaction_id":"t"' in message.value()


@pytest.mark.servers
def test_a_broker_that_goes_away_is_an_error_that_names_count_topic_and_reason(
    tmp_path: Path, settings_for: SettingsFor
) -> None:
    """Flush raises an error once messages have timed out, and then forgets them."""
    with LocalStack(tmp_path) as stack:
        settings = settings_for(stack, "lost-")
        apply(settings)
        producer = KafkaProducer(settings.kafka, delivery_timeout_s=8)
        producer.send("lost-labels", b"x", "a")
        producer.flush()
    for _ in range(3):
        producer.send("lost-labels", b"x", "a")
    with pytest.raises(
        DeliveryError, match=r"3 messages to topic lost-labels were not acknowledged: (.*imed out|no ans)"
    ):
        producer.flush()
    producer.flush()  # the failure has been reported, and nothing is left


@pytest.mark.servers
def test_what_the_client_never_reports_is_given_up_with_its_topic(tmp_path: Path, settings_for: SettingsFor) -> None:
    """Flush does not wait for a client that is itself late: it discards the messages and reports them once."""
    with LocalStack(tmp_path) as stack:
        settings = settings_for(stack, "late-")
        apply(settings)
        producer = KafkaProducer(settings.kafka, delivery_timeout_s=1, tuning={"delivery.timeout.ms": 60_000})
        producer.send("late-labels", b"x", "a")
        producer.flush()
    for _ in range(3):
        producer.send("late-labels", b"x", "a")
    with pytest.raises(DeliveryError, match=r"3 messages to topic late-labels were not acknowledged: no answer in 1 s"):
        producer.flush()
    producer.flush()


def test_a_missing_broker_and_a_missing_topic_are_named(settings: Settings) -> None:
    """The check before the first message names the topic and how to create it, or the address that was tried."""
    with pytest.raises(UnavailableError, match=r"no topic nowhere.*topics apply"):
        KafkaProducer(settings.kafka).check("nowhere", timeout_s=10)
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:9 does not answer"):
        KafkaProducer(KafkaSettings(bootstrap_servers="127.0.0.1:9")).check(timeout_s=0.5)
