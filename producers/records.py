"""Rows of nested records, such as JSON objects or Avro records: the columns of a mapping are paths into them.

A path names fields from the outside in, `card.account.id`; a number in brackets counts the elements of a list from 0,
`lines[0].amount`. A field whose own name has dots is found too, if no path leads elsewhere.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")

Record = Mapping[str, Any]


class NotOneValueError(ValueError):
    """A path leads to a record or a list, which is no value."""


def steps(path: str) -> tuple[str | int, ...]:
    """Return the steps of a path: names of fields, and places in lists."""
    return tuple(int(place) if place else name for name, place in _STEP.findall(path))


def table(records: Sequence[Record], columns: Iterable[str]) -> tuple[pa.RecordBatch, dict[int, tuple[str, str]]]:
    """Return the values of columns as text, null where a record has none, and the records that have no such table.

    Returns:
        The table with a row for each record, and column and reason by the row of each record in which a column is not
        one value.
    """
    wrong: dict[int, tuple[str, str]] = {}
    names = list(columns)
    arrays = []
    for name in names:
        way = steps(name)
        words: list[str | None] = []
        for row, record in enumerate(records):
            try:
                words.append(as_text(find(record, name, way)))
            except NotOneValueError as error:
                words.append(None)
                wrong.setdefault(row, (name, str(error)))
        arrays.append(pa.array(words, pa.string()))
    return pa.RecordBatch.from_arrays(arrays, names=names), wrong


def find(record: Record, path: str, way: Sequence[str | int]) -> Any:
    """Return what a path leads to, or None."""
    found: Any = record
    for step in way:
        if isinstance(step, str) and isinstance(found, Mapping):
            found = found.get(step)
        elif isinstance(step, int) and isinstance(found, list | tuple):
            found = found[step] if step < len(found) else None
        else:
            found = None
        if found is None:
            return record.get(path) if len(way) > 1 else None
    return found


def as_text(value: Any) -> str | None:  # noqa: PLR0911, one for each kind
    """Return a value as a CSV file would have it.

    Raises:
        NotOneValueError: It is a record or a list.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.hex()
    if isinstance(value, Mapping | list | tuple):
        kind = "a record" if isinstance(value, Mapping) else "a list"
        raise NotOneValueError(
            f"is {kind}, not a value: name one of its {'fields' if kind == 'a record' else 'elements'}"
        )
    return str(value)
