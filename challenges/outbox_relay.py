"""Publishes every issue and outcome before removing it from the queue, and expires unanswered challenges."""

from collections.abc import Callable
from threading import Event
from typing import Any

from adapters.http_server import Readiness
from adapters.kafka_producer import EventProducer
from challenges import outcome
from challenges.challenges import Challenges
from challenges.metrics import ChallengeMetrics
from challenges.records import ChallengeRecord
from challenges.shards import Shards
from vedette.errors import UnavailableError

NAME = "publishing challenges"

_BATCH = 200
_IDLE_S = 0.5
"""The longest delay before something that another process has queued is published, or a challenge is expired."""

_GATHER_S = 0.05
"""Seconds to wait for more messages, as a batch costs hardly more than one message."""

_RETRY_S = 1.0


def relay_until(
    stop: Event, step: Callable[[], int], queue: Shards, batch: int, *, name: str, readiness: Readiness, log: Any
) -> None:
    """Run steps until stopped, and then until nothing is left.

    Args:
        stop: Ends it.
        step: Expires and publishes; returns how many entries that were.
        queue: Signals arrivals in its queue `out`.
        batch: A step of at least as many entries is followed by the next at once.
        name: Name of the part in the readiness.
        readiness: Records whether steps succeed.
        log: A structlog logger.
    """
    while True:
        stopping = stop.is_set()
        try:
            worked = step()
            readiness.works(name)
        except UnavailableError as error:
            readiness.wait(name, str(error))
            log.warning("not published", part=name, reason=str(error))
            if stopping:
                return
            stop.wait(_RETRY_S)
            continue
        if stopping and not worked:
            return
        if worked < batch:
            queue.wait("out", _IDLE_S)
            stop.wait(_GATHER_S)


class ChallengeRelay:
    """Works through the queue of events about challenges.

    A message is published at least once: after a crash between publishing and removing, it is repeated with identical
    bytes, which depend only on the record.

    Args:
        challenges: The service.
        producer: Kafka producer.
        readiness: Records whether publishing works.
        log: A structlog logger.
        metrics: Counts what is published.
    """

    def __init__(
        self, challenges: Challenges, producer: EventProducer, readiness: Readiness, log: Any,
        metrics: ChallengeMetrics | None = None,
    ) -> None:  # fmt: skip
        self._challenges, self._producer, self._readiness, self._log = challenges, producer, readiness, log
        self._metrics = metrics or ChallengeMetrics()

    def run(self, stop: Event) -> None:
        """Work until stopped, and then until nothing is left."""
        relay_until(
            stop, self._step, self._challenges.store, _BATCH, name=NAME, readiness=self._readiness, log=self._log
        )

    def _step(self) -> int:
        return self._challenges.sweep() + self.publish()

    def publish(self) -> int:
        """Publish queued entries, and return their number.

        Raises:
            DeliveryError: The broker did not acknowledge everything; it stays queued.
            UnavailableError: Redis does not answer.
        """
        challenges = self._challenges
        queued = challenges.store.due("out", challenges.clock.now_ms(), _BATCH)
        if not queued:
            return 0
        records = challenges.store.records([member.rpartition(":")[2] for member in queued])
        due = [(member.partition(":")[0], record) for member, record in zip(queued, records, strict=True) if record]
        for stage, record in due:
            for topic, event in outcome.issued(record) if stage == "issued" else outcome.settled(record):
                self._producer.send(topic, record.binding.account_id, event)
        self._producer.flush()
        for stage, record in due:
            self._note(stage, record)
        challenges.store.forget("out", queued)
        return len(queued)

    def _note(self, stage: str, record: ChallengeRecord) -> None:
        status, actor = ("issued", record.issued_by) if stage == "issued" else (record.status, record.settled_by)
        self._metrics.challenges.labels(status).inc()
        if record.using and stage == "settled" and record.settled_at:
            self._metrics.answered.observe((record.settled_at - record.issued_at) / 1000)
        details = {"transaction_id": record.binding.transaction_id, "factor": record.using, "seal": record.seal}
        if record.cause and stage == "settled":
            details["cause"] = record.cause
        self._challenges.audit.record(f"challenge.{status}", f"challenge:{record.challenge_id}", details, actor=actor)
        self._log.info("challenge", challenge_id=record.challenge_id, status=status, cause=details.get("cause", ""))
