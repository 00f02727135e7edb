"""Parity with published features: what the kernel computes against what others computed from the same transactions.

Published are the features of the Fraud Detection Handbook (Le Borgne et al., 2022), one row per transaction. Some
transactions of one customer happen in the same second. Which of them came first the transactions do not tell, but the
published number of the customer's transactions does: it grows by one from each to the next. So transactions of one
account at one moment are taken in the order of that number, and where it is not published in the order of the file.

The published means come from sums that were rolled along in floating point, amounts added and taken away again. Where
the only payment in the window is one of 0.00, what they leave is not 0 but some 1e-13. Such a residue has no relative
error to speak of, so means of money may also differ by RESIDUE.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.backfill import Backfill
from features.catalogue import CATALOGUE, NAMES
from vedette.errors import InputError

ID = "TRANSACTION_ID"
ORDER = "CUSTOMER_ID_NB_TX_1DAY_WINDOW"

PUBLISHED: dict[str, str] = {"TX_DURING_WEEKEND": "is_weekend", "TX_DURING_NIGHT": "is_night"} | {
    f"{theirs}_{days}DAY_WINDOW": f"{ours}_{days}d"
    for theirs, ours in (
        ("CUSTOMER_ID_NB_TX", "account_count"),
        ("CUSTOMER_ID_AVG_AMOUNT", "account_mean"),
        ("TERMINAL_ID_NB_TX", "merchant_count"),
        ("TERMINAL_ID_RISK", "merchant_fraud_rate"),
    )
    for days in (1, 7, 30)
}
"""The catalogue's name of each published column."""

TOLERANCE = 1e-9
"""Means and rates may differ by this part of themselves; counts and flags not at all."""

RESIDUE = 1e-9
"""Means of money may differ by this many major units: a ten-millionth of a cent."""

SHOWN = 10


class Mismatch(msgspec.Struct, frozen=True):
    """One value that differs."""

    transaction_id: str
    column: str
    feature: str
    published: float
    computed: float


class Parity(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a comparison came to."""

    rows: int
    columns: int
    mismatches: int
    first: list[Mismatch] = []
    """The first SHOWN mismatches."""


class Golden:
    """Published features by transaction id."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(f"{path} cannot be read as Parquet: {error}") from error
        self.columns = [name for name in table.schema.names if name in PUBLISHED]
        if ID not in table.schema.names or not self.columns:
            raise InputError(
                f"{path} has no published features", remedy=f"it needs {ID} and some of {', '.join(PUBLISHED)}"
            )
        self.ids = table.column(ID).cast(pa.string()).combine_chunks()
        if pc.count_distinct(self.ids).as_py() != len(self.ids):
            raise InputError(f"{path}: a {ID} stands there more than once")
        doubles = [table.column(name).cast(pa.float64()).to_numpy() for name in self.columns]
        self.values: NDArray[np.float64] = np.column_stack(doubles)
        self._order = self.values[:, self.columns.index(ORDER)] if ORDER in self.columns else np.zeros(len(self.ids))

    def rows(self, ids: pa.Array) -> NDArray[np.int64]:
        """The row of each id, -1 for those that are not published."""
        found = pc.index_in(ids, value_set=self.ids).fill_null(-1)
        return np.asarray(found.to_numpy(zero_copy_only=False), np.int64)

    def in_order(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The same transactions, those of each moment in the order of the published count.

        Args:
            batches: In order of event time; where they are not, the backfill will refuse them.
        """
        for batch in _whole_moments(batches):
            rows = self.rows(batch.column("transaction_id"))
            count = np.where(rows >= 0, self._order[rows], 0.0)
            time = batch.column("event_time").to_numpy()
            yield batch if np.any(np.diff(time) < 0) else batch.take(pa.array(np.lexsort((count, time))))


class Comparison:
    """Published features against computed ones, as these come in."""

    def __init__(self, golden: Golden) -> None:
        self._golden = golden
        self._ours = np.array([NAMES.index(PUBLISHED[name]) for name in golden.columns])
        units = [CATALOGUE[k].unit for k in self._ours]
        self._relative = np.array([0.0 if unit in {"payments", "0 or 1"} else TOLERANCE for unit in units])
        self._absolute = np.array([RESIDUE if unit == "major units" else 0.0 for unit in units])
        self._seen = np.zeros(len(golden.ids), np.bool_)
        self._mismatches = 0
        self._first: list[Mismatch] = []

    def take(self, ids: pa.Array, features: NDArray[np.float64]) -> None:
        """Compare the features of transactions, float64[n, features] in catalogue order; others than published pass."""
        golden = self._golden
        rows = golden.rows(ids)
        there = rows >= 0
        rows, computed = rows[there], features[there][:, self._ours]
        self._seen[rows] = True
        expected = golden.values[rows]
        allowed = np.maximum(self._relative * np.abs(expected), self._absolute)
        differ = ~((np.abs(computed - expected) <= allowed) | (np.isnan(computed) & np.isnan(expected)))
        self._mismatches += int(differ.sum())
        for i, k in np.argwhere(differ)[: SHOWN - len(self._first)]:
            column = golden.columns[k]
            values = (float(expected[i, k]), float(computed[i, k]))
            self._first.append(Mismatch(golden.ids[int(rows[i])].as_py(), column, PUBLISHED[column], *values))

    def result(self) -> Parity:
        """What it came to.

        Raises:
            InputError: Published transactions were not among those computed.
        """
        golden = self._golden
        if not self._seen.all():
            missing = golden.ids[int(np.argmin(self._seen))].as_py()
            number = int((~self._seen).sum())
            raise InputError(
                f"{number} transactions of {golden.path} are not among those given, such as {missing}",
                remedy="give every file of transactions, from the oldest on",
            )
        return Parity(len(golden.ids), len(golden.columns), self._mismatches, self._first)


def verify(golden: Path, batches: Iterable[pa.RecordBatch]) -> Parity:
    """Compute the features of transactions by the offline kernel and compare them with published ones.

    Args:
        golden: A Parquet file with TRANSACTION_ID and columns of PUBLISHED.
        batches: The transactions as features.Backfill.advance takes them, in order of event time, from the first one
            that reaches into a window of those published.

    Raises:
        InputError: The file is not one, the batches are not in order, or published transactions are not among them.
    """
    published, state = Golden(golden), Backfill()
    comparison = Comparison(published)
    for batch in published.in_order(batches):
        comparison.take(batch.column("transaction_id"), state.advance(batch))
    return comparison.result()


def _whole_moments(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows, cut so that no two batches share an event time at their border."""
    kept: list[pa.RecordBatch] = []
    for batch in batches:
        if len(batch) == 0:
            continue
        time = batch.column("event_time").to_numpy()
        last = int(np.searchsorted(time, time[-1]))  # where the last moment begins
        if last or (kept and kept[-1].column("event_time")[-1].as_py() != time[-1]):
            yield _joined([*kept, batch.slice(0, last)])
            kept = []
        kept.append(batch.slice(last))
    if kept:
        yield _joined(kept)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
