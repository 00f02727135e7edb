"""The intake: issues a challenge for every decision that asks for one, and only then commits its offset."""

from threading import Event
from typing import Any

import msgspec

from alerts.mfa.challenges import Challenges, ChangedError
from alerts.mfa.records import Binding
from alerts.notify.source import Record, Source
from vedette.errors import UnavailableError
from vedette.events import Decision

_TAKE_S = 0.2


class Intake:
    """Reads `decisions`.

    Args:
        challenges: The service.
        source: The topic, read in a consumer group.
        log: A structlog logger.
    """

    def __init__(self, challenges: Challenges, source: Source, log: Any) -> None:
        self._challenges = challenges
        self._source = source
        self._log = log
        self._decoder = msgspec.json.Decoder(Decision)

    def run(self, stop: Event) -> None:
        """Read until told to stop. While Redis does not answer, what was read is tried again and nothing is committed.

        Raises:
            UnavailableError: The topic cannot be read any more.
        """
        while not stop.is_set():
            records = self._source.take(_TAKE_S)
            for record in records:
                while not stop.is_set() and not self._tried(record):
                    stop.wait(1.0)
            if records and not stop.is_set():
                self._source.commit()

    def _tried(self, record: Record) -> bool:
        try:
            self._issue(record)
        except UnavailableError as error:
            self._log.warning("challenge not issued yet", offset=record.offset, reason=str(error))
            return False
        return True

    def _issue(self, record: Record) -> None:
        value = record.value or b""
        if b'"challenge"' not in value:  # most decisions are not about a challenge, and need no decoding
            return
        try:
            decision = self._decoder.decode(value)
        except msgspec.DecodeError as error:
            self._log.error(
                "not a decision", topic=record.topic, partition=record.partition, offset=record.offset,
                reason=str(error),
            )  # fmt: skip
            return
        if decision.action != "challenge" or decision.degraded:  # what is decided without history is decided again
            return
        payee = decision.payee or decision.merchant_id or ""
        binding = Binding(
            transaction_id=decision.transaction_id,
            account_id=decision.account_id,
            amount=decision.amount,
            currency=decision.currency,
            payee=payee,
        )
        try:
            self._challenges.issue(binding, value.decode())
        except ChangedError as error:
            self._log.error("challenge void", transaction_id=decision.transaction_id, reason=str(error))
