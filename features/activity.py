"""The activity of merchants, devices, addresses and payees in a batch: one record per payment or label and entity."""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from features.account_codec import TX_MASK
from features.arrays import given
from features.catalogue import ENTITIES, NAMES
from features.catalogue_live import SMALL_AMOUNT
from features.columns import IDENTIFIERS, Columns
from features.kernel_account import UNUSUAL as UNUSUAL_MULTIPLE
from features.kernel_delayed import UNUSUAL_STEPS
from features.live_codec import FIRST_HERE, FLAGGED, SMALL, UNUSUAL

PAYMENT = -1
"""Value of a `label` array that marks a payment instead of a label."""

_AMOUNT = NAMES.index("amount_major")
_TO_TYPICAL, _LARGEST_TO_TYPICAL = NAMES.index("amount_to_typical"), NAMES.index("largest_to_typical_14d")
_PLACES = np.array([IDENTIFIERS.index(field) for field in ENTITIES.values()], np.uint8)
"""Place of each kind of entity among the identifiers of a payment."""


@dataclass(frozen=True)
class Activity:
    """n records, ordered by arrival within each entity; see features.kernel_entity.advance_entities."""

    entity: NDArray[np.uint64]
    """uint64[n], see features.columns.entity_hash; modulo the number of partitions it gives the owning one."""
    kind: NDArray[np.uint8]
    """uint8[n], as an index into ENTITIES."""
    time: NDArray[np.int64]
    tx: NDArray[np.int64]
    account: NDArray[np.int64]
    amount: NDArray[np.int64]
    unusual: NDArray[np.uint8]
    flags: NDArray[np.uint8]
    label: NDArray[np.int8]


@dataclass(frozen=True)
class Records:
    """The activity in a batch, with the row of each record."""

    activity: Activity
    row: NDArray[np.intp]
    """intp[n], the batch row of each record."""

    @property
    def kind(self) -> NDArray[np.uint8]:
        """The kind of entity of each record, as an index into ENTITIES."""
        return self.activity.kind


def unusualness(features: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return how unusual n payments are for their accounts, in steps, from their features, float64[n, features]."""
    steps = np.empty(len(features), np.uint8)
    _unusualness(*given(features), steps)
    return steps


@numba.njit(cache=True, nogil=True)
def _unusualness(features: NDArray[np.float64], steps: NDArray[np.uint8]) -> None:
    for i in range(features.shape[0]):
        amount, largest = features[i, _TO_TYPICAL], features[i, _LARGEST_TO_TYPICAL]
        more = 1.0 if np.isnan(amount) or np.isnan(largest) else max(amount, largest)
        steps[i] = np.uint8(min(max(np.rint(more * UNUSUAL_STEPS), 0.0), 255.0))


def payment_flags(
    features: NDArray[np.float64], new: NDArray[np.uint8], flagged: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """Return the flags of n payments for each kind of entity, uint8[n, kinds].

    Args:
        features: float64[n, features] of their accounts.
        new: uint8[n], see features.kernel_account.advance_accounts.
        flagged: bool[n], whether Vedette did not simply approve; None where the decisions are not known.
    """
    flags = np.zeros((len(features), len(_PLACES)), np.uint8)
    _flags(*given(features, new, np.zeros(len(features), np.bool_) if flagged is None else flagged), flags)
    return flags


@numba.njit(cache=True, nogil=True)
def _flags(
    features: NDArray[np.float64], new: NDArray[np.uint8], flagged: NDArray[np.bool_], flags: NDArray[np.uint8]
) -> None:
    for i in range(features.shape[0]):
        common = FLAGGED if flagged[i] else 0
        if features[i, _AMOUNT] < SMALL_AMOUNT:
            common |= SMALL
        if features[i, _TO_TYPICAL] > UNUSUAL_MULTIPLE:  # a missing value is not larger
            common |= UNUSUAL
        for kind in range(len(_PLACES)):
            flags[i, kind] = common | (FIRST_HERE if new[i] >> _PLACES[kind] & 1 else 0)


def of_payments(
    columns: Columns, unusual: NDArray[np.uint8], flags: NDArray[np.uint8], pays: NDArray[np.bool_] | None = None
) -> Records:
    """Return the activity in n transactions.

    Args:
        columns: The transactions.
        unusual: uint8[n], how unusual they are.
        flags: uint8[n, kinds], see payment_flags.
        pays: bool[n], which of them are payments: the others are no activity; None: all.
    """
    return _records(columns, unusual, flags, np.full(len(columns), PAYMENT, np.int8), pays)


def of_labels(columns: Columns, fraud: NDArray[np.int8]) -> Records:
    """Return the activity in labels, with columns as from label_columns."""
    n = len(columns)
    return _records(columns, np.zeros(n, np.uint8), np.zeros((n, len(ENTITIES)), np.uint8), fraud)


def _records(
    columns: Columns, unusual: NDArray[np.uint8], flags: NDArray[np.uint8], label: NDArray[np.int8],
    of: NDArray[np.bool_] | None = None,
) -> Records:  # fmt: skip
    row, kind = np.nonzero(columns.entities if of is None or of.all() else columns.entities * of[:, np.newaxis])
    activity = Activity(
        entity=columns.entities[row, kind],
        kind=kind.astype(np.uint8),
        time=columns.time[row],
        tx=columns.tx[row] & TX_MASK,
        account=columns.account[row],
        amount=columns.amount[row],
        unusual=unusual[row],
        flags=flags[row, kind],
        label=label[row],
    )
    return Records(activity, row)
