"""The worker's work, one batch at a time, knowing nothing of Faust.

A batch passes three steps: `compute` reads, takes the events into state and scores; `publish` hands the results to the
broker and waits until it has them; `commit` writes state and watermark in one atomic step. Batches pass each step one
after the other, in order of arrival; while one is published, the next may already be computed. A crash anywhere is
repaired by starting again from the watermark: the same decisions are published again, and no event counts twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features import NAMES, StateStore, from_batch
from features.backfill import label_columns
from features.columns import Columns
from features.engine import PAYMENT, advance_accounts, advance_merchants, query_merchants, slots
from features.hashing import hash_strings
from features.kernel_account import DUPLICATE, LATE
from streams.arrow import activity_by_partition, feature_batch, read_activity, write
from streams.decode import Record, Reject, decode_labels, decode_transactions
from streams.partition import Partition, claim
from streams.publish import Outbox, Publisher
from streams.scoring import Judge
from vedette import keys
from vedette.topics import Name

_CARRIED = ("transaction_id", "account_id", "event_time", "amount")
_LEAST_CACHED = 4


@dataclass
class Work:
    """A batch between the steps."""

    partition: Partition
    topic: str
    outbox: Outbox
    meta: dict[str, int]
    """Watermarks to write."""
    blobs: dict[str, bytes]
    """States to write."""
    received: int
    produced_at: NDArray[np.int64]
    """When each decided transaction was produced, milliseconds."""
    duplicates: int = 0
    late: int = 0
    shadow: dict[str, int] = field(default_factory=dict)
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds spent in each stage."""


class Pipeline:
    """The steps, and the partitions this worker owns.

    Args:
        store: Where state lives.
        publisher: Where results go.
        judge: The model and policy in force.
        partitions: Of the activity topic; decides who owns a merchant.
        prefix: Of the store's keys.
        batch_max: Largest batch, which bounds from below how many accounts are held in memory.
        cache_accounts: Accounts and merchants held in memory, per partition.
        max_future_ms: See decode_transactions.
    """

    def __init__(
        self, *, store: StateStore, publisher: Publisher, judge: Judge, partitions: int, prefix: str, batch_max: int,
        cache_accounts: int, max_future_ms: float,
    ) -> None:  # fmt: skip
        self._store = store
        self._publisher = publisher
        self._judge = judge
        self._partitions = partitions
        self._prefix = prefix
        self._most = max(cache_accounts // partitions, _LEAST_CACHED * batch_max)
        self._max_future_ms = max_future_ms
        self.owned: dict[int, Partition] = {}

    def assign(self, numbers: set[int]) -> dict[int, Partition]:
        """Own exactly these partitions, claiming each anew: where to start reading is in their watermarks."""
        self.owned = {number: claim(self._store, number, self._most) for number in sorted(numbers)}
        return self.owned

    def compute(self, topic: str, number: int, records: Sequence[Record]) -> Work | None:
        """Read, take into state and score a batch of a topic's partition; None if all of it was already taken in."""
        partition = self.owned[number]
        start = partition.position(topic) or 0
        fresh = [record for record in records if record.offset >= start] if records[0].offset < start else records
        if not fresh:
            return None
        step = {Name.TRANSACTIONS: self._transactions, Name.LABELS: self._labels, Name.ACTIVITY: self._activity}
        work = step[Name(topic)](partition, fresh)
        work.meta[keys.position(topic)] = fresh[-1].offset + 1
        partition.meta |= work.meta
        return work

    def publish(self, work: Work) -> None:
        """First half of finishing a batch: hand everything to the broker and wait until it has it."""
        started = perf_counter()
        self._publisher.publish(work.outbox)
        work.stages["publish"] = perf_counter() - started

    def commit(self, work: Work) -> None:
        """Second half: state and watermarks in one atomic step."""
        started = perf_counter()
        partition = work.partition
        after = (keys.position(work.topic), partition.written_position(work.topic))
        self._store.commit(partition.number, partition.epoch, work.blobs, work.meta, after)
        partition.written |= work.meta
        work.stages["commit"] = perf_counter() - started

    def _transactions(self, partition: Partition, records: Sequence[Record]) -> Work:
        clock = _Stages()
        decoded, rejects = decode_transactions(records, self._max_future_ms)
        clock.lap("decode")
        batch, kept = decoded.batch, decoded.records
        columns = from_batch(batch)
        accounts, slot = slots(batch.column("account_id").to_pylist())
        clock.lap("columns")
        name = keys.account(self._prefix, partition.number)
        blobs = partition.accounts.fetch(accounts, lambda account: name + account, self._store.load)
        merchant_slot, merchant_blobs = self._merchants(columns)
        clock.lap("load")
        advanced = advance_accounts(blobs, slot, columns)
        query_merchants(merchant_blobs, merchant_slot, columns.time, advanced.features)
        clock.lap("features")

        offsets = np.array([record.offset for record in kept], np.int64)
        produced_at = np.array([record.timestamp for record in kept], np.int64)
        features, extra = advanced.features, decoded.extra
        if duplicates := int(np.count_nonzero(advanced.status == DUPLICATE)):
            # Its decision is out already: state is only written once everything of the batch is published.
            new = np.flatnonzero(advanced.status != DUPLICATE)
            batch, columns, features = batch.take(pa.array(new)), columns.rows(new), features[new]
            extra, offsets, produced_at = [extra[i] for i in new.tolist()], offsets[new], produced_at[new]
        scored = self._judge.judge(batch, features, extra, degraded=False)
        clock.lap("score")

        source = (str(Name.TRANSACTIONS), partition.number)
        outbox = Outbox(source, decisions=scored.decisions, alerts=scored.alerts, rejects=rejects)
        if len(batch):
            about = self._judge.about | {"topic": source[0], "partition": str(source[1])}
            carried = batch.select(list(_CARRIED))
            outbox.features = write(feature_batch(carried, NAMES, features, scored.score, about))
            payments = np.full(len(batch), PAYMENT, np.int8)
            outbox.activity = activity_by_partition(
                columns.merchant, columns.time, columns.tx, payments, offsets, self._partitions, source
            )
        fresh = dict(zip(accounts, advanced.blobs, strict=True))
        partition.accounts.put(fresh)
        clock.lap("encode")
        newest = max(partition.meta.get(keys.TIME, 0), int(columns.time.max(initial=0)))
        return Work(
            partition=partition,
            topic=source[0],
            outbox=outbox,
            meta={keys.TIME: newest},
            blobs={f"{name}{account}": blob for account, blob in fresh.items()},
            received=len(records),
            produced_at=produced_at,
            duplicates=duplicates,
            late=int(np.count_nonzero(advanced.status == LATE)),
            shadow=scored.shadow,
            stages=clock.seconds,
        )

    def _merchants(self, columns: Columns) -> tuple[NDArray[np.int64], list[bytes | None]]:
        """Which merchant each row has (-1 for none), and the merchants' states, whoever owns them."""
        known, inverse = np.unique(columns.merchant, return_inverse=True)
        merchants: list[int] = known.tolist()
        blobs: list[bytes | None] = [None] * len(merchants)
        elsewhere: list[int] = []
        for i, merchant in enumerate(merchants):
            owner = self.owned.get(merchant % self._partitions)
            blobs[i] = owner.merchants.get(merchant) if owner else None
            if blobs[i] is None and merchant:
                elsewhere.append(i)
        names = [self._merchant_key(merchants[i]) for i in elsewhere]
        for i, blob in zip(elsewhere, self._store.load(names), strict=True):
            blobs[i] = blob
            owner = self.owned.get(merchants[i] % self._partitions)
            if owner:
                owner.merchants.put({merchants[i]: blob or b""})
        return np.where(columns.merchant == 0, -1, inverse), blobs

    def _merchant_key(self, merchant: int) -> str:
        return f"{keys.merchant(self._prefix, merchant % self._partitions)}{merchant:x}"

    def _labels(self, partition: Partition, records: Sequence[Record]) -> Work:
        labels, kept, rejects = decode_labels(records)
        accounts, slot = slots([label.account_id for label in labels])
        time = np.array([label.event_time for label in labels], np.int64)
        tx = hash_strings(pa.array([label.transaction_id for label in labels], pa.string())).view(np.int64)
        fraud = np.array([label.fraud for label in labels], np.int8)
        merchant = hash_strings(pa.array([label.merchant_id for label in labels], pa.string()))
        name = keys.account(self._prefix, partition.number)
        blobs = partition.accounts.fetch(accounts, lambda account: name + account, self._store.load)
        advanced = advance_accounts(blobs, slot, label_columns(time, tx), fraud)
        fresh = dict(zip(accounts, advanced.blobs, strict=True))
        partition.accounts.put(fresh)
        source = (str(Name.LABELS), partition.number)
        offsets = np.array([record.offset for record in kept], np.int64)
        activity = activity_by_partition(merchant, time, tx, fraud, offsets, self._partitions, source)
        return Work(
            partition=partition,
            topic=source[0],
            outbox=Outbox(source, activity=activity, rejects=rejects),
            meta={},
            blobs={f"{name}{account}": blob for account, blob in fresh.items()},
            received=len(records),
            produced_at=np.empty(0, np.int64),
        )

    def _activity(self, partition: Partition, records: Sequence[Record]) -> Work:
        """Take activity into the merchants of a partition, each source position once."""
        batches: list[pa.RecordBatch] = []
        rejects: list[Reject] = []
        applied: dict[str, int] = {}
        for record in records:
            try:
                batch = read_activity(record.value or b"")
                about = batch.schema.metadata
                source = keys.source(about[b"source"].decode(), int(about[b"partition"]))
                offsets = batch.column("offset").to_numpy()
            except (pa.ArrowException, KeyError, TypeError, ValueError, OSError) as error:
                rejects.append(Reject(record, type(error).__name__, f"no activity record: {error}"))
                continue
            start = applied.get(source, partition.meta.get(source, 0))
            batches.append(batch.filter(pa.array(offsets >= start)).replace_schema_metadata(None))
            applied[source] = max(start, int(offsets.max(initial=-1)) + 1)
        work = Work(
            partition=partition,
            topic=str(Name.ACTIVITY),
            outbox=Outbox((str(Name.ACTIVITY), partition.number), rejects=rejects),
            meta=applied,
            blobs={},
            received=len(records),
            produced_at=np.empty(0, np.int64),
        )
        if batches:
            table = pa.Table.from_batches(batches).combine_chunks()
            merchant, time, tx, label = (table.column(name).to_numpy() for name in ("merchant", "time", "tx", "label"))
            merchants, slot = slots(merchant.tolist())
            blobs = partition.merchants.fetch(merchants, self._merchant_key, self._store.load)
            fresh = dict(zip(merchants, advance_merchants(blobs, slot, time, tx, label), strict=True))
            partition.merchants.put(fresh)
            work.blobs = {self._merchant_key(key): blob for key, blob in fresh.items()}
        return work


class _Stages:
    """Seconds since the last lap, by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = perf_counter()

    def lap(self, stage: str) -> None:
        now = perf_counter()
        self.seconds[stage] = now - self._last
        self._last = now
