"""Which payments were already decided otherwise: of several decisions in the log, the first regular one stands.

Two workers may both decide a payment, if one is frozen, loses its partition, and publishes when it wakes up. A later
decision to challenge must not reach a customer, so the payments of the recent past are remembered.
"""

from contextlib import closing
from itertools import chain
from typing import Any

import msgspec

from adapters.kafka_consumer import KafkaMessage
from adapters.kafka_reader import TopicReader
from vedette.clock import MINUTE
from vedette.reading import UNREADABLE
from vedette.settings import Settings
from vedette.topics import Name

LOOKBACK_MS = 15 * MINUTE
"""How far back decisions are read when a partition is taken over."""
REMEMBERED = 1_000_000
"""Maximum number of payments in memory, some 100 bytes each."""


class _Decided(msgspec.Struct, frozen=True):
    """The fields of a decision that tell whether it stands; nothing else of it is read."""

    account_id: str
    transaction_id: str
    action: str
    degraded: bool = False
    final: bool = False


_decode = msgspec.json.Decoder(_Decided).decode


class FirstDecisions:
    """The payments whose first regular decision is not a challenge, for the partitions that this process reads.

    Args:
        settings: Settings of the broker and the prefix of topics.
        lookback_ms: How far back decisions are read when a partition is taken over.
        remember: Maximum number of payments.
    """

    def __init__(self, settings: Settings, *, lookback_ms: int = LOOKBACK_MS, remember: int = REMEMBERED) -> None:
        self._settings = settings
        self._lookback_ms = lookback_ms
        self._remember = remember
        self._next: dict[int, int] = {}
        # Payment → offset, by a 64-bit hash under a key of the process: among a million, two are equal in one of 10^7
        # processes. Two generations; the older one is dropped when the younger one is full.
        self._young: dict[int, int] = {}
        self._old: dict[int, int] = {}

    def note(self, message: KafkaMessage) -> None:
        """Take note of the next decision of a partition, and of those before it that are not known yet.

        Raises:
            UnavailableError: The broker does not say what was decided before; the call can be repeated.
        """
        number, offset = message.partition, message.offset
        known = self._next.get(number)
        if known is not None and offset < known:
            return  # delivered again
        if offset != (known or 0):
            self._read_back(message, known)
        self._add(number, offset, message.value or b"")
        self._next[number] = offset + 1

    def decided_before(self, message: KafkaMessage, account_id: str, transaction_id: str) -> bool:
        """Return whether the payment of a message was decided otherwise before it, on the same partition."""
        payment = hash((message.partition, account_id, transaction_id))
        first = self._young.get(payment, self._old.get(payment))
        return first is not None and first < message.offset

    def _read_back(self, message: KafkaMessage, known: int | None) -> None:
        since = max(message.timestamp - self._lookback_ms, 0)
        with closing(TopicReader(self._settings, Name.DECISIONS, since if known is None else 0)) as log:
            available = log.offsets[message.partition]
            start = max(available.start if known is None else known, message.offset - self._remember // 2)
            before: Any
            for before in chain.from_iterable(log.read({message.partition: range(start, message.offset)})):
                self._add(message.partition, before.offset(), before.value() or b"")

    def _add(self, number: int, offset: int, value: bytes) -> None:
        try:
            decided = _decode(value)
        except UNREADABLE:
            return  # the consumer reports it
        if decided.degraded or decided.final or decided.action == "challenge":
            return
        payment = hash((number, decided.account_id, decided.transaction_id))
        if payment in self._young or payment in self._old:
            return
        self._young[payment] = offset
        if len(self._young) > self._remember // 2:
            self._old, self._young = self._young, {}
