"""The feature log as a table: a row per payment, a column per feature under its name.

A message of the topic is an Arrow IPC stream of one batch of payments. Its features are one list per payment, whose
names the metadata has, or, in messages of earlier versions, a column each. Here a feature is a column in either case,
so what a column means does not depend on its place in a catalogue: a new feature adds a column, which is null in
earlier rows, and one that is gone stays null in later ones. NaN is a feature that the payment does not have. Live
features are stored as their signals, from which `features.signals` computes them; earlier versions logged them all.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from archive.columns import PLACE, TIME, US_PER_MS, PublishedMessage, place
from vedette.events import EXTRA, Action
from vedette.topics import Name

_UNREADABLE = (
    pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration, RecursionError,
)  # fmt: skip
"""Errors of reading a message that is not a batch of the feature log: Arrow raises errors of every kind."""

_FEATURES = "features"
"""The list of a payment's features, and the metadata with their names."""
_ROW = pa.field("kafka_row", pa.int32(), nullable=False)
"""A payment's place in its message."""
_EXTRA = pa.field("extra", pa.map_(pa.string(), pa.float64()))
_VERSIONS = ("policy", "features_hash")
_ADDED = (pa.field("currency", pa.string()), pa.field("signals", pa.binary()))
"""Columns that messages of earlier versions do not have."""
_FIXED = (
    pa.field("transaction_id", pa.string()),
    pa.field("account_id", pa.string()),
    pa.field("event_time", TIME),
    pa.field("amount", pa.int64()),
    *_ADDED,
    pa.field("role", pa.string()),
    pa.field("model", pa.string()),
    pa.field("action", pa.string()),
    pa.field("score", pa.float64()),
    pa.field("shadow_model", pa.string()),
    pa.field("shadow_score", pa.float64()),
    pa.field("shadow_action", pa.string()),
    *(pa.field(name, pa.string()) for name in _VERSIONS),
    _EXTRA,
)


@dataclass(frozen=True)
class FeatureTable:
    """The feature log as a table, see `archive.columns.Table`."""

    topic: Name = Name.FEATURES
    expires: bool = True

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns that every row has; those of the features come with the rows."""
        return pa.schema([*_FIXED, *PLACE, _ROW])

    def rows(self, messages: Sequence[PublishedMessage]) -> tuple[pa.Table, list[PublishedMessage]]:
        """Convert messages of the topic to rows.

        Returns:
            The rows, in the order of the messages, and the messages that are not a batch of the feature log.
        """
        tables: list[pa.Table] = []
        rejected: list[PublishedMessage] = []
        for message in messages:
            try:
                tables.append(_rows(message))
            except _UNREADABLE:
                rejected.append(message)
        if not tables:
            return self.schema.empty_table(), rejected
        table = pa.concat_tables(tables, promote_options="default")
        fixed = [table[field.name].cast(field.type) for field in self.schema]
        features = [name for name in table.column_names if self.schema.get_field_index(name) < 0]
        return pa.table(
            [*fixed, *(table[name] for name in features)],
            schema=pa.schema([*self.schema, *((name, pa.float64()) for name in features)]),
        ), rejected


FEATURES = FeatureTable()


def feature_names(columns: Sequence[str]) -> list[str]:
    """Return which columns of the table are features of the catalogue, in their order."""
    return [name for name in columns if FEATURES.schema.get_field_index(name) < 0]


def _rows(message: PublishedMessage) -> pa.Table:
    """Return the rows of one message.

    Raises:
        One of _UNREADABLE: It is not a batch of the feature log.
    """
    with pa.ipc.open_stream(message.value or b"") as reader:
        batch = reader.read_next_batch()
    batch.validate(full=True)  # else an offset beyond the text reads memory that is not its own
    metadata = {key.decode(): value.decode() for key, value in (batch.schema.metadata or {}).items()}
    n = len(batch)
    columns: dict[str, pa.Array] = {}
    for field in _FIXED:
        if field.name in _VERSIONS:
            columns[field.name] = pa.repeat(pa.scalar(metadata[field.name], pa.string()), n)
        elif field in _ADDED and field.name not in batch.schema.names:
            columns[field.name] = pa.nulls(n, field.type)
        elif field.name == "event_time":
            columns[field.name] = pc.multiply(batch["event_time"].cast(pa.int64()), US_PER_MS).cast(TIME)
        elif field.name in ("action", "shadow_action"):
            columns[field.name] = _actions(batch[field.name])
        elif field is not _EXTRA:
            columns[field.name] = batch[field.name].cast(field.type)
    if columns["event_time"].null_count:
        raise ValueError("a payment without event time")
    features = _features(batch, metadata)
    columns[_EXTRA.name] = _maps({name: features.pop(name) for name in list(features) if name.startswith(EXTRA)}, n)
    columns |= place([message] * n, columns["event_time"])
    columns[_ROW.name] = pa.array(np.arange(n, dtype=np.int32))
    return pa.table(columns | features)


def _features(batch: pa.RecordBatch, metadata: dict[str, str]) -> dict[str, pa.Array]:
    """Return float64[n] by the name of the feature."""
    index = batch.schema.get_field_index(_FEATURES)
    if index < 0:
        known = {field.name for field in _FIXED}
        return {
            name: column.cast(pa.float64())
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
            if name not in known
        }
    names = json.loads(metadata[_FEATURES])
    if known := {*FEATURES.schema.names} & {*names}:
        raise ValueError(f"features are named like other columns: {', '.join(sorted(known))}")
    matrix = batch.column(index).flatten().to_numpy(zero_copy_only=False).reshape(len(batch), len(names))
    return {name: pa.array(column) for name, column in zip(names, matrix.T.copy(), strict=True)}


def _actions(codes: pa.Array) -> pa.Array:
    """Return the names of actions; a number below 0 is no action."""
    actions = pa.array(get_args(Action), pa.string())
    return actions.take(pc.if_else(pc.less(codes, 0), None, codes.cast(pa.int64())))


def _maps(columns: dict[str, pa.Array], n: int) -> pa.Array:
    """Return the extra columns of each row as a map under their own names."""
    names = sorted(columns)
    keys = pa.array([name.removeprefix(EXTRA) for name in names] * n, pa.string())
    values = (
        np.stack([columns[name].to_numpy(zero_copy_only=False) for name in names], axis=1) if names else np.empty(0)
    )
    offsets = pa.array(np.arange(n + 1, dtype=np.int32) * len(names))
    return pa.MapArray.from_arrays(offsets, keys, pa.array(values.ravel(), pa.float64()))
