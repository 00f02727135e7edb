"""Expires overdue call checks, and publishes their outcomes."""

from threading import Event
from typing import Any

from adapters.http_server import Readiness
from adapters.kafka_producer import EventProducer
from challenges.calls.checks import CallChecks
from challenges.calls.state_machine import event_of
from challenges.outbox_relay import relay_until
from vedette.topics import Name

NAME = "publishing call checks"

_BATCH = 100


class CallRelay:
    """Works through the queue of settled checks.

    An outcome is published at least once: after a crash between publishing and removing, it is repeated with identical
    bytes, which depend only on the check.

    Args:
        checks: The checks.
        producer: Kafka producer.
        readiness: Records whether publishing works.
        log: A structlog logger.
    """

    def __init__(self, checks: CallChecks, producer: EventProducer, readiness: Readiness, log: Any) -> None:
        self._checks, self._producer, self._readiness, self._log = checks, producer, readiness, log

    def run(self, stop: Event) -> None:
        """Work until stopped, and then until nothing is left."""
        relay_until(stop, self._step, self._checks.calls, _BATCH, name=NAME, readiness=self._readiness, log=self._log)

    def _step(self) -> int:
        return self._checks.sweep() + self.publish()

    def publish(self) -> int:
        """Publish queued outcomes, and return their number.

        Raises:
            DeliveryError: The broker did not acknowledge everything; it stays queued.
            UnavailableError: Redis does not answer.
        """
        calls = self._checks.calls
        queued = calls.due("out", self._checks.clock.now_ms(), _BATCH)
        if not queued:
            return 0
        for call_id in queued:
            if call := calls.get(call_id):
                self._producer.send(Name.CALLS, call.account_id, event_of(call))
        self._producer.flush()
        calls.forget("out", queued)
        for call_id in queued:
            self._log.info("call check published", call_id=call_id)
        return len(queued)
