"""Parity: published features are reproduced, and every difference is reported."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.parity import PUBLISHED, SHOWN, Mismatch, Parity, verify
from tests.features.oracle import Payment
from tests.features.streams import START, Past, batch_of_past, past_through_oracle
from vedette.clock import DAY
from vedette.errors import InputError

HISTORY = [
    Past(
        Payment(f"{i}", f"c{i % 4}", START + i // 3 * DAY // 2, 1000 + 37 * i, merchant_id=f"m{i % 5}"),
        START + i // 3 * DAY // 2 + DAY if i % 6 == 0 else None,
    )
    for i in range(200)
]
"""Three payments at each moment, a sixth of them frauds."""


def published(history: Sequence[Past]) -> pa.Table:
    """What others would publish about a history, computed by the oracle, where ids are numbers."""
    rows = past_through_oracle(history)
    ids = [int(past.payment.transaction_id) for past in history]
    return pa.table({"TRANSACTION_ID": ids} | {theirs: [r[ours] for r in rows] for theirs, ours in PUBLISHED.items()})


def changed(table: pa.Table, column: str, row: int, value: float) -> pa.Table:
    """Return the table with one value replaced."""
    values = table.column(column).to_pylist()
    values[row] = value
    return table.set_column(table.schema.names.index(column), column, [values])


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """A file with the published features of HISTORY from its hundredth payment on."""
    path = tmp_path / "golden.parquet"
    pq.write_table(published(HISTORY).slice(100), path)
    return path


def batches(history: Sequence[Past], size: int = 1000) -> list[pa.RecordBatch]:
    """Return a history in batches."""
    return [batch_of_past(history[start : start + size]) for start in range(0, len(history), size)]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_nothing_differs(golden: Path, size: int) -> None:
    """What the oracle published is reproduced in every row and column, however the transactions are batched."""
    assert verify(golden, batches(HISTORY, size)) == Parity(rows=100, columns=14, mismatches=0)


@pytest.mark.parametrize(
    ("column", "feature", "by"),
    [
        ("CUSTOMER_ID_NB_TX_7DAY_WINDOW", "account_count_7d", 1e-8),
        ("TX_DURING_NIGHT", "is_night", 1.0),
        ("CUSTOMER_ID_AVG_AMOUNT_30DAY_WINDOW", "account_mean_30d", 1e-7),
        ("TERMINAL_ID_RISK_30DAY_WINDOW", "merchant_fraud_rate_30d", 1e-8),
    ],
)
def test_one_value_that_differs_is_told(golden: Path, column: str, feature: str, by: float) -> None:
    """A single value beyond its tolerance is counted and reported with its transaction, both names and both values."""
    table = pq.read_table(golden)
    value = float(table.column(column)[50].as_py())
    pq.write_table(changed(table, column, 50, value + by), golden)
    report = verify(golden, batches(HISTORY))
    (first,) = report.first
    assert report.mismatches == 1
    assert first == Mismatch("150", column, feature, value + by, first.computed)
    assert first.computed == pytest.approx(value, rel=1e-9)


def test_many_differences_are_counted_and_the_first_told(golden: Path) -> None:
    """All differences are counted, and the first ones are reported."""
    table = pq.read_table(golden)
    pq.write_table(table.set_column(1, "TX_DURING_WEEKEND", pa.array([7] * 100, pa.int16())), golden)
    report = verify(golden, batches(HISTORY, 7))
    assert (report.mismatches, len(report.first)) == (100, SHOWN)
    assert report.first[0].transaction_id == "100"


def test_a_missing_published_value_differs(golden: Path) -> None:
    """Where a value is computed but none is published, that is a difference."""
    table = pq.read_table(golden)
    pq.write_table(changed(table, "TERMINAL_ID_NB_TX_1DAY_WINDOW", 3, float("nan")), golden)
    assert verify(golden, batches(HISTORY)).mismatches == 1


def test_what_a_rolling_sum_leaves_is_no_difference(tmp_path: Path) -> None:
    """A mean of 0.00 that was published as 1e-13 is the same mean; one of 1e-8 is not."""
    history = [Past(Payment("1", "c", START, 0, merchant_id="m"), None)]
    for residue, mismatches in ((1.7e-13, 0), (1e-8, 1)):
        table = changed(published(history), "CUSTOMER_ID_AVG_AMOUNT_1DAY_WINDOW", 0, residue)
        pq.write_table(table, tmp_path / "golden.parquet")
        assert verify(tmp_path / "golden.parquet", batches(history)).mismatches == mismatches


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_ties_are_taken_in_the_published_order(tmp_path: Path, size: int) -> None:
    """Payments of one customer in one second follow their published count, not the order of the file."""
    tied = [Past(Payment(f"{i}", "c", START, 100 * i, merchant_id="m"), None) for i in range(1, 5)]
    pq.write_table(published([tied[2], tied[0], tied[3], tied[1]]), tmp_path / "golden.parquet")
    assert verify(tmp_path / "golden.parquet", batches(tied, size)).mismatches == 0


def test_ties_without_published_count_keep_the_order_of_the_file(tmp_path: Path) -> None:
    """Without the published count, payments in one second keep the order of the file."""
    tied = [Past(Payment(f"{i}", "c", START, 100 * i, merchant_id="m"), None) for i in range(1, 5)]
    table = published(tied).drop_columns(["CUSTOMER_ID_NB_TX_1DAY_WINDOW"])
    pq.write_table(table, tmp_path / "golden.parquet")
    assert verify(tmp_path / "golden.parquet", batches(tied, 2)) == Parity(rows=4, columns=13, mismatches=0)


def test_unknown_transactions_are_an_error(golden: Path) -> None:
    """Missing published transactions are an error, whatever the result of the others."""
    with pytest.raises(InputError, match=r"20 transactions of .* are not among those given, such as 180"):
        verify(golden, batches(HISTORY[:180]))


def test_disorder_is_an_error(golden: Path) -> None:
    """Transactions that are not in order of time are refused, and not sorted silently."""
    with pytest.raises(InputError, match="not in order"):
        verify(golden, batches(HISTORY[::-1]))


def test_files_that_publish_nothing_are_refused(tmp_path: Path) -> None:
    """A file that is missing, is not Parquet, has no published column or a repeated id is refused by name."""
    path = tmp_path / "golden.parquet"
    with pytest.raises(InputError, match=r"golden\.parquet cannot be read"):
        verify(path, [])
    path.write_text("TRANSACTION_ID\n1\n")
    with pytest.raises(InputError, match=r"golden\.parquet cannot be read"):
        verify(path, [])
    pq.write_table(pa.table({"TRANSACTION_ID": [1], "amount": [1.0]}), path)
    with pytest.raises(InputError, match=r"golden\.parquet has no published features"):
        verify(path, [])
    pq.write_table(pa.table({"TRANSACTION_ID": [1, 1], "TX_DURING_NIGHT": [0, 0]}), path)
    with pytest.raises(InputError, match="more than once"):
        verify(path, [])
