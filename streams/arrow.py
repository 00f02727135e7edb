"""The Arrow messages: the feature log, and the activity that travels from accounts to merchants."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

# The producer compresses; and Arrow's thread pool costs more than it saves on batches of this size.
_PLAIN = pa.ipc.IpcWriteOptions(use_threads=False)

ACTIVITY = pa.schema(
    [
        ("merchant", pa.uint64()),  # hash of the merchant id
        ("time", pa.int64()),  # event time of the payment, milliseconds
        ("tx", pa.int64()),  # hash of the transaction id
        ("label", pa.int8()),  # -1 payment, 1 confirmed fraud, 0 confirmed not
        ("partition", pa.int32()),  # of the message it comes from
        ("offset", pa.int64()),  # likewise: by these two it is applied once
    ]
)


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
    merchant: NDArray[np.uint64],
    time: NDArray[np.int64],
    tx: NDArray[np.int64],
    label: NDArray[np.int8],
    partition: NDArray[np.int32],
    offset: NDArray[np.int64],
    partitions: int,
    source: str,
) -> dict[int, bytes]:
    """Activity as one message per partition of the merchants; rows without a merchant are left out.

    Args:
        merchant: uint64[n], 0 for none; which partition owns a merchant is its hash modulo `partitions`.
        time: int64[n].
        tx: int64[n].
        label: int8[n].
        partition: int32[n], of the source messages.
        offset: int64[n], of the source messages.
        partitions: Of the activity topic.
        source: Topic of the source messages, without prefix.
    """
    owner = np.where(merchant == 0, -1, (merchant % np.uint64(partitions)).astype(np.int64))
    schema = ACTIVITY.with_metadata({"source": source})
    messages: dict[int, bytes] = {}
    for number in np.unique(owner[owner >= 0]).tolist():
        mine = owner == number
        arrays = [pa.array(column[mine]) for column in (merchant, time, tx, label, partition, offset)]
        messages[number] = write(pa.RecordBatch.from_arrays(arrays, schema=schema))
    return messages
