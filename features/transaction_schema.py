"""The Arrow columns of a batch of transactions: one per field of the event except `extra`."""

import pyarrow as pa

from vedette.events import Transaction

_TYPES: dict[str, pa.DataType] = {
    "amount": pa.int64(),
    "event_time": pa.int64(),
    "lat": pa.float64(),
    "lon": pa.float64(),
    "balance": pa.int64(),
    "account_opened_at": pa.int64(),
}
_FIELDS = tuple(name for name in Transaction.__struct_fields__ if name != "extra")
SCHEMA = pa.schema([(name, _TYPES.get(name, pa.string())) for name in _FIELDS])
"""Columns of a decoded batch, in the order of the fields."""
