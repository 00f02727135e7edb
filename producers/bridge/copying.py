"""From one topic to others, each message exactly once: it is published with the position behind it.

What is published and the group's offsets become visible together or not at all: they are one Kafka transaction. A
process that dies leaves one that the broker aborts: at once when it comes back under its name, otherwise after
_TRANSACTION_MS.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import confluent_kafka
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, KafkaError, KafkaException, TopicPartition

from adapters.kafka_client import client_config
from vedette.clock import Clock
from vedette.errors import FencedError, UnavailableError
from vedette.partitioner import PARTITIONER
from vedette.settings import Settings

_POLL_S = 0.1
_GATHER_S = 0.02
_TIMEOUT_S = 30.0
_TRANSACTION_MS = 15_000
_FENCED = frozenset({KafkaError._FENCED, KafkaError.FENCED_INSTANCE_ID, KafkaError.PRODUCER_FENCED})  # noqa: SLF001


@dataclass(frozen=True, slots=True)
class ForeignMessage:
    """A message of the topic that is read; `timestamp` is milliseconds since 1970-01-01 UTC."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


class CopiedMessage(NamedTuple):
    """A message to publish; partition -1 is that of its key."""

    topic: str
    value: bytes | None
    key: str | bytes | None
    headers: list[tuple[str, bytes]] | None = None
    partition: int = -1


@dataclass
class CopyProgress:
    """Counts since the start; those of messages are committed.

    Attributes:
        commits: Kafka transactions committed.
        committed_at: When something was last committed, milliseconds since 1970-01-01 UTC; 0: not since the start.
        lag: Messages not yet read, by partition.
    """

    commits: int = 0
    committed_at: int = 0
    lag: dict[int, int] | None = None


ProgressT = TypeVar("ProgressT", bound=CopyProgress)
GivenT = TypeVar("GivenT")


class TransactionalCopy(Generic[ProgressT, GivenT]):
    """One run, from the group's committed offsets; subclasses say what messages give.

    Args:
        settings: The broker, the topics' prefix and `[bridge]`.
        topic: The topic to read, by its full name.
        needed: The topics to write, by their full names, and the least number of partitions of each.
        group: The consumer group, with which the transactional id begins.
        instance: Name of this process in the group.
        progress: The counts to update.
        clock: Tells when something was committed.
        log: A structlog logger.

    Raises:
        UnavailableError: The broker or a topic is not available, or the broker has no transactions.
    """

    def __init__(
        self, settings: Settings, topic: str, needed: Mapping[str, int], *, group: str, instance: str,
        progress: ProgressT, clock: Clock, log: Any,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._topic = topic
        self._progress = progress
        self._clock = clock
        self._log = log
        self._joined = False
        self._assigned: set[int] = set()
        self._next: dict[int, int] = {}
        self._consumer = _consumer(settings, group, instance)
        try:
            self._producer = _producer(settings, group, f"{group}-{instance}")
            self._check_topics(needed)
            self._consumer.subscribe(
                [topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
            )
        except BaseException:
            self._consumer.close()
            raise

    def _convert(self, messages: list[ForeignMessage]) -> GivenT:
        """Return what messages give."""
        raise NotImplementedError

    def _outgoing(self, given: GivenT) -> Iterable[CopiedMessage]:
        """Return what is published of it, in order."""
        raise NotImplementedError

    def _count(self, given: GivenT) -> None:
        """Count what was committed."""
        raise NotImplementedError

    def run(
        self, stop: threading.Event, *, until_idle_s: float = 0.0, on_step: Callable[[], None] = lambda: None
    ) -> None:
        """Move messages until stopped, or until there has been none left to read for some time.

        Raises:
            FencedError: Another bridge runs under the same name.
            UnavailableError: Broker or schema registry do not answer; what was not committed is read again.
        """
        idle_since = self._clock.now_ms()
        try:
            while not stop.is_set():
                messages = self._take()
                if messages:
                    self._move(messages)
                self._progress.lag = lag = self._lag()
                if self._joined:
                    on_step()
                if messages or not self._joined or len(lag) < len(self._assigned) or any(lag.values()):
                    idle_since = self._clock.now_ms()
                if until_idle_s and self._clock.now_ms() - idle_since > until_idle_s * 1000:
                    return
        except KafkaException as error:
            raise self._trouble(error) from error

    def close(self) -> None:
        """Abort what is not committed, and leave the group."""
        with suppress(KafkaException):
            self._producer.purge()
            self._producer.abort_transaction(_POLL_S)
        self._consumer.close()

    def _take(self) -> list[ForeignMessage]:
        """Return the next messages of partitions that are assigned."""
        first = self._consumer.poll(_POLL_S)
        if first is None:
            return []
        received = [first, *self._consumer.consume(self._settings.bridge.batch_max - 1, _GATHER_S)]
        found: list[ForeignMessage] = []
        for message in received:
            error = message.error()
            if error is None:
                if message.partition() in self._assigned:  # not one that was taken away while messages were gathered
                    found.append(_foreign(message))
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001, its public name
                self._next[message.partition()] = message.offset()
            elif error.fatal() or message.topic() is not None:
                raise KafkaException(error)
            else:
                self._log.warning("trouble with the broker", topic=self._topic, error=error.str())
        return found

    def _move(self, messages: list[ForeignMessage]) -> None:
        """Publish what messages give, together with the positions behind them."""
        given = self._convert(messages)
        positions = {message.partition: message.offset + 1 for message in messages}
        self._producer.begin_transaction()
        for outgoing in self._outgoing(given):
            self._send(outgoing)
        self._producer.send_offsets_to_transaction(
            [TopicPartition(self._topic, partition, offset) for partition, offset in positions.items()],
            self._consumer.consumer_group_metadata(),
            _TIMEOUT_S,
        )
        self._commit()
        self._next.update(positions)
        self._count(given)
        self._progress.commits += 1
        self._progress.committed_at = self._clock.now_ms()

    def _commit(self) -> None:
        deadline = self._clock.now_ms() + _TIMEOUT_S * 1000
        while True:
            try:
                self._producer.commit_transaction(_TIMEOUT_S)
            except KafkaException as error:
                if not error.args[0].retriable() or self._clock.now_ms() > deadline:
                    raise
            else:
                return

    def _send(self, outgoing: CopiedMessage) -> None:
        topic, value, key, headers, partition = outgoing
        while True:
            try:
                self._producer.produce(topic, value, key, partition, headers=headers)
            except BufferError:  # the local queue is full: let it drain
                self._producer.poll(_POLL_S)
            else:
                return

    def _lag(self) -> dict[int, int]:
        lag: dict[int, int] = {}
        for partition in sorted(self._assigned):
            place = TopicPartition(self._topic, partition)
            _, end = self._consumer.get_watermark_offsets(place, cached=True)
            if partition in self._next and end >= 0:
                lag[partition] = max(end - self._next[partition], 0)
        return lag

    def _on_assign(self, client: Any, places: Iterable[Any]) -> None:
        self._joined, self._assigned = True, {place.partition for place in places}
        committed = client.committed(list(places), _TIMEOUT_S)
        self._next = {place.partition: place.offset for place in committed if place.offset >= 0}
        self._log.info("partitions assigned", topic=self._topic, partitions=sorted(self._assigned))

    def _on_revoke(self, client: Any, places: Iterable[Any]) -> None:
        del client
        self._joined = False
        self._assigned -= {place.partition for place in places}

    def _check_topics(self, needed: Mapping[str, int]) -> None:
        try:
            present = self._consumer.list_topics(timeout=self._settings.kafka.timeout_s).topics
        except KafkaException as error:
            raise self._trouble(error) from error
        if self._topic not in present:
            raise UnavailableError(
                f"the broker has no topic {self._topic}", remedy="give its full name; no prefix is put before it"
            )
        for name, partitions in needed.items():
            if name not in present:
                raise UnavailableError(
                    f"the broker has no topic {name}", remedy="create it: `vedette topics apply` creates Vedette's own"
                )
            if len(present[name].partitions) < partitions:
                raise UnavailableError(
                    f"topic {name} has {len(present[name].partitions)} partitions instead of {partitions}",
                    remedy=f"give it as many as {self._topic} has",
                )

    def _trouble(self, error: KafkaException) -> Exception:
        reason = error.args[0]
        if reason.code() in _FENCED:
            return FencedError(
                f"another process that reads topic {self._topic} runs under the same name: {reason.str()}",
                remedy="give each its own [bridge] instance",
            )
        return UnavailableError(
            f"topic {self._topic} cannot be read and written on: {reason.str()}",
            remedy="`vedette doctor` looks at the broker",
        )


def _foreign(message: Any) -> ForeignMessage:
    kind, timestamp = message.timestamp()
    known = timestamp if kind != TIMESTAMP_NOT_AVAILABLE else 0
    return ForeignMessage(message.topic(), message.partition(), message.offset(), known, message.key(), message.value())


def _consumer(settings: Settings, group: str, instance: str) -> confluent_kafka.Consumer:
    return confluent_kafka.Consumer(
        client_config(settings.kafka)
        | {
            "group.id": group,
            "group.instance.id": instance,  # a restarted bridge gets its partitions back at once
            "client.id": f"{group}-{instance}",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 2000,
            "fetch.wait.max.ms": 50,
        },
        logger=logging.getLogger("vedette.consumer"),
    )


def _producer(settings: Settings, group: str, transactional_id: str) -> Any:
    producer = confluent_kafka.Producer(
        client_config(settings.kafka)
        | {
            "transactional.id": transactional_id,
            "transaction.timeout.ms": _TRANSACTION_MS,
            "partitioner": PARTITIONER,
            "compression.type": "lz4",
            "linger.ms": 2,
            "message.max.bytes": settings.topics.max_message_bytes,
        },
        logger=logging.getLogger("vedette.producer"),
    )
    try:
        producer.init_transactions(_TIMEOUT_S)
    except KafkaException as error:
        raise UnavailableError(
            f"the broker begins no transaction: {error.args[0].str()}",
            remedy=f"it needs Apache Kafka 2.5 or newer, and the right to write with transactional ids like {group}-…",
        ) from error
    return producer
