"""The partitions that a worker owns: their epochs and watermarks, and the states in memory."""

import collections
from collections.abc import Callable, Collection, Mapping, Sequence

from features.identity import OPEN
from features.store import Claim, CommitStep, StateStore
from streams.own_decisions import DecidedOffsets, DecisionReader, DecisionTail, Payment, StandingDecision
from vedette import keys
from vedette.topics import Name

HELD = 8
"""Maximum number of batches that are computed but not yet written, whose states are only in memory."""


_PATIENCE = 100_000
"""Payments in a row without a decision in the tail after which none is expected: more than were ever in flight."""


class Cache:
    """State blobs by key; the least recently used are dropped first. The owner is the only writer, so it is exact.

    Two generations approximate the order of use: new states go into the young one; when that reaches half of the limit,
    it becomes the old one, and the remaining states of the old one are dropped.

    Args:
        limit: Number of states to hold.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: collections.deque[int] = collections.deque(maxlen=HELD)
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._young: dict[str, bytes] = {}
        self._old: dict[str, bytes] = {}

    def fetch(self, names: Sequence[str], load: Callable[[list[str]], list[bytes | None]]) -> list[bytes | None]:
        """Return the blob under each key, loading all that are not held at once; None or empty where there is none."""
        blobs = list(map(self._young.get, names))
        for i, blob in enumerate(blobs):
            if blob is None:
                blobs[i] = self._old.get(names[i])
        if missing := [i for i, blob in enumerate(blobs) if blob is None]:
            for i, blob in zip(missing, load([names[i] for i in missing]), strict=True):
                blobs[i] = blob
        return blobs

    def put(self, *new: Mapping[str, bytes]) -> None:
        """Pin the states of one more batch, together with those of the batches just before it."""
        self._held.append(sum(map(len, new)))
        for states in new:
            self._young.update(states)
        if len(self._young) > max(self._limit // 2, sum(self._held)):
            self._old, self._young = self._young, {}


class Partition:
    """A partition that the worker owns."""

    def __init__(self, number: int, claim: Claim) -> None:
        self.number = number
        self.epoch = claim.epoch
        self.meta = claim.meta
        """Watermarks after all batches in flight are committed."""
        self.written = dict(claim.meta)
        """Watermarks in the store."""
        self.lost_since: float | None = None
        """Monotonic time at which another worker was found to own it."""
        self.decided = DecidedOffsets(claim.meta.get(keys.position(Name.DECISIONS), 0))
        """Which offsets of its decisions are known."""
        self.tail: DecisionTail | None = None
        """Decisions that were there when the partition was acquired, some of them on payments beyond the watermark."""
        self.foreign: dict[Payment, StandingDecision] = {}
        """Decisions that another worker has published since, and so before any of this worker on the same payment."""
        self._since_found = 0

    @property
    def decided_from(self) -> int:
        """The offset from which a successor has to read: decisions on payments that come next may lie there."""
        start = self.tail.start if self.tail else None
        return self.decided.known if start is None else min(start, self.decided.known)

    def taken_over(self, payments: Sequence[Payment], standing: Collection[int]) -> None:
        """Let go of the tail once payments no longer are in it.

        Args:
            payments: The payments of a batch.
            standing: Rows of those whose decision was found.
        """
        if self.tail is None or not payments:
            return
        self.tail.forget(payments[row] for row in standing)
        self._since_found = 0 if standing else self._since_found + len(payments)
        if self._since_found > _PATIENCE and not self.tail.unread:
            self.tail = None

    def position(self, topic: str) -> int | None:
        """Return the next offset of a topic to apply; None if the topic has not been read."""
        return self.meta.get(keys.position(topic))

    def begin(self, topic: str, offset: int) -> None:
        """Record the offset at which reading a topic begins: after the watermark, if messages there were deleted."""
        self.meta[keys.position(topic)] = offset

    def written_position(self, topic: str) -> int | None:
        """Return the next offset of a topic to apply according to the store."""
        return self.written.get(keys.position(topic))


def acquire_partition(
    store: StateStore, number: int, decisions: DecisionReader, identity: int = OPEN.fingerprint
) -> Partition:
    """Acquire a partition: its previous owner can no longer write, and what it has decided is taken over.

    See StateStore.claim for the identity.

    Raises:
        UnavailableError: Redis or the broker does not answer.
    """
    partition = Partition(number, store.claim(number, identity))
    field, end = keys.position(Name.DECISIONS), decisions.end(number)
    if field in partition.meta:
        tail = range(min(partition.meta[field], end), end)
        partition.tail = DecisionTail(decisions, number, tail) if tail else None
    else:  # there is no state yet, or it is of an earlier release: what is decided from here on can be taken over
        store.commit_all([CommitStep(number, partition.epoch, {}, {field: end})])
        partition.meta[field] = partition.written[field] = end
    partition.decided = DecidedOffsets(end)
    return partition
