"""The archive process: collects messages for some seconds, then appends them to their tables."""

import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from adapters.kafka_consumer import KafkaMessage, TopicFollower
from adapters.kafka_reader import TopicReader
from archive.columns import Table
from archive.tables import TABLES, tables_of
from archive.writer import TableWriter
from vedette.card_numbers import CardNumbers
from vedette.clock import Clock
from vedette.errors import StateError, UnavailableError
from vedette.settings import ArchiveSettings, Settings

_POLL_S = 0.5
_AT_ONCE = 200
"""Messages taken in one step; one of the feature log may have megabytes."""
_ROWS_AT_ONCE = 100_000
_BYTES_AT_ONCE = 64 * 1024 * 1024
"""Maximum number of bytes in memory, after which messages are appended regardless of the freshness."""
_QUEUED_KB = 32 * 1024


@dataclass
class Progress:
    """Progress of a run.

    Attributes:
        rows: By topic, with its prefix.
        rejected: Messages that are not valid, by topic.
        started_at: When the topics were first read, milliseconds since 1970-01-01 UTC; 0: not yet.
        lag: Messages of a topic that are not yet in the archive.
        committed_at: When something was last appended, likewise.
        waiting: Messages in memory that wait for their commit.
        problem: Why the topics cannot be read at present; empty if they can.
    """

    rows: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    lag: dict[str, int] = field(default_factory=dict)
    started_at: int = 0
    committed_at: int = 0
    waiting: int = 0
    problem: str = ""

    def add(self, topic: str, rows: int, rejected: int) -> None:
        """Count an append."""
        self.rows[topic] = self.rows.get(topic, 0) + rows
        self.rejected[topic] = self.rejected.get(topic, 0) + rejected


def run(
    settings: Settings,
    *,
    clock: Clock,
    log: Any,
    stop: threading.Event,
    until_idle_s: float = 0.0,
    progress: Progress | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> Progress:
    """Archive all topics until stopped, waiting for an unavailable broker.

    Args:
        settings: The broker, the topics' prefix and `[archive]`.
        clock: Measures freshness and idleness.
        log: A structlog logger.
        stop: Ends the run after a last append.
        until_idle_s: End once no message has arrived for this time; 0: never.
        progress: The counts to update, which are also the result.
        on_step: Called whenever the progress has changed.

    Raises:
        FencedError: Another process writes the same archive.
        StateError: Archive and topics do not match.
        UnavailableError: The broker does not answer at the start, or the storage does not.
    """
    progress = progress or Progress()
    prefix, options = settings.topics.prefix, storage_options(settings.archive)
    tables = {prefix + table.topic: table for table in tables_of(CardNumbers(settings.cards))}
    writers = {
        topic: TableWriter(location(settings.archive, table), table, topic, options) for topic, table in tables.items()
    }
    waiting = _Waiting()
    now = last = clock.now_ms()
    follower = TopicFollower(
        settings.kafka, _start(settings, writers), log, tuning={"queued.max.messages.kbytes": _QUEUED_KB}
    )
    progress.waiting = 0
    with closing(follower):
        log.info("archiving", url=settings.archive.url)
        progress.started_at = progress.started_at or now
        while not stop.is_set():
            taken = follower.take(_AT_ONCE, _POLL_S)
            now = clock.now_ms()
            if taken:
                last = now
                waiting.add([KafkaMessage.of(message) for message in taken], now)
            idle = bool(until_idle_s) and now - last >= until_idle_s * 1000
            if waiting.messages and (
                idle or waiting.full or now - waiting.since >= settings.archive.freshness_s * 1000
            ):
                _append(waiting.take(), tables, writers, progress, log)
                progress.committed_at = clock.now_ms()
            progress.waiting = len(waiting.messages)
            if not taken or not waiting.messages:
                progress.problem, progress.lag = follower.problem, _lag(follower, waiting)
                on_step()
            if idle:
                break
        if waiting.messages:
            _append(waiting.take(), tables, writers, progress, log)
            progress.committed_at = clock.now_ms()
    return progress


def location(settings: ArchiveSettings, table: Table) -> str:
    """Return the location of a table."""
    return f"{settings.url.rstrip('/')}/{table.topic}"


def open_table(settings: ArchiveSettings, table: Table) -> DeltaTable:
    """Open a table of the archive.

    Raises:
        UnavailableError: There is no archive, or its storage does not answer.
    """
    uri = location(settings, table)
    try:
        return DeltaTable(uri, storage_options=storage_options(settings) or None)
    except TableNotFoundError as error:
        raise UnavailableError(
            f"there is no archive at {settings.url}", remedy="`vedette archive run` writes it"
        ) from error
    except (DeltaError, OSError) as error:
        raise UnavailableError(f"archive {uri}: {error}", remedy="[archive] says where it is") from error


def storage_options(settings: ArchiveSettings) -> dict[str, str]:
    """Return the options of the library `deltalake` for an object store; empty for a folder."""
    if "://" not in settings.url:
        return {}
    options = {"AWS_REGION": settings.s3_region}
    if settings.s3_endpoint:
        options |= {"AWS_ENDPOINT_URL": settings.s3_endpoint}
        if settings.s3_endpoint.startswith("http://"):
            options |= {"AWS_ALLOW_HTTP": "true"}
    if settings.s3_access_key:
        options |= {"AWS_ACCESS_KEY_ID": settings.s3_access_key}
    if settings.s3_secret_key:
        options |= {"AWS_SECRET_ACCESS_KEY": settings.s3_secret_key.value}
    return options


class _Waiting:
    """Messages that are not yet appended."""

    def __init__(self) -> None:
        self.messages: list[KafkaMessage] = []
        self.since = 0
        self._bytes = 0

    @property
    def full(self) -> bool:
        """Return whether the memory limit is reached."""
        return len(self.messages) >= _ROWS_AT_ONCE or self._bytes >= _BYTES_AT_ONCE

    def add(self, messages: list[KafkaMessage], now_ms: int) -> None:
        """Add messages."""
        if not self.messages:
            self.since = now_ms
        self.messages += messages
        self._bytes += sum(len(message.value or b"") for message in messages)

    def take(self) -> list[KafkaMessage]:
        """Return and remove the messages."""
        taken, self.messages, self._bytes = self.messages, [], 0
        return taken


def _start(settings: Settings, writers: dict[str, TableWriter]) -> dict[tuple[str, int], int]:
    """Return the next offset to archive by topic and partition.

    Raises:
        StateError: A topic ends before its archived position, so it is a different topic of the same name.
        UnavailableError: The broker does not answer, or does not have a topic.
    """
    start = {}
    for table in TABLES:
        topic = settings.topics.prefix + table.topic
        with closing(TopicReader(settings, table.topic)) as reader:
            for partition, offsets in reader.offsets.items():
                position = writers[topic].position(partition)
                if position is not None and position > offsets.stop:
                    raise _another_topic(topic, partition, offsets.stop, position)
                start[topic, partition] = offsets.start if position is None else position
    return start


def _lag(follower: TopicFollower, waiting: "_Waiting") -> dict[str, int]:
    """Return the number of messages that are not yet in the archive, by topic."""
    lag = follower.lag()
    for message in waiting.messages:
        lag[message.topic] += 1
    return lag


def _append(
    messages: Sequence[KafkaMessage],
    tables: dict[str, Table],
    writers: dict[str, TableWriter],
    progress: Progress,
    log: Any,
) -> None:
    by_topic: dict[str, list[KafkaMessage]] = {}
    for message in messages:
        by_topic.setdefault(message.topic, []).append(message)
    for topic, part in by_topic.items():
        positions: dict[int, int] = {}
        for message in part:
            position = positions.get(message.partition) or writers[topic].position(message.partition) or 0
            if message.offset < position:
                raise _another_topic(topic, message.partition, message.offset, position)
            positions[message.partition] = message.offset + 1
        rows, rejected = tables[topic].rows(part)
        writers[topic].append(rows, positions)
        progress.add(topic, len(rows), len(rejected))
        if rejected:
            first = rejected[0]
            log.warning(
                "messages not archived",
                topic=topic,
                count=len(rejected),
                partition=first.partition,
                offset=first.offset,
            )


def _another_topic(topic: str, partition: int, offset: int, position: int) -> StateError:
    return StateError(
        f"{topic}[{partition}] is at offset {offset}, and the archive holds it up to {position}",
        remedy="the topic was created again: archive it to another place, or restore the topic",
    )
