"""Feature state in Redis: blobs, watermarks and the epoch that determines the current writer."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from redis.cluster import RedisCluster
from redis.exceptions import NoScriptError

from adapters.redis import connect, reachable
from features.identity import OPEN
from vedette import keys
from vedette.clock import DAY
from vedette.errors import FencedError, StateError
from vedette.settings import RedisSettings

_COMMIT = (Path(__file__).parent / "commit.lua").read_text(encoding="utf-8")
_MGET_KEYS = 5000
_SCAN_KEYS = 1000
_GLOB = re.compile(r"[*?\[\]\\]")

After = tuple[str, int | None] | None
"""Field of a watermark and the value it must have (None: not yet set)."""


@dataclass(frozen=True)
class Claim:
    """Ownership of a partition, and where its state stands."""

    epoch: int
    meta: dict[str, int]
    """Watermarks by field name (see vedette.keys), without the epoch."""


@dataclass(frozen=True)
class CommitStep:
    """Data to write to a partition in one atomic step.

    Attributes:
        partition: Number of the partition.
        epoch: Epoch of the claim.
        blobs: State by key.
        meta: Watermarks by field.
        after: A watermark's required value before the write; None to write unconditionally.
    """

    partition: int
    epoch: int
    blobs: Mapping[str, bytes]
    meta: Mapping[str, int]
    after: After = None


class StateStore(Protocol):
    """Storage of state between batches."""

    def claim(self, partition: int, identity: int = OPEN.fingerprint) -> Claim:
        """Acquire a partition: its previous owner can no longer write.

        Args:
            partition: Its number.
            identity: Fingerprint of the key under which the owner hashes identifiers.

        Raises:
            StateError: A load of history into it is running or incomplete, or its state was written under another key
                or by a release before there were keys.
        """
        ...

    def load(self, names: Sequence[str]) -> list[bytes | None]:
        """Return the blobs under these keys, None where there is none."""
        ...

    def commit_all(self, steps: Sequence[CommitStep]) -> list[FencedError | None]:
        """Write to several partitions, each in an atomic step of its own, in one round trip where possible.

        Returns:
            For each step, the error if another worker has acquired the partition since.

        Raises:
            StateError: A watermark has a different value: the store has lost writes, as after a failover.
            UnavailableError: There is no answer; any of the steps may have been written, and all can be repeated.
        """
        ...

    def probe(self, partition: int) -> None:
        """Raise UnavailableError unless the partition is writable; nothing is changed."""
        ...


class RedisStore:
    """State in Redis: all keys of a partition share a hash tag, so that a cluster also writes them atomically.

    The URL of a cluster is `redis+cluster://host:port`, of any of its nodes; where Sentinels watch over a master and
    its replicas it is `redis+sentinel://host:port,host:port/service`; with TLS both begin with `rediss`. Every method
    raises UnavailableError when Redis does not answer or refuses to write.

    Raises:
        SettingsError: The URL is not one.
        UnavailableError: The cluster does not report its slots; a single Redis is contacted on first use.
    """

    def __init__(self, settings: RedisSettings) -> None:
        self.prefix = settings.prefix
        self._ttl = settings.state_ttl_days * DAY // 1000
        self._client = connect(settings)
        self._commit = self._client.register_script(_COMMIT)

    def claim(self, partition: int, identity: int = OPEN.fingerprint) -> Claim:
        """See StateStore."""
        name = keys.meta(self.prefix, partition)
        self.check_identity(partition, identity)
        with reachable():
            epoch = self._client.hincrby(name, keys.EPOCH, 1)
            self._client.hsetnx(name, keys.IDENTITY, identity)
            # From here only the owner of the new epoch can write, so the next read is current.
            fields = self._client.hgetall(name)
        meta = {field.decode(): int(value) for field, value in fields.items() if field != keys.EPOCH.encode()}
        meta.pop(keys.IDENTITY, None)
        if meta.pop(keys.LOADING, 0):
            raise StateError(
                f"history is only partly loaded into partition {partition} under {self.prefix!r}",
                remedy="let `vedette backfill --load --overwrite` load it to the end",
            )
        return Claim(epoch, meta)

    def check_identity(self, partition: int, identity: int) -> None:
        """Raise unless a partition's state, if there is any, is hashed under this key.

        Raises:
            StateError: It is hashed under another key, or by a release before there were keys.
        """
        meta = self.meta(partition)
        known = meta.get(keys.IDENTITY)
        if known == identity or not set(meta) - {keys.EPOCH}:
            return
        why = (
            "was written by a release whose hashes had no key"
            if known is None
            else "is hashed under another key than [identity] key, or by another version"
        )
        raise StateError(
            f"the state of partition {partition} under {self.prefix!r} {why}",
            remedy="set that key; or build the state again: load history with `vedette backfill --load --overwrite`, "
            "or take another [redis] prefix and [worker] group and let workers read the topics from their beginning",
        )

    def clear(self, partitions: int) -> None:
        """Delete all state and watermarks under the prefix; owners of partitions can no longer write."""
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
        """Return the watermarks of a partition, without acquiring it."""
        with reachable():
            fields = self._client.hgetall(keys.meta(self.prefix, partition))
        return {field.decode(): int(value) for field, value in fields.items()}

    def positions(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """Return the next offset of a topic to consume by partition; 0 before the first."""
        return {partition: self.meta(partition).get(keys.position(topic), 0) for partition in partitions}

    def load(self, names: Sequence[str]) -> list[bytes | None]:
        """See StateStore."""
        blobs: list[bytes | None] = []
        # On a cluster, keys of different partitions are on different nodes, each of which gets its own request.
        mget = self._client.mget_nonatomic if isinstance(self._client, RedisCluster) else self._client.mget
        with reachable():
            for start in range(0, len(names), _MGET_KEYS):
                blobs += mget(names[start : start + _MGET_KEYS])
        return blobs

    def commit(
        self, partition: int, epoch: int, blobs: Mapping[str, bytes], meta: Mapping[str, int], after: After = None
    ) -> None:
        """Write to one partition; see StateStore.commit_all.

        Raises:
            FencedError: Another worker has acquired the partition since.
            StateError: The watermark has a different value.
        """
        (refusal,) = self.commit_all([CommitStep(partition, epoch, blobs, meta, after)])
        if refusal:
            raise refusal

    def commit_all(self, steps: Sequence[CommitStep]) -> list[FencedError | None]:
        """See StateStore."""
        with reachable():
            written = self._run([self._call(step) for step in steps])
        return [_refusal(step, result) for step, result in zip(steps, written, strict=True)]

    def _call(self, step: CommitStep) -> "_ScriptCall":
        fields = [part for field, value in step.meta.items() for part in (field, value)]
        field, value = step.after or ("", None)
        before = "" if value is None else value
        return _ScriptCall(
            [keys.meta(self.prefix, step.partition), *step.blobs],
            [step.epoch, self._ttl, field, before, len(fields), *fields, *step.blobs.values()],
        )

    def _run(self, calls: Sequence["_ScriptCall"]) -> list[int]:
        """Run the script once for each call."""
        # A cluster's partitions lie on different nodes, and its pipelines take no scripts.
        if len(calls) == 1 or isinstance(self._client, RedisCluster):
            return [self._commit(keys=call.keys, args=call.args) for call in calls]
        pipeline = self._client.pipeline(transaction=False)
        for call in calls:
            pipeline.evalsha(self._commit.sha, len(call.keys), *call.keys, *call.args)
        results = pipeline.execute(raise_on_error=False)
        for place, result in enumerate(results):
            if isinstance(result, NoScriptError):  # Redis was restarted: this call loads the script
                results[place] = self._commit(keys=calls[place].keys, args=calls[place].args)
            elif isinstance(result, Exception):
                raise result
        return list(results)

    def probe(self, partition: int) -> None:
        """See StateStore."""
        with reachable():
            # A write, so that it fails where any other write would: without memory, or on a replica.
            self._client.hincrby(keys.meta(self.prefix, partition), keys.EPOCH, 0)

    def ping(self) -> None:
        """Raise UnavailableError unless Redis answers."""
        with reachable():
            self._client.ping()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class _ScriptCall(NamedTuple):
    keys: list[str]
    args: list[Any]


def _refusal(step: CommitStep, written: int) -> FencedError | None:
    """Return the error that a result of the script stands for; raise StateError if the store has lost writes."""
    if written < 0:
        field, value = step.after or ("", None)
        raise StateError(
            f"partition {step.partition}: {field} is no longer {value}; Redis has lost writes",
            remedy="restart the worker: it resumes from the state in Redis",
        )
    if written:
        return None
    return FencedError(
        f"partition {step.partition} belongs to another worker now (epoch {step.epoch} is over)",
        remedy="nothing was written; this worker releases the partition",
    )
