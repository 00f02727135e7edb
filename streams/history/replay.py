"""Features of past transactions, computed again in the order in which they arrived.

The worker's kernels are applied to the same events in the same order, so what a feature was is what it is again, to the
bit. Live features are the exception: they depend on how far other partitions had come, so they are taken as logged.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.activity import Activity, of_labels, of_payments, payment_flags, unusualness
from features.backfill import Backfill
from features.catalogue import DELAYED, ENTITIES
from features.columns import Columns, entity_hash, from_batch
from features.engine import advance_accounts, advance_entities, query_entities, slots
from features.identity import Identity
from features.kernel_account import DUPLICATE
from features.kernel_entity import DELAYED_PART
from features.signals import KINDS
from features.transaction_schema import SCHEMA
from streams.activity import columns_of_labels
from streams.history.archived import valid
from vedette.errors import InputError
from vedette.events import MAX_TIME, Label, canonical
from vedette.partitioner import partition_of

Place = tuple[int, int]
"""Partition and offset of a transaction."""


SHIFTS_MS = (0, *(sign * 50 * 2**power for power in range(8) for sign in (-1, 1)))
"""How far before or after a transaction's arrival the owners of its entities may have been when it was decided."""


@dataclass(frozen=True)
class Recomputed:
    """A transaction with its features.

    Attributes:
        batch: The transaction, one row in the columns of Transaction.
        variants: float64[len(SHIFTS_MS), features] in catalogue order, live ones and those of limits missing. They
            seldom differ: where a label that is later than the label delay arrived at that time; and for very busy
            entities, which keep their last 512 to 575 payments, so how many of those before the label delay are still
            known one by one depends on how many have come since.
        extra: Its vendor features.
    """

    batch: pa.RecordBatch
    variants: NDArray[np.float64]
    extra: dict[str, float]


@dataclass(frozen=True)
class ArrivedLabels:
    """Labels in the order of their arrival.

    Attributes:
        labels: n labels.
        partition: int64[n], the partition of each.
        arrived: int64[n], when they arrived, milliseconds, ascending.
    """

    labels: list[Label]
    partition: NDArray[np.int64]
    arrived: NDArray[np.int64]

    @classmethod
    def of(cls, table: pa.Table) -> "ArrivedLabels":
        """Return the valid labels of a table with their columns, `kafka_partition` and `arrived`."""
        labels: list[Label] = []
        rows: list[int] = []
        for row, values in enumerate(table.select(Label.__struct_fields__).to_pylist()):
            try:
                labels.append(canonical(Label(**values)))
            except InputError:
                continue  # the worker has refused it as well
            rows.append(row)
        partition, arrived = (table[name].to_numpy().astype(np.int64)[rows] for name in ("kafka_partition", "arrived"))
        return cls(labels, partition, arrived)


@dataclass
class EventReplay:
    """States of accounts and entities, taken forward event by event.

    Args:
        labels: All labels.
        delay: The label delay, milliseconds.
        identity: The key of the hashes.
        max_future_ms: See streams.decode.decode_transactions.
        start: The history that was loaded before the first event.
        partitions: Number of partitions, which says where `start` was loaded.
    """

    labels: ArrivedLabels
    delay: int
    identity: Identity
    max_future_ms: float
    start: Backfill = field(default_factory=Backfill)
    partitions: int = 1
    _accounts: dict[tuple[int, str], bytes] = field(default_factory=dict)
    _entities: dict[int, bytes] = field(default_factory=dict)
    _next_label: int = 0
    _pending: list[tuple[NDArray[np.int64], Activity]] = field(default_factory=list)
    """Activity that is not applied yet, with the time of its arrival."""
    _looks: list["_Look"] = field(default_factory=list)
    """Looks at entities that are still to come."""

    def features(
        self, pieces: Iterable[pa.RecordBatch], wanted: set[Place], entities: NDArray[np.uint64]
    ) -> Iterator[tuple[Place, Recomputed]]:
        """Yield the wanted transactions with their features.

        Args:
            pieces: All transactions in order of arrival, columns as the fields of Transaction, `kafka_partition`,
                `kafka_offset`, `produced_at` and `arrived`.
            wanted: Places of transactions; nothing is read long behind the last of them.
            entities: Hashes of the merchants, devices and addresses of these; activity of others is left out.
        """
        found: dict[Place, Recomputed] = {}
        for piece in pieces:
            if len(found) == len(wanted) and not self._looks:
                break
            batch = valid(piece, self.max_future_ms, ("extra", "kafka_partition", "kafka_offset", "arrived"))
            for first, end in self._parts(batch):
                found |= self._advance(batch.slice(first, end - first), wanted, entities)
                self._look(batch.column("arrived")[end - 1].as_py() + min(SHIFTS_MS))  # no earlier look is to come
        self._look(MAX_TIME)
        yield from found.items()

    def _parts(self, batch: pa.RecordBatch) -> Iterator[tuple[int, int]]:
        """Yield first row and end of parts in which no label takes effect, each with the labels before it applied."""
        time, arrived = (batch.column(name).to_numpy() for name in ("event_time", "arrived"))
        first = 0
        while first < len(time):
            self._apply_labels(int(np.searchsorted(self.labels.arrived, arrived[first])))
            end = self._before_label(arrived, int(time[first:].max()), first)
            yield first, end
            first = end

    def _before_label(self, arrived: NDArray[np.int64], newest: int, first: int) -> int:
        """Return the end of a part, before the first label that arrives in it and may take effect in it."""
        for number in range(self._next_label, int(np.searchsorted(self.labels.arrived, arrived[-1]))):
            if self.labels.labels[number].event_time + self.delay <= newest:
                return first + int(np.searchsorted(arrived[first:], self.labels.arrived[number], "right"))
        return len(arrived)

    def _apply_labels(self, end: int) -> None:
        first, self._next_label = self._next_label, max(end, self._next_label)
        labels = self.labels.labels[first : self._next_label]
        if not labels:
            return
        columns, fraud = columns_of_labels(labels, self.identity)
        of = [label.account_id for label in labels]
        keys, slot = _slots(self.labels.partition[first : self._next_label].tolist(), of)
        blobs = advance_accounts(self._of_accounts(keys), slot, columns, fraud, delay=self.delay).blobs
        self._accounts.update(zip(keys, blobs, strict=True))
        records = of_labels(columns, fraud)
        self._pending.append((self.labels.arrived[first : self._next_label][records.row], records.activity))

    def _advance(
        self, batch: pa.RecordBatch, wanted: set[Place], entities: NDArray[np.uint64]
    ) -> dict[Place, Recomputed]:
        """Apply transactions to their accounts, and return the wanted ones, without features of entities."""
        columns = from_batch(batch, self.identity)
        partition, offset = (batch.column(name).to_pylist() for name in ("kafka_partition", "kafka_offset"))
        keys, slot = _slots(partition, batch.column("account_id").to_pylist())
        advanced = advance_accounts(self._of_accounts(keys), slot, columns, delay=self.delay)
        self._accounts.update(zip(keys, advanced.blobs, strict=True))
        arrived = batch.column("arrived").to_numpy()
        flags = payment_flags(advanced.features, advanced.new)
        pays = advanced.pays & (advanced.status != DUPLICATE)
        records = of_payments(columns, unusualness(advanced.features), flags, pays)
        concerned = np.flatnonzero(np.isin(records.activity.entity, entities))
        self._pending.append((arrived[records.row[concerned]], _rows(records.activity, concerned)))
        events, found = batch.select(SCHEMA.names), {}
        for row, place in enumerate(zip(partition, offset, strict=True)):
            if place in wanted:
                variants = np.tile(advanced.features[row], (len(SHIFTS_MS), 1))
                self._looks += [
                    _Look(int(arrived[row]) + shift, columns.rows(slice(row, row + 1)), variants[number : number + 1])
                    for number, shift in enumerate(SHIFTS_MS)
                ]
                extra = dict(batch.column("extra")[row].as_py() or ())
                found[place] = Recomputed(events.slice(row, 1), variants, extra)
        return found

    def _look(self, until: int) -> None:
        """Fill the features of entities up to a moment, each with what had happened by then."""
        self._looks.sort(key=lambda look: look.at)
        done = bisect_right(self._looks, until, key=lambda look: look.at)
        for look in self._looks[:done]:
            self._apply(look.at)
            self._fill(look)
        del self._looks[:done]
        self._apply(until)

    def _apply(self, before: int) -> None:
        """Apply the activity that arrived before a moment."""
        due: list[Activity] = []
        while self._pending and (not len(self._pending[0][0]) or self._pending[0][0][0] < before):
            arrived, activity = self._pending.pop(0)
            end = int(np.searchsorted(arrived, before))
            if end < len(arrived):
                self._pending.insert(0, (arrived[end:], _rows(activity, slice(end, None))))
                activity = _rows(activity, slice(0, end))
            due.append(activity)
            if end < len(arrived):
                break
        if not sum(len(activity.entity) for activity in due):
            return
        whole = Activity(**{name: np.concatenate([vars(each)[name] for each in due]) for name in vars(due[0])})
        keys, slot = slots(whole.entity)
        blobs = advance_entities(self._of_entities(keys), slot, whole, DELAYED_PART, delay=self.delay)
        self._entities.update(zip(keys, blobs, strict=True))

    def _fill(self, look: "_Look") -> None:
        hashes = look.columns.entities[:, : len(DELAYED)]
        keys, index = slots(hashes[hashes != 0])
        slot = np.full((1, KINDS), -1, np.int64)
        slot[:, : len(DELAYED)][hashes != 0] = index
        query_entities(self._of_entities(keys), slot, look.columns, look.features, delay=self.delay)

    def _of_accounts(self, keys: Sequence[tuple[int, str]]) -> list[bytes | None]:
        return [self._accounts.get(key) or self._loaded(*key) for key in keys]

    def _loaded(self, partition: int, account: str) -> bytes | None:
        blob = self.start.accounts.get(account)
        return blob if blob and partition_of(account.encode(), self.partitions) == partition else None

    def _of_entities(self, keys: Sequence[int]) -> list[bytes | None]:
        return [self._entities.get(key) or self.start.entities.get(key) for key in keys]


@dataclass(frozen=True)
class _Look:
    """A look at the entities of a transaction: when, for which, and where its features go, float64[1, features]."""

    at: int
    columns: Columns
    features: NDArray[np.float64]


def entities_of(payments: pa.Table, identity: Identity) -> NDArray[np.uint64]:
    """Return the hashes of the merchants, devices and addresses that payments name."""
    fields = [ENTITIES[kind] for kind in DELAYED]
    hashes = [entity_hash(name, payments[name].combine_chunks(), identity) for name in fields]
    found = np.unique(np.concatenate(hashes))
    return np.asarray(found[found != 0], np.uint64)


def _rows(activity: Activity, which: NDArray[np.intp] | slice) -> Activity:
    return Activity(**{name: array[which] for name, array in vars(activity).items()})


def _slots(partition: Sequence[int], account: Sequence[str]) -> tuple[list[tuple[int, str]], NDArray[np.int64]]:
    """Return the distinct accounts of each partition in order of first appearance, and the index of each row's."""
    index: dict[tuple[int, str], int] = {}
    rows = zip(partition, account, strict=True)
    slot = np.array([index.setdefault(key, len(index)) for key in rows], np.int64)
    return list(index), slot
