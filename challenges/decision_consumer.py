"""Issues a challenge for every standing decision that requires one, and only then commits its offset."""

from threading import Event
from typing import Any

import msgspec

from adapters.http_server import Readiness
from adapters.kafka_consumer import GroupConsumer, KafkaMessage
from challenges.challenges import Challenges, ChangedError
from challenges.first_decisions import FirstDecisions
from challenges.records import Binding
from vedette.errors import InputError, UnavailableError
from vedette.events import LONGEST_ID, MAX_AMOUNT, Decision
from vedette.reading import UNREADABLE, why_unreadable

NAME = "reading decisions"

_TAKE_S = 0.2

_LONGEST = 64 * 1024
"""Bytes of a decision; the outcome repeats it, and must not be too large for its topics."""

_decoder = msgspec.json.Decoder(Decision)


def binding_of(value: bytes) -> Binding | None:
    """Return what a decision asks the customer about, or None if it asks nothing.

    Args:
        value: A message of the topic `decisions`, which somebody else than the worker may have published.

    Raises:
        InputError: It is not a decision, or has a value that no worker gives.
    """
    if b'"challenge"' not in value:  # most decisions are not about a challenge, and need no decoding
        return None
    if len(value) > _LONGEST:
        raise InputError(f"it has {len(value)} bytes, more than {_LONGEST}")
    try:
        value.decode()  # what the decoder skips, it does not check, and the decision is stored as text
        decision = _decoder.decode(value)
    except UNREADABLE as error:
        raise InputError(why_unreadable(error, value)) from error
    if decision.action != "challenge" or decision.degraded:  # a decision without history is followed by another one
        return None
    payee = decision.payee or decision.merchant_id or ""
    for name, text in (("transaction_id", decision.transaction_id), ("account_id", decision.account_id)):
        if not 1 <= len(text) <= LONGEST_ID:
            raise InputError(f"`{name}` has {len(text)} characters, not 1 to {LONGEST_ID}")
    if len(payee) > LONGEST_ID:
        raise InputError(f"the payee has {len(payee)} characters, more than {LONGEST_ID}")
    if not 0 <= decision.amount <= MAX_AMOUNT:
        raise InputError("`amount` is not between 0 and 10**15 minor units")
    return Binding(
        transaction_id=decision.transaction_id, account_id=decision.account_id, amount=decision.amount,
        currency=decision.currency, payee=payee,
    )  # fmt: skip


class DecisionConsumer:
    """Reads the topic `decisions`.

    Args:
        challenges: The service.
        source: The topic, read in a consumer group.
        firsts: Knows which payments were decided otherwise before.
        log: A structlog logger.
        readiness: Records whether decisions are read.
    """

    def __init__(
        self, challenges: Challenges, source: GroupConsumer, firsts: FirstDecisions, log: Any, readiness: Readiness
    ) -> None:
        self._challenges = challenges
        self._firsts = firsts
        self._readiness = readiness
        self._source = source
        self._log = log

    def run(self, stop: Event) -> None:
        """Read until `stop` is set.

        While Redis or the broker does not answer, nothing is committed and the messages are retried.
        """
        while not stop.is_set():
            records = self._source.take(_TAKE_S)
            if self._source.problem:
                self._readiness.wait(NAME, self._source.problem)
            else:
                self._readiness.works(NAME)
            for record in records:
                while not stop.is_set() and not self._tried(record):
                    stop.wait(1.0)
            if records and not stop.is_set():
                self._source.commit()

    def _tried(self, record: KafkaMessage) -> bool:
        try:
            self._issue(record)
        except UnavailableError as error:
            self._readiness.wait(NAME, str(error))
            self._log.warning("challenge not issued yet", offset=record.offset, reason=str(error))
            return False
        return True

    def _issue(self, record: KafkaMessage) -> None:
        value = record.value or b""
        self._firsts.note(record)
        try:
            binding = binding_of(value)
        except InputError as error:
            self._log.error(
                "not a decision", topic=record.topic, partition=record.partition, offset=record.offset,
                reason=str(error),
            )  # fmt: skip
            return
        if binding is None:
            return
        if self._firsts.decided_before(record, binding.account_id, binding.transaction_id):
            self._log.warning(
                "no challenge: an earlier decision stands", transaction_id=binding.transaction_id,
                partition=record.partition, offset=record.offset,
            )  # fmt: skip
            return
        try:
            self._challenges.issue(binding, value.decode())
        except ChangedError as error:
            self._log.error("challenge void", transaction_id=binding.transaction_id, reason=str(error))
