"""One batch of a file's rows, through a mapping, into the canonical frame and a list of what did not fit."""

from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from producers import parse
from producers.frame import SCHEMA, schema_with
from producers.limits import Limits, canonical_limits
from producers.mapping import TIMES, Mapping, Source
from producers.parse import Bools, Parsed, mask
from vedette.clock import DAY
from vedette.errors import InputError
from vedette.events import EXTRA

_AMOUNTS = ("amount", "balance")
_PLACES = ("lat", "lon")
_ORDER = ("currency", *(name for name in SCHEMA.names if name != "currency"))  # amounts need the currency


class Reject(msgspec.Struct, frozen=True):
    """A row that does not fit.

    Args:
        line: In a CSV file the line, the header being 1; in a Parquet file the row, the first being 1.
        column: The file's column (or columns), empty when it is the row as a whole.
        value: What stands there.
        reason: What is wrong with it.
        row: The line as it stands in a CSV file; the mapped columns as JSON for a Parquet file.
    """

    line: int
    column: str
    value: str
    reason: str
    row: str

    def __str__(self) -> str:
        return f"line {self.line}, {self.column or 'row'} {self.value!r} {self.reason}"


class _Faults:
    """The first thing wrong with each row."""

    def __init__(self, rows: int) -> None:
        self.bad: Bools = np.zeros(rows, bool)
        self.first: dict[int, tuple[str, str, str]] = {}

    def add(self, bad: Bools, column: str, raw: pa.Array, reason: str) -> None:
        for row in np.flatnonzero(bad & ~self.bad):
            value = raw[int(row)].as_py()
            self.first[int(row)] = (column, "" if value is None else str(value), reason)
        self.bad |= bad


class Converter:
    """Applies a mapping to batches that hold at least its columns."""

    def __init__(self, mapping: Mapping, start_ms: int | None, end_ms: int | None) -> None:
        self._mapping = mapping
        self._start, self._end = start_ms, end_ms
        self._schema = schema_with(mapping.extra)
        self._limits = canonical_limits()

    def convert(
        self,
        batch: pa.RecordBatch,
        row_number: npt.NDArray[np.int64],
        reject: Callable[[int, str, str, str], None],
    ) -> pa.RecordBatch:
        """The rows that fit and whose event time lies in [start, end).

        Args:
            batch: Rows of the file.
            row_number: The number of each row in the file, 1 being the first.
            reject: Called with row index in the batch, column, value and reason, in order of rows; rows whose event
                time is known to lie outside the span are passed over in silence.
        """
        rows = len(batch)
        faults = _Faults(rows)
        columns: dict[str, pa.Array] = {}
        for name in _ORDER:
            columns[name] = self._column(name, batch, row_number, columns, faults)
        columns |= {EXTRA + name: self._extra(name, batch, faults) for name in self._mapping.extra}
        if "labelled_at" not in self._mapping.fields:
            columns["labelled_at"] = pc.add(columns["event_time"], round(self._mapping.label_delay_days * DAY))
        nobody = pc.and_(columns["merchant_id"].is_null(), columns["payee"].is_null())
        faults.add(mask(nobody), "", pa.nulls(rows), "names neither merchant nor payee")

        time = columns["event_time"]
        inside = np.ones(rows, bool)
        if self._start is not None:
            inside &= ~mask(pc.less(time, self._start))
        if self._end is not None:
            inside &= ~mask(pc.greater_equal(time, self._end))
        for row in sorted(faults.first):
            if inside[row]:
                reject(row, *faults.first[row])
        frame = pa.RecordBatch.from_arrays([columns[name] for name in self._schema.names], schema=self._schema)
        keep = inside & ~faults.bad
        return frame if keep.all() else frame.filter(pa.array(keep))

    def _column(
        self,
        name: str,
        batch: pa.RecordBatch,
        row_number: npt.NDArray[np.int64],
        done: dict[str, pa.Array],
        faults: _Faults,
    ) -> pa.Array:
        field = SCHEMA.field(name)
        source = self._mapping.fields.get(name)
        if source is None:
            return pa.nulls(len(batch), field.type)
        label = ", ".join(source.names()) or name
        raw = self._raw(name, source, batch, row_number)
        try:
            parsed = _parse(name, raw, source, done)
        except pa.ArrowNotImplementedError as error:
            raise InputError(
                f"column {label} holds {raw.type}, which cannot become {name}",
                remedy=f"name another column in mapping {self._mapping.name}",
            ) from error
        faults.add(parsed.bad, label, raw, parsed.reason)
        if not field.nullable:
            faults.add(mask(parsed.values.is_null()), label, raw, "is empty")
        for wrong, reason in self._limits.get(name, Limits()).check(parsed.values):
            faults.add(wrong, label, raw, reason)
        return parsed.values

    def _raw(self, name: str, source: Source, batch: pa.RecordBatch, row_number: npt.NDArray[np.int64]) -> pa.Array:
        if source.constant:
            return pa.repeat(source.constant, len(batch))
        if source.row_number:
            return pa.array(row_number)
        parts = [_decoded(batch.column(column)) for column in source.names()]
        if source.columns:
            return parse.date_parts(parts) if name in TIMES else parse.joined(parts, source.join)
        return parts[0]

    def _extra(self, name: str, batch: pa.RecordBatch, faults: _Faults) -> pa.Array:
        raw = _decoded(batch.column(name))
        parsed = parse.numbers(raw, Source(column=name))
        faults.add(parsed.bad, name, raw, parsed.reason)
        return parsed.values


def _decoded(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _parse(name: str, raw: pa.Array, source: Source, done: dict[str, pa.Array]) -> Parsed:
    if name in TIMES:
        return parse.moments(raw, source)
    if name in _AMOUNTS:
        return parse.amounts(raw, source, done["currency"])
    if name in _PLACES:
        return parse.numbers(raw, source)
    if name == "fraud":
        return parse.truths(raw, source)
    parsed = parse.text(raw, source)
    if name == "mcc":  # a number in many files, which loses the zeros in front
        return parsed._replace(values=pc.utf8_lpad(parsed.values, 4, "0"))
    return parsed
