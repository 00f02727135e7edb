"""Consumers for the lifetime of a process: one in a group, and one that follows whole topics without a group.

A client of librdkafka can fail permanently: another process takes its name in the group ("static consumer fenced"), the
coordinator forgets it, its topic is gone for a while. Such a client is closed and replaced after a pause, which doubles
from a second to half a minute; `problem` describes the error meanwhile, for a readiness endpoint.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaError, KafkaException, TopicPartition

from adapters.fetch_throttle import STATISTICS_MS, FetchThrottle
from adapters.kafka_client import ClientConfig, client_config
from vedette.errors import UnavailableError
from vedette.settings import KafkaSettings

READER_GROUP = "vedette-reader"
"""Group for librdkafka, which requires one; nobody joins it or commits to it."""

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
_STEADY_S = 60.0
"""Seconds of work after which a client has recovered: after the next failure the pause is short again."""
_ASSIGNED_WITHIN_S = 60.0
_GATHER_S = 0.005  # messages that arrive this soon after the first are taken with it

_FOR_GOOD = frozenset(
    {
        KafkaError._FATAL,  # noqa: SLF001, its public name
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)
"""Errors after which a client may never read again."""


@dataclass(frozen=True, slots=True)
class KafkaMessage:
    """One message of a topic.

    Attributes:
        topic: The topic with its prefix.
        partition: The partition's number.
        offset: The message's place in the partition.
        value: The message; None is a tombstone.
        timestamp: When it was produced, milliseconds since 1970-01-01 UTC; 0 if the broker keeps no times.
    """

    topic: str
    partition: int
    offset: int
    value: bytes | None
    timestamp: int = 0

    @classmethod
    def of(cls, message: Any) -> "KafkaMessage":
        """Return the message that a client gave."""
        kind, timestamp = message.timestamp()
        known = timestamp if kind != TIMESTAMP_NOT_AVAILABLE else 0
        return cls(message.topic(), message.partition(), message.offset(), message.value(), known)


class _ReplacedConsumer:
    """A consumer that is replaced when it fails; subclasses say what a new client reads."""

    def __init__(self, kafka: KafkaSettings, what: str, config: ClientConfig, log: Any, first_pause_s: float) -> None:
        self._kafka = kafka
        self._what = what
        self._log = log
        self._config = (
            client_config(kafka) | {"enable.auto.commit": False, "isolation.level": "read_committed"} | config
        )
        self._first_pause_s = first_pause_s
        self._pause_s = first_pause_s
        self._resume_at = 0.0
        self._opened_at = 0.0
        self._away = False
        self._reason = ""
        self._client: Consumer | None = None

    @property
    def problem(self) -> str:
        """The reason why nothing can be read at present; empty if there is none."""
        return self._reason

    def close(self) -> None:
        """Close the connection, and leave the group if there is one."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _attach(self, client: Consumer) -> None:
        """Set up the partitions of a new client."""
        raise NotImplementedError

    def _receive(self, client: Consumer, limit: int, timeout_s: float) -> list[Any]:
        """Return the messages that a client receives within this time."""
        return list(client.consume(limit, timeout_s))

    def _callbacks(self) -> dict[str, Any]:
        """Return further callbacks of a new client."""
        return {}

    def _stalled(self) -> str:
        """Return why a client without errors does not read, or ''."""
        return ""

    def _reading(self) -> bool:
        """Return whether the client is reading, even if there is nothing to read."""
        return True

    def _open(self) -> Consumer:
        if self._client is None:
            # Without a logger it writes to standard error, bypassing the log.
            self._client = Consumer(
                {**self._config, "error_cb": self._on_error, **self._callbacks()},
                logger=logging.getLogger("vedette.consumer"),
            )
            self._opened_at = time.monotonic()
            self._attach(self._client)
        return self._client

    def _consume(self, limit: int, timeout_s: float) -> list[Any]:
        """Return the next messages without errors, possibly none, within this time."""
        wait_s = self._resume_at - time.monotonic()
        if wait_s > 0:
            time.sleep(min(wait_s, timeout_s))
            return []
        try:
            client = self._open()
            if self._away:
                client.list_topics(timeout=max(timeout_s, 0.1))
                self._away = False
            messages = self._sift(self._receive(client, limit, timeout_s))
        except KafkaException as error:
            if not self._away:
                self._fail(error.args[0].str())
            return []
        if reason := self._stalled():
            self._fail(reason)
        elif not self._away and self._client is not None and self._reading():
            self._reason = ""
        return messages

    def _sift(self, received: list[Any]) -> list[Any]:
        """Return the messages received from a client, and handle its errors."""
        messages: list[Any] = []
        for message in received:
            problem = message.error()
            if problem is None:
                messages.append(message)
            elif problem.fatal() or problem.code() in _FOR_GOOD:
                self._fail(problem.str())
                break
            else:
                self._log.warning("trouble with the broker", topic=self._what, error=problem.str())
        return messages

    def _on_error(self, problem: Any) -> None:
        """Record a problem of the connections; called by the client while it waits."""
        if problem.code() == KafkaError._ALL_BROKERS_DOWN and not self._away:  # noqa: SLF001, its public name
            self._away, self._reason = True, f"topic {self._what} cannot be read: {problem.str()}"
            self._log.warning("the broker is away", topic=self._what, error=problem.str())

    def _fail(self, reason: str) -> None:
        """Close the client; the next one is created after a pause."""
        now = time.monotonic()
        self._pause_s = self._first_pause_s if now - self._opened_at > _STEADY_S else self._pause_s
        self._reason, self._away = f"topic {self._what} cannot be read: {reason}", False
        self._resume_at = now + self._pause_s
        self._log.error("consumer failed and is replaced", topic=self._what, error=reason, pause_s=self._pause_s)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        self.close()


class GroupConsumer(_ReplacedConsumer):
    """A topic, read in a consumer group that is joined at once; only `commit` marks messages as done.

    Its calls block, so they belong in a thread. Uncommitted messages are delivered again after a failure of the client.

    Args:
        kafka: Settings of the broker.
        group: The consumer group.
        member: This process's name in the group. A process that comes back under the same name gets its partitions
            back at once; no two may use it at the same time.
        topic: The topic with its prefix.
        limit: Maximum number of messages taken at once.
        log: A structlog logger.
        first_pause_s: Seconds before a failed client is replaced for the first time.

    Attributes:
        assigned: Whether the group has assigned partitions, possibly none, to this member.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        *,
        group: str,
        member: str,
        topic: str,
        limit: int,
        log: Any,
        first_pause_s: float = _FIRST_PAUSE_S,
    ) -> None:
        config: ClientConfig = {
            "group.id": group,
            "group.instance.id": member,
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 6000,  # another member takes over after this time instead of Kafka's 45 s
            "heartbeat.interval.ms": 2000,
            "topic.metadata.refresh.interval.ms": 10_000,  # a deleted topic is noticed within this time
            # A fetch that waits on a partition without messages delays the others: after a start each may join a later
            # fetch than the previous one, and Kafka's 500 ms would pass every time.
            "fetch.wait.max.ms": 50,
            "statistics.interval.ms": STATISTICS_MS,
        }
        super().__init__(kafka, topic, config, log, first_pause_s)
        self._topic = topic
        self._limit = limit
        self.assigned = False
        self._unassigned_since = time.monotonic()
        self._open()

    def check(self) -> None:
        """Wait until the broker confirms that the topic exists.

        Raises:
            UnavailableError: The broker does not answer, or has no such topic.
        """
        try:
            found = self._open().list_topics(self._topic, timeout=self._kafka.timeout_s).topics[self._topic]
        except KafkaException as error:
            raise UnavailableError(
                f"no Kafka broker answers at {self._kafka.bootstrap_servers}",
                remedy="start it or set [kafka] bootstrap_servers",
            ) from error
        if found.error is not None:
            raise UnavailableError(
                f"topic {self._topic} cannot be read: {found.error.str()}", remedy="`vedette topics apply` creates it"
            )

    def take(self, timeout_s: float) -> list[KafkaMessage]:
        """Return the next messages as soon as there are any; none after the time-out."""
        return [KafkaMessage.of(message) for message in self._consume(self._limit, timeout_s)]

    def commit(self) -> None:
        """Commit everything taken so far. A refusal is logged: uncommitted messages are delivered again."""
        if self._client is None:
            return
        try:
            self._client.commit(asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._NO_OFFSET:  # noqa: SLF001, a new client has taken nothing yet
                self._log.warning("offsets not committed", topic=self._topic, error=error.args[0].str())

    def close(self) -> None:
        """Leave the group."""
        super().close()
        self.assigned = False

    def _attach(self, client: Consumer) -> None:
        self._unassigned_since = time.monotonic()
        client.subscribe([self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke)

    def _callbacks(self) -> dict[str, Any]:
        self._throttle = FetchThrottle()
        return {"stats_cb": self._throttle.observe}

    def _receive(self, client: Consumer, limit: int, timeout_s: float) -> list[Any]:
        first = self._throttle.poll(client, timeout_s)  # `consume` alone would wait for the limit or the time
        return [] if first is None else [first, *client.consume(limit - 1, _GATHER_S)]

    def _stalled(self) -> str:
        if self.assigned or time.monotonic() - self._unassigned_since < _ASSIGNED_WITHIN_S:
            return ""
        return f"the group assigned no partitions within {_ASSIGNED_WITHIN_S:g} s"

    def _reading(self) -> bool:
        return self.assigned

    def _on_assign(self, client: Any, partitions: list[Any]) -> None:
        del client
        self.assigned = True
        self._throttle.assign()
        self._log.info("partitions assigned", topic=self._topic, partitions=sorted(p.partition for p in partitions))

    def _on_revoke(self, client: Any, partitions: list[Any]) -> None:
        del client, partitions
        self.assigned = False
        self._unassigned_since = time.monotonic()


class TopicFollower(_ReplacedConsumer):
    """Partitions of topics from given offsets, without a group; a new client resumes where the last one ended.

    Args:
        kafka: Settings of the broker.
        start: The first offset to read, by topic (with its prefix) and partition.
        log: A structlog logger.
        tuning: Further librdkafka properties, such as `fetch.wait.max.ms`.
        throttled: Whether it pauses for a broker that does not delay fetches; see FetchThrottle.
        first_pause_s: Seconds before a failed client is replaced for the first time.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        start: Mapping[tuple[str, int], int],
        log: Any,
        *,
        tuning: ClientConfig | None = None,
        throttled: bool = False,
        first_pause_s: float = _FIRST_PAUSE_S,
    ) -> None:
        config: ClientConfig = {"group.id": READER_GROUP, "auto.offset.reset": "earliest", "log_level": 2}
        self._throttle: FetchThrottle | None = None
        self._throttled = throttled
        if throttled:
            config["statistics.interval.ms"] = STATISTICS_MS
        what = ", ".join(sorted({topic for topic, _ in start}))
        super().__init__(kafka, what, config | (tuning or {}), log, first_pause_s)
        self._next = dict(start)
        self._open()

    @property
    def next_offsets(self) -> Mapping[tuple[str, int], int]:
        """The offset after the last message taken, by topic and partition."""
        return self._next

    def take(self, limit: int, timeout_s: float) -> list[Any]:
        """Return the client's next messages, possibly none, within this time."""
        messages = self._consume(limit, timeout_s)
        for message in messages:
            self._next[message.topic(), message.partition()] = message.offset() + 1
        return messages

    def rest(self, over: Callable[[], bool]) -> None:
        """Pause fetching until `over` returns True: the embedded broker answers a fetch at once, even without messages.

        Args:
            over: Called until it returns True; it must wait between calls. Messages fetched afterwards take a moment to
                arrive, so repeated pauses need longer reads in between.
        """
        partitions = self._client.assignment() if self._client else []
        if self._client and partitions:
            self._client.pause(partitions)
        while not over():
            pass
        if self._client and partitions:
            self._client.resume(partitions)

    def end(self, topic: str, partition: int) -> int:
        """Return the end offset of a partition, as far as the client knows it."""
        if self._client is None:
            return 0
        _, end = self._client.get_watermark_offsets(TopicPartition(topic, partition), cached=True)
        return int(end)

    def lag(self) -> dict[str, int]:
        """Return the number of messages not yet taken by topic, as far as the client knows the end offsets."""
        lag = dict.fromkeys((topic for topic, _ in self._next), 0)
        for (topic, partition), offset in self._next.items():
            lag[topic] += max(self.end(topic, partition) - offset, 0)
        return lag

    def _callbacks(self) -> dict[str, Any]:
        if not self._throttled:
            return {}
        self._throttle = FetchThrottle()
        return {"stats_cb": self._throttle.observe}

    def _receive(self, client: Consumer, limit: int, timeout_s: float) -> list[Any]:
        if self._throttle is None:
            return super()._receive(client, limit, timeout_s)
        first = self._throttle.poll(client, timeout_s)
        return [] if first is None else [first, *client.consume(limit - 1, 0)]

    def _attach(self, client: Consumer) -> None:
        if self._throttle is not None:
            self._throttle.assign()
        client.assign([TopicPartition(topic, partition, offset) for (topic, partition), offset in self._next.items()])
