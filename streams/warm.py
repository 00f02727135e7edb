"""Compile and load everything before the first transaction, so that it does not wait for it."""

import numpy as np
import pyarrow as pa

from features import NAMES
from features.activity import of_payments, unusualness
from features.columns import from_batch
from features.engine import advance_accounts, advance_entities, query_entities, stateless_features
from streams.decode import SCHEMA
from streams.panel import Panel, Scored


def warm_up(panel: Panel) -> Scored:
    """Take one made-up transaction through kernels, models and policy, and forget it; what the models made of it."""
    row = {
        "transaction_id": "t", "account_id": "a", "amount": 1, "currency": "EUR", "event_time": 1, "merchant_id": "m",
        "device_id": "d", "ip_address": "::1",
    }  # fmt: skip
    batch = pa.RecordBatch.from_pylist([{name: row.get(name) for name in SCHEMA.names}], schema=SCHEMA)
    columns = from_batch(batch)
    slot = np.zeros(1, np.int64)
    advanced = advance_accounts([None], slot, columns)
    records = of_payments(columns, unusualness(advanced.features))
    blobs = advance_entities([None] * len(records.kind), records.kind, records.activity)
    query_entities(blobs, records.kind.reshape(1, -1), columns, advanced.features)
    stateless_features(columns)
    return panel.judge(batch, np.zeros((1, len(NAMES))), [{}], degraded=False)
