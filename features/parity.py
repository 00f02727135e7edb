"""Parity with published features: the kernel's results compared with published ones for the same transactions.

The published features are those of the Fraud Detection Handbook (Le Borgne et al., 2022), one row per transaction. Some
transactions of one customer happen in the same second. The transactions do not show their order, but the published
number of the customer's transactions does: it grows by one from each to the next. So transactions of one account at one
moment are taken in the order of that number or, where it is not published, of the file.

The published means come from rolling sums in floating point, to which amounts are added and from which they are
subtracted. Where the only payment in the window is one of 0.00, the remainder is not 0 but some 1e-13. A relative error
is meaningless for such a residue, so means of money may also differ by RESIDUE.
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
    f"{published}_{days}DAY_WINDOW": f"{name}_{days}d"
    for published, name in (
        ("CUSTOMER_ID_NB_TX", "account_count"),
        ("CUSTOMER_ID_AVG_AMOUNT", "account_mean"),
        ("TERMINAL_ID_NB_TX", "merchant_count"),
        ("TERMINAL_ID_RISK", "merchant_fraud_rate"),
    )
    for days in (1, 7, 30)
}
"""Catalogue name of each published column."""

TOLERANCE = 1e-9
"""Maximum relative difference of means and rates; counts and flags must be equal."""

RESIDUE = 1e-9
"""Maximum absolute difference of means of money, in major units: a ten-millionth of a cent."""

SHOWN = 10


class Mismatch(msgspec.Struct, frozen=True):
    """One value that differs."""

    transaction_id: str
    column: str
    feature: str
    published: float
    computed: float


class Parity(msgspec.Struct, frozen=True, omit_defaults=True):
    """Result of a comparison."""

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
            raise InputError(f"{path}: a {ID} occurs more than once")
        doubles = [table.column(name).cast(pa.float64()).to_numpy() for name in self.columns]
        self.values: NDArray[np.float64] = np.column_stack(doubles)
        self._order = self.values[:, self.columns.index(ORDER)] if ORDER in self.columns else np.zeros(len(self.ids))

    def rows(self, ids: pa.Array) -> NDArray[np.int64]:
        """Return the row of each id, -1 for those that are not published."""
        found = pc.index_in(ids, value_set=self.ids).fill_null(-1)
        return np.asarray(found.to_numpy(zero_copy_only=False), np.int64)

    def in_order(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the same transactions, those of each moment in the order of the published count.

        Args:
            batches: Batches in order of event time; the backfill refuses any others.
        """
        for batch in _whole_moments(batches):
            rows = self.rows(batch.column("transaction_id"))
            count = np.where(rows >= 0, self._order[rows], 0.0)
            time = batch.column("event_time").to_numpy()
            yield batch if np.any(np.diff(time) < 0) else batch.take(pa.array(np.lexsort((count, time))))


class Comparison:
    """Compares published features with computed ones, batch by batch."""

    def __init__(self, golden: Golden) -> None:
        self._golden = golden
        self._columns = np.array([NAMES.index(PUBLISHED[name]) for name in golden.columns])
        units = [CATALOGUE[k].unit for k in self._columns]
        self._relative = np.array([0.0 if unit in {"payments", "0 or 1"} else TOLERANCE for unit in units])
        self._absolute = np.array([RESIDUE if unit == "major units" else 0.0 for unit in units])
        self._seen = np.zeros(len(golden.ids), np.bool_)
        self._mismatches = 0
        self._first: list[Mismatch] = []

    def take(self, ids: pa.Array, features: NDArray[np.float64]) -> None:
        """Compare features, float64[n, features] in catalogue order; unpublished transactions are ignored."""
        golden = self._golden
        rows = golden.rows(ids)
        there = rows >= 0
        rows, computed = rows[there], features[there][:, self._columns]
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
        """Return the result.

        Raises:
            InputError: Published transactions are missing from the computed ones.
        """
        golden = self._golden
        if not self._seen.all():
            missing = golden.ids[int(np.argmin(self._seen))].as_py()
            number = int((~self._seen).sum())
            raise InputError(
                f"{number} transactions of {golden.path} are not among those given, such as {missing}",
                remedy="give every file of transactions, starting with the oldest",
            )
        return Parity(len(golden.ids), len(golden.columns), self._mismatches, self._first)


def verify(golden: Path, batches: Iterable[pa.RecordBatch]) -> Parity:
    """Compute the features of transactions by the offline kernel and compare them with published ones.

    Args:
        golden: A Parquet file with TRANSACTION_ID and columns of PUBLISHED.
        batches: Transactions as for features.Backfill.advance, in order of event time, from the first one inside a
            window of the published ones.

    Raises:
        InputError: The file is not valid, the batches are not in order, or published transactions are missing.
    """
    published, state = Golden(golden), Backfill()
    comparison = Comparison(published)
    for batch in published.in_order(batches):
        comparison.take(batch.column("transaction_id"), state.advance(batch))
    return comparison.result()


def _whole_moments(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the same rows, cut so that no event time spans two batches."""
    kept: list[pa.RecordBatch] = []
    for batch in batches:
        if len(batch) == 0:
            continue
        time = batch.column("event_time").to_numpy()
        last = int(np.searchsorted(time, time[-1]))  # start of the last moment
        if last or (kept and kept[-1].column("event_time")[-1].as_py() != time[-1]):
            yield _joined([*kept, batch.slice(0, last)])
            kept = []
        kept.append(batch.slice(last))
    if kept:
        yield _joined(kept)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
