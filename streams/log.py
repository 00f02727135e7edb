"""What a topic holds, read to its present end by a consumer of its own that leaves no trace in any group."""

from collections.abc import Iterator
from typing import Any

import confluent_kafka

from vedette.errors import UnavailableError
from vedette.settings import Settings
from vedette.topics import Name

BATCHES_AT_ONCE = 10
"""Messages to hold at a time where each is a whole batch, as in the feature log."""
_PAUSE_S = 0.2
_TIMEOUT_S = 30.0


class TopicLog:
    """A topic from its beginning, or from the first message of some moment on, to where it ends now.

    Args:
        settings: Where the broker is.
        topic: Which.
        published_from: Leave out what was published before, milliseconds.
        at_once: How many messages to hold at a time.

    Attributes:
        messages: How many there are, at most.

    Raises:
        UnavailableError: The broker or the topic is not there.
    """

    def __init__(self, settings: Settings, topic: Name, published_from: int = 0, at_once: int = 20_000) -> None:
        self._at_once = at_once
        self._name = settings.topics.prefix + topic
        self._consumer = confluent_kafka.Consumer(
            settings.kafka.client_config()
            | {
                "group.id": f"{settings.worker.group}-log",  # never joined and never committed to
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "fetch.message.max.bytes": settings.topics.max_message_bytes,
                "queued.max.messages.kbytes": 65_536,
                "log_level": 2,
            }
        )
        try:
            self._start, self._end = self._bounds(published_from)
        except confluent_kafka.KafkaException as error:
            self._consumer.close()
            raise self._unavailable(error.args[0].str()) from error
        self.messages = sum(self._end[partition] - start for partition, start in self._start.items())

    def __iter__(self) -> Iterator[list[Any]]:
        """Messages in pieces, those of one partition in order, partitions as they come.

        Raises:
            UnavailableError: The broker stopped answering.
        """
        left = {partition for partition, start in self._start.items() if start < self._end[partition]}
        self._consumer.assign([self._at(partition, self._start[partition]) for partition in left])
        silent = 0
        while left:
            piece: list[Any] = []
            for message in self._consumer.consume(self._at_once, _PAUSE_S):
                partition, error = message.partition(), message.error()
                if error and error.code() != confluent_kafka.KafkaError._PARTITION_EOF:  # noqa: SLF001 — its public name
                    raise self._unavailable(error.str())
                if not error and message.offset() < self._end[partition]:
                    piece.append(message)
                if error or message.offset() + 1 >= self._end[partition]:
                    left.discard(partition)
            silent = 0 if piece else silent + 1
            if silent * _PAUSE_S > _TIMEOUT_S:
                raise self._unavailable("it stopped answering")
            if piece:
                yield piece

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()

    def _bounds(self, published_from: int) -> tuple[dict[int, int], dict[int, int]]:
        """Per partition, the first offset and the one behind the last."""
        topic = self._consumer.list_topics(self._name, timeout=_TIMEOUT_S).topics[self._name]
        if topic.error:
            raise confluent_kafka.KafkaException(topic.error)
        start, end = {}, {}
        for partition in topic.partitions:
            at = self._at(partition, published_from)
            start[partition], end[partition] = self._consumer.get_watermark_offsets(at, timeout=_TIMEOUT_S)
            if published_from:
                (found,) = self._consumer.offsets_for_times([at], timeout=_TIMEOUT_S)
                start[partition] = end[partition] if found.offset < 0 else max(start[partition], found.offset)
        return start, end

    def _at(self, partition: int, offset: int) -> confluent_kafka.TopicPartition:
        return confluent_kafka.TopicPartition(self._name, partition, offset)

    def _unavailable(self, reason: str) -> UnavailableError:
        return UnavailableError(f"topic {self._name} cannot be read: {reason}", remedy="`vedette doctor` looks")
