"""A batch on its way through the pipeline."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streams.partition import Partition
from streams.publish import Outbox, Receipt


@dataclass
class Part:
    """What a batch changes in one partition."""

    partition: Partition
    meta: dict[str, int]
    """Watermarks to write."""
    blobs: dict[str, bytes] = field(default_factory=dict)
    """States to write, by key."""


@dataclass
class Work:
    """A batch between the steps."""

    topic: str
    """Without prefix."""
    parts: list[Part]
    """In order of partition number, as the batch's messages are."""
    received: int
    """Messages."""
    outbox: Outbox
    """What others wait for."""
    sent: Receipt | None = None
    """Of the outbox, once it has been handed to the broker."""
    log: Callable[[], Outbox] | None = None
    """Makes what nobody waits for: feature log and activity."""
    logged: Outbox | None = None
    produced_at: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """When each decided transaction was produced, milliseconds."""
    duplicates: int = 0
    late: int = 0
    shadow: dict[str, int] = field(default_factory=dict)
    """Shadow rule → times it was true."""
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds spent in each stage."""


@dataclass(frozen=True)
class Keys:
    """The state keys that a batch touches."""

    names: list[str]
    """Each once, grouped by part."""
    slot: NDArray[np.int64]
    """int64[n], which of them each row belongs to."""
    edges: list[int]
    """Where each part's begin in `names`, and where the last one's end."""

    def share(self, parts: Sequence[Part], blobs: Sequence[bytes]) -> dict[str, bytes]:
        """Give each part its new states, which come in the order of `names`; all of them by key."""
        for i, part in enumerate(parts):
            mine = slice(self.edges[i], self.edges[i + 1])
            part.blobs = dict(zip(self.names[mine], blobs[mine], strict=True))
        return {name: blob for part in parts for name, blob in part.blobs.items()}


def rows_of(parts: Sequence[Part], partition: NDArray[np.int32]) -> list[slice]:
    """The rows of each part, of rows that stand in its order.

    Args:
        parts: In order of partition number.
        partition: int32[n], of each row.
    """
    numbers = [part.partition.number for part in parts]
    edges = [*np.searchsorted(partition, numbers).tolist(), len(partition)]
    return [slice(edges[i], edges[i + 1]) for i in range(len(parts))]


def keys_of(
    parts: Sequence[Part],
    partition: NDArray[np.int32],
    names: Callable[[int, slice], tuple[list[str], NDArray[np.int64]]],
) -> Keys:
    """The state keys of a batch.

    Args:
        parts: In order of partition number.
        partition: int32[n], of each row.
        names: Given a partition's number and its rows, their keys, each once, and which of them each row belongs to.
    """
    known: list[str] = []
    slot = np.empty(len(partition), np.int64)
    edges = [0]
    for part, rows in zip(parts, rows_of(parts, partition), strict=True):
        mine, of = names(part.partition.number, rows)
        slot[rows] = of + len(known)
        known += mine
        edges.append(len(known))
    return Keys(known, slot, edges)
