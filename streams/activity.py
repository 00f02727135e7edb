"""Reading the activity topic: the activity of merchants, devices and addresses in the messages of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.activity import Activity
from features.backfill import label_columns
from features.catalogue import ENTITIES
from features.columns import Columns, entity_hash, transaction_hash
from features.identity import Identity
from streams.arrow import activity_in, read_activity
from streams.batch import Received
from streams.decode import Record, Reject
from vedette import keys
from vedette.events import Label


@dataclass(frozen=True)
class ReadActivity:
    """The activity of a batch that has not been applied yet."""

    activity: Activity | None
    """n records, grouped by partition; None if no message could be read."""
    partition: NDArray[np.int32]
    """int32[n], the partition of each record."""
    watermarks: list[dict[str, int]]
    """For each partition of the batch, the position up to which the activity of each source is applied."""
    rejects: list[Reject]


def read_activity_records(received: Received, partitions: int, identity: int) -> ReadActivity:
    """Read the messages of a batch, leaving out activity that is already applied.

    Args:
        received: Messages of the activity topic.
        partitions: Number of partitions of the topics.
        identity: Fingerprint of the key of the hashes.
    """
    watermarks = {partition.number: partition.meta for partition in received.partitions}
    applied: dict[tuple[int, str], NDArray[np.int64]] = {}
    batches: list[pa.RecordBatch] = []
    owners: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
    rejects: list[Reject] = []
    for record in received.records:
        read = _read(record, partitions, identity)
        if isinstance(read, Reject):
            rejects.append(read)
            continue
        batch, source = read
        if (record.partition, source) not in applied:
            starts = [watermarks[record.partition].get(keys.source(source, number), 0) for number in range(partitions)]
            applied[record.partition, source] = np.array(starts, np.int64)
        ends = applied[record.partition, source]
        partition, offset = (batch.column(name).to_numpy() for name in ("partition", "offset"))
        new = offset >= ends[partition]
        np.maximum.at(ends, partition, offset + 1)
        batches.append(batch.filter(pa.array(new)).replace_schema_metadata(None))
        owners.append(np.full(len(batches[-1]), record.partition, np.int32))
    return ReadActivity(
        activity=activity_in(pa.Table.from_batches(batches).combine_chunks()) if batches else None,
        partition=np.concatenate(owners),
        watermarks=[_sources(applied, partition.number) for partition in received.partitions],
        rejects=rejects,
    )


def _read(record: Record, partitions: int, identity: int) -> tuple[pa.RecordBatch, str] | Reject:
    """Return the activity of one message and its source topic, or the reason why it cannot be read."""
    try:
        batch = read_activity(record.value or b"", partitions, identity)
        return batch, batch.schema.metadata[b"source"].decode()
    except (pa.ArrowException, KeyError, TypeError, ValueError, OSError) as error:
        return Reject(record, type(error).__name__, f"not an activity record: {error}")


def _sources(applied: dict[tuple[int, str], NDArray[np.int64]], number: int) -> dict[str, int]:
    """Return the watermarks of a partition, by field."""
    return {
        keys.source(source, partition): end
        for (owner, source), ends in applied.items()
        if owner == number
        for partition, end in enumerate(ends.tolist())
        if end
    }


def columns_of_labels(labels: Sequence[Label], identity: Identity) -> tuple[Columns, NDArray[np.int8]]:
    """Return labels as columns for the kernels, and whether each is fraud (1) or not (0)."""

    def texts(name: str) -> pa.Array:
        return pa.array([getattr(label, name) for label in labels], pa.string())

    time = np.array([label.event_time for label in labels], np.int64)
    tx = transaction_hash(texts("transaction_id"), identity)
    entities = [entity_hash(name, texts(name), identity) for name in ENTITIES.values()]
    return label_columns(time, tx, np.column_stack(entities)), np.array([label.fraud for label in labels], np.int8)
