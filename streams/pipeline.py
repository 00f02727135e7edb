"""The worker's work, one batch at a time, knowing nothing of Faust.

A batch holds messages of one topic, of one or more of its partitions. It passes three steps: `compute` reads, takes
the events into state, scores, and sends off the decisions; `publish` sends the rest and waits until the broker has all
of it; `commit` writes state and watermark of each partition in one atomic step. Batches are computed one after the
other, in order of arrival, and finished in that order, several at once if they are waiting. A crash anywhere is
repaired by starting again from the watermark: the same decisions are published again, and no event counts twice.
"""

from collections.abc import Mapping, Sequence
from time import perf_counter

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features import NAMES, StateStore, from_batch
from features.activity import Records, of_labels, of_payments, unusualness
from features.backfill import label_columns
from features.catalogue import ENTITIES
from features.columns import Columns, entity_hash
from features.engine import advance_accounts, advance_entities, query_entities, slots, stateless_features
from features.hashing import hash_strings
from features.kernel_account import DUPLICATE, LATE
from features.limits import fill_limits
from streams.arrow import activity_by_partition, activity_in, feature_batch, read_activity, write
from streams.decode import Record, Reject, decode_labels, decode_transactions
from streams.panel import Judges
from streams.partition import Cache, Partition, claim
from streams.publish import Outbox, Publisher, Receipt
from streams.work import Keys, Part, Work, keys_of, rows_of
from vedette import keys
from vedette.errors import UnavailableError
from vedette.events import EXTRA
from vedette.topics import Name

_CARRIED = ("transaction_id", "account_id", "event_time", "amount")


class Pipeline:
    """The steps, and the partitions this worker owns.

    Args:
        store: Where state lives.
        publisher: Where results go.
        judges: The models and the policy in force.
        partitions: Of the activity topic; decides who owns a merchant, device or address.
        prefix: Of the store's keys.
        cache_accounts: States of accounts, merchants, devices and addresses held in memory.
        max_future_ms: See decode_transactions.
    """

    def __init__(
        self, *, store: StateStore, publisher: Publisher, judges: Judges, partitions: int, prefix: str,
        cache_accounts: int, max_future_ms: float,
    ) -> None:  # fmt: skip
        self._store = store
        self._publisher = publisher
        self._judges = judges
        self._partitions = partitions
        self._prefix = prefix
        self._cache = Cache(cache_accounts)
        self._max_future_ms = max_future_ms
        self.owned: dict[int, Partition] = {}

    def assign(self, numbers: set[int]) -> dict[int, Partition]:
        """Own exactly these partitions, claiming each anew: where to start reading is in their watermarks."""
        self._cache.clear()
        self.owned = {number: claim(self._store, number) for number in sorted(numbers)}
        return self.owned

    def compute(self, topic: str, messages: Mapping[int, Sequence[Record]]) -> Work | None:
        """Read, take into state and score a batch, and send off the decisions.

        Args:
            topic: Of the messages, without prefix.
            messages: By partition, in order of their offsets.

        Returns:
            What remains to be done, or None if all of it was already taken in.
        """
        parts: list[Part] = []
        fresh: list[Record] = []
        for number, records in sorted(messages.items()):
            partition = self.owned[number]
            start = partition.position(topic) or 0
            new = [record for record in records if record.offset >= start] if records[0].offset < start else records
            if new:
                fresh += new
                parts.append(Part(partition, {keys.position(topic): new[-1].offset + 1}))
        if not parts:
            return None
        work = Work(topic, parts, len(fresh), Outbox(topic))
        step = {Name.TRANSACTIONS: self._transactions, Name.LABELS: self._labels, Name.ACTIVITY: self._activity}
        step[Name(topic)](work, fresh)
        for part in parts:
            part.partition.meta |= part.meta
        return work

    @property
    def patience_s(self) -> float:
        """How long the policy in force lets payments wait for the store."""
        return self._judges.panel.champion.policy.patience_s

    def decide_without_history(self, records: Sequence[Record]) -> int:
        """Decide on payments by what they say themselves, and publish that, marked as degraded; how many there are.

        Nothing is taken in: once the store is back the same payments are computed, and decided, as if they came for
        the first time.
        """
        decoded, _ = decode_transactions(records, self._max_future_ms)
        features = stateless_features(from_batch(decoded.batch))
        scored = self._judges.panel.judge(decoded.batch, features, decoded.extra, degraded=True)
        outbox = Outbox(Name.TRANSACTIONS, decisions=scored.decisions, alerts=scored.alerts)
        self._publisher.wait(self._publisher.send(outbox))
        return len(scored.decisions)

    def can_write(self) -> bool:
        """Whether the store takes state of every partition that is owned."""
        try:
            for number in self.owned:
                self._store.probe(number)
        except UnavailableError:
            return False
        return True

    def publish(self, works: Sequence[Work]) -> None:
        """First half of finishing batches: hand everything to the broker and wait until it has it."""
        clock = _Stages(works[0])
        for work in works:
            if work.log:
                work.logged, work.log = work.log(), None
        clock.lap("encode")
        receipts: list[Receipt] = []
        for work in works:
            receipts.append(work.sent or self._publisher.send(work.outbox))
            work.sent = None
            if work.logged:
                receipts.append(self._publisher.send(work.logged))
        self._publisher.wait(*receipts)
        clock.lap("publish")

    def commit(self, works: Sequence[Work], partition: Partition) -> None:
        """Second half, for each of their partitions: state and watermarks in one atomic step."""
        clock = _Stages(works[0])
        mine = [(work.topic, part) for work in works for part in work.parts if part.partition is partition]
        blobs: dict[str, bytes] = {}
        meta: dict[str, int] = {}
        for _, part in mine:
            blobs |= part.blobs
            meta |= part.meta
        after = (keys.position(mine[0][0]), partition.written_position(mine[0][0]))
        self._store.commit(partition.number, partition.epoch, blobs, meta, after)
        partition.written |= meta
        clock.lap("commit")

    def _transactions(self, work: Work, records: Sequence[Record]) -> None:
        clock = _Stages(work)
        decoded, work.outbox.rejects = decode_transactions(records, self._max_future_ms)
        clock.lap("decode")
        batch, kept = decoded.batch, decoded.records
        columns = from_batch(batch)
        partition = np.array([record.partition for record in kept], np.int32)
        accounts = self._accounts(work, partition, batch.column("account_id"))
        entity_slot, entities = self._entities(columns)
        clock.lap("columns")
        blobs = self._cache.fetch([*accounts.names, *entities], self._store.load)
        clock.lap("load")
        mine = len(accounts.names)
        advanced = advance_accounts(blobs[:mine], accounts.slot, columns)
        query_entities(blobs[mine:], entity_slot, columns, advanced.features)
        panel = self._judges.panel  # asked once: what changes meanwhile is for the next batch
        fill_limits(advanced.features, batch, panel.champion.policy.limits)
        owned = {name: blob or b"" for name, blob in zip(entities, blobs[mine:], strict=True) if entities[name]}
        self._cache.put(owned | accounts.share(work.parts, advanced.blobs))
        for part, rows in zip(work.parts, rows_of(work.parts, partition), strict=True):
            newest = int(columns.time[rows].max(initial=0))
            part.meta[keys.TIME] = max(part.partition.meta.get(keys.TIME, 0), newest)
        clock.lap("features")

        offset = np.array([record.offset for record in kept], np.int64)
        work.produced_at = np.array([record.timestamp for record in kept], np.int64)
        features, extra = advanced.features, decoded.extra
        work.late = int(np.count_nonzero(advanced.status == LATE))
        if duplicates := int(np.count_nonzero(advanced.status == DUPLICATE)):
            # Its decision is out already: state is only written once everything of the batch is published.
            work.duplicates = duplicates
            new = np.flatnonzero(advanced.status != DUPLICATE)
            batch, columns, features = batch.take(pa.array(new)), columns.rows(new), features[new]
            extra, partition, offset = [extra[i] for i in new.tolist()], partition[new], offset[new]
            work.produced_at = work.produced_at[new]
        scored = panel.judge(batch, features, extra, degraded=False)
        self._judges.seen(scored)
        work.shadow = scored.rules
        work.outbox.decisions, work.outbox.alerts = scored.decisions, scored.alerts
        clock.lap("score")
        work.sent = self._publisher.send(work.outbox)
        clock.lap("send")

        def log() -> Outbox:
            decided = scored.log()
            carried = pa.RecordBatch.from_arrays(
                [*batch.select(list(_CARRIED)).columns, *decided.values()], names=[*_CARRIED, *decided]
            )
            names = (*NAMES, *(EXTRA + name for name in panel.extra))
            message = write(feature_batch(carried, names, panel.matrix(features, extra), scored.score, scored.about))
            seen = of_payments(columns, unusualness(features))
            activity = self._messages(seen, partition, offset, work.topic)
            return Outbox(work.topic, features=(work.parts[0].partition.number, message), activity=activity)

        if len(batch):
            work.log = log

    def _accounts(self, work: Work, partition: NDArray[np.int32], accounts: pa.Array) -> Keys:
        def names(number: int, rows: slice) -> tuple[list[str], NDArray[np.int64]]:
            name = keys.account(self._prefix, number)
            mine, slot = slots(accounts[rows])
            return [name + account for account in mine], slot

        return keys_of(work.parts, partition, names)

    def _entities(self, columns: Columns) -> tuple[NDArray[np.int64], dict[str, bool]]:
        """Merchant, device and address of each row (-1 for none), and the key of each with whether it is owned here."""
        hashes = columns.entities.ravel()
        encoded = pa.array(hashes, mask=hashes == 0).dictionary_encode()
        slot = np.asarray(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)
        entities: list[int] = encoded.dictionary.to_pylist()
        owned = [entity % self._partitions in self.owned for entity in entities]
        names = self._entity_keys(entities)
        return slot.reshape(columns.entities.shape), dict(zip(names, owned, strict=True))

    def _entity_keys(self, entities: Sequence[int]) -> list[str]:
        name = [keys.entity(self._prefix, number) for number in range(self._partitions)]
        return [f"{name[entity % self._partitions]}{entity:x}" for entity in entities]

    def _messages(
        self, seen: Records, partition: NDArray[np.int32], offset: NDArray[np.int64], topic: str
    ) -> dict[int, bytes]:
        return activity_by_partition(seen.activity, partition[seen.row], offset[seen.row], self._partitions, topic)

    def _labels(self, work: Work, records: Sequence[Record]) -> None:
        labels, kept, work.outbox.rejects = decode_labels(records)
        partition = np.array([record.partition for record in kept], np.int32)
        accounts = self._accounts(work, partition, pa.array([label.account_id for label in labels], pa.string()))
        time = np.array([label.event_time for label in labels], np.int64)
        tx = hash_strings(pa.array([label.transaction_id for label in labels], pa.string())).view(np.int64)
        fraud = np.array([label.fraud for label in labels], np.int8)
        entities = [
            entity_hash(name, hash_strings(pa.array([getattr(label, name) for label in labels], pa.string())))
            for name in ENTITIES.values()
        ]
        columns = label_columns(time, tx, np.column_stack(entities))
        offset = np.array([record.offset for record in kept], np.int64)
        blobs = self._cache.fetch(accounts.names, self._store.load)
        advanced = advance_accounts(blobs, accounts.slot, columns, fraud)
        self._cache.put(accounts.share(work.parts, advanced.blobs))
        work.outbox.activity = self._messages(of_labels(columns, fraud), partition, offset, work.topic)

    def _activity(self, work: Work, records: Sequence[Record]) -> None:
        """Take activity into the entities of each partition, each source position once."""
        by_number = {part.partition.number: part for part in work.parts}
        applied: dict[tuple[int, str], NDArray[np.int64]] = {}
        batches: list[pa.RecordBatch] = []
        owner: list[NDArray[np.int32]] = []
        for record in records:
            try:
                batch = read_activity(record.value or b"", self._partitions)
                source = batch.schema.metadata[b"source"].decode()
            except (pa.ArrowException, KeyError, TypeError, ValueError, OSError) as error:
                work.outbox.rejects.append(Reject(record, type(error).__name__, f"no activity record: {error}"))
                continue
            place = record.partition, source
            if place not in applied:
                meta = by_number[record.partition].partition.meta
                starts = [meta.get(keys.source(source, number), 0) for number in range(self._partitions)]
                applied[place] = np.array(starts, np.int64)
            partition, offset = (batch.column(name).to_numpy() for name in ("partition", "offset"))
            new = offset >= applied[place][partition]
            np.maximum.at(applied[place], partition, offset + 1)
            batches.append(batch.filter(pa.array(new)).replace_schema_metadata(None))
            owner.append(np.full(len(batches[-1]), record.partition, np.int32))
        for (number, source), ends in applied.items():
            part = by_number[number]
            part.meta |= {keys.source(source, i): end for i, end in enumerate(ends.tolist()) if end}
        if batches:
            activity = activity_in(pa.Table.from_batches(batches).combine_chunks())

            def names(_: int, rows: slice) -> tuple[list[str], NDArray[np.int64]]:
                mine, slot = slots(activity.entity[rows])
                return self._entity_keys(mine), slot

            entities = keys_of(work.parts, np.concatenate(owner), names)
            blobs = self._cache.fetch(entities.names, self._store.load)
            fresh = advance_entities(blobs, entities.slot, activity)
            self._cache.put(entities.share(work.parts, fresh))


class _Stages:
    """Adds up the seconds since the last lap, by stage."""

    def __init__(self, work: Work) -> None:
        self._stages = work.stages
        self._last = perf_counter()

    def lap(self, stage: str) -> None:
        now = perf_counter()
        self._stages[stage] = self._stages.get(stage, 0.0) + now - self._last
        self._last = now
