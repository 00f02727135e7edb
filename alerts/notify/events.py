"""The way of events to Kafka: what was written with its cause leaves the database once the broker has it."""

from typing import Any

from confluent_kafka import Producer
from sqlalchemy import Engine, delete, select

from alerts.database.tables import events
from vedette.settings import Settings

_AT_ONCE = 500


class EventPublisher:
    """Publishes events at least once, in their order per key.

    A crash between the broker's answer and the deletion publishes an event again; a label says the same twice.

    Args:
        settings: The broker, and what is put before topics.
        engine: Where events wait.
        timeout_s: For the broker's answer.
        log: A structlog logger.
    """

    def __init__(self, settings: Settings, engine: Engine, timeout_s: float, log: Any) -> None:
        self._prefix = settings.topics.prefix
        self._engine = engine
        self._timeout_s = timeout_s
        self._log = log
        self._producer = Producer(
            settings.kafka.client_config()
            | {
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "linger.ms": 5,
                "delivery.timeout.ms": round(timeout_s * 1000),
                "log_level": 2,
            }
        )

    def step(self) -> int:
        """Publish what waits, at most a few hundred; how many the broker has acknowledged. It blocks."""
        with self._engine.connect().execution_options(reads=True) as connection:
            query = select(events.c.id, events.c.topic, events.c.key, events.c.value).order_by(events.c.id)
            waiting = connection.execute(query.limit(_AT_ONCE)).all()
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

            self._producer.produce(self._prefix + row.topic, row.value, row.key, on_delivery=acknowledged)
        self._producer.flush(self._timeout_s + 1)
        if problems:
            self._log.warning("events not published", count=len(problems), error=problems[0])
        if done:
            with self._engine.begin() as connection:
                connection.execute(delete(events).where(events.c.id.in_(done)))
        return len(done)

    def close(self) -> None:
        """Give up what the broker has not taken: it is still in the database."""
        self._producer.purge()
        self._producer.flush(0)
