"""A batch of transactions as the input arrays of the kernels."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.catalogue import ENTITIES
from features.entity_codec import ACCOUNT_MASK
from features.hashing import hash_strings, narrow
from features.identity import OPEN, Identity
from features.kernel_account import COMPLETES, MISSING, PAYS, PAYS_IN, REFUNDS, REVERSES
from features.texts import distinct
from vedette.events import DEFAULT_KIND
from vedette.money import exponent

IDENTIFIERS = ("merchant_id", "mcc", "device_id", "country", "payee", "ip_address")
"""Fields whose hashes the state of an account keeps, in the order of its columns."""

_DOES: dict[str, int] = {
    "payment": PAYS, "withdrawal": PAYS, "authorisation": PAYS, "completion": COMPLETES, "refund": REFUNDS,
    "reversal": REVERSES, "deposit": PAYS_IN,
}  # fmt: skip
"""What a transaction of each kind does to its account."""


@dataclass(frozen=True)
class Columns:
    """n transactions in order of arrival; see features.kernel_account.advance_accounts for the arrays."""

    time: NDArray[np.int64]
    amount: NDArray[np.int64]
    scale: NDArray[np.float64]
    tx: NDArray[np.int64]
    identifiers: NDArray[np.int64]
    entities: NDArray[np.uint64]
    """uint64[n, 4], hash of merchant, device, address and payee; 0 is missing."""
    recipient: NDArray[np.uint64]
    """uint64[n], hash of the account as a payee: of the entity that has what others paid it."""
    account: NDArray[np.int64]
    """int64[n], hash of the account within ACCOUNT_MASK, never 0."""
    lat: NDArray[np.int64]
    lon: NDArray[np.int64]
    balance: NDArray[np.int64]
    opened_at: NDArray[np.int64]
    kind: NDArray[np.int8]
    original: NDArray[np.int64]
    """int64[n], hash of the transaction that each names, or MISSING."""

    def __len__(self) -> int:
        return len(self.time)

    def rows(self, which: slice | NDArray[np.intp]) -> "Columns":
        """Return some rows; a slice does not copy."""
        return Columns(**{name: array[which] for name, array in vars(self).items()})


def from_batch(batch: pa.RecordBatch, identity: Identity = OPEN) -> Columns:
    """Return the columns of an Arrow batch named as the fields of Transaction; absent ones are missing values.

    Args:
        batch: The transactions.
        identity: The key of the hashes.

    Raises:
        KeyError: One of the five required columns is absent.
    """
    hashes = {name: hash_strings(column(batch, name), identity.keys[name]) for name in IDENTIFIERS}
    return Columns(
        time=_integers(batch.column("event_time")),
        amount=_integers(batch.column("amount")),
        scale=scale_of(batch.column("currency")),
        tx=transaction_hash(batch.column("transaction_id"), identity),
        identifiers=narrow(np.column_stack([hashes[name] for name in IDENTIFIERS])),
        entities=np.column_stack([hashes[name] for name in ENTITIES.values()]),
        recipient=hash_strings(batch.column("account_id"), identity.keys["payee"]),
        account=_narrowed_account(account_hash(batch.column("account_id"), identity)),
        lat=_millionths(column(batch, "lat")),
        lon=_millionths(column(batch, "lon")),
        balance=_integers(column(batch, "balance")),
        opened_at=_integers(column(batch, "account_opened_at")),
        kind=_does(column(batch, "kind")),
        original=_original(column(batch, "original_id"), identity),
    )


def column(batch: pa.RecordBatch, name: str) -> pa.Array:
    """Return a column of a batch, or nulls if the batch does not have it."""
    index = batch.schema.get_field_index(name)
    return batch.column(index) if index >= 0 else pa.nulls(len(batch), pa.string())


def transaction_hash(transaction_id: pa.Array, identity: Identity) -> NDArray[np.int64]:
    """Return the hashes of transactions, int64[n]."""
    return hash_strings(transaction_id, identity.keys["transaction_id"]).view(np.int64)


def entity_hash(field: str, names: pa.Array, identity: Identity) -> NDArray[np.uint64]:
    """Return the hashes of the entities that a field of catalogue.ENTITIES names, uint64[n]; 0 is missing."""
    return hash_strings(names, identity.keys[field])


def account_hash(account_id: pa.Array, identity: Identity) -> NDArray[np.uint64]:
    """Return the hashes of accounts, uint64[n], never 0, which name their state."""
    return hash_strings(account_id, identity.keys["account_id"])


def _narrowed_account(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the hashes that identify accounts in the states of entities, int64[n], never 0."""
    return np.maximum((hashes & np.uint64(ACCOUNT_MASK)).astype(np.int64), 1)


def _does(kind: pa.Array) -> NDArray[np.int8]:
    """Return what each transaction does to its account, int8[n]; without a kind it pays."""
    if kind.null_count == len(kind):
        return np.full(len(kind), PAYS, np.int8)
    kinds, index = distinct(kind.fill_null(DEFAULT_KIND))
    does: NDArray[np.int8] = np.array([_DOES[name] for name in kinds], np.int8)[index]
    return does


def _original(original_id: pa.Array, identity: Identity) -> NDArray[np.int64]:
    if original_id.null_count == len(original_id):
        return np.full(len(original_id), MISSING, np.int64)
    hashes = transaction_hash(original_id, identity)
    if original_id.null_count:
        hashes[original_id.is_null().to_numpy(zero_copy_only=False)] = MISSING
    return hashes


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


def scale_of(currency: pa.Array) -> NDArray[np.float64]:
    """Return the number of minor units in a major unit of each currency, float64[n].

    Raises:
        InputError: There is no such currency.
    """
    codes, index = distinct(currency)
    scales: NDArray[np.float64] = np.array([10.0 ** exponent(code) for code in codes], np.float64)[index]
    return scales
