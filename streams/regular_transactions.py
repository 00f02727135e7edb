"""Batches of regular messages as Arrow columns; see streams.transaction_kernel."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.transaction_schema import SCHEMA
from streams.canonical import canonical_addresses
from streams.transaction_kernel import DECIMAL, FIELDS, TABLES, TEXT, WHOLE, gather_texts, read_transactions

_TEXT_FIELDS = np.array([FIELDS.index(name) for name in TEXT])


def read_regular(
    values: Sequence[bytes], latest: NDArray[np.float64], *, looks_for_cards: bool = True
) -> tuple[pa.RecordBatch | None, NDArray[np.bool_]]:
    """Read the transactions of messages.

    Args:
        values: n messages.
        latest: float64[n], for each the last event time that is not too far ahead.
        looks_for_cards: Whether a message with a card number among its identifiers is not regular.

    Returns:
        The transactions if all messages are regular, else None; and bool[n], which of them are.
    """
    n = len(values)
    data = np.frombuffer(b"".join(values), np.uint8)
    starts = np.zeros(n + 1, np.int64)
    np.cumsum(np.fromiter(map(len, values), np.int64, n), out=starts[1:])
    begin, size = np.empty((2, len(FIELDS), n), np.int32)
    whole, decimal = np.empty((len(WHOLE), n), np.int64), np.empty((len(DECIMAL), n))
    regular = np.empty(n, np.bool_)
    other_address = read_transactions(
        data, starts, latest, *TABLES, looks_for_cards, begin, size, whole, decimal, regular
    )
    if not regular.all():
        return None, regular
    columns = _texts(data, begin, size)
    for names, numbers in ((WHOLE, whole), (DECIMAL, decimal)):
        columns |= {
            name: _numbers(column, size[FIELDS.index(name)] >= 0) for name, column in zip(names, numbers, strict=True)
        }
    if other_address:
        columns["ip_address"], refused = canonical_addresses(columns["ip_address"])
        if refused.any():
            return None, ~refused
    return pa.RecordBatch.from_arrays([columns[name] for name in FIELDS], schema=SCHEMA), regular


def _numbers(values: NDArray[np.generic], present: NDArray[np.bool_]) -> pa.Array:
    return pa.array(values) if present.all() else pa.array(values, mask=~present)


def _texts(data: NDArray[np.uint8], begin: NDArray[np.int32], size: NDArray[np.int32]) -> dict[str, pa.Array]:
    n = size.shape[1]
    offsets = np.empty((len(TEXT), n + 1), np.int32)
    valid = np.zeros((len(TEXT), (n + 7) // 8), np.uint8)
    out = np.empty(len(data) + 8 * len(TEXT), np.uint8)
    edges = np.empty(len(TEXT) + 1, np.int64)
    gather_texts(data, _TEXT_FIELDS, begin, size, offsets, valid, out, edges)
    whole = pa.py_buffer(out)
    missing = np.count_nonzero(size[_TEXT_FIELDS] < 0, axis=1).tolist()
    starts = edges.tolist()
    return {
        name: pa.nulls(n, pa.string())
        if missing[place] == n
        else pa.Array.from_buffers(
            pa.string(),
            n,
            [
                pa.py_buffer(valid[place]) if missing[place] else None,
                pa.py_buffer(offsets[place]),
                whole.slice(starts[place], starts[place + 1] - starts[place]),
            ],
            missing[place],
        )
        for place, name in enumerate(TEXT)
    }
