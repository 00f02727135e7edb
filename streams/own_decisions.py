"""The decisions that a partition already has: of several on a payment, the first in the log stands.

A decision depends on how far the owners of merchants, devices, addresses and payees have come, so it cannot be made
again with the same result. It carries the live signals that it saw in a header. A worker that takes a partition over
reads what was decided beyond the watermark and takes it over; and what another worker, which has not noticed yet that
it lost the partition, publishes in between is found by the gaps it leaves in the offsets. See
docs/decisions/0014-the-first-decision-stands.md.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from adapters.kafka_reader import OffsetReader
from features.signals import decode_signals
from vedette.events import Decision
from vedette.reading import UNREADABLE
from vedette.settings import Settings
from vedette.topics import Name

SIGNALS = "vedette.signals"
"""Header of a decision: the live signals that it saw, see features.signals."""

Payment = tuple[str, str]
"""Account and transaction."""

_AT_ONCE = 1_000
_TAIL_AT_ONCE = 20_000
_WAIT_S = 0.02

_decode = msgspec.json.Decoder(Decision).decode


@dataclass(frozen=True)
class StandingDecision:
    """The decision that stands, and what it saw."""

    decision: Decision
    signals: NDArray[np.int64] | None
    """int64[features.signals.SIGNALS]; None if the decision has none, as of an earlier release."""
    offset: int
    """Its offset in its partition."""


class DecisionReader(Protocol):
    """Reads the topic of decisions."""

    def end(self, partition: int) -> int:
        """Return the offset of the next decision of a partition.

        Raises:
            UnavailableError: The broker does not answer.
        """
        ...

    def read(self, partition: int, offsets: range) -> Iterable[Any]:
        """Return the messages at these offsets, in order.

        Raises:
            UnavailableError: The broker does not answer.
        """
        ...


class DecisionLog:
    """The topic of decisions, read by offset and without a group; each call blocks until it is done.

    The computing and the finishing thread share it: one reads after the other.

    Args:
        settings: Settings of the broker and the prefix of topics.
        timeout_s: Time-out for a response of the broker.
    """

    def __init__(self, settings: Settings, *, timeout_s: float = 10.0) -> None:
        self._reading = Lock()
        # A tail may be longer than what the topic keeps.
        self._log = OffsetReader(
            settings, Name.DECISIONS, at_once=_AT_ONCE, timeout_s=timeout_s, pause_s=_WAIT_S, skip_deleted=True
        )

    def end(self, partition: int) -> int:
        """See DecisionReader."""
        return self._log.available(partition).stop

    def read(self, partition: int, offsets: range) -> Iterator[Any]:
        """See DecisionReader."""
        with self._reading:
            for piece in self._log.read_partition(partition, offsets):
                yield from piece

    def close(self) -> None:
        """Close the connection."""
        self._log.close()


def standing_decisions(messages: Iterable[Any]) -> dict[Payment, StandingDecision]:
    """Return the first decision of each payment that is neither degraded nor final, of messages in order."""
    standing: dict[Payment, StandingDecision] = {}
    for message in messages:
        try:
            decision = _decode(message.value() or b"")
        except UNREADABLE:
            continue  # somebody else's message; whoever reads decisions reports it
        payment = decision.account_id, decision.transaction_id
        if decision.degraded or decision.final is True or payment in standing:
            continue
        signals = dict(message.headers() or ()).get(SIGNALS)
        standing[payment] = StandingDecision(decision, decode_signals(signals) if signals else None, message.offset())
    return standing


class DecisionTail:
    """What a partition's decisions were from an offset on when it was acquired, read only as far as it is asked for.

    Payments come in the order in which they were decided, so little of it is in memory at a time, however long it is.

    Args:
        decisions: Reads it.
        partition: Number of the partition.
        offsets: The offsets of the tail.
    """

    def __init__(self, decisions: DecisionReader, partition: int, offsets: range) -> None:
        self._decisions = decisions
        self._partition = partition
        self._unread = offsets
        self._standing: dict[Payment, StandingDecision] = {}
        self._start: int | None = None

    def __bool__(self) -> bool:
        """Whether there may still be a decision in it."""
        return bool(self._unread or self._standing)

    @property
    def start(self) -> int | None:
        """The first offset at which there may be a decision that was not taken over yet; None if there is none."""
        if self._start is None:
            offsets = [known.offset for known in self._standing.values()]
            if self._unread:
                offsets.append(self._unread.start)
            self._start = min(offsets, default=None)
        return self._start

    @property
    def unread(self) -> bool:
        """Whether there is more to read."""
        return bool(self._unread)

    def find(self, payment: Payment) -> StandingDecision | None:
        """Return the standing decision on a payment, if it is there.

        Raises:
            UnavailableError: The broker does not answer.
        """
        while payment not in self._standing and self._unread:
            part = self._unread[:_TAIL_AT_ONCE]
            read = standing_decisions(self._decisions.read(self._partition, part))
            self._unread = self._unread[_TAIL_AT_ONCE:]
            self._standing = {**read, **self._standing}
        return self._standing.get(payment)

    def forget(self, payments: Iterable[Payment]) -> None:
        """Drop the decisions on payments that have been taken over."""
        if [payment for payment in payments if self._standing.pop(payment, None)]:
            self._start = None


class DecidedOffsets:
    """The offsets of a partition of decisions: up to where all are known, and which of them are this worker's own.

    Args:
        known: Everything before this offset is known.
    """

    def __init__(self, known: int) -> None:
        self.known = known
        self._own: set[int] = set()

    def acknowledged(self, offsets: Iterable[int]) -> None:
        """Record offsets of this worker's own decisions."""
        self._own.update(offset for offset in offsets if offset >= self.known)
        while self.known in self._own:
            self._own.remove(self.known)
            self.known += 1

    def unknown(self) -> range:
        """Return the offsets up to the last of its own among which there are messages of others; usually none."""
        return range(self.known, max(self._own, default=self.known - 1) + 1)

    def seen(self, offsets: range) -> None:
        """Record that everything at these offsets has been read."""
        self.known = max(self.known, offsets.stop)
        self._own = {offset for offset in self._own if offset >= self.known}
        self.acknowledged(())
