"""Transactions from CSV and Parquet files of any size, through a mapping, at constant memory."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from producers import csvlines
from producers.convert import Converter, Reject
from producers.frame import SCHEMA
from producers.mapping import Mapping
from producers.parse import moments
from vedette.errors import InputError
from vedette.files import whole_file

_ROW_GROUP = 250_000


class RejectFile:
    """A CSV file of rows that did not fit, made when there is a first one: line, column, value, reason, row."""

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

    def add(self, reject: Reject) -> None:
        """Write one row.

        Raises:
            InputError: The file cannot be written.
        """
        try:
            if self._file is None:
                self._file = self.path.open("w", encoding="utf-8", newline="")
                csv.writer(self._file).writerow(Reject.__struct_fields__)
            csv.writer(self._file).writerow([reject.line, reject.column, reject.value, reject.reason, reject.row])
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
    on_reject: Callable[[Reject], None],
) -> Iterator[pa.RecordBatch]:
    """Canonical batches in the order of the file.

    Args:
        path: A file whose name ends in .csv or .parquet.
        mapping: What its columns mean.
        start_ms: Leave out what happened before, milliseconds since epoch.
        end_ms: Leave out what happened then or later.
        batch_rows: Rows read at a time, which bounds the memory taken.
        on_reject: Called for each row that does not fit, in the order of the file, before the next batch is read.

    Raises:
        InputError: There is no such file, it cannot be read, or it lacks a column that the mapping needs.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    converter = Converter(mapping, start_ms, end_ms)
    if path.suffix == ".csv":
        _check_columns(path, mapping, csvlines.header(path))
        return csvlines.read_csv(path, mapping, converter, batch_rows, on_reject)
    if path.suffix != ".parquet":
        raise InputError(f"{path}: cannot tell what kind of file this is", remedy="name it .csv or .parquet")
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise InputError(f"{path} is not a Parquet file: {error}") from error
    _check_columns(path, mapping, file.schema_arrow.names)
    groups = [group for group in range(file.num_row_groups) if not _outside(file, group, mapping, start_ms, end_ms)]
    return _read_parquet(path, file, groups, mapping, converter, batch_rows, on_reject)


def count_rows(path: Path) -> int | None:
    """How many rows a Parquet file has; None where only reading it would tell."""
    return pq.read_metadata(path).num_rows if path.suffix == ".parquet" else None


def write_parquet(path: Path, batches: Iterable[pa.RecordBatch]) -> int:
    """Write canonical batches as a Parquet file, see vedette.files; how many rows it has.

    Raises:
        InputError: The file cannot be written.
    """
    rows = 0
    waiting: list[pa.RecordBatch] = []
    with whole_file(path) as part, pq.ParquetWriter(part, SCHEMA, compression="zstd") as writer:
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
    """Whether the statistics of a row group rule out that anything in it lies in the span."""
    source = mapping.fields["event_time"]
    if not source.column or (start_ms is None and end_ms is None):
        return False
    kind = file.schema_arrow.field(source.column).type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return False  # text need not sort like the moments it names
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
    on_reject: Callable[[Reject], None],
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
    batch: pa.RecordBatch, first: int, converter: Converter, on_reject: Callable[[Reject], None]
) -> Iterator[pa.RecordBatch]:
    def reject(row: int, column: str, value: str, reason: str) -> None:
        content = json.dumps(batch.slice(row, 1).to_pylist()[0], default=str)
        on_reject(Reject(first + row, column, value, reason, content))

    frame = converter.convert(batch, np.arange(first, first + len(batch)), reject)
    if frame.num_rows:
        yield frame
