"""CSV by lines: a record is one line, so each rejected value has an exact location."""

import csv
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from producers.converter import Converter, RejectedRow
from producers.dialect import Dialect
from producers.mapping import Mapping
from producers.open_file import lines_of, opened
from vedette.errors import InputError
from vedette.text import decode_text

Lines = list[tuple[int, bytes]]

_STATED = re.compile(rb"sep=([\x20-\x7e\t])", re.IGNORECASE)


def header(path: Path, dialect: Dialect) -> list[str]:
    """Return the column names, without white space around them.

    Raises:
        InputError: The header is not text in CSV format.
    """
    with opened(path) as file:
        return _beginning(path, lines_of(file, dialect.encoding), dialect)[1]


def read_csv(
    path: Path, mapping: Mapping, converter: Converter, batch_rows: int, on_reject: Callable[[RejectedRow], None]
) -> Iterator[pa.RecordBatch]:
    """Yield canonical batches of a CSV file whose columns have been checked; at most batch_rows lines are held."""
    dialect = mapping.file
    with opened(path) as file:
        lines = lines_of(file, dialect.encoding)
        before, names, delimiter = _beginning(path, lines, dialect)
        dialect = msgspec.structs.replace(dialect, delimiter=delimiter)
        numbered = enumerate(lines, start=before + 1)
        while chunk := list(islice(numbered, batch_rows)):
            yield from _convert(
                [line for line in chunk if line[1].strip()], names, dialect, mapping, converter, on_reject
            )


def _beginning(path: Path, lines: Iterator[bytes], dialect: Dialect) -> tuple[int, list[str], str]:
    """Read up to the first row; return the number of lines read, the names of the columns, and the delimiter."""
    before, delimiter = 0, dialect.delimiter
    for _ in range(dialect.skip_lines):
        next(lines, b"")
        before += 1
    if dialect.names:
        return before, dialect.names, delimiter
    first = next(lines, b"")
    before += 1
    if stated := _STATED.fullmatch(first.strip()):  # Excel reads and writes such a line
        delimiter = stated[1].decode()
        first = next(lines, b"")
        before += 1
    text = decode_text(first, f"line {before} of {path}").rstrip("\r\n")
    try:
        names = next(csv.reader([text], delimiter=delimiter, **_quoting(dialect)), [])
    except csv.Error as error:
        raise InputError(
            f"line {before} of {path} is not CSV: {error}", remedy="save it with line ends of Unix or Windows"
        ) from error
    return before, [name.strip() for name in names], delimiter


def _quoting(dialect: Dialect) -> dict[str, Any]:
    return {"quotechar": dialect.quote} if dialect.quote else {"quoting": csv.QUOTE_NONE, "quotechar": None}


def _convert(
    lines: Lines,
    names: list[str],
    dialect: Dialect,
    mapping: Mapping,
    converter: Converter,
    on_reject: Callable[[RejectedRow], None],
) -> Iterator[pa.RecordBatch]:
    rejects: list[RejectedRow] = []
    for table, kept in _parse(lines, names, dialect, mapping.columns(), rejects):
        where = dict(enumerate(kept))

        def reject(row: int, column: str, value: str, reason: str, where: dict[int, tuple[int, bytes]] = where) -> None:
            line, content = where[row]
            rejects.append(RejectedRow(line, column, value, reason, _text(content)))

        first = 0 if dialect.names else 1
        numbers = np.array([line - first for line, _ in kept], np.int64)
        batch = converter.convert(table, numbers, reject)
        if batch.num_rows:
            yield batch
    for found in sorted(rejects, key=lambda reject: reject.line):
        on_reject(found)


def _parse(
    lines: Lines, names: list[str], dialect: Dialect, wanted: list[str], rejects: list[RejectedRow]
) -> Iterator[tuple[pa.RecordBatch, Lines]]:
    """Yield tables of the wanted columns as text, each with its lines; invalid records go to rejects.

    An unclosed quote swallows the lines after it. So an empty record is appended after the last line, and unless there
    are as many records as lines, the lines are bisected until the broken one is isolated.
    """
    if not lines:
        return
    wrong: list[pacsv.InvalidRow] = []

    def skip(row: pacsv.InvalidRow) -> str:
        wrong.append(row)
        return "skip"

    sentinel = dialect.delimiter.encode() * (len(names) - 1) or (dialect.quote.encode() * 2 or b"-")
    end = b"" if lines[-1][1].endswith(b"\n") else b"\n"  # the file's last line may lack it
    content = b"".join([line for _, line in lines]) + end + sentinel + b"\n"
    reason = "has a quote that is not closed"
    try:
        table = pacsv.read_csv(
            pa.BufferReader(content),
            pacsv.ReadOptions(column_names=names, use_threads=False, block_size=len(content) + 1),
            pacsv.ParseOptions(
                delimiter=dialect.delimiter,
                quote_char=dialect.quote or False,
                invalid_row_handler=skip,
                ignore_empty_lines=False,
            ),
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
            rejects.append(RejectedRow(line, "", "", expected, _text(content)))
        kept = [line for index, line in enumerate(lines) if index not in numbers] if numbers else lines
        if kept:
            yield table.slice(0, len(kept)).combine_chunks().to_batches()[0], kept
    elif len(lines) == 1:
        rejects.append(RejectedRow(lines[0][0], "", "", reason, _text(lines[0][1])))
    else:
        middle = len(lines) // 2
        yield from _parse(lines[:middle], names, dialect, wanted, rejects)
        yield from _parse(lines[middle:], names, dialect, wanted, rejects)


def _text(line: bytes) -> str:
    return line.decode("utf-8", errors="backslashreplace").rstrip("\r\n")
