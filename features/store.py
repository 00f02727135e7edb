"""Feature state in Redis: blobs, watermarks and the epoch that says who may write."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

from redis.cluster import RedisCluster

from features.redis_client import connect, reachable
from vedette import keys
from vedette.clock import DAY
from vedette.errors import FencedError, StateError
from vedette.settings import RedisSettings

_COMMIT = (Path(__file__).parent / "commit.lua").read_text(encoding="utf-8")
_MGET_KEYS = 5000
_SCAN_KEYS = 1000
_GLOB = re.compile(r"[*?\[\]\\]")

After = tuple[str, int | None] | None
"""A watermark's field and the value it must have (None: not yet there)."""


@dataclass(frozen=True)
class Claim:
    """Ownership of a partition, and where its state stands."""

    epoch: int
    meta: dict[str, int]
    """Watermarks by field name (see vedette.keys), the epoch not among them."""


class StateStore(Protocol):
    """Where state lives between batches."""

    def claim(self, partition: int) -> Claim:
        """Take over a partition: whoever claimed it before can no longer write.

        Raises:
            StateError: History is being loaded into it, or was not loaded to the end.
        """
        ...

    def load(self, names: Sequence[str]) -> list[bytes | None]:
        """The blobs under these keys, None where there is none."""
        ...

    def commit(
        self, partition: int, epoch: int, blobs: Mapping[str, bytes], meta: Mapping[str, int], after: After = None
    ) -> None:
        """Write blobs and watermarks in one atomic step.

        Args:
            partition: Which.
            epoch: Of the claim.
            blobs: State by key.
            meta: Watermarks by field.
            after: A watermark as it must stand before; None to write whatever stands there.

        Raises:
            FencedError: Another worker has claimed the partition since.
            StateError: The store stands elsewhere: it has lost what was written, as after a failover.
        """
        ...

    def probe(self, partition: int) -> None:
        """Raise UnavailableError unless a partition could be written; nothing is changed."""
        ...


class RedisStore:
    """State in Redis: all keys of a partition share a hash tag, so that on a cluster, too, one step writes them.

    The URL of a cluster is `redis+cluster://host:port`, of any of its nodes; where Sentinels watch over a master and
    its replicas it is `redis+sentinel://host:port,host:port/service`; with TLS both begin with `rediss`. Every method
    raises UnavailableError when Redis does not answer or refuses to write.

    Raises:
        SettingsError: The URL is not one.
        UnavailableError: The cluster does not say which node has what; a single Redis is first asked when needed.
    """

    def __init__(self, settings: RedisSettings) -> None:
        self.prefix = settings.prefix
        self._ttl = settings.state_ttl_days * DAY // 1000
        self._client = connect(settings)
        self._commit = self._client.register_script(_COMMIT)

    def claim(self, partition: int) -> Claim:
        """See StateStore."""
        name = keys.meta(self.prefix, partition)
        with reachable():
            epoch = self._client.hincrby(name, keys.EPOCH, 1)
            # Only the new epoch's owner can write from here on, so what is read next is where the state stands.
            fields = self._client.hgetall(name)
        meta = {field.decode(): int(value) for field, value in fields.items() if field != keys.EPOCH.encode()}
        if meta.pop(keys.LOADING, 0):
            raise StateError(
                f"history is only partly loaded into partition {partition} under {self.prefix!r}",
                remedy="let `vedette backfill --load --overwrite` load it to the end",
            )
        return Claim(epoch, meta)

    def clear(self, partitions: int) -> None:
        """Forget all state and all watermarks under the prefix; whoever had claimed a partition can no longer write."""
        metas = [keys.meta(self.prefix, partition) for partition in range(partitions)]
        everything = _GLOB.sub(r"\\\g<0>", self.prefix) + "{*}*"
        with reachable():
            for name in metas:
                self._client.hincrby(name, keys.EPOCH, 1)
                if fields := set(self._client.hkeys(name)) - {keys.EPOCH.encode()}:
                    self._client.hdel(name, *fields)
            found = (name for name in self._client.scan_iter(everything, _SCAN_KEYS) if name.decode() not in metas)
            while names := list(islice(found, _SCAN_KEYS)):
                self._client.unlink(*names)

    def meta(self, partition: int) -> dict[str, int]:
        """Watermarks of a partition, without claiming it."""
        with reachable():
            fields = self._client.hgetall(keys.meta(self.prefix, partition))
        return {field.decode(): int(value) for field, value in fields.items()}

    def positions(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """By partition, the next offset of a topic to take in; 0 before the first."""
        return {partition: self.meta(partition).get(keys.position(topic), 0) for partition in partitions}

    def load(self, names: Sequence[str]) -> list[bytes | None]:
        """See StateStore."""
        blobs: list[bytes | None] = []
        # On a cluster keys of different partitions lie on different nodes, each of which is asked for its own.
        mget = self._client.mget_nonatomic if isinstance(self._client, RedisCluster) else self._client.mget
        with reachable():
            for start in range(0, len(names), _MGET_KEYS):
                blobs += mget(names[start : start + _MGET_KEYS])
        return blobs

    def commit(
        self, partition: int, epoch: int, blobs: Mapping[str, bytes], meta: Mapping[str, int], after: After = None
    ) -> None:
        """See StateStore."""
        fields = [part for field, value in meta.items() for part in (field, value)]
        field, value = after or ("", None)
        before = "" if value is None else value
        with reachable():
            written = self._commit(
                keys=[keys.meta(self.prefix, partition), *blobs],
                args=[epoch, self._ttl, field, before, len(fields), *fields, *blobs.values()],
            )
        if written < 0:
            raise StateError(
                f"partition {partition}: {field} no longer stands at {value}; Redis has lost what was written",
                remedy="start the worker again: it goes on from what Redis holds",
            )
        if not written:
            raise FencedError(
                f"partition {partition} belongs to another worker now (epoch {epoch} is over)",
                remedy="nothing was written; this worker gives the partition up",
            )

    def probe(self, partition: int) -> None:
        """See StateStore."""
        with reachable():
            # A write, so that it is refused where any other would be: without memory, or by a replica.
            self._client.hincrby(keys.meta(self.prefix, partition), keys.EPOCH, 0)

    def ping(self) -> None:
        """Raise UnavailableError unless Redis answers."""
        with reachable():
            self._client.ping()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
