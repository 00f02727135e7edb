import csv
import gzip
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from producers.converter import RejectedRow
from producers.files import RejectFile, count_rows, read_batches, write_parquet
from producers.mapping import load_mapping
from producers.simulation import Simulation
from producers.simulator import simulate
from vedette.clock import DAY, parse_time
from vedette.errors import InputError

HEADER = "TRANSACTION_ID,TX_DATETIME,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT,TX_FRAUD,TX_FRAUD_SCENARIO"
FIRST_DAY = parse_time("2018-04-01")


def line(number: int, amount: str = "1.00", time: str = "") -> str:
    """Return a valid line of the handbook's layout, a minute after the previous one."""
    moment = time or f"2018-04-01 {number // 60:02}:{number % 60:02}:00"
    return f"{number},{moment},7,8,{amount},0,0"


def write_csv(path: Path, lines: list[str]) -> Path:
    """Write a CSV file of the handbook's layout."""
    path.write_text("\n".join([HEADER, *lines, ""]), encoding="utf-8")
    return path


def write_handbook(path: Path, amounts: list[float | None], days: list[int], row_group: int) -> Path:
    """Write a Parquet file of the handbook's layout with its own types."""
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


def read(path: Path, mapping: str = "handbook", **options: int) -> tuple[list[str], list[RejectedRow]]:
    """Return the ids of valid rows, and the rejected rows."""
    rejects: list[RejectedRow] = []
    batches = list(read_batches(path, load_mapping(mapping), on_reject=rejects.append, **options))
    return [name for batch in batches for name in batch.column("transaction_id").to_pylist()], rejects


def test_each_rejected_line_is_named_with_column_value_and_reason(tmp_path: Path) -> None:
    """Line numbers are those of the file, across batches, blank lines and invalid lines."""
    lines = [
        line(2), line(3, amount="free"), "", line(5), "6,too,few", line(7, time="2018-13-01"), line(8, amount=""),
        line(9).replace(",7,8,", ",7,,"), line(10).replace(",0,0", ",2,0"), line(11).replace(",0,0", ",0,9"),
        line(12, amount="-1e14"), line(13),
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
            (12, "TX_AMOUNT", "-1e14", "is not an amount of at most 1000000000000000 minor units"),
        ]
        assert [reject.row for reject in rejects] == [lines[reject.line - 2] for reject in rejects]


@pytest.mark.parametrize("broken", ['4,2018-04-01 00:04:00,7,"8,1.00,0,0', '4,2018-04-01 00:04:00,7,8,1.00,0,"0'])
@pytest.mark.parametrize("where", [0, 3, 9])
def test_an_open_quote_costs_its_own_line_only(tmp_path: Path, broken: str, where: int) -> None:
    """The lines after a quote that is never closed are read as if it were not there."""
    lines = [line(number) for number in range(20, 29)]
    lines.insert(where, broken)
    ids, rejects = read(write_csv(tmp_path / "x.csv", lines))
    assert ids == [str(number) for number in range(20, 29)]
    assert [(r.line, r.reason, r.row) for r in rejects] == [(where + 2, "has a quote that is not closed", broken)]


def test_a_line_that_is_not_utf8_costs_its_own_line_only(tmp_path: Path) -> None:
    """Bytes of another encoding are reported with their position, readable in the report."""
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
    path = write_handbook(tmp_path / "x.parquet", [1.0, 2.0, None, 4.0, 1e30], [0] * 5, row_group=2)
    for batch_rows in (1, 100):
        ids, rejects = read(path, batch_rows=batch_rows)
        assert ids == ["0", "1", "3"]
        assert [(r.line, r.column, r.value, r.reason) for r in rejects] == [
            (3, "TX_AMOUNT", "", "is empty"),
            (5, "TX_AMOUNT", "1e+30", "is not an amount of at most 1000000000000000 minor units"),
        ]
        assert '"TRANSACTION_ID": 4' in rejects[1].row


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_reading_is_lazy(tmp_path: Path, kind: str) -> None:
    """A batch is returned before the rest is read, so memory does not grow with the file."""
    if kind == "csv":
        path = write_csv(tmp_path / "x.csv", [line(number) for number in range(100)] + ["broken"])
    else:
        path = write_handbook(tmp_path / "x.parquet", [1.0] * 100 + [1e30], [0] * 101, row_group=50)
    rejects: list[RejectedRow] = []
    batches = read_batches(path, load_mapping("handbook"), batch_rows=20, on_reject=rejects.append)
    assert next(batches).num_rows == 20
    assert not rejects
    assert sum(batch.num_rows for batch in batches) == 80
    assert len(rejects) == 1


def test_only_the_span_is_read_and_only_its_rejects_are_reported(tmp_path: Path) -> None:
    """The span is [start, end) by event time; a row whose time cannot be read is reported, since it may be in it."""
    lines = [
        line(1), line(2, amount="x"), line(3), line(4, amount="x"), line(5), line(6), line(7, time="x"),
    ]  # fmt: skip
    minute = 60_000
    path = write_csv(tmp_path / "x.csv", lines)
    ids, rejects = read(path, start_ms=FIRST_DAY + 3 * minute, end_ms=FIRST_DAY + 6 * minute)
    assert ids == ["3", "5"]
    assert [reject.line for reject in rejects] == [5, 8]


def test_row_groups_outside_the_span_are_not_read(tmp_path: Path) -> None:
    """Damage in a row group that the statistics exclude has no effect, and row numbers still count it."""
    path = write_handbook(tmp_path / "x.parquet", [1.0, 1.0, 1e30, 1.0], [0, 1, 20, 21], row_group=2)
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
    """Somebody with the wrong mapping sees at once which columns the file has."""
    path = write_csv(tmp_path / "x.csv", [line(1)])
    with pytest.raises(InputError, match=r"no column 'Amount'.* mapping ulb .*its columns are TRANSACTION_ID, TX_DATE"):
        read(path, "ulb")


def test_a_column_of_an_impossible_type_is_named(tmp_path: Path) -> None:
    """A nested column cannot be an amount, and the error says which column it is."""
    path = write_handbook(tmp_path / "x.parquet", [1.0], [0], row_group=1)
    table = pq.read_table(path)
    pq.write_table(table.set_column(4, "TX_AMOUNT", pa.array([[1.0]])), path)
    with pytest.raises(InputError, match=r"column TX_AMOUNT holds list.*amount"):
        read(path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("gone.csv", None, "there is no file"),
        ("x.xml", b"{}", "which mapping handbook does not read"),
        ("x.parquet", b"PAR", "not a Parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    """The error names the file."""
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"{name}|{said}") as error:
        read(path)
    assert name in str(error.value)
    assert said in str(error.value)


def test_rejects_are_written_as_csv_and_only_if_there_are_any(tmp_path: Path) -> None:
    """The reject file has one line per row with everything needed to correct it."""
    path = tmp_path / "rejects.csv"
    with RejectFile(path) as rejected:
        pass
    assert not path.exists()
    with RejectFile(path) as rejected:
        rejected.add(RejectedRow(3, "TX_AMOUNT", "free", "is no amount", 'a,"b"'))
    assert rejected.count == 1
    with path.open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["line", "column", "value", "reason", "row", "file"],
            ["3", "TX_AMOUNT", "free", "is no amount", 'a,"b"', ""],
        ]


def test_a_simulation_written_to_a_file_reads_back_the_same(tmp_path: Path) -> None:
    """The mapping `vedette` returns exactly what was simulated, from a folder that did not exist before."""
    config = Simulation(customers=100, terminals=200, days=4)
    path = tmp_path / "new" / "x.parquet"
    rows = write_parquet(path, simulate(config))
    rejects: list[RejectedRow] = []
    batches = list(read_batches(path, load_mapping("vedette"), on_reject=rejects.append))
    assert pa.Table.from_batches(batches).equals(pa.Table.from_batches(simulate(config)))
    assert count_rows(path) == rows
    assert not rejects


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    """When the source fails half-way, nothing is left behind; an unwritable path is reported."""

    def failing() -> Iterator[pa.RecordBatch]:
        yield next(simulate(Simulation(customers=10, terminals=100, days=2)))
        raise InputError("stop")

    with pytest.raises(InputError, match="stop"):
        write_parquet(tmp_path / "x.parquet", failing())
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_parquet(tmp_path / "file" / "x.parquet", failing())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("crlf.csv", lambda text: text.replace("\n", "\r\n").encode()),
        ("packed.csv.gz", lambda text: gzip.compress(text.encode())),
        ("UPPER.CSV", lambda text: text.encode()),
        ("mark.csv", lambda text: b"\xef\xbb\xbf" + text.encode()),
        ("spaces.csv", lambda text: text.replace(",TX", " , TX", 3).encode()),
        ("quoted.csv", lambda text: re.sub(r"([^,\n]+)", r'"\1"', text).encode()),
    ],
)
def test_a_csv_file_may_come_in_several_forms(tmp_path: Path, name: str, content: Callable[[str], bytes]) -> None:
    """Line ends of Windows, gzip, capitals in its name, a byte order mark, spaces in the header, and quotes."""
    (tmp_path / name).write_bytes(content("\n".join([HEADER, line(1), line(2, amount="much"), line(3), ""])))
    ids, rejects = read(tmp_path / name)
    assert ids == ["1", "3"]
    assert [(reject.line, reject.value) for reject in rejects] == [(3, "much")]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.csv", b"", "has no header line"),
        ("mac.csv", f"{HEADER}\r{line(1)}\r".encode(), "is not CSV"),
        ("cut.csv.gz", gzip.compress(f"{HEADER}\n{line(1)}\n".encode())[:-9], "not a whole gzip file"),
        ("plain.csv.gz", HEADER.encode(), "not a whole gzip file"),
        ("plain.csv.zst", HEADER.encode(), "not a whole zstd file"),
        ("packed.csv", gzip.compress(HEADER.encode(), mtime=0), r"is compressed — let its name end in \.gz"),
        ("book.xlsx", b"PK\x03\x04", "is a spreadsheet, which is not read — save the sheet as CSV"),
        ("book.csv", b"PK\x03\x04\x14\x00", "Excel workbook, which is not read — save the sheet as CSV"),
        ("old.csv", b"\xd0\xcf\x11\xe0\xa1", "Excel workbook, which is not read — save the sheet as CSV"),
        ("twice.csv", f"{HEADER},TX_AMOUNT\n".encode(), "more than one column 'TX_AMOUNT'"),
        ("less.csv", HEADER.replace("TX_AMOUNT", "AMOUNT").encode(), "no column 'TX_AMOUNT'"),
        ("empty.parquet", b"", "not a Parquet file"),
        ("x.txt", b"", r"name it \.csv, \.jsonl, .*\.parquet"),
    ],
)
def test_a_malformed_file_is_refused_in_one_sentence(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    """One sentence names it; only an InputError leaves the room."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        read(tmp_path / name)


def test_a_header_alone_is_a_file_without_rows(tmp_path: Path) -> None:
    """Neither rows nor rejects, with and without a line end."""
    for text in (HEADER, HEADER + "\n", HEADER + "\n\n\n"):
        (tmp_path / "x.csv").write_text(text, encoding="utf-8")
        assert read(tmp_path / "x.csv") == ([], [])


def test_what_is_read_does_not_depend_on_the_rows_around_it(tmp_path: Path) -> None:
    """A missing number written NaN is missing, and an infinite one is rejected, alone and in company."""
    written = ["nan", "NaN", "inf", "-Infinity", "1e400", "7", "x", "+5"]
    for batch_rows in (1, 3, 100):
        path = write_csv(tmp_path / "x.csv", [line(i, amount=text) for i, text in enumerate(written)])
        ids, rejects = read(path, batch_rows=batch_rows)
        assert ids == ["5", "7"]
        assert [reject.reason == "is empty" for reject in rejects] == [True, True, False, False, False, False]


def test_a_file_that_grows_is_read_to_the_end_it_has(tmp_path: Path) -> None:
    """Rows appended while it is read are read; a partial line is rejected, never guessed."""
    path = write_csv(tmp_path / "x.csv", [line(1), line(2)])
    rejects: list[RejectedRow] = []
    batches = read_batches(path, load_mapping("handbook"), batch_rows=1, on_reject=rejects.append)
    found = [next(batches)]
    with path.open("a", encoding="utf-8") as file:
        file.write(line(3) + "\n" + line(4)[:10])
    found += batches
    assert [batch.column("transaction_id")[0].as_py() for batch in found] == ["1", "2", "3"]
    assert [reject.line for reject in rejects] == [5]
