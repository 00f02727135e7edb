"""Transactions from files of any size, through a mapping, at constant memory: CSV, JSON lines, and Parquet."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Mapping as AbstractMapping
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from adapters.extras import needs_extra
from adapters.files import output_file
from producers import csv_lines, json_lines
from producers.converter import Converter, RejectedRow
from producers.dialect import FileFormat
from producers.frame import SCHEMA
from producers.mapping import Mapping
from producers.open_file import kind_of, refuse_spreadsheet
from producers.parse_times import moments
from vedette.card_numbers import ACCEPT, CardNumbers
from vedette.errors import InputError

_ROW_GROUP = 250_000
_FORMATS: AbstractMapping[str, FileFormat] = {
    ".csv": "csv", ".tsv": "csv", ".parquet": "parquet",
    ".xml": "xml", ".iso8583": "iso8583", ".jsonl": "json-lines", ".ndjson": "json-lines", ".json": "json-lines",
}  # fmt: skip
"""The kind of a file by the end of its name, without that of its compression."""


class RejectFile:
    """A CSV file of rejected rows, created with the first one: line, column, value, reason, row, file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file:
            self._file.close()

    def add(self, reject: RejectedRow) -> None:
        """Write one row.

        Raises:
            InputError: The file cannot be written.
        """
        try:
            if self._file is None:
                self._file = self.path.open("w", encoding="utf-8", newline="")
                csv.writer(self._file).writerow(RejectedRow.__struct_fields__)
            csv.writer(self._file).writerow(msgspec.structs.astuple(reject))
        except OSError as error:
            raise InputError(
                f"rejected rows cannot be written to {self.path}: {error.strerror}", remedy="name another with --reject"
            ) from error
        self.count += 1


def read_batches(
    path: Path,
    mapping: Mapping,
    *,
    start_ms: int | None = None,
    end_ms: int | None = None,
    batch_rows: int = 50_000,
    on_reject: Callable[[RejectedRow], None],
    cards: CardNumbers = ACCEPT,
) -> Iterator[pa.RecordBatch]:
    """Return the canonical batches of a file, in its order.

    Args:
        path: A CSV, JSON lines or Parquet file; the first two may be compressed (.gz, .zst).
        mapping: Mapping of its columns.
        start_ms: Leave out earlier payments, milliseconds since epoch.
        end_ms: Leave out payments at this time or later.
        batch_rows: Number of rows read at a time, which bounds memory.
        on_reject: Called for each rejected row, in the order of the file, before the next batch is read.
        cards: What happens to identifiers that are card numbers; accepted where nothing leaves this process.

    Raises:
        InputError: There is no such file, it cannot be read, or it lacks a column that the mapping needs.
    """
    converter = Converter(mapping, start_ms, end_ms, cards)
    return _checked(path, mapping, converter, start_ms, end_ms, batch_rows, on_reject)


def read_files(
    paths: Sequence[Path],
    mapping: Mapping,
    *,
    start_ms: int | None = None,
    end_ms: int | None = None,
    batch_rows: int = 50_000,
    on_reject: Callable[[RejectedRow], None],
    cards: CardNumbers = ACCEPT,
) -> Iterator[pa.RecordBatch]:
    """Return the canonical batches of several files one after another, as if they were one.

    Row numbers continue from file to file, and so does the order of times that `ambiguous = "order"` goes by. All
    files are checked before the first is read. See `read_batches`.
    """
    converter = Converter(mapping, start_ms, end_ms, cards)

    def named(path: Path) -> Callable[[RejectedRow], None]:
        return lambda reject: on_reject(msgspec.structs.replace(reject, file=str(path)))

    parts = [
        _checked(path, mapping, converter, start_ms, end_ms, batch_rows, named(path) if len(paths) > 1 else on_reject)
        for path in paths
    ]

    def each() -> Iterator[pa.RecordBatch]:
        for part in parts:
            converter.next_file()
            yield from part

    return each()


def _checked(
    path: Path,
    mapping: Mapping,
    converter: Converter,
    start_ms: int | None,
    end_ms: int | None,
    batch_rows: int,
    on_reject: Callable[[RejectedRow], None],
) -> Iterator[pa.RecordBatch]:
    """Return the batches of a file whose columns have been checked."""
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    refuse_spreadsheet(path)
    kind = mapping.file.format or _FORMATS.get(kind_of(path))
    if kind == "json-lines":
        return json_lines.read_json(path, mapping, converter, batch_rows, on_reject)
    if kind == "xml":
        if not mapping.file.record:
            raise InputError(f"{path} is XML, which mapping {mapping.name} does not read", remedy="give [file] record")
        with needs_extra("iso", "a file in XML"):
            from producers import xml_records  # noqa: PLC0415, an optional extra
        return xml_records.read_xml(path, mapping, converter, batch_rows, on_reject)
    if kind == "iso8583":
        with needs_extra("iso", "a file of ISO 8583"):
            from producers.iso8583 import file as iso8583_file  # noqa: PLC0415, an optional extra
        return iso8583_file.read_messages(path, mapping, converter, batch_rows, on_reject)
    if kind == "csv":
        names = csv_lines.header(path, mapping.file)
        if not names:
            raise InputError(
                f"{path} has no header line", remedy="name its columns on the first line, or in [file] names"
            )
        mapping = mapping.for_file(names)
        _check_columns(path, mapping, names)
        return csv_lines.read_csv(path, mapping, converter, batch_rows, on_reject)
    if kind != "parquet":
        raise InputError(
            f"{path}: the kind of this file is unknown",
            remedy="name it .csv, .jsonl, .xml, .iso8583 (all also .gz and .zst) or .parquet, or give [file] format",
        )
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise InputError(f"{path} is not a Parquet file: {error}") from error
    mapping = mapping.for_file(file.schema_arrow.names)
    _check_columns(path, mapping, file.schema_arrow.names)
    groups = [group for group in range(file.num_row_groups) if not _outside(file, group, mapping, start_ms, end_ms)]
    return _read_parquet(path, file, groups, mapping, converter, batch_rows, on_reject)


def count_rows(path: Path) -> int | None:
    """Return the number of rows of a Parquet file; None for others, which would have to be read."""
    return pq.read_metadata(path).num_rows if path.suffix.lower() == ".parquet" else None


def write_parquet(path: Path, batches: Iterable[pa.RecordBatch]) -> int:
    """Write canonical batches as a Parquet file, whole or not at all; return the number of rows.

    Raises:
        InputError: The file cannot be written.
    """
    rows = 0
    waiting: list[pa.RecordBatch] = []
    with output_file(path, "the transactions") as part, pq.ParquetWriter(part, SCHEMA, compression="zstd") as writer:
        for batch in batches:
            waiting.append(batch)
            rows += batch.num_rows
            if sum(map(len, waiting)) >= _ROW_GROUP:
                writer.write_table(pa.Table.from_batches(waiting))
                waiting.clear()
        writer.write_table(pa.Table.from_batches(waiting, SCHEMA))
    return rows


def _check_columns(path: Path, mapping: Mapping, present: list[str]) -> None:
    for column in mapping.columns():
        if present.count(column) != 1:
            problem = "has no" if column not in present else "has more than one"
            raise InputError(
                f"{path} {problem} column {column!r}, which mapping {mapping.name} needs",
                remedy=f"its columns are {', '.join(present)}",
            )


def _outside(file: pq.ParquetFile, group: int, mapping: Mapping, start_ms: int | None, end_ms: int | None) -> bool:
    """Return whether the statistics of a row group rule out that any row lies in the span."""
    source = mapping.fields["event_time"]
    if not source.column or (start_ms is None and end_ms is None):
        return False
    kind = file.schema_arrow.field(source.column).type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return False  # the order of text may differ from that of the times it represents
    column = file.metadata.row_group(group).column(file.schema_arrow.names.index(source.column))
    statistics = column.statistics
    if statistics is None or not statistics.has_min_max or statistics.null_count:
        return False
    first, last = moments(pa.array([statistics.min, statistics.max], kind), source).values.to_pylist()
    if first is None or last is None:
        return False
    return (start_ms is not None and last < start_ms) or (end_ms is not None and first >= end_ms)


def _read_parquet(
    path: Path,
    file: pq.ParquetFile,
    groups: list[int],
    mapping: Mapping,
    converter: Converter,
    batch_rows: int,
    on_reject: Callable[[RejectedRow], None],
) -> Iterator[pa.RecordBatch]:
    sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    with file:
        for group in groups:
            row = sum(sizes[:group]) + 1
            try:
                for batch in file.iter_batches(batch_rows, row_groups=[group], columns=mapping.columns()):
                    yield from _convert(batch, row, converter, on_reject)
                    row += len(batch)
            except (pa.ArrowInvalid, OSError) as error:
                raise InputError(f"{path} is damaged in row group {group}: {error}") from error


def _convert(
    batch: pa.RecordBatch, first: int, converter: Converter, on_reject: Callable[[RejectedRow], None]
) -> Iterator[pa.RecordBatch]:
    def reject(row: int, column: str, value: str, reason: str) -> None:
        content = json.dumps(batch.slice(row, 1).to_pylist()[0], default=str)
        on_reject(RejectedRow(first + row, column, value, reason, content))

    frame = converter.convert(batch, np.arange(first, first + len(batch)), reject)
    if frame.num_rows:
        yield frame
