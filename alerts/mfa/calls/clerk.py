"""The clerk of call checks: expires those whose time is over, and publishes how each ended."""

from threading import Event
from typing import Any

from alerts.mfa.calls.checks import Checks
from alerts.mfa.calls.engine import event_of
from alerts.mfa.publisher import Publisher
from vedette.errors import UnavailableError
from vedette.topics import Name

_AT_ONCE = 100
_PAUSE_S = 0.1


class CallClerk:
    """Works through the queue of settled checks.

    An outcome is published at least once: after a crash between publishing and forgetting it comes again with the very
    same bytes, since they follow from the check alone.

    Args:
        checks: The checks.
        publisher: To Kafka.
        log: A structlog logger.
    """

    def __init__(self, checks: Checks, publisher: Publisher, log: Any) -> None:
        self._checks, self._publisher, self._log = checks, publisher, log

    def run(self, stop: Event) -> None:
        """Work until told to stop, and then until nothing is left."""
        while True:
            stopping = stop.is_set()
            try:
                worked = self._checks.sweep() + self.publish()
            except UnavailableError as error:
                self._log.warning("call checks not published", reason=str(error))
                if stopping:
                    return
                stop.wait(1.0)
                continue
            if not worked:
                if stopping:
                    return
                stop.wait(_PAUSE_S)

    def publish(self) -> int:
        """Publish what is queued; how many outcomes.

        Raises:
            DeliveryError: The broker did not take all of it; it stays queued.
            UnavailableError: Redis does not answer.
        """
        calls = self._checks.calls
        queued = calls.due("out", self._checks.clock.now_ms(), _AT_ONCE)
        for call_id in queued:
            if call := calls.get(call_id):
                self._publisher.send(Name.CALLS, call.account_id, event_of(call))
        if queued:
            self._publisher.flush()
        calls.forget("out", queued)
        for call_id in queued:
            self._log.info("call check published", call_id=call_id)
        return len(queued)
