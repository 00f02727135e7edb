from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from confluent_kafka.admin import AdminClient

from adapters.kafka_client import client_config
from adapters.kafka_consumer import GroupConsumer, TopicFollower
from adapters.kafka_producer import KafkaProducer
from stack.local import LocalStack
from stack.topics import apply
from tests.conftest import SettingsFor, wait_for
from vedette.errors import UnavailableError
from vedette.settings import Settings
from vedette.topics import Name

Open = Callable[[], GroupConsumer]


@pytest.fixture(params=["embedded_stack", pytest.param("apache_stack", marks=pytest.mark.kafka)])
def settings(request: pytest.FixtureRequest, settings_for: SettingsFor, topic_prefix: str) -> Settings:
    """Settings with topics, on the embedded broker and on Apache Kafka."""
    made = settings_for(request.getfixturevalue(request.param), topic_prefix)
    apply(made)
    return made


@pytest.fixture
def opened(settings: Settings) -> Iterator[Open]:
    """Opens `alerts`, always under the same name in the group."""
    consumers: list[GroupConsumer] = []

    def open_() -> GroupConsumer:
        consumers.append(consumer_of(settings))
        return consumers[-1]

    yield open_
    for each in consumers:
        each.close()


def consumer_of(settings: Settings) -> GroupConsumer:
    """A consumer of `alerts` that replaces a failed client after a tenth of a second."""
    return GroupConsumer(
        settings.kafka, group=f"{settings.topics.prefix}g", member="one", limit=10,
        topic=settings.topics.prefix + Name.ALERTS, log=structlog.get_logger(), first_pause_s=0.1,
    )  # fmt: skip


def publish(settings: Settings, value: bytes) -> None:
    """Put a value on `alerts`."""
    producer = KafkaProducer(settings.kafka)
    producer.send(settings.topics.prefix + Name.ALERTS, value, "a")
    producer.flush()


def taken(consumer: GroupConsumer, within_s: float = 60.0) -> list[bytes | None]:
    """Return the first message that a consumer takes."""
    values: list[bytes | None] = []
    wait_for(lambda: values.extend(message.value for message in consumer.take(0.1)) or values != [], within_s)
    return values


def test_what_was_not_committed_comes_again(settings: Settings, opened: Open) -> None:
    """The next consumer takes a message again until it has been committed, and not afterwards."""
    publish(settings, b"one")
    for committing in (False, True):
        consumer = opened()
        assert taken(consumer) == [b"one"]
        if committing:
            consumer.commit()
        consumer.close()
    publish(settings, b"two")
    assert taken(opened()) == [b"two"]


def test_a_consumer_whose_name_was_taken_comes_back(settings: Settings, opened: Open) -> None:
    """A fenced static member reports it, is replaced, and continues to read once the other one is gone."""
    first = opened()
    wait_for(lambda: first.take(0.1) == [] and first.assigned)
    assert not first.problem
    second = opened()
    wait_for(lambda: second.take(0.1) == [] and second.assigned)
    wait_for(lambda: first.take(0.1) == [] and first.problem != "")
    assert settings.topics.prefix + Name.ALERTS in first.problem
    second.close()
    publish(settings, b"for the first")
    assert taken(first) == [b"for the first"]
    assert not first.problem


def test_a_topic_that_is_away_for_a_while_is_read_again(settings: Settings, opened: Open) -> None:
    """After a topic is deleted and created again, its new messages are read."""
    consumer = opened()
    wait_for(lambda: consumer.take(0.1) == [] and consumer.assigned)
    topic = settings.topics.prefix + Name.ALERTS
    admin = AdminClient(client_config(settings.kafka))
    admin.delete_topics([topic])[topic].result(30)
    wait_for(lambda: topic not in admin.list_topics(timeout=10).topics)
    wait_for(lambda: consumer.take(0.1) == [] and consumer.problem != "", 120)
    apply(settings)
    publish(settings, b"new")
    assert taken(consumer, 120) == [b"new"]


@pytest.mark.kafka
def test_a_broker_that_is_restarted_is_read_again(tmp_path: Path, settings_for: SettingsFor) -> None:
    """While the broker is away the problem is reported; afterwards consumer and follower continue where they were."""
    with LocalStack(tmp_path / "stack", "apache", "embedded") as stack:
        settings = settings_for(stack, "back-")
        apply(settings)
        publish(settings, b"one")
        consumer = consumer_of(settings)
        topic = "back-" + Name.ALERTS
        start = {(topic, number): 0 for number in range(settings.topics.partitions)}
        follower = TopicFollower(settings.kafka, start, structlog.get_logger(), first_pause_s=0.1)
        try:
            assert taken(consumer) == [b"one"]
            consumer.commit()
            followed: list[bytes | None] = []

            def follow() -> bool:
                followed.extend(message.value() for message in follower.take(10, 0.1))
                return bool(followed)

            wait_for(follow)
            stack.broker.stop()
            wait_for(lambda: consumer.take(0.1) == [] and consumer.problem != "")
            with pytest.raises(UnavailableError, match="no Kafka broker answers"):
                consumer.check()
            stack.broker.start()
            publish(settings, b"two")
            assert taken(consumer, 120) == [b"two"]
            assert not consumer.problem
            wait_for(lambda: follow() and len(followed) == 2, 120)
            assert followed == [b"one", b"two"]
        finally:
            consumer.close()
            follower.close()


def test_a_missing_topic_is_named(settings: Settings, opened: Open) -> None:
    """The check before the first read names the missing topic and how to create it."""
    assert opened().check() is None  # type: ignore[func-returns-value]
    elsewhere = GroupConsumer(
        settings.kafka, group="g", member="one", limit=10, topic="nowhere", log=structlog.get_logger()
    )
    try:
        with pytest.raises(UnavailableError, match=r"nowhere.*topics apply"):
            elsewhere.check()
    finally:
        elsewhere.close()


def test_an_idle_consumer_does_not_spin_and_takes_what_comes_next(
    settings: Settings, opened: Open, request: pytest.FixtureRequest
) -> None:
    """The embedded broker answers empty fetches at once: an idle consumer pauses there, and only there."""
    embedded = "embedded_stack" in request.node.callspec.params.values()
    consumer = opened()
    wait_for(lambda: consumer.take(0.2) == [] and consumer.assigned, 60)
    if embedded:
        wait_for(lambda: consumer.take(0.2) == [] and consumer._throttle.paused, 60)
    for value in (b"one", b"two"):
        publish(settings, value)
        assert taken(consumer) == [value]
        consumer.commit()
        if embedded:
            wait_for(lambda: consumer.take(0.2) == [] and consumer._throttle.paused, 60)
