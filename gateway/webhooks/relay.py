"""Reads the topics and writes their events to the outbox, before it commits their offsets."""

import time
from collections.abc import Callable
from contextlib import closing
from threading import Event
from typing import Any

from sqlalchemy import Engine

from adapters.database import database_errors
from adapters.http_server import Readiness
from adapters.kafka_consumer import GroupConsumer, KafkaMessage
from gateway.webhooks import outbox
from gateway.webhooks.endpoints import registered
from gateway.webhooks.events import UNREADABLE_EVENT, WebhookEvent, events_of
from gateway.webhooks.metrics import WebhookMetrics
from vedette.clock import DAY, Clock
from vedette.topics import Name

_TAKE_S = 0.2
_PURGE_EVERY_S = 600.0
_TALLY_EVERY_S = 5.0


class TopicRelay:
    """Relays one topic.

    Args:
        topic: The topic.
        source: Opens it in a consumer group: a relay that has failed must not go on behind what it lost.
        engine: The database.
        clock: The clock.
        keep_days: Days for which what was sent is kept.
        metrics: Counts events.
        readiness: Records whether the topic is read.
        log: A structlog logger.
    """

    def __init__(
        self, topic: Name, source: Callable[[], GroupConsumer], engine: Engine, *, clock: Clock, keep_days: int,
        metrics: WebhookMetrics, readiness: Readiness, log: Any,
    ) -> None:  # fmt: skip
        self._topic, self._open, self._engine, self._clock = topic, source, engine, clock
        self._keep_ms, self._metrics, self._readiness, self._log = keep_days * DAY, metrics, readiness, log
        self.name = f"reading {topic}"

    def run(self, stop: Event) -> None:
        """Relay until `stop` is set.

        Raises:
            StateError: The database does not answer; started again, this reads again what was not written.
        """
        done = {self._purge: 0.0, self._tally: 0.0}
        with closing(self._open()) as source:
            while not stop.is_set():
                records = source.take(_TAKE_S)
                if source.problem:
                    self._readiness.wait(self.name, source.problem)
                else:
                    self._readiness.works(self.name)
                with database_errors("of webhooks"):
                    if records:
                        self._write(records)
                    for work, every_s in ((self._purge, _PURGE_EVERY_S), (self._tally, _TALLY_EVERY_S)):
                        if time.monotonic() - done[work] > every_s:
                            done[work] = time.monotonic()
                            work()
                if records:
                    source.commit()

    def _write(self, records: list[KafkaMessage]) -> None:
        now = self._clock.now_ms()
        with self._engine.execution_options(reads=True).connect() as connection:
            endpoints = registered(connection)
        events = [event for record in records for event in self._events(record)] if endpoints else []
        wanted = [event for event in events if any(outbox.wants(endpoint, event) for endpoint in endpoints)]
        if wanted:
            with self._engine.begin() as connection:
                # Read again in the same transaction: one that has just been removed must not get a row.
                self._metrics.events.inc(outbox.add(connection, wanted, registered(connection), now))

    def _events(self, record: KafkaMessage) -> list[WebhookEvent]:
        if record.value is None:
            return []
        try:
            return events_of(self._topic, record.value, record.timestamp)
        except UNREADABLE_EVENT:
            self._metrics.unreadable.inc()
            self._log.warning("not an event", topic=record.topic, partition=record.partition, offset=record.offset)
            return []

    def _purge(self) -> None:
        with self._engine.begin() as connection:
            outbox.purge(connection, self._clock.now_ms() - self._keep_ms)

    def _tally(self) -> None:
        with self._engine.execution_options(reads=True).connect() as connection:
            counted = outbox.tally(connection)
        for status in ("pending", "sent", "failed"):
            self._metrics.waiting.labels(status).set(counted.get(status, 0))
