"""The Arrow messages: the feature log, and the activity that travels from accounts to the entities they touch."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.activity import Activity

# The producer compresses; and Arrow's thread pool costs more than it saves on batches of this size.
_PLAIN = pa.ipc.IpcWriteOptions(use_threads=False)

ACTIVITY = pa.schema(
    [
        ("entity", pa.uint64()),  # hash of the merchant, device or address, see features.columns.entity_hash
        ("time", pa.int64()),  # event time of the payment, milliseconds
        ("tx", pa.int32()),  # hash of the transaction id, cut to what states keep of it
        ("account", pa.int32()),  # likewise of the account, 0 for a merchant, which keeps none
        ("amount", pa.int64()),  # minor units, 0 but for a merchant
        ("unusual", pa.uint8()),  # likewise, see features.kernel_entity
        ("label", pa.int8()),  # -1 payment, 1 confirmed fraud, 0 confirmed not
        ("partition", pa.int32()),  # of the message it comes from
        ("offset", pa.int64()),  # likewise: by these two it is applied once
    ]
)
_RECORD = ACTIVITY.names[:-2]
"""What features.activity calls a record."""


def write(batch: pa.RecordBatch) -> bytes:
    """One record batch as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=_PLAIN) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def read(message: bytes) -> pa.RecordBatch:
    """The record batch of one message.

    Raises:
        pyarrow.ArrowInvalid: The message is not an Arrow IPC stream of one batch.
    """
    with pa.ipc.open_stream(message) as reader:
        batch = next(iter(reader), None)
    if batch is None:
        raise pa.ArrowInvalid("the stream holds no record batch")
    batch.validate()
    return batch


def read_activity(message: bytes, partitions: int) -> pa.RecordBatch:
    """The activity of one message.

    Args:
        message: An Arrow IPC stream.
        partitions: How many there are.

    Raises:
        pyarrow.ArrowInvalid: The message holds something else.
    """
    batch = read(message)
    if not batch.schema.equals(ACTIVITY) or any(column.null_count for column in batch.columns):
        raise pa.ArrowInvalid("the columns are not those of activity")
    source = batch.column("partition").to_numpy()
    if len(batch) and not 0 <= source.min() <= source.max() < partitions:
        raise pa.ArrowInvalid(f"its rows come from partitions {source.min()} to {source.max()}, of {partitions}")
    return batch


def activity_in(table: pa.Table) -> Activity:
    """The records of a table with the columns of ACTIVITY."""
    columns = {name: table.column(name).to_numpy() for name in _RECORD}
    for name in ("tx", "account"):
        columns[name] = columns[name].astype(np.int64)
    return Activity(**columns)


def feature_batch(
    carried: pa.RecordBatch,
    names: Sequence[str],
    features: NDArray[np.float64],
    score: NDArray[np.float64],
    about: dict[str, str],
) -> pa.RecordBatch:
    """One batch of the feature log.

    Args:
        carried: Identifying columns.
        names: Of the features.
        features: float64[n, len(names)].
        score: float64[n], calibrated probabilities.
        about: Metadata: model, policy, hash of the catalogue.
    """
    by_column = np.ascontiguousarray(features.T)
    arrays = [*carried.columns, pa.array(score), *(pa.array(column) for column in by_column)]
    schema = pa.schema(
        [*carried.schema, ("score", pa.float64()), *((name, pa.float64()) for name in names)], metadata=about
    )
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def activity_by_partition(
    activity: Activity, partition: NDArray[np.int32], offset: NDArray[np.int64], partitions: int, source: str
) -> dict[int, bytes]:
    """Activity as one message per partition of its entities.

    Args:
        activity: n records.
        partition: int32[n], of the source messages.
        offset: int64[n], of the source messages.
        partitions: Of the activity topic.
        source: Topic of the source messages, without prefix.
    """
    owner = (activity.entity % np.uint64(partitions)).astype(np.int16)  # sorted by radix, unlike wider integers
    order = np.argsort(owner, kind="stable")
    columns = [*(getattr(activity, name) for name in _RECORD), partition, offset]
    arrays = [pa.array(c[order], field.type, safe=False) for c, field in zip(columns, ACTIVITY, strict=True)]
    whole = pa.RecordBatch.from_arrays(arrays, schema=ACTIVITY.with_metadata({"source": source}))
    owners, starts = np.unique(owner[order], return_index=True)
    ends = [*starts[1:].tolist(), len(owner)]
    return {
        number: write(whole.slice(start, end - start))
        for number, start, end in zip(owners.tolist(), starts.tolist(), ends, strict=True)
    }
