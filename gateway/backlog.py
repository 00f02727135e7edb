"""The lag of decisions: the payments of this process that are published and have none, and the age of the oldest."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.recent import Entry

_STALLED_S = 1.0
"""Seconds without a decision after which a partition with pending payments has no worker."""


@dataclass(slots=True)
class _Partition:
    """The pending payments of a partition, in the order of their offsets."""

    pending: deque[tuple[int, float, Entry]] = field(default_factory=deque)
    undecided: int = 0
    decided_s: float = float("-inf")

    def drop_decided(self) -> None:
        """Forget the oldest ones that are decided."""
        while self.pending and not self.pending[0][2].pending:
            self.pending.popleft()

    def stalled(self, now_s: float) -> bool:
        """Return whether nobody decides its payments at present."""
        oldest = self.pending[0][1] if self.pending else now_s
        return max(self.decided_s, oldest) < now_s - _STALLED_S


class Backlog:
    """Published payments without a decision; all times are monotonic, in seconds."""

    def __init__(self) -> None:
        self._partitions: dict[int, _Partition] = {}
        self._sent = 0
        """Payments that the broker has neither acknowledged nor refused."""

    def send(self) -> None:
        """Count a payment that is handed to the producer; `add` or `fail` follows."""
        self._sent += 1

    def fail(self) -> None:
        """Count a payment that the broker has not taken."""
        self._sent -= 1

    def add(self, entry: Entry, partition: int, offset: int, published_s: float) -> None:
        """Add a payment that the broker has acknowledged, unless its decision has come already.

        Args:
            entry: The payment.
            partition: Its partition.
            offset: Its offset.
            published_s: When it was handed to the producer.
        """
        self._sent -= 1
        if entry.standing is not None or entry.degraded is not None:
            return
        of = self._partitions.setdefault(partition, _Partition())
        of.pending.append((offset, published_s, entry))
        of.undecided += 1
        entry.pending = (partition, published_s)

    def decide(self, entry: Entry, now_s: float) -> float | None:
        """Take a payment out that has its decision, and return the seconds since its publishing; None: it is not here.

        Args:
            entry: The payment.
            now_s: The time.
        """
        if entry.pending is None:
            return None
        (partition, published_s), entry.pending = entry.pending, None
        of = self._partitions[partition]
        of.undecided -= 1
        of.decided_s = now_s
        of.drop_decided()
        return now_s - published_s

    def passed(self, committed: Mapping[int, int]) -> None:
        """Drop payments that the worker has passed: an old duplicate is passed without a decision.

        Args:
            committed: By partition, the offset up to which the worker's group has read.
        """
        for partition, offset in committed.items():
            of = self._partitions.get(partition, _Partition())
            while of.pending and of.pending[0][0] < offset:
                entry = of.pending.popleft()[2]
                of.undecided -= entry.pending is not None
                entry.pending = None

    def undecided(self, now_s: float) -> int:
        """Return the number of payments that wait for a worker that decides: those of a stalled partition do not."""
        return self._sent + sum(of.undecided for of in self._partitions.values() if not of.stalled(now_s))

    def age_s(self, now_s: float) -> float:
        """Return the age of the oldest that is pending; 0 if none is."""
        oldest = now_s
        for of in self._partitions.values():
            if of.pending:
                oldest = min(oldest, of.pending[0][1])
        return now_s - oldest

    def partitions(self) -> list[int]:
        """Return the partitions on which something is pending."""
        return [partition for partition, of in self._partitions.items() if of.pending]
