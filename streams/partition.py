"""A partition that this worker owns: its claim, its watermarks, and the states it holds in memory."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

from features.store import Claim, StateStore
from vedette import keys

_Key = TypeVar("_Key", bound=Hashable)


class Cache(dict[_Key, bytes]):
    """State blobs of the owner, the least recently used dropped first. The owner is the only writer, so it is exact."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def fetch(
        self, wanted: Sequence[_Key], name: Callable[[_Key], str], load: Callable[[list[str]], list[bytes | None]]
    ) -> list[bytes | None]:
        """The blob of each key, loading in one go those not held; None or empty where there is none."""
        blobs = [self.get(key) for key in wanted]
        if missing := [i for i, blob in enumerate(blobs) if blob is None]:
            for i, blob in zip(missing, load([name(wanted[i]) for i in missing]), strict=True):
                blobs[i] = blob
        return blobs

    def put(self, fresh: Mapping[_Key, bytes]) -> None:
        """Hold these, as the most recently used: all of them, since until they are written they are nowhere else."""
        for key, blob in fresh.items():
            self.pop(key, None)
            self[key] = blob
        while len(self) > max(self._most, len(fresh)):
            del self[next(iter(self))]


class Partition:
    """What the worker knows of a partition while it owns it."""

    def __init__(self, number: int, claim: Claim, most_accounts: int) -> None:
        self.number = number
        self.epoch = claim.epoch
        self.meta = claim.meta
        """Watermarks as they will be once everything handed to the finisher is written."""
        self.written = dict(claim.meta)
        """Watermarks as they stand in the store."""
        self.lost_since: float | None = None
        """Since when another worker has it, by the monotonic clock."""
        self.accounts: Cache[str] = Cache(most_accounts)
        self.merchants: Cache[int] = Cache(most_accounts)

    def position(self, topic: str) -> int | None:
        """The next offset of a topic to take in; None if nothing of it ever was or is being read."""
        return self.meta.get(keys.position(topic))

    def begin(self, topic: str, offset: int) -> None:
        """Note from which offset on a topic is read: past the watermark, if messages behind it are gone."""
        self.meta[keys.position(topic)] = offset

    def written_position(self, topic: str) -> int | None:
        """Likewise, counting only what is in the store."""
        return self.written.get(keys.position(topic))


def claim(store: StateStore, number: int, most_accounts: int) -> Partition:
    """Take over a partition; whoever had it before can no longer write."""
    return Partition(number, store.claim(number), most_accounts)
