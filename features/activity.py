"""What a batch means to the merchants, devices and addresses in it: one record per payment or label and entity."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.account_codec import TX_MASK
from features.catalogue import ENTITIES
from features.columns import Columns

_MERCHANT = list(ENTITIES).index("merchant")


@dataclass(frozen=True)
class Activity:
    """n records, those of each entity in order of arrival; see features.kernel_entity.advance_entities."""

    entity: NDArray[np.uint64]
    """uint64[n], see features.columns.entity_hash; which partition owns an entity is this modulo their number."""
    time: NDArray[np.int64]
    tx: NDArray[np.int64]
    account: NDArray[np.int64]
    label: NDArray[np.int8]


def activity_of(columns: Columns, label: NDArray[np.int8]) -> tuple[Activity, NDArray[np.intp], NDArray[np.intp]]:
    """The activity in a batch, and of each record its row in the batch and its kind of entity.

    Args:
        columns: Payments, or labels as label_columns has them.
        label: int8[len(columns)], PAYMENT or the label.
    """
    row, kind = np.nonzero(columns.entities)
    records = Activity(
        entity=columns.entities[row, kind],
        time=columns.time[row],
        tx=columns.tx[row] & TX_MASK,
        account=np.where(kind == _MERCHANT, 0, columns.account[row]),
        label=label[row],
    )
    return records, row, kind
