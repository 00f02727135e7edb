import csv
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from producers.convert import Reject
from producers.files import RejectFile, count_rows, read_batches, write_parquet
from producers.mapping import load_mapping
from producers.simulation import Simulation
from producers.simulator import simulate
from vedette.clock import DAY, parse_time
from vedette.errors import InputError

HEADER = "TRANSACTION_ID,TX_DATETIME,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT,TX_FRAUD,TX_FRAUD_SCENARIO"
FIRST_DAY = parse_time("2018-04-01")


def line(number: int, amount: str = "1.00", time: str = "") -> str:
    """A good line of the handbook's layout, a minute after the one before."""
    moment = time or f"2018-04-01 {number // 60:02}:{number % 60:02}:00"
    return f"{number},{moment},7,8,{amount},0,0"


def write_csv(path: Path, lines: list[str]) -> Path:
    """A CSV file of the handbook's layout."""
    path.write_text("\n".join([HEADER, *lines, ""]), encoding="utf-8")
    return path


def write_handbook(path: Path, amounts: list[float | None], days: list[int], row_group: int) -> Path:
    """A Parquet file of the handbook's layout with its own types."""
    count = len(amounts)
    table = pa.table(
        {
            "TRANSACTION_ID": pa.array(range(count), pa.int32()),
            "TX_DATETIME": pa.array([FIRST_DAY + day * DAY for day in days], pa.timestamp("ms")),
            "CUSTOMER_ID": pa.array([7] * count, pa.int16()),
            "TERMINAL_ID": pa.array([8] * count, pa.int16()),
            "TX_AMOUNT": pa.array(amounts, pa.float64()),
            "TX_FRAUD": pa.array([0] * count, pa.int8()),
            "TX_FRAUD_SCENARIO": pa.array([0] * count, pa.int8()),
        }
    )
    pq.write_table(table, path, row_group_size=row_group)
    return path


def read(path: Path, mapping: str = "handbook", **options: int) -> tuple[list[str], list[Reject]]:
    """Ids that fit, and the rows that do not."""
    rejects: list[Reject] = []
    batches = list(read_batches(path, load_mapping(mapping), on_reject=rejects.append, **options))
    return [name for batch in batches for name in batch.column("transaction_id").to_pylist()], rejects


def test_each_rejected_line_is_named_with_column_value_and_reason(tmp_path: Path) -> None:
    """Line numbers are the file's own, across batches, blank lines and lines that are no record."""
    lines = [
        line(2), line(3, amount="free"), "", line(5), "6,too,few", line(7, time="2018-13-01"), line(8, amount=""),
        line(9).replace(",7,8,", ",7,,"), line(10).replace(",0,0", ",2,0"), line(11).replace(",0,0", ",0,9"),
        line(12, amount="-1"), line(13),
    ]  # fmt: skip
    path = write_csv(tmp_path / "x.csv", lines)
    for batch_rows in (1, 3, 100):
        ids, rejects = read(path, batch_rows=batch_rows)
        assert ids == ["2", "5", "13"]
        assert [(r.line, r.column, r.value, r.reason) for r in rejects] == [
            (3, "TX_AMOUNT", "free", "is not an amount of at most 1000000000000000 minor units"),
            (6, "", "", "has 3 values for 7 columns"),
            (7, "TX_DATETIME", "2018-13-01", "is not an ISO 8601 date or time"),
            (8, "TX_AMOUNT", "", "is empty"),
            (9, "", "", "names neither merchant nor payee"),
            (10, "TX_FRAUD", "2", "is neither yes nor no"),
            (11, "TX_FRAUD_SCENARIO", "9", "is not one of 0, 1, 2, 3"),
            (12, "TX_AMOUNT", "-1", "is less than 0"),
        ]
        assert [reject.row for reject in rejects] == [lines[reject.line - 2] for reject in rejects]


@pytest.mark.parametrize("broken", ['4,2018-04-01 00:04:00,7,"8,1.00,0,0', '4,2018-04-01 00:04:00,7,8,1.00,0,"0'])
@pytest.mark.parametrize("where", [0, 3, 9])
def test_an_open_quote_costs_its_own_line_only(tmp_path: Path, broken: str, where: int) -> None:
    """The lines behind a quote that is never closed are read as if it were not there."""
    lines = [line(number) for number in range(20, 29)]
    lines.insert(where, broken)
    ids, rejects = read(write_csv(tmp_path / "x.csv", lines))
    assert ids == [str(number) for number in range(20, 29)]
    assert [(r.line, r.reason, r.row) for r in rejects] == [(where + 2, "has a quote that is not closed", broken)]


def test_a_line_that_is_not_utf8_costs_its_own_line_only(tmp_path: Path) -> None:
    """Bytes of another encoding are reported where they stand, readable in the report."""
    path = write_csv(tmp_path / "x.csv", [line(2), line(3).replace(",8,", ",Zürich,"), line(4)])
    path.write_bytes(path.read_bytes().replace("ü".encode(), b"\xfc"))
    ids, rejects = read(path)
    assert ids == ["2", "4"]
    assert [(reject.line, "Z\\xfcrich" in reject.row) for reject in rejects] == [(3, True)]


def test_windows_line_ends_and_byte_order_mark_are_fine(tmp_path: Path) -> None:
    """Files saved by spreadsheets read like others."""
    path = tmp_path / "x.csv"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([HEADER, line(2), line(3)]).encode())
    assert read(path) == (["2", "3"], [])


def test_each_rejected_parquet_row_is_named(tmp_path: Path) -> None:
    """Rows count from 1 through all row groups and batches."""
    path = write_handbook(tmp_path / "x.parquet", [1.0, 2.0, None, 4.0, -5.0], [0] * 5, row_group=2)
    for batch_rows in (1, 100):
        ids, rejects = read(path, batch_rows=batch_rows)
        assert ids == ["0", "1", "3"]
        assert [(r.line, r.column, r.value, r.reason) for r in rejects] == [
            (3, "TX_AMOUNT", "", "is empty"),
            (5, "TX_AMOUNT", "-5.0", "is less than 0"),
        ]
        assert '"TRANSACTION_ID": 4' in rejects[1].row


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_reading_is_lazy(tmp_path: Path, kind: str) -> None:
    """A batch is handed out before what follows is looked at, so memory does not grow with the file."""
    if kind == "csv":
        path = write_csv(tmp_path / "x.csv", [line(number) for number in range(100)] + ["broken"])
    else:
        path = write_handbook(tmp_path / "x.parquet", [1.0] * 100 + [-1.0], [0] * 101, row_group=50)
    rejects: list[Reject] = []
    batches = read_batches(path, load_mapping("handbook"), batch_rows=20, on_reject=rejects.append)
    assert next(batches).num_rows == 20
    assert not rejects
    assert sum(batch.num_rows for batch in batches) == 80
    assert len(rejects) == 1


def test_only_the_span_is_read_and_only_its_rejects_are_reported(tmp_path: Path) -> None:
    """[start, end) by event time; a row whose time cannot be read is reported, since it may belong there."""
    lines = [
        line(1), line(2, amount="x"), line(3), line(4, amount="x"), line(5), line(6), line(7, time="x"),
    ]  # fmt: skip
    minute = 60_000
    path = write_csv(tmp_path / "x.csv", lines)
    ids, rejects = read(path, start_ms=FIRST_DAY + 3 * minute, end_ms=FIRST_DAY + 6 * minute)
    assert ids == ["3", "5"]
    assert [reject.line for reject in rejects] == [5, 8]


def test_row_groups_outside_the_span_are_not_read(tmp_path: Path) -> None:
    """Damage in a row group that the statistics rule out does no harm, and row numbers count it all the same."""
    path = write_handbook(tmp_path / "x.parquet", [1.0, 1.0, -1.0, 1.0], [0, 1, 20, 21], row_group=2)
    column = pq.read_metadata(path).row_group(0).column(4)
    content = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(content)
    ids, rejects = read(path, start_ms=FIRST_DAY + 10 * DAY)
    assert ids == ["3"]
    assert [reject.line for reject in rejects] == [3]
    with pytest.raises(InputError, match=r"x.parquet is damaged in row group 0"):
        read(path)


def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path) -> None:
    """Whoever takes the wrong mapping sees at once what the file has."""
    path = write_csv(tmp_path / "x.csv", [line(1)])
    with pytest.raises(InputError, match=r"no column 'Amount'.* mapping ulb .*its columns are TRANSACTION_ID, TX_DATE"):
        read(path, "ulb")


def test_a_column_of_an_impossible_type_is_named(tmp_path: Path) -> None:
    """A nested column cannot be an amount, and the message says which one it is."""
    path = write_handbook(tmp_path / "x.parquet", [1.0], [0], row_group=1)
    table = pq.read_table(path)
    pq.write_table(table.set_column(4, "TX_AMOUNT", pa.array([[1.0]])), path)
    with pytest.raises(InputError, match=r"column TX_AMOUNT holds list.*amount"):
        read(path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [("gone.csv", None, "there is no file"), ("x.json", b"{}", "what kind"), ("x.parquet", b"PAR", "not a Parquet")],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    """The message names the file."""
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"{name}|{said}") as error:
        read(path)
    assert name in str(error.value)
    assert said in str(error.value)


def test_rejects_are_written_as_csv_and_only_if_there_are_any(tmp_path: Path) -> None:
    """The reject file holds one line per row with everything needed to mend it."""
    path = tmp_path / "rejects.csv"
    with RejectFile(path) as rejected:
        pass
    assert not path.exists()
    with RejectFile(path) as rejected:
        rejected.add(Reject(3, "TX_AMOUNT", "free", "is no amount", 'a,"b"'))
    assert rejected.count == 1
    with path.open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["line", "column", "value", "reason", "row"],
            ["3", "TX_AMOUNT", "free", "is no amount", 'a,"b"'],
        ]


def test_a_simulation_written_to_a_file_reads_back_the_same(tmp_path: Path) -> None:
    """The mapping `vedette` gives back exactly what was simulated, from a folder that was not there before."""
    config = Simulation(customers=100, terminals=200, days=4)
    path = tmp_path / "new" / "x.parquet"
    rows = write_parquet(path, simulate(config))
    rejects: list[Reject] = []
    batches = list(read_batches(path, load_mapping("vedette"), on_reject=rejects.append))
    assert pa.Table.from_batches(batches).equals(pa.Table.from_batches(simulate(config)))
    assert count_rows(path) == rows
    assert not rejects


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    """When the source fails half-way, nothing is left behind; where no file can be, that is said."""

    def failing() -> Iterator[pa.RecordBatch]:
        yield next(simulate(Simulation(customers=10, terminals=100, days=2)))
        raise InputError("stop")

    with pytest.raises(InputError, match="stop"):
        write_parquet(tmp_path / "x.parquet", failing())
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_parquet(tmp_path / "file" / "x.parquet", failing())
