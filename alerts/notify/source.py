"""Where alerts and decisions come from: a Kafka consumer that commits only what its user says is safe."""

from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException

from vedette.errors import UnavailableError
from vedette.settings import KafkaSettings


@dataclass(frozen=True, slots=True)
class Record:
    """One message on the topic."""

    topic: str
    partition: int
    offset: int
    value: bytes | None


class Source:
    """A topic, read in a consumer group, which it begins to join at once. Its calls block: they belong in a thread.

    Args:
        kafka: How to reach the broker.
        group: The consumer group.
        member: Who this is in the group. Whoever comes back under the same name gets its partitions back at once.
        topic: The topic with its prefix.
        most: How many messages are taken at once.
        timeout_s: For the broker's first answer.
        log: A structlog logger.
    """

    def __init__(
        self, kafka: KafkaSettings, *, group: str, member: str, topic: str, most: int, timeout_s: float, log: Any
    ) -> None:
        self._kafka = kafka
        self._topic = topic
        self._most = most
        self._timeout_s = timeout_s
        self._log = log
        self.assigned = False
        self._consumer = Consumer(
            kafka.client_config()
            | {
                "group.id": group,
                "group.instance.id": member,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "session.timeout.ms": 6000,  # another member takes over after so long, not after Kafka's 45 s
                "heartbeat.interval.ms": 2000,
                # A fetch that waits on a partition without messages keeps the others waiting behind it: after a
                # start each may join a fetch later than the one before, and Kafka's 500 ms would pass every time.
                "fetch.wait.max.ms": 50,
            }
        )
        self._consumer.subscribe([topic], on_assign=self._on_assign, on_revoke=self._on_revoke)

    def check(self) -> None:
        """Wait for the broker's answer that the topic is there.

        Raises:
            UnavailableError: The broker does not answer, or has no such topic.
        """
        try:
            found = self._consumer.list_topics(self._topic, timeout=self._timeout_s).topics[self._topic]
        except KafkaException as error:
            raise UnavailableError(
                f"no Kafka broker answers at {self._kafka.bootstrap_servers}",
                remedy="start it or set [kafka] bootstrap_servers",
            ) from error
        if found.error is not None:
            raise UnavailableError(
                f"topic {self._topic} cannot be read: {found.error.str()}", remedy="`vedette topics apply` creates it"
            )

    def _on_assign(self, consumer: Any, partitions: list[Any]) -> None:
        del consumer
        self.assigned = True
        self._log.info("partitions assigned", topic=self._topic, partitions=sorted(p.partition for p in partitions))

    def _on_revoke(self, consumer: Any, partitions: list[Any]) -> None:
        del consumer, partitions
        self.assigned = False

    def take(self, timeout_s: float) -> list[Record]:
        """The next messages, perhaps none, after at most this long.

        Raises:
            UnavailableError: The topic is gone or the client cannot go on.
        """
        records = []
        for message in self._consumer.consume(self._most, timeout_s):
            error = message.error()
            if error is None:
                records.append(Record(message.topic(), message.partition(), message.offset(), message.value()))
            elif error.fatal() or error.code() in (
                KafkaError._FATAL,  # noqa: SLF001, a public constant: the client has failed before, and for good
                KafkaError.UNKNOWN_TOPIC_OR_PART,
                KafkaError.TOPIC_AUTHORIZATION_FAILED,
            ):
                raise UnavailableError(f"topic {self._topic} cannot be read: {error.str()}")
            else:
                self._log.warning("broker trouble", topic=self._topic, error=error.str())
        return records

    def commit(self) -> None:
        """Commit everything taken so far. A refusal is logged: what it leaves uncommitted merely comes again."""
        try:
            self._consumer.commit(asynchronous=False)
        except KafkaException as error:
            self._log.warning("offsets not committed", topic=self._topic, error=error.args[0].str())

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()
