"""A batch of transactions as the arrays that the kernels take."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.hashing import hash_strings, narrow
from features.kernel_account import MISSING
from vedette.money import exponent

_IDENTIFIERS = ("merchant_id", "mcc", "device_id", "country", "payee")


@dataclass(frozen=True)
class Columns:
    """n transactions in order of arrival; see features.kernel_account.advance_accounts for the arrays."""

    time: NDArray[np.int64]
    amount: NDArray[np.int64]
    scale: NDArray[np.float64]
    tx: NDArray[np.int64]
    identifiers: NDArray[np.int64]
    merchant: NDArray[np.uint64]
    lat: NDArray[np.int64]
    lon: NDArray[np.int64]
    balance: NDArray[np.int64]
    opened_at: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.time)

    def rows(self, which: slice | NDArray[np.intp]) -> "Columns":
        """Some rows; a slice does not copy."""
        return Columns(**{name: array[which] for name, array in vars(self).items()})


def from_batch(batch: pa.RecordBatch) -> Columns:
    """Columns of an Arrow batch whose columns are named as the fields of Transaction; absent ones are missing.

    Raises:
        KeyError: One of the five required columns is absent.
    """
    absent = pa.nulls(len(batch))

    def column(name: str) -> pa.Array:
        index = batch.schema.get_field_index(name)
        return batch.column(index) if index >= 0 else absent

    merchant = hash_strings(column("merchant_id"))
    hashes = [merchant, *(hash_strings(column(name)) for name in _IDENTIFIERS[1:])]
    return Columns(
        time=_integers(batch.column("event_time")),
        amount=_integers(batch.column("amount")),
        scale=_scale(batch.column("currency")),
        tx=hash_strings(batch.column("transaction_id")).view(np.int64),
        identifiers=np.column_stack([narrow(h) for h in hashes]),
        merchant=merchant,
        lat=_millionths(column("lat")),
        lon=_millionths(column("lon")),
        balance=_integers(column("balance")),
        opened_at=_integers(column("account_opened_at")),
    )


def _integers(array: pa.Array) -> NDArray[np.int64]:
    if array.null_count == len(array):
        return np.full(len(array), MISSING, np.int64)
    if array.null_count:
        array = array.fill_null(MISSING)
    return np.asarray(array.to_numpy(zero_copy_only=False), np.int64)


def _millionths(array: pa.Array) -> NDArray[np.int64]:
    if array.null_count == len(array):
        return np.full(len(array), MISSING, np.int64)
    degrees = np.asarray(array.to_numpy(zero_copy_only=False), np.float64)  # null becomes NaN
    known = np.isfinite(degrees)
    return np.where(known, np.rint(np.where(known, degrees, 0.0) * 1e6), MISSING).astype(np.int64)


def _scale(currency: pa.Array) -> NDArray[np.float64]:
    """Minor units in a major unit of each currency."""
    encoded = pc.dictionary_encode(currency)
    scales = np.array([10.0 ** exponent(code) for code in encoded.dictionary.to_pylist()], np.float64)
    of: NDArray[np.float64] = scales[encoded.indices.to_numpy(zero_copy_only=False)]
    return of
