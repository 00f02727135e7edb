"""Publishes the events in the database on Kafka, and deletes them once the broker has acknowledged them."""

from typing import Any

from sqlalchemy import Engine, delete, select

from adapters.kafka_producer import KafkaProducer
from alerts.tables import events
from vedette.clock import Clock
from vedette.errors import DeliveryError
from vedette.settings import Settings

_AT_ONCE = 500


class EventPublisher:
    """Publishes events at least once, in their order per key.

    A crash between the broker's answer and the deletion publishes an event again; a repeated label changes nothing.

    Args:
        settings: The broker and the prefix of topics.
        engine: The database with the events.
        timeout_s: Limit for the broker's answer.
        clock: Events are published once they are due.
        log: A structlog logger.
    """

    def __init__(self, settings: Settings, engine: Engine, timeout_s: float, clock: Clock, log: Any) -> None:
        self._prefix = settings.topics.prefix
        self._engine = engine
        self._clock, self._log = clock, log
        self._producer = KafkaProducer(
            settings.kafka, delivery_timeout_s=timeout_s, tuning={"linger.ms": 5}, reports=True, quiet=True
        )

    def step(self) -> int:
        """Publish waiting events, at most a few hundred. Return the number that the broker has acknowledged."""
        with self._engine.connect().execution_options(reads=True) as connection:
            due = select(events.c.id, events.c.topic, events.c.key, events.c.value).where(
                events.c.due_at <= self._clock.now_ms()
            )
            waiting = connection.execute(due.order_by(events.c.id).limit(_AT_ONCE)).all()
        if not waiting:
            return 0
        done: list[int] = []
        problems: list[str] = []
        for row in waiting:

            def acknowledged(error: Any, _message: Any, number: int = row.id) -> None:
                if error is None:
                    done.append(number)
                else:
                    problems.append(error.str())

            self._producer.send(self._prefix + row.topic, row.value, row.key, on_delivery=acknowledged)
        try:
            self._producer.flush()
        except DeliveryError as error:
            problems.append(str(error))
        if problems:
            self._log.warning("events not published", count=len(problems), error=problems[0])
        if done:
            with self._engine.begin() as connection:
                connection.execute(delete(events).where(events.c.id.in_(done)))
        return len(done)

    def close(self) -> None:
        """Discard unacknowledged events: they are still in the database."""
        self._producer.purge()
