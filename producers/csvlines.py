"""CSV as lines: every record is one line, so each value that does not fit has an exact place."""

import csv
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from producers.convert import Converter, Reject
from producers.mapping import Mapping
from vedette.errors import InputError

Lines = list[tuple[int, bytes]]


def header(path: Path) -> list[str]:
    """The column names on the first line."""
    with path.open("rb") as file:
        first = file.readline()
    try:
        return next(csv.reader([first.decode("utf-8-sig").rstrip("\r\n")]), [])
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: the first line is not UTF-8 text", remedy="save the file as UTF-8") from error


def read_csv(
    path: Path, mapping: Mapping, converter: Converter, batch_rows: int, on_reject: Callable[[Reject], None]
) -> Iterator[pa.RecordBatch]:
    """Canonical batches of a CSV file whose columns have been checked; no more than batch_rows lines are held."""
    names = header(path)
    with path.open("rb") as file:
        file.readline()
        numbered = enumerate(file, start=2)
        while chunk := list(islice(numbered, batch_rows)):
            yield from _convert([line for line in chunk if line[1].strip()], names, mapping, converter, on_reject)


def _convert(
    lines: Lines, names: list[str], mapping: Mapping, converter: Converter, on_reject: Callable[[Reject], None]
) -> Iterator[pa.RecordBatch]:
    rejects: list[Reject] = []
    for table, kept in _parse(lines, names, mapping.columns(), rejects):
        where = dict(enumerate(kept))

        def reject(row: int, column: str, value: str, reason: str, where: dict[int, tuple[int, bytes]] = where) -> None:
            line, content = where[row]
            rejects.append(Reject(line, column, value, reason, _text(content)))

        numbers = np.array([line - 1 for line, _ in kept], np.int64)
        batch = converter.convert(table, numbers, reject)
        if batch.num_rows:
            yield batch
    for found in sorted(rejects, key=lambda reject: reject.line):
        on_reject(found)


def _parse(
    lines: Lines, names: list[str], wanted: list[str], rejects: list[Reject]
) -> Iterator[tuple[pa.RecordBatch, Lines]]:
    """Tables of wanted columns as text, each with its lines; what is no record goes to rejects.

    A quote that is never closed swallows the lines after it. So an empty record is put behind the last line, and
    unless there are as many records as lines, the lines are halved until the broken one is alone.
    """
    if not lines:
        return
    wrong: list[pacsv.InvalidRow] = []

    def skip(row: pacsv.InvalidRow) -> str:
        wrong.append(row)
        return "skip"

    sentinel = b"," * (len(names) - 1) if len(names) > 1 else b'""'
    end = b"" if lines[-1][1].endswith(b"\n") else b"\n"  # the file's last line may lack it
    content = b"".join([line for _, line in lines]) + end + sentinel + b"\n"
    reason = "has a quote that is not closed"
    try:
        table = pacsv.read_csv(
            pa.BufferReader(content),
            pacsv.ReadOptions(column_names=names, use_threads=False, block_size=len(content) + 1),
            pacsv.ParseOptions(invalid_row_handler=skip, ignore_empty_lines=False),
            pacsv.ConvertOptions(
                include_columns=wanted,
                column_types=dict.fromkeys(wanted, pa.string()),
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
                null_values=[""],
            ),
        )
    except pa.ArrowInvalid as error:
        table, reason = None, f"cannot be read: {error}"
    if table is not None and table.num_rows + len(wrong) == len(lines) + 1:
        numbers = {row.number - 1: row for row in wrong}
        for index, row in numbers.items():
            line, content = lines[index]
            expected = f"has {row.actual_columns} values for {row.expected_columns} columns"
            rejects.append(Reject(line, "", "", expected, _text(content)))
        kept = [line for index, line in enumerate(lines) if index not in numbers] if numbers else lines
        if kept:
            yield table.slice(0, len(kept)).combine_chunks().to_batches()[0], kept
    elif len(lines) == 1:
        rejects.append(Reject(lines[0][0], "", "", reason, _text(lines[0][1])))
    else:
        middle = len(lines) // 2
        yield from _parse(lines[:middle], names, wanted, rejects)
        yield from _parse(lines[middle:], names, wanted, rejects)


def _text(line: bytes) -> str:
    return line.decode("utf-8", errors="backslashreplace").rstrip("\r\n")
