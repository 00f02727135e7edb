"""A batch of transactions as the arrays that the kernels take."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.catalogue import ENTITIES
from features.hashing import hash_strings, narrow
from features.kernel_account import MISSING
from features.kernel_entity import ACCOUNT_MASK
from vedette.money import exponent

_IDENTIFIERS = ("merchant_id", "mcc", "device_id", "country", "payee")

_SALT = {
    "merchant_id": np.uint64(0),
    "device_id": np.uint64(0x9E3779B97F4A7C15),
    "ip_address": np.uint64(0xC2B2AE3D27D4EB4F),
}
"""Mixed into an entity's hash, so that a device has another one than a merchant of the same name."""


@dataclass(frozen=True)
class Columns:
    """n transactions in order of arrival; see features.kernel_account.advance_accounts for the arrays."""

    time: NDArray[np.int64]
    amount: NDArray[np.int64]
    scale: NDArray[np.float64]
    tx: NDArray[np.int64]
    identifiers: NDArray[np.int64]
    entities: NDArray[np.uint64]
    """uint64[n, 3], hash of merchant, device and address; 0 is missing."""
    account: NDArray[np.int64]
    """int64[n], hash of the account within ACCOUNT_MASK, never 0."""
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
    hashes = {name: hash_strings(column(batch, name)) for name in (*_IDENTIFIERS, "ip_address")}
    return Columns(
        time=_integers(batch.column("event_time")),
        amount=_integers(batch.column("amount")),
        scale=_scale(batch.column("currency")),
        tx=hash_strings(batch.column("transaction_id")).view(np.int64),
        identifiers=np.column_stack([narrow(hashes[name]) for name in _IDENTIFIERS]),
        entities=np.column_stack([entity_hash(name, hashes[name]) for name in ENTITIES.values()]),
        account=account_hash(batch.column("account_id")),
        lat=_millionths(column(batch, "lat")),
        lon=_millionths(column(batch, "lon")),
        balance=_integers(column(batch, "balance")),
        opened_at=_integers(column(batch, "account_opened_at")),
    )


def column(batch: pa.RecordBatch, name: str) -> pa.Array:
    """A column of a batch, nulls where the batch does not have it."""
    index = batch.schema.get_field_index(name)
    return batch.column(index) if index >= 0 else pa.nulls(len(batch), pa.string())


def entity_hash(field: str, hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """What a field of Transaction names, as an entity: its hash mixed with the kind, 0 where it is missing.

    Args:
        field: Of catalogue.ENTITIES.
        hashes: uint64[n], of the field's values by hash_strings.
    """
    mixed = hashes ^ _SALT[field]
    mixed[mixed == 0] = 1
    mixed[hashes == 0] = 0
    return mixed


def account_hash(account_id: pa.Array) -> NDArray[np.int64]:
    """What tells accounts apart in the state of a device or an address, int64[n], never 0."""
    return np.maximum((hash_strings(account_id) & np.uint64(ACCOUNT_MASK)).astype(np.int64), 1)


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
