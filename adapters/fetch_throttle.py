"""Reading a topic without spinning on a broker that answers empty fetches at once."""

import time
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition

STATISTICS_MS = 1000
"""Interval of librdkafka's statistics, in milliseconds."""

_BUSY_FETCHES = 200  # per interval and broker; a broker that delays fetches for 50 ms answers 20
_LOOK_S = 0.1  # polling interval of a paused topic
_PAUSE_AFTER_S = 0.5


class _Broker(msgspec.Struct):
    req: dict[str, int]


class _Statistics(msgspec.Struct):
    """Fields of librdkafka's statistics: requests sent to each broker since the start."""

    brokers: dict[str, _Broker]


class FetchThrottle:
    """Reads a topic without spinning on a broker that answers empty fetches at once, as the embedded one does.

    A broker that waits for messages, as Kafka does, is read as usual. With any other, librdkafka would send thousands
    of fetches per second, so an idle topic is paused, and its end offsets are polled ten times a second.
    """

    def __init__(self) -> None:
        self._spins = False
        self.paused = False
        self._fetches: int | None = None
        self._active_at = time.monotonic()

    def observe(self, statistics: str) -> None:
        """Check whether empty fetches are answered without waiting; called by librdkafka."""
        brokers = msgspec.json.decode(statistics, type=_Statistics).brokers.values()
        fetches = max((broker.req.get("Fetch", 0) for broker in brokers), default=0)
        idle = time.monotonic() - self._active_at > STATISTICS_MS / 1000
        if self._fetches is not None and idle and fetches - self._fetches > _BUSY_FETCHES:
            self._spins = True
        self._fetches = fetches

    def assign(self) -> None:
        """Record that partitions are new, and so not paused."""
        self.paused = False
        self._active_at = time.monotonic()

    def poll(self, consumer: Consumer, timeout_s: float) -> Any:
        """Return the next message, or None after this time."""
        deadline = time.monotonic() + timeout_s
        while True:
            left = deadline - time.monotonic()
            message = consumer.poll(0 if self.paused else max(min(left, _PAUSE_AFTER_S), 0))
            if message is not None:
                self._active_at = time.monotonic()
                return message
            if left <= 0:
                return None
            if self._spins:
                self._pause_or_resume(consumer, min(left, _LOOK_S))

    def _pause_or_resume(self, consumer: Consumer, left_s: float) -> None:
        partitions = consumer.assignment()
        if not partitions:
            time.sleep(left_s)
        elif not self.paused and time.monotonic() - self._active_at > _PAUSE_AFTER_S:
            consumer.pause(partitions)
            self.paused = True
        elif self.paused:
            time.sleep(left_s)
            if self._has_more(consumer, partitions):
                consumer.resume(partitions)
                self.paused = False
                self._active_at = time.monotonic()
                # Any request makes the fetching thread notice the change at once.
                consumer.get_watermark_offsets(partitions[0], timeout=1.0)

    def _has_more(self, consumer: Consumer, partitions: list[TopicPartition]) -> bool:
        """Return whether a partition ends after the position of its reader.

        Until its first message a reader has no position; the committed offset is used instead, or the first available
        message.
        """
        try:
            places = consumer.position(partitions)
            if new := [place for place in places if place.offset < 0]:
                places = [place for place in places if place.offset >= 0] + consumer.committed(new, timeout=1.0)
            ends = [consumer.get_watermark_offsets(place, timeout=1.0) for place in places]
        except KafkaException:
            return False  # poll reports a lasting problem of the broker
        return any(
            end and end[1] > (place.offset if place.offset >= 0 else end[0])
            for place, end in zip(places, ends, strict=True)
        )
