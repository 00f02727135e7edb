from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from archive.columns import Table
from archive.tables import TABLES
from archive.writer import TableWriter
from tests.archive.conftest import START, Stored, payment, stored
from vedette.errors import FencedError, StateError

PAYMENTS: Table = TABLES[0]


def ids(uri: str) -> list[str]:
    """Return the transactions in a table."""
    return sorted(pa.table(DeltaTable(uri).to_pyarrow_table())["transaction_id"].to_pylist())


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """Where a table is stored."""
    return str(tmp_path / "transactions")


def test_rows_and_positions_are_written_together(uri: str) -> None:
    """A new writer continues where the rows end, per partition."""
    first = TableWriter(uri, PAYMENTS, "t.transactions", {})
    assert first.position(0) is None
    rows, _ = PAYMENTS.rows(stored([(0, payment(1)), (1, payment(2)), (0, payment(3))]))
    first.append(rows, {0: 2, 1: 1})
    second = TableWriter(uri, PAYMENTS, "t.transactions", {})
    assert (second.position(0), second.position(1), second.position(2)) == (2, 1, None)
    assert ids(uri) == ["t1", "t2", "t3"]


def test_positions_move_past_messages_without_rows(uri: str) -> None:
    """Messages that are not events leave no row and are not read again."""
    writer = TableWriter(uri, PAYMENTS, "transactions", {})
    rows, rejected = PAYMENTS.rows([Stored(0, 5, START, b"\xff"), Stored(0, 6, START, None)])
    writer.append(rows, {0: 7})
    assert (len(rows), len(rejected)) == (0, 2)
    assert TableWriter(uri, PAYMENTS, "transactions", {}).position(0) == 7


def test_of_two_writers_one_is_refused(uri: str) -> None:
    """A second process that writes the same partition cannot write a message twice."""
    first, second = (TableWriter(uri, PAYMENTS, "transactions", {}) for _ in range(2))
    rows, _ = PAYMENTS.rows(stored([(0, payment(1))]))
    first.append(rows, {0: 1})
    with pytest.raises(FencedError):
        second.append(rows, {0: 1})
    assert ids(uri) == ["t1"]


def test_a_late_event_lands_in_its_day(uri: str) -> None:
    """The partition is the UTC day of the event, whenever it arrives."""
    writer = TableWriter(uri, PAYMENTS, "transactions", {})
    edge = START - START % 86_400_000
    for number, at in enumerate((edge, edge - 1, edge + 86_399_999)):
        rows, _ = PAYMENTS.rows([Stored(0, number, START, stored([(0, payment(number, event_time=at))])[0].value)])
        writer.append(rows, {0: number + 1})
    days = DeltaTable(uri).to_pyarrow_table()
    assert sorted(zip(days["transaction_id"].to_pylist(), map(str, days["day"].to_pylist()), strict=True)) == [
        ("t0", "2023-11-14"),
        ("t1", "2023-11-13"),
        ("t2", "2023-11-14"),
    ]


def test_every_field_is_kept_exactly(uri: str) -> None:
    """Times to the millisecond, amounts as integers, extra columns as they came."""
    made = payment(
        1, amount=10**15, lat=52.5, balance=-5, extra={"b": 2.5, "a": 1.0}, account_opened_at=1, event_time=START + 1
    )
    rows, _ = PAYMENTS.rows(stored([(3, made)]))
    TableWriter(uri, PAYMENTS, "transactions", {}).append(rows, {3: 1})
    (row,) = DeltaTable(uri).to_pyarrow_table().to_pylist()
    assert (row["amount"], row["lat"], row["balance"], row["extra"]) == (10**15, 52.5, -5, [("a", 1.0), ("b", 2.5)])
    assert round(row["event_time"].timestamp() * 1000) == START + 1
    assert (row["kafka_partition"], row["kafka_offset"], row["payee"]) == (3, 0, None)


def test_a_table_of_a_newer_vedette_is_left_alone(uri: str) -> None:
    """A table that this version does not understand is not written to."""
    DeltaTable.create(
        uri, PAYMENTS.schema, partition_by=["day"], configuration={"vedette.schemaVersion": "99"},
        raise_if_key_not_exists=False,
    )  # fmt: skip
    with pytest.raises(StateError, match="99"):
        TableWriter(uri, PAYMENTS, "transactions", {})
