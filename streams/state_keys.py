"""The keys of the states that a batch touches, and the key of each row."""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.columns import Columns, account_hash
from features.engine import slots
from features.identity import OPEN, Identity
from streams.partition import Partition
from vedette import keys


@dataclass(frozen=True)
class StateKeys:
    """The keys of the states that a batch touches."""

    names: list[str]
    """Distinct keys, grouped by partition."""
    slot: NDArray[np.int64]
    """int64[n], the index in `names` of each row's key."""
    edges: list[int]
    """Start of each partition's keys in `names`, and the end of the last one's."""

    def by_partition(self, blobs: Sequence[bytes]) -> list[dict[str, bytes]]:
        """Return new states, given in the order of `names`, by key for each partition."""
        return [
            dict(zip(self.names[start:end], blobs[start:end], strict=True))
            for start, end in zip(self.edges[:-1], self.edges[1:], strict=True)
        ]


def rows_of(partitions: Sequence[Partition], number: NDArray[np.int32]) -> list[slice]:
    """Return the rows of each partition.

    Args:
        partitions: The partitions in order of their numbers.
        number: int32[n], the partition of each row, ascending.
    """
    numbers = [partition.number for partition in partitions]
    edges = [*np.searchsorted(number, numbers).tolist(), len(number)]
    return [slice(edges[i], edges[i + 1]) for i in range(len(partitions))]


def state_keys(
    partitions: Sequence[Partition],
    number: NDArray[np.int32],
    keys_of: Callable[[int, slice], tuple[list[str], NDArray[np.int64]]],
) -> StateKeys:
    """Return the state keys of a batch.

    Args:
        partitions: The partitions in order of their numbers.
        number: int32[n], the partition of each row, ascending.
        keys_of: Given a partition's number and its rows, returns their distinct keys and the index of each row's key.
    """
    names: list[str] = []
    slot = np.empty(len(number), np.int64)
    edges = [0]
    for partition, rows in zip(partitions, rows_of(partitions, number), strict=True):
        found, index = keys_of(partition.number, rows)
        slot[rows] = index + len(names)
        names += found
        edges.append(len(names))
    return StateKeys(names, slot, edges)


class KeySpace:
    """The keys of the states of accounts, merchants, devices, addresses and payees.

    Args:
        prefix: Prefix of the store's keys.
        partitions: Number of partitions of the topics; determines the owner of an entity.
        identity: The key of the hashes.
    """

    def __init__(self, prefix: str, partitions: int, identity: Identity = OPEN) -> None:
        self._identity = identity
        self._prefix = prefix
        self._partitions = partitions
        self._entity_prefixes = [keys.entity(prefix, number) for number in range(partitions)]

    def accounts(
        self, partitions: Sequence[Partition], number: NDArray[np.int32], account_id: pa.Array
    ) -> StateKeys:  # fmt: skip
        """Return the keys of n rows' accounts; an account belongs to the partition of its message."""
        hashes = account_hash(account_id, self._identity)
        accounts, index = slots(hashes)
        owner = np.empty(len(accounts), np.int32)
        owner[index[::-1]] = number[::-1]
        if np.array_equal(owner[index], number):  # no account is on two partitions, so its first row says all
            prefixes = {partition.number: keys.account(self._prefix, partition.number) for partition in partitions}
            names = [
                keys.hashed(prefixes[place], account) for place, account in zip(owner.tolist(), accounts, strict=True)
            ]
            edges = np.searchsorted(owner, [partition.number for partition in partitions]).tolist()
            return StateKeys(names, index, [*edges, len(names)])

        def keys_of(partition: int, rows: slice) -> tuple[list[str], NDArray[np.int64]]:
            prefix = keys.account(self._prefix, partition)
            found, slot = slots(hashes[rows])
            return [keys.hashed(prefix, account) for account in found], slot

        return state_keys(partitions, number, keys_of)

    def entities(
        self, partitions: Sequence[Partition], number: NDArray[np.int32], entity: NDArray[np.uint64]
    ) -> StateKeys:  # fmt: skip
        """Return the keys of n rows' entities, each of which belongs to the partition of its message."""

        def keys_of(_: int, rows: slice) -> tuple[list[str], NDArray[np.int64]]:
            found, slot = slots(entity[rows])
            return self._entity_keys(found), slot

        return state_keys(partitions, number, keys_of)

    def touched(self, columns: Columns, owned: Container[int]) -> tuple[NDArray[np.int64], dict[str, bool]]:
        """Return the entities of n payments, whichever partition they belong to.

        Returns:
            int64[n, KINDS], the index of each payment's merchant, device, address and payee (-1: none) and of its own
            account as a payee, and by key of each entity whether its partition is one of `owned`.
        """
        hashes = np.column_stack([columns.entities, columns.recipient])
        present = hashes != 0
        entities, index = slots(hashes[present])
        slot = np.full(hashes.shape, -1, np.int64)
        slot[present] = index
        names = self._entity_keys(entities)
        if all(number in owned for number in range(self._partitions)):
            return slot, dict.fromkeys(names, True)
        is_owned = [entity % self._partitions in owned for entity in entities]
        return slot, dict(zip(names, is_owned, strict=True))

    def _entity_keys(self, entities: Sequence[int]) -> list[str]:
        prefixes, partitions, hashed = self._entity_prefixes, self._partitions, keys.hashed
        return [hashed(prefixes[entity % partitions], entity) for entity in entities]
