"""What a batch means to the merchants, devices and addresses in it: one record per payment or label and entity."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.account_codec import TX_MASK
from features.catalogue import ENTITIES, NAMES
from features.columns import Columns
from features.kernel_entity import UNUSUAL_STEPS

PAYMENT = -1
"""In a `label` array: not a label but a payment."""

_MERCHANT = list(ENTITIES).index("merchant")
_TO_TYPICAL = [NAMES.index("amount_to_typical"), NAMES.index("largest_to_typical_14d")]


@dataclass(frozen=True)
class Activity:
    """n records, those of each entity in order of arrival; see features.kernel_entity.advance_entities."""

    entity: NDArray[np.uint64]
    """uint64[n], see features.columns.entity_hash; which partition owns an entity is this modulo their number."""
    time: NDArray[np.int64]
    tx: NDArray[np.int64]
    account: NDArray[np.int64]
    amount: NDArray[np.int64]
    unusual: NDArray[np.uint8]
    label: NDArray[np.int8]


@dataclass(frozen=True)
class Records:
    """The activity in a batch, and where it is from."""

    activity: Activity
    row: NDArray[np.intp]
    """Of the batch."""
    kind: NDArray[np.intp]
    """Of the entity, in the order of ENTITIES."""


def unusualness(features: NDArray[np.float64]) -> NDArray[np.uint8]:
    """How unusual n payments are for their accounts, in steps, from their features, float64[n, features]."""
    to_typical = features[:, _TO_TYPICAL].max(axis=1)
    steps = np.rint(np.where(np.isnan(to_typical), 1.0, to_typical) * UNUSUAL_STEPS)
    kept: NDArray[np.uint8] = np.clip(steps, 0, 255).astype(np.uint8)
    return kept


def of_payments(columns: Columns, unusual: NDArray[np.uint8]) -> Records:
    """The activity in n payments, of which is known how unusual they are."""
    return _records(columns, unusual, np.full(len(columns), PAYMENT, np.int8))


def of_labels(columns: Columns, fraud: NDArray[np.int8]) -> Records:
    """The activity in labels, columns as label_columns has them."""
    return _records(columns, np.zeros(len(columns), np.uint8), fraud)


def _records(columns: Columns, unusual: NDArray[np.uint8], label: NDArray[np.int8]) -> Records:
    row, kind = np.nonzero(columns.entities)
    merchant = kind == _MERCHANT
    activity = Activity(
        entity=columns.entities[row, kind],
        time=columns.time[row],
        tx=columns.tx[row] & TX_MASK,
        account=np.where(merchant, 0, columns.account[row]),
        amount=np.where(merchant, columns.amount[row], 0),
        unusual=np.where(merchant, unusual[row], np.uint8(0)),
        label=label[row],
    )
    return Records(activity, row, kind)
