"""The partitions that a worker owns: their claims and watermarks, and the states it holds in memory."""

import collections
from collections.abc import Callable, Mapping, Sequence

from features.store import Claim, StateStore
from vedette import keys

HELD = 8
"""Batches that may be computed and not yet written: their states are nowhere else but in memory."""


class Cache:
    """State blobs by key, those not used for longest dropped first. The owner is the only writer, so it is exact.

    Two generations take the place of an order by use: what is put goes into the young one; when that is half of what
    may be held it becomes the old one, and what was left in the old one is dropped.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: collections.deque[int] = collections.deque(maxlen=HELD)
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._young: dict[str, bytes] = {}
        self._old: dict[str, bytes] = {}

    def fetch(self, names: Sequence[str], load: Callable[[list[str]], list[bytes | None]]) -> list[bytes | None]:
        """The blob under each key, loading in one go those not held; None or empty where there is none."""
        blobs = list(map(self._young.get, names))
        for i, blob in enumerate(blobs):
            if blob is None:
                blobs[i] = self._old.get(names[i])
        if missing := [i for i, blob in enumerate(blobs) if blob is None]:
            for i, blob in zip(missing, load([names[i] for i in missing]), strict=True):
                blobs[i] = blob
        return blobs

    def put(self, fresh: Mapping[str, bytes]) -> None:
        """Hold the states of one more batch, and those of the batches just before it."""
        self._held.append(len(fresh))
        self._young.update(fresh)
        if len(self._young) > max(self._most // 2, sum(self._held)):
            self._old, self._young = self._young, {}


class Partition:
    """What the worker knows of a partition while it owns it."""

    def __init__(self, number: int, claim: Claim) -> None:
        self.number = number
        self.epoch = claim.epoch
        self.meta = claim.meta
        """Watermarks as they will be once everything handed to the finisher is written."""
        self.written = dict(claim.meta)
        """Watermarks as they stand in the store."""
        self.lost_since: float | None = None
        """Since when another worker has it, by the monotonic clock."""

    def position(self, topic: str) -> int | None:
        """The next offset of a topic to take in; None if nothing of it ever was or is being read."""
        return self.meta.get(keys.position(topic))

    def begin(self, topic: str, offset: int) -> None:
        """Note from which offset on a topic is read: past the watermark, if messages behind it are gone."""
        self.meta[keys.position(topic)] = offset

    def written_position(self, topic: str) -> int | None:
        """Likewise, counting only what is in the store."""
        return self.written.get(keys.position(topic))


def claim(store: StateStore, number: int) -> Partition:
    """Take over a partition; whoever had it before can no longer write."""
    return Partition(number, store.claim(number))
