"""JSON lines: one object per line, whose columns are paths."""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from producers import records
from producers.converter import Converter, RejectedRow
from producers.mapping import Mapping
from producers.open_file import lines_of, opened

_decoder = msgspec.json.Decoder(float_hook=str)  # the digits as they are written


def parse_json(value: bytes) -> dict[str, Any]:
    """Return the object of a JSON text; numbers with a point are text with the same digits.

    Raises:
        ValueError: It is not JSON, or not an object; the message is the reason.
    """
    try:
        found = _decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"is not a JSON object but {type(found).__name__}")  # noqa: TRY004, about the text
    return found


def read_json(
    path: Path, mapping: Mapping, converter: Converter, batch_rows: int, on_reject: Callable[[RejectedRow], None]
) -> Iterator[pa.RecordBatch]:
    """Yield canonical batches of a file of JSON lines; at most batch_rows lines are held."""
    with opened(path) as file:
        numbered = enumerate(lines_of(file, mapping.file.encoding), start=1)
        while chunk := list(islice(numbered, batch_rows)):
            yield from _convert(chunk, mapping, converter, on_reject)


def _convert(
    chunk: list[tuple[int, bytes]], mapping: Mapping, converter: Converter, on_reject: Callable[[RejectedRow], None]
) -> Iterator[pa.RecordBatch]:
    rejects: list[RejectedRow] = []
    found: list[dict[str, Any]] = []
    where: list[tuple[int, bytes]] = []

    def reject(row: int, column: str, value: str, reason: str) -> None:
        line, content = where[row]
        rejects.append(RejectedRow(line, column, value, reason, _text(content)))

    for line, content in chunk:
        if not content.strip():
            continue
        try:
            found.append(parse_json(content))
            where.append((line, content))
        except ValueError as error:
            rejects.append(RejectedRow(line, "", "", str(error), _text(content)))
    table, wrong = records.table(found, mapping.columns())
    batch = converter.convert(table, np.array([line for line, _ in where], np.int64), reject, wrong)
    if batch.num_rows:
        yield batch
    for one in sorted(rejects, key=lambda reject: reject.line):
        on_reject(one)


def _text(line: bytes) -> str:
    return line.decode("utf-8", errors="backslashreplace").rstrip("\r\n")
