"""Training data: arrays with one row per transaction, in the order of event time."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vedette.errors import InputError
from vedette.events import EXTRA

GROUPS = ("channel", "country", "account_type")
"""Columns that are not features, by which metrics are broken down."""


@dataclass(frozen=True)
class Frame:
    """Transactions with their features and labels, ordered by event time.

    Attributes:
        names: Names of the columns of `matrix`.
        matrix: float64 [n, len(names)]; NaN is a missing value.
        account: int64 [n], one number per account.
        event_time: int64 [n], milliseconds UTC.
        amount: int64 [n], minor units.
        fraud: bool [n], the truth.
        labelled_at: int64 [n], milliseconds UTC, when the label became known.
        groups: Columns of GROUPS that are known, text [n]; in a comparison, the scenario of each fraud instead.
        currency: The currency of all transactions; empty if they have several.
    """

    names: tuple[str, ...]
    matrix: NDArray[np.float64]
    account: NDArray[np.int64]
    event_time: NDArray[np.int64]
    amount: NDArray[np.int64]
    fraud: NDArray[np.bool_]
    labelled_at: NDArray[np.int64]
    groups: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    currency: str = ""

    def __len__(self) -> int:
        return len(self.event_time)

    def take(self, rows: NDArray[np.int64] | slice) -> "Frame":
        """Return the frame of these rows only; a slice and contiguous rows are not copied."""
        rows = together(rows) if isinstance(rows, np.ndarray) else rows
        return Frame(
            names=self.names,
            matrix=self.matrix[rows],
            account=self.account[rows],
            event_time=self.event_time[rows],
            amount=self.amount[rows],
            fraud=self.fraud[rows],
            labelled_at=self.labelled_at[rows],
            groups={name: values[rows] for name, values in self.groups.items()},
            currency=self.currency,
        )


def together(rows: NDArray[np.int64]) -> NDArray[np.int64] | slice:
    """Return ascending row numbers without a gap as a slice, others as they are."""
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows) and np.all(np.diff(rows) == 1):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def with_extra(features: tuple[str, ...], columns: Iterable[str]) -> tuple[str, ...]:
    """Return the columns of a matrix: features, then the `extra.*` among some columns, sorted by name."""
    return features + tuple(sorted(name for name in columns if name.startswith(EXTRA)))


def collect(batches: Iterable[pa.RecordBatch], features: tuple[str, ...]) -> Frame:
    """Gather the batches of the offline backfill into one frame.

    Args:
        batches: Record batches with the features and `account_id`, `event_time`, `amount`, `fraud`, `labelled_at`.
        features: Which features to keep; `extra.*` columns are kept as well, after them, sorted by name.

    Returns:
        The rows whose label is known; the others can serve neither for training nor for testing.

    Raises:
        InputError: There are no rows, none has a label, or they are not in the order of event time.
    """
    names: tuple[str, ...] = ()
    matrix = np.empty((0, 0))
    kept: list[pa.RecordBatch] = []
    rows = 0
    for whole in batches:
        if not kept:
            names = with_extra(features, whole.schema.names)
            matrix = np.empty((0, len(names)))
        rows += len(whole)
        batch = whole.filter(whole.column("fraud").is_valid()) if whole.column("fraud").null_count else whole
        first = len(matrix)
        matrix.resize((first + len(batch), len(names)), refcheck=False)  # grows in place, so two copies never exist
        for column, name in enumerate(names):
            matrix[first:, column] = batch.column(name).to_numpy(zero_copy_only=False)
        known = [name for name in (*GROUPS, "currency") if name in batch.schema.names]
        kept.append(batch.select(["account_id", "event_time", "amount", "fraud", "labelled_at", *known]))
    if not kept:
        raise InputError("there are no transactions to train on", remedy="check the file and the time span")
    table = pa.Table.from_batches(kept).combine_chunks()
    if not len(table):
        raise InputError(f"none of {rows} transactions has a label", remedy="use a mapping that names the label column")
    event_time = table["event_time"].to_numpy().astype(np.int64)
    if np.any(np.diff(event_time) < 0):
        raise InputError("the transactions are not in the order of event time", remedy="sort the file by time")
    currencies = table["currency"].unique().to_pylist() if "currency" in table.schema.names else []
    return Frame(
        names=names,
        matrix=matrix,
        account=table["account_id"].dictionary_encode().combine_chunks().indices.to_numpy().astype(np.int64),
        event_time=event_time,
        amount=table["amount"].to_numpy().astype(np.int64),
        fraud=table["fraud"].to_numpy().astype(np.bool_),
        # A label without a date counts from the end of the delay: models.protocol.known_from.
        labelled_at=table["labelled_at"].fill_null(0).to_numpy().astype(np.int64),
        groups={
            name.replace("_", " "): table[name].fill_null("unknown").to_numpy().astype(np.str_)
            for name in GROUPS
            if name in table.schema.names and table[name].null_count < len(table)
        },
        currency=currencies[0] if len(currencies) == 1 else "",
    )
