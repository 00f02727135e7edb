"""The Arrow messages: the feature log, and the activity that is sent from accounts to their entities."""

import json
from collections.abc import Callable, Mapping
from functools import cache
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.activity import Activity
from features.catalogue import ENTITIES, NAMES, SETTLED
from features.live_codec import OF_PAYMENTS
from features.signals import with_live
from vedette.errors import InputError

_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""End marker of an Arrow IPC stream."""
_FEATURES = "features"
"""Name of the list of a payment's features, and of the metadata with their names as a JSON array."""
SIGNALS_COLUMN = "signals"
"""Column of the feature log with a payment's live signals, as bytes of features.signals."""

ACTIVITY = pa.schema(
    [
        ("entity", pa.uint64()),  # hash of the merchant, device, address or payee, see features.columns.entity_hash
        ("kind", pa.uint8()),  # which of these, as an index into features.catalogue.ENTITIES
        ("time", pa.int64()),  # event time of the payment, milliseconds
        ("tx", pa.int32()),  # hash of the transaction id, truncated as in states
        ("account", pa.int32()),  # hash of the account, truncated as in states
        ("amount", pa.int64()),  # minor units
        ("unusual", pa.uint8()),  # in sixteenths, see features.activity.unusualness
        ("flags", pa.uint8()),  # see features.live_codec
        ("label", pa.int8()),  # -1 payment, 1 confirmed fraud, 0 confirmed not
        ("partition", pa.int32()),  # partition of the source message
        ("offset", pa.int64()),  # offset of the source message: with both it is applied once
    ]
)
_RECORD = ACTIVITY.names[:-2]
"""Columns of a record in features.activity."""
_KINDS = [field.type.to_pandas_dtype() for field in ACTIVITY]
"""NumPy's type of each column of activity."""


def write(batch: pa.RecordBatch) -> bytes:
    """Return one record batch as an Arrow IPC stream."""
    return b"".join((batch.schema.serialize(), batch.serialize(), _END))


def write_within(
    batch: pa.RecordBatch, limit: int, cuts: Callable[[pa.RecordBatch], NDArray[np.intp]] | None = None
) -> list[bytes]:
    """Return one record batch as one or more Arrow IPC streams.

    Args:
        batch: n rows.
        limit: Maximum size of a stream in bytes, unless it cannot be split any further.
        cuts: Returns the rows of a batch, ascending and without 0, before which it may be split; None: before any.
    """
    message = write(batch)
    if len(message) <= limit:
        return [message]
    possible = (cuts or _any_row)(batch)
    if not len(possible):
        return [message]
    cut = int(possible[np.abs(possible - len(batch) / 2).argmin()])
    return [part for half in (batch.slice(0, cut), batch.slice(cut)) for part in write_within(half, limit, cuts)]


def read(message: bytes) -> pa.RecordBatch:
    """Return the record batch of one message.

    Raises:
        pyarrow.ArrowInvalid: The message is not an Arrow IPC stream of one batch.
    """
    with pa.ipc.open_stream(message) as reader:
        batch = next(iter(reader), None)
    if batch is None:
        raise pa.ArrowInvalid("the stream holds no record batch")
    batch.validate(full=True)  # else an offset beyond the text reads memory that is not its own
    return batch


def read_activity(message: bytes, partitions: int, identity: int) -> pa.RecordBatch:
    """Return the activity of one message.

    Args:
        message: An Arrow IPC stream.
        partitions: Number of partitions of the topics.
        identity: Fingerprint of the key that its hashes must have.

    Raises:
        pyarrow.ArrowInvalid: The message holds something else.
    """
    batch = read(message)
    if not batch.schema.equals(ACTIVITY) or any(column.null_count for column in batch.columns):
        raise pa.ArrowInvalid("the columns are not those of activity")
    if (batch.schema.metadata or {}).get(b"identity") != str(identity).encode():
        raise pa.ArrowInvalid("it is hashed under another key")
    source = batch.column("partition").to_numpy()
    if len(batch) and not 0 <= source.min() <= source.max() < partitions:
        raise pa.ArrowInvalid(f"its rows come from partitions {source.min()} to {source.max()}, of {partitions}")
    if len(batch) and batch.column("kind").to_numpy().max() >= len(ENTITIES):
        raise pa.ArrowInvalid(f"it names a kind of entity beyond the {len(ENTITIES)} known")
    return batch


def activity_in(table: pa.Table) -> Activity:
    """Return the records of a table with the columns of ACTIVITY."""
    columns = {name: table.column(name).to_numpy() for name in _RECORD}
    for name in ("tx", "account"):
        columns[name] = columns[name].astype(np.int64)
    columns["flags"] = columns["flags"] & np.uint8(OF_PAYMENTS)
    return Activity(**columns)


def feature_batch(
    carried: pa.RecordBatch,
    names: tuple[str, ...],
    features: NDArray[np.float64],
    score: NDArray[np.float64],
    versions: Mapping[str, str],
) -> pa.RecordBatch:
    """Return one batch of the feature log, with all features of a payment in one list; see `by_column`.

    Args:
        carried: Identifying columns.
        names: Names of the features, kept as metadata.
        features: float64[n, len(names)].
        score: float64[n], calibrated probabilities.
        versions: The versions in force, kept as metadata.
    """
    schema = _feature_schema(carried.schema, names, tuple(versions.items()))
    values = pa.array(np.ascontiguousarray(features).ravel())
    lists = pa.FixedSizeListArray.from_arrays(values, type=schema.field(_FEATURES).type)
    return pa.RecordBatch.from_arrays([*carried.columns, pa.array(score), lists], schema=schema)


@cache
def _feature_schema(carried: pa.Schema, names: tuple[str, ...], versions: tuple[tuple[str, str], ...]) -> pa.Schema:
    """Return the schema of the feature log, cached for the versions in force: it takes longer than a small batch."""
    lists = pa.list_(pa.field("item", pa.float64(), nullable=False), len(names))
    metadata = {**dict(versions), _FEATURES: json.dumps(names)}
    return pa.schema([*carried, ("score", pa.float64()), (_FEATURES, lists)], metadata=metadata)


def by_column(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch of the feature log with a column for each feature, float64.

    Live features are computed from the logged signals. Batches published before the list of features existed have this
    form already and are returned unchanged, so that a topic may hold both.

    Raises:
        pyarrow.ArrowInvalid: The metadata lacks the names of the features, their number differs from that of the
            values, or the signals are of another release.
    """
    place = batch.schema.get_field_index(_FEATURES)
    if place < 0:
        return batch
    metadata = dict(batch.schema.metadata or {})
    names = json.loads(metadata.pop(_FEATURES.encode(), b"[]"))
    lists = batch.column(place)
    if lists.type.list_size != len(names):
        raise pa.ArrowInvalid(f"a list of {lists.type.list_size} features has {len(names)} names in the metadata")
    matrix = lists.flatten().to_numpy().reshape(len(batch), len(names))
    if SIGNALS_COLUMN in batch.schema.names:
        matrix = _with_live(batch, names, matrix)
        names = [*NAMES, *names[len(SETTLED) :]]
    others = [field for field in batch.schema if field.name not in (_FEATURES, SIGNALS_COLUMN)]
    fields = [*others, *((name, pa.float64()) for name in names)]
    columns = [*(batch.column(field.name) for field in others), *(pa.array(column) for column in matrix.T.copy())]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields, metadata=metadata))


def _with_live(batch: pa.RecordBatch, names: list[str], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the features of a batch with the live ones between the settled ones and the vendor's."""
    settled = len(SETTLED)
    if tuple(names[:settled]) != SETTLED:
        raise pa.ArrowInvalid("its features are of another catalogue, so its signals cannot be read")
    try:
        features = with_live(matrix[:, :settled], batch.column(SIGNALS_COLUMN).to_pylist(), batch.column("currency"))
    except InputError as error:
        raise pa.ArrowInvalid(str(error)) from error
    return np.column_stack([features, matrix[:, settled:]])


def activity_by_partition(
    activity: Activity,
    partition: NDArray[np.int32],
    offset: NDArray[np.int64],
    partitions: int,
    source: str,
    limit: int,
    identity: int,
) -> dict[int, list[bytes]]:
    """Return activity as messages by partition of its entities: one for each partition unless that is too large.

    The activity of one source message stays together: it is applied completely or not at all.

    Args:
        activity: n records.
        partition: int32[n], partitions of the source messages.
        offset: int64[n], offsets of the source messages.
        partitions: Number of partitions of the activity topic.
        source: Topic of the source messages, without prefix.
        limit: Maximum size of a message in bytes.
        identity: Fingerprint of the key of the hashes.
    """
    owner = (activity.entity % np.uint64(partitions)).astype(np.int16)  # sorted by radix, unlike wider integers
    order = np.argsort(owner, kind="stable")
    columns = [*(getattr(activity, name) for name in _RECORD), partition, offset]
    # NumPy narrows numbers faster than Arrow does.
    arrays = [pa.array(c.astype(kind, copy=False)[order]) for c, kind in zip(columns, _KINDS, strict=True)]
    schema = ACTIVITY.with_metadata({"source": source, "identity": str(identity)})
    whole = pa.RecordBatch.from_arrays(arrays, schema=schema)
    edges = [0, *np.cumsum(np.bincount(owner, minlength=partitions)).tolist()]
    return {
        number: write_within(whole.slice(start, end - start), limit, next_source)
        for number, (start, end) in enumerate(pairwise(edges))
        if end > start
    }


def next_source(activity: pa.RecordBatch) -> NDArray[np.intp]:
    """Return the rows of activity whose source message differs from that of the previous row."""
    place = np.column_stack([activity.column(name).to_numpy() for name in ("partition", "offset")])
    return np.flatnonzero((place[1:] != place[:-1]).any(axis=1)) + 1


def _any_row(batch: pa.RecordBatch) -> NDArray[np.intp]:
    return np.arange(1, len(batch))
