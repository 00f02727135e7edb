"""What models learn from: arrays of one row per transaction, in the order of event time."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vedette.errors import InputError

EXTRA = "extra."
"""Columns that came with the file and are no features of the catalogue."""

GROUPS = ("channel", "country", "account_type")
"""Columns that no model sees, by which its figures are told apart."""


@dataclass(frozen=True)
class Frame:
    """Transactions with their features and the truth, ordered by event time.

    Attributes:
        names: Names of the columns of `matrix`.
        matrix: float64 [n, len(names)]; NaN is a missing value.
        account: int64 [n], one number per account.
        event_time: int64 [n], milliseconds UTC.
        amount: int64 [n], minor units.
        fraud: bool [n], the truth.
        labelled_at: int64 [n], milliseconds UTC, when the truth became known.
        groups: Those of GROUPS that are known, text [n].
    """

    names: tuple[str, ...]
    matrix: NDArray[np.float64]
    account: NDArray[np.int64]
    event_time: NDArray[np.int64]
    amount: NDArray[np.int64]
    fraud: NDArray[np.bool_]
    labelled_at: NDArray[np.int64]
    groups: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.event_time)

    def take(self, rows: NDArray[np.int64] | slice) -> "Frame":
        """The frame of these rows only; a slice copies nothing."""
        return Frame(
            names=self.names,
            matrix=self.matrix[rows],
            account=self.account[rows],
            event_time=self.event_time[rows],
            amount=self.amount[rows],
            fraud=self.fraud[rows],
            labelled_at=self.labelled_at[rows],
            groups={name: values[rows] for name, values in self.groups.items()},
        )


def collect(batches: Iterable[pa.RecordBatch], features: tuple[str, ...]) -> Frame:
    """Gather the batches of the offline backfill into one frame.

    Args:
        batches: Record batches with the features and `account_id`, `event_time`, `amount`, `fraud`, `labelled_at`.
        features: Which features to keep; `extra.*` columns are kept as well, after them, sorted by name.

    Returns:
        The rows whose truth is known; the others can neither teach nor test.

    Raises:
        InputError: There are no rows, none has a label, or they are not in the order of event time.
    """
    names: tuple[str, ...] = ()
    matrices: list[NDArray[np.float64]] = []
    kept: list[pa.RecordBatch] = []
    for batch in batches:
        if not names:
            names = features + tuple(sorted(name for name in batch.schema.names if name.startswith(EXTRA)))
        matrix = np.empty((batch.num_rows, len(names)))
        for column, name in enumerate(names):
            matrix[:, column] = batch.column(name).to_numpy(zero_copy_only=False)
        matrices.append(matrix)
        known = [name for name in GROUPS if name in batch.schema.names]
        kept.append(batch.select(["account_id", "event_time", "amount", "fraud", "labelled_at", *known]))
    if not kept:
        raise InputError("there are no transactions to learn from", remedy="check the file and the time span")
    table = pa.Table.from_batches(kept).combine_chunks()
    labelled = np.flatnonzero(table["fraud"].is_valid().to_numpy())
    if not len(labelled):
        raise InputError(
            f"none of {len(table)} transactions has a label", remedy="use a mapping that names the label column"
        )
    table = table.take(labelled)
    matrix = np.concatenate(matrices)
    event_time = table["event_time"].to_numpy().astype(np.int64)
    if np.any(np.diff(event_time) < 0):
        raise InputError("the transactions are not in the order of event time", remedy="sort the file by time")
    return Frame(
        names=names,
        matrix=matrix if len(labelled) == len(matrix) else matrix[labelled],
        account=table["account_id"].dictionary_encode().combine_chunks().indices.to_numpy().astype(np.int64),
        event_time=event_time,
        amount=table["amount"].to_numpy().astype(np.int64),
        fraud=table["fraud"].to_numpy().astype(np.bool_),
        # Without a date a label counts from the end of the delay on: models.protocol.known_from.
        labelled_at=table["labelled_at"].fill_null(0).to_numpy().astype(np.int64),
        groups={
            name.replace("_", " "): table[name].fill_null("unknown").to_numpy().astype(np.str_)
            for name in GROUPS
            if name in table.schema.names and table[name].null_count < len(table)
        },
    )
