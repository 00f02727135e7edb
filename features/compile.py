"""Compile the kernels ahead of the first transaction, for an image or before several processes start."""

import numpy as np
import pyarrow as pa

from features.activity import of_labels
from features.backfill import Backfill
from features.columns import from_batch
from features.engine import advance_entities, query_entities, slots
from features.signals import KINDS, decode_signals, encode_signals
from features.transaction_schema import SCHEMA


def compile_kernels() -> None:
    """Compile every kernel whose machine code is not in numba's cache yet, and store it there."""
    row = {
        "transaction_id": "t", "account_id": "a", "amount": 1, "currency": "EUR", "event_time": 1, "merchant_id": "m",
        "device_id": "d", "ip_address": "::1", "payee": "p",
    }  # fmt: skip
    batch = pa.RecordBatch.from_pylist([{name: row.get(name) for name in SCHEMA.names}], schema=SCHEMA)
    features = Backfill().advance(batch)
    columns = from_batch(batch)
    activity = of_labels(columns, np.zeros(1, np.int8)).activity
    entities, slot = slots(activity.entity)
    blobs = advance_entities([None] * len(entities), slot, activity)
    signals = query_entities([*blobs, None], np.arange(KINDS).reshape(1, -1), columns, features)
    decode_signals(encode_signals(signals)[0])
