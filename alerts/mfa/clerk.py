"""The clerk: expires what nobody answered, and publishes every issue and outcome before it forgets that it must."""

from threading import Event
from typing import Any

from alerts.mfa import outcome
from alerts.mfa.challenges import Challenges
from alerts.mfa.publisher import Publisher
from alerts.mfa.records import Record
from vedette.errors import UnavailableError
from vedette.settings import Settings

_AT_ONCE = 200
_PAUSE_S = 0.1


class Clerk:
    """Works through the queue of what is to be published.

    A message is published at least once: after a crash between publishing and forgetting it comes again with the very
    same bytes, since they follow from the record alone.

    Args:
        challenges: The service.
        settings: Where the broker is.
        log: A structlog logger.
    """

    def __init__(self, challenges: Challenges, settings: Settings, log: Any) -> None:
        self._challenges = challenges
        self._publisher = Publisher(settings)
        self._log = log

    def run(self, stop: Event) -> None:
        """Work until told to stop, and then until nothing is left."""
        while True:
            stopping = stop.is_set()
            try:
                worked = self._challenges.sweep() + self.publish()
            except UnavailableError as error:
                self._log.warning("challenges not published", reason=str(error))
                if stopping:
                    return
                stop.wait(1.0)
                continue
            if stopping and not worked:
                return
            if worked < _AT_ONCE:  # a little more is waited for, since a batch costs hardly more than one message
                stop.wait(_PAUSE_S)

    def publish(self) -> int:
        """Publish what is queued; how many entries.

        Raises:
            DeliveryError: The broker did not take all of it; it stays queued.
            UnavailableError: Redis does not answer.
        """
        challenges = self._challenges
        queued = challenges.store.due("out", challenges.clock.now_ms(), _AT_ONCE)
        records = challenges.store.records([member.rpartition(":")[2] for member in queued])
        due = [(member.partition(":")[0], record) for member, record in zip(queued, records, strict=True) if record]
        for stage, record in due:
            for topic, event in outcome.issued(record) if stage == "issued" else outcome.settled(record):
                self._publisher.send(topic, record.binding.account_id, event)
        self._publisher.flush()
        for stage, record in due:
            self._note(stage, record)
        challenges.store.forget("out", queued)
        return len(queued)

    def _note(self, stage: str, record: Record) -> None:
        status = "issued" if stage == "issued" else record.status
        details = {"transaction_id": record.binding.transaction_id, "factor": record.using, "seal": record.seal}
        if record.cause and stage == "settled":
            details["cause"] = record.cause
        self._challenges.audit.record(f"challenge.{status}", record.challenge_id, details)
        self._log.info("challenge", challenge_id=record.challenge_id, status=status, cause=details.get("cause", ""))
