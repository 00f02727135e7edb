"""How far the services are behind on their topics, in messages and seconds, whether or not they run."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, NamedTuple

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaException, TopicPartition
from prometheus_client.core import GaugeMetricFamily, Metric

from adapters.kafka_client import client_config
from vedette.clock import Clock
from vedette.errors import UnavailableError
from vedette.settings import Settings
from vedette.topics import WORKER_INPUTS, Name


class Group(NamedTuple):
    """A consumer group: the service's name, the group's id, and the topic it reads."""

    service: str
    id: str
    topic: Name


class Lag(NamedTuple):
    """Messages that wait, and the age of the oldest of them in seconds."""

    messages: int
    seconds: float


def groups_of(settings: Settings) -> list[Group]:
    """Return the groups of all services of a deployment."""
    notify, hooks = settings.notify.group, settings.webhooks.group
    return [
        *(Group("worker", settings.worker.group, topic) for topic in WORKER_INPUTS),
        Group("notify", notify, Name.ALERTS),
        Group("notify-days", f"{notify}-days", Name.DECISIONS),
        Group("mfa", settings.mfa.group, Name.DECISIONS),
        *(Group("webhooks", f"{hooks}-{topic}", topic) for topic in (Name.DECISIONS, Name.ALERTS, Name.CHALLENGES)),
    ]


def lag_metrics(found: Mapping[Group, Lag]) -> Iterator[Metric]:
    """Yield the metrics of the lag of groups."""
    messages = GaugeMetricFamily(
        "vedette_group_lag_messages", "Messages of a topic that a service has not taken in for good",
        labels=["service", "topic"],
    )  # fmt: skip
    seconds = GaugeMetricFamily(
        "vedette_group_lag_seconds", "Age of the oldest message of a topic that a service has not taken in for good",
        labels=["service", "topic"],
    )  # fmt: skip
    for group, lag in found.items():
        messages.add_metric([group.service, group.topic], lag.messages)
        seconds.add_metric([group.service, group.topic], lag.seconds)
    yield messages
    yield seconds


class ConsumerGroups:
    """Asks the broker for the positions of groups.

    Args:
        settings: Settings of the broker, the topics and the groups.
        clock: Clock of ages.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._wait_s = settings.kafka.timeout_s

    def look(self) -> Iterator[Metric]:
        """Yield the lag of every group that has ever committed an offset of its topic.

        Raises:
            UnavailableError: The broker does not answer.
        """
        found = {group: self.lag(group) for group in groups_of(self._settings)}
        yield from lag_metrics({group: lag for group, lag in found.items() if lag is not None})

    def lag(self, group: Group) -> Lag | None:
        """Return the lag of a group, or None if it has never committed an offset of the topic.

        Raises:
            UnavailableError: The broker does not answer.
        """
        topic = self._settings.topics.prefix + group.topic
        config = client_config(self._settings.kafka) | {
            "group.id": group.id, "enable.auto.commit": False, "enable.auto.offset.store": False, "log_level": 2,
            "auto.offset.reset": "earliest", "fetch.max.bytes": 1_000_000, "max.partition.fetch.bytes": 1_000,
        }  # fmt: skip
        try:
            with closing(Consumer(config)) as consumer:
                return self._lag(consumer, topic)
        except KafkaException as error:
            raise UnavailableError(
                f"the position of group {group.id!r} on topic {topic} cannot be read: {error.args[0].str()}",
                remedy="`vedette doctor` looks",
            ) from error

    def _lag(self, consumer: Consumer, topic: str) -> Lag | None:
        found = consumer.list_topics(topic, timeout=self._wait_s).topics[topic]
        places = consumer.committed([TopicPartition(topic, number) for number in found.partitions], self._wait_s)
        if all(place.offset == OFFSET_INVALID for place in places):
            return None
        waiting: list[TopicPartition] = []
        messages = 0
        for place in places:
            start, end = consumer.get_watermark_offsets(place, timeout=self._wait_s, cached=False)
            following = max(place.offset, start)
            if following < end:
                messages += end - following
                waiting.append(TopicPartition(topic, place.partition, following))
        return Lag(messages, self._age_s(consumer, waiting))

    def _age_s(self, consumer: Consumer, waiting: list[TopicPartition]) -> float:
        """Return the age of the oldest of the first messages at these places; 0 if there are none."""
        if not waiting:
            return 0.0
        consumer.assign(waiting)
        left = {place.partition for place in waiting}
        oldest = self._clock.now_ms()
        deadline = oldest + 1000 * self._wait_s
        while left and self._clock.now_ms() < deadline:
            message: Any = consumer.poll(0.1)
            if message is None or message.error() or message.partition() not in left:
                continue
            left.discard(message.partition())
            oldest = min(oldest, message.timestamp()[1])
            consumer.incremental_unassign([TopicPartition(message.topic(), message.partition())])
        return max(self._clock.now_ms() - oldest, 0) / 1000
