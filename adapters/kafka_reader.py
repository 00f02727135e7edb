"""Reading of topics up to their current ends without a consumer group, and the offsets of groups."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from adapters.kafka_client import client_config
from adapters.kafka_consumer import READER_GROUP
from vedette.errors import UnavailableError
from vedette.settings import KafkaSettings, Settings
from vedette.topics import Name

BATCHES_AT_ONCE = 10
"""Maximum number of messages in memory where each is a whole batch, as in the feature log."""
_PAUSE_S = 0.2


class OffsetReader:
    """Committed messages of a topic by partition and offset.

    Args:
        settings: Settings of the broker and the prefix of topics.
        topic: The topic without its prefix.
        at_once: Maximum number of messages in memory.
        timeout_s: Time-out for a response of the broker.
        pause_s: How long it waits for more messages before it yields those that have come, in seconds.
        skip_deleted: Whether to begin with the first message that is still there, where the wanted ones are deleted;
            otherwise that is an error.
    """

    def __init__(
        self, settings: Settings, topic: Name, *, at_once: int, timeout_s: float, pause_s: float, skip_deleted: bool
    ) -> None:
        self._at_once, self._timeout_s, self._pause_s = at_once, timeout_s, pause_s
        self._name = settings.topics.prefix + topic
        self._consumer = Consumer(
            client_config(settings.kafka)
            | {
                "group.id": READER_GROUP,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest" if skip_deleted else "error",
                "isolation.level": "read_committed",
                "fetch.message.max.bytes": settings.topics.max_message_bytes,
                "queued.max.messages.kbytes": 65_536,
                "log_level": 2,
            }
        )

    def available(self, partition: int) -> range:
        """Return the offsets that a partition has now.

        Raises:
            UnavailableError: The broker does not answer.
        """
        try:
            place = TopicPartition(self._name, partition)
            start, end = self._consumer.get_watermark_offsets(place, timeout=self._timeout_s, cached=False)
        except KafkaException as error:
            raise self._unavailable(error.args[0].str()) from error
        return range(start, end)

    def read_partition(self, partition: int, wanted: range) -> Iterator[list[Any]]:
        """Yield the messages at some offsets of a partition in chunks, in order.

        Raises:
            UnavailableError: The broker stopped answering.
        """
        if not wanted:
            return
        self._consumer.assign([TopicPartition(self._name, partition, wanted.start)])
        try:
            yield from self._chunks(wanted)
        finally:
            self._consumer.unassign()  # fetching stops

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()

    def _chunks(self, wanted: range) -> Iterator[list[Any]]:
        trouble, silent, due = "", 0, wanted.start
        while True:
            piece: list[Any] = []
            complete = False
            # Not more than are wanted: for those that do not exist it would wait.
            for message in self._consumer.consume(max(1, min(wanted.stop - due, self._at_once)), self._pause_s):
                error = message.error()
                if error is None:
                    due = message.offset() + 1
                    complete = complete or due >= wanted.stop
                    if message.offset() < wanted.stop:
                        piece.append(message)
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001, its public name
                    complete = True
                elif message.topic() is None:  # concerns the connection or the group, which the client retries
                    trouble = error.str()
                else:
                    raise self._unavailable(error.str())
            if piece:
                yield piece
            if complete:
                return
            silent = 0 if piece else silent + 1
            if silent * self._pause_s > self._timeout_s:
                raise self._unavailable(trouble or "it stopped answering")

    def _unavailable(self, reason: str) -> UnavailableError:
        return UnavailableError(f"topic {self._name} cannot be read: {reason}", remedy="`vedette doctor` looks")


class TopicReader(OffsetReader):
    """A topic from its beginning, or from a time, up to its current end.

    Only committed messages are read: the end is the start of the first open transaction.

    Args:
        settings: Settings of the broker and the prefix of topics.
        topic: The topic without its prefix.
        published_from: Leave out messages published earlier, milliseconds since epoch.
        at_once: Maximum number of messages in memory.
        timeout_s: Time-out for a response of the broker.

    Attributes:
        offsets: The offsets to read, by partition.

    Raises:
        UnavailableError: The broker or the topic is not available.
    """

    def __init__(
        self,
        settings: Settings,
        topic: Name,
        published_from: int = 0,
        *,
        at_once: int = 20_000,
        timeout_s: float = 30.0,
    ) -> None:
        super().__init__(settings, topic, at_once=at_once, timeout_s=timeout_s, pause_s=_PAUSE_S, skip_deleted=False)
        try:
            self.offsets = self.current_offsets(published_from)
        except UnavailableError:
            self.close()
            raise

    @property
    def messages(self) -> int:
        """Maximum number of messages to read: compaction and transactions leave gaps."""
        return sum(map(len, self.offsets.values()))

    def __iter__(self) -> Iterator[list[Any]]:
        """Yield the messages in chunks, one partition after the other, each in order.

        Raises:
            UnavailableError: The broker stopped answering.
        """
        yield from self.read(self.offsets)

    def read(self, offsets: Mapping[int, range]) -> Iterator[list[Any]]:
        """Yield the messages of some offsets in chunks, one partition after the other, each in order.

        Only one partition is assigned at a time: the embedded broker answers a fetch with the whole rest of every
        requested partition.

        Raises:
            UnavailableError: The broker stopped answering.
        """
        for partition, wanted in offsets.items():
            yield from self.read_partition(partition, wanted)

    def current_offsets(self, published_from: int = 0) -> dict[int, range]:
        """Return the currently available offsets by partition.

        Raises:
            UnavailableError: The broker or the topic is not available.
        """
        try:
            topic = self._consumer.list_topics(self._name, timeout=self._timeout_s).topics[self._name]
            if topic.error is None:
                return {number: self._range(number, published_from) for number in sorted(topic.partitions)}
        except KafkaException as error:
            raise self._unavailable(error.args[0].str()) from error
        raise self._unavailable(topic.error.str())

    def _range(self, partition: int, published_from: int) -> range:
        offsets = self.available(partition)
        if not published_from:
            return offsets
        at = TopicPartition(self._name, partition, published_from)
        (found,) = self._consumer.offsets_for_times([at], timeout=self._timeout_s)
        return range(offsets.stop if found.offset < 0 else max(offsets.start, found.offset), offsets.stop)


def committed_offsets(kafka: KafkaSettings, group: str, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """Return the offsets that a group has committed, by partition; 0 where it has committed none.

    Args:
        kafka: How to reach the broker.
        group: The consumer group.
        topic: The topic with its prefix.
        partitions: The partitions.

    Raises:
        UnavailableError: The broker does not answer.
    """
    consumer = _member(kafka, group)
    try:
        answer = consumer.committed([TopicPartition(topic, number) for number in partitions], kafka.timeout_s)
    except KafkaException as error:
        raise _no_offsets(group, topic, error) from error
    finally:
        consumer.close()
    return {place.partition: max(place.offset, 0) for place in answer}


def commit_offsets(kafka: KafkaSettings, group: str, topic: str, offsets: Mapping[int, int]) -> None:
    """Commit offsets for a group without members.

    Args:
        kafka: How to reach the broker.
        group: The consumer group.
        topic: The topic with its prefix.
        offsets: The next offset to read, by partition.

    Raises:
        UnavailableError: The broker does not accept them.
    """
    consumer = _member(kafka, group)
    try:
        places = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
        consumer.commit(offsets=places, asynchronous=False)
    except KafkaException as error:
        raise _no_offsets(group, topic, error) from error
    finally:
        consumer.close()


def _member(kafka: KafkaSettings, group: str) -> Consumer:
    return Consumer(client_config(kafka) | {"group.id": group, "enable.auto.commit": False, "log_level": 2})


def _no_offsets(group: str, topic: str, error: KafkaException) -> UnavailableError:
    return UnavailableError(
        f"the offsets of group {group!r} on topic {topic} cannot be reached: {error.args[0].str()}",
        remedy="`vedette doctor` looks",
    )
