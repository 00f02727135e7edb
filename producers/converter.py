"""Conversion of a batch of file rows, by a mapping, into the canonical frame and a list of rejected values."""

from collections.abc import Callable, Iterator

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from producers import card_columns, parse, parse_times
from producers.field_ranges import FieldRange, field_ranges
from producers.frame import SCHEMA, schema_with
from producers.mapping import AMOUNTS, CODES, LABEL_DELAY_DAYS, NUMBERS, TIMES, ColumnSource, Mapping
from producers.parse import Bools, Parsed, mask
from vedette.card_numbers import ACCEPT, CardNumbers, masked
from vedette.clock import DAY, format_time, likely_unit
from vedette.errors import InputError
from vedette.events import DEFAULT_KIND, EXACT_FIELDS, EXTRA, MAX_TIME, MIN_TIME, PAYING

IS_CARD_NUMBER = "is a card number, which is not accepted here; docs/security.md says how it becomes a token"
_FIRST = ("currency", "kind")  # amounts need the currency, and their sign says something about the kind
_ORDER = (*_FIRST, *(name for name in SCHEMA.names if name not in _FIRST))


class RejectedRow(msgspec.Struct, frozen=True):
    """A rejected row. Card numbers in it are cut to their first six and last four digits.

    Args:
        line: In a CSV file the line, the header being 1; in a Parquet file the row, the first being 1.
        column: The file's column (or columns), empty for the row as a whole.
        value: The rejected value.
        reason: The reason for the rejection.
        row: The original line of a text file; the mapped columns as JSON for others.
        file: The file, where several are read as one.
    """

    line: int
    column: str
    value: str
    reason: str
    row: str
    file: str = ""

    def __post_init__(self) -> None:
        for name in ("value", "reason", "row"):
            text: str = getattr(self, name)
            if (cut := masked(text)) is not text:
                msgspec.structs.force_setattr(self, name, cut)

    def __str__(self) -> str:
        where = f"{self.file}, line {self.line}" if self.file else f"line {self.line}"
        return f"{where}, {self.column or 'row'} {self.value!r} {self.reason}"


class _Faults:
    """The first fault of each row."""

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

    def __init__(self, mapping: Mapping, start_ms: int | None, end_ms: int | None, cards: CardNumbers = ACCEPT) -> None:
        self._mapping, self._cards = mapping, cards
        self._start, self._end = start_ms, end_ms
        self._schema = schema_with(mapping.extra)
        self._ranges = field_ranges()
        given = mapping.label_delay_days
        self._label_delay_days = LABEL_DELAY_DAYS if given is None else given
        self._rows_before = 0
        self._last_row = 0
        self._after: dict[str, int] = {}
        """The last instant of each field with a time."""

    def next_file(self) -> None:
        """Count the rows of another file on from those so far."""
        self._rows_before = self._last_row

    def convert(
        self,
        batch: pa.RecordBatch,
        row_number: npt.NDArray[np.int64],
        reject: Callable[[int, str, str, str], None],
        wrong: dict[int, tuple[str, str]] | None = None,
    ) -> pa.RecordBatch:
        """Return the valid rows whose event time lies in [start, end).

        Args:
            batch: Rows of the file.
            row_number: The number of each row in the file, 1 being the first.
            reject: Called with row index in the batch, column, value and reason, in order of rows; rows whose event
                time is known to lie outside the span, and those that `where` leaves out, are skipped silently.
            wrong: Column and reason of rows that are known to be invalid, by the row's index in the batch.
        """
        rows = len(batch)
        faults = _Faults(rows)
        for row, (column, reason) in (wrong or {}).items():
            faults.bad[row] = True
            faults.first[row] = (column, "", reason)
        row_number = row_number + self._rows_before
        self._last_row = int(row_number.max(initial=self._last_row))
        columns: dict[str, pa.Array] = {}
        for name in _ORDER:
            columns[name] = self._column(name, batch, row_number, columns, faults)
        for name, column in self._mapping.extra_columns().items():
            columns[EXTRA + name] = self._extra(column, batch, faults)
        if self._cards.looks:
            self._without_card_numbers(columns, faults)
        if "labelled_at" not in self._mapping.fields:
            columns["labelled_at"] = pc.add(columns["event_time"], round(self._label_delay_days * DAY))
        pays = pc.or_kleene(columns["kind"].is_null(), pc.is_in(columns["kind"], pa.array(PAYING)))
        nobody = pc.and_(columns["merchant_id"].is_null(), columns["payee"].is_null())
        faults.add(mask(pc.and_(nobody, pays)), "", pa.nulls(rows), "names neither merchant nor payee")
        unnamed = pc.and_(pc.equal(columns["kind"], "reversal"), columns["original_id"].is_null())
        faults.add(mask(unnamed), "", pa.nulls(rows), "is a reversal that does not name what it takes back")

        time = columns["event_time"]
        inside = self._wanted(batch)
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

    def _without_card_numbers(self, columns: dict[str, pa.Array], faults: _Faults) -> None:
        """Replace or refuse identifiers that are card numbers, and refuse vendor features that are."""
        for name, column in columns.items():
            if name in EXACT_FIELDS:
                columns[name], bad = card_columns.identifiers(name, column, self._cards)
            elif name.startswith(EXTRA):
                bad = card_columns.numbers(column)
            else:
                continue
            if bad.any():
                source = self._mapping.fields.get(name)
                shown = ", ".join(source.names()) if source else name.removeprefix(EXTRA)
                faults.add(bad, shown or name, column, IS_CARD_NUMBER)

    def _column(
        self,
        name: str,
        batch: pa.RecordBatch,
        row_number: npt.NDArray[np.int64],
        done: dict[str, pa.Array],
        faults: _Faults,
    ) -> pa.Array:
        field = SCHEMA.field(name)
        source = self._source(name, batch)
        if source is None:
            return pa.nulls(len(batch), field.type)
        label = ", ".join(source.names()) or name
        raw = self._raw(name, source, batch, row_number)
        try:
            parsed = _parse(name, raw, source, done, self._after.get(name))
        except pa.ArrowNotImplementedError as error:
            raise InputError(
                f"column {label} holds {raw.type}, which cannot become {name}",
                remedy=f"name another column in mapping {self._mapping.name}",
            ) from error
        faults.add(parsed.bad, label, raw, parsed.reason)
        for wrong, reason in parsed.others:
            faults.add(wrong, label, raw, reason)
        if not field.nullable:
            faults.add(mask(parsed.values.is_null()), label, raw, "is empty")
        if name in TIMES:
            return self._times(name, parsed.values, raw, source, faults)
        values = parsed.values
        if name == "amount":
            values, done["kind"], wrong = _unsigned(values, done["kind"], source.negative)
            faults.add(wrong, label, raw, "is negative, but its kind takes money from the account")
        for wrong, reason in self._ranges.get(name, FieldRange()).check(values):
            faults.add(wrong, label, raw, reason)
        return values

    def _times(
        self, name: str, times: pa.Array, raw: pa.Array, source: ColumnSource, faults: _Faults
    ) -> pa.Array:  # fmt: skip
        if times.null_count < len(times):
            self._after[name] = times.drop_null()[-1].as_py()
        for wrong, reason in _outside(name, times):
            if wrong.any():
                hint = _unit_hint(raw[int(np.flatnonzero(wrong)[0])].as_py(), source)
                faults.add(wrong, ", ".join(source.names()) or name, raw, reason + hint)
        return times

    def _source(self, name: str, batch: pa.RecordBatch) -> ColumnSource | None:
        """Return the source of a field; None if there is none, or if the file lacks what is optional."""
        source = self._mapping.fields.get(name)
        lacking = source is not None and source.optional and not set(source.names()) <= set(batch.schema.names)
        return None if lacking else source

    def _raw(
        self, name: str, source: ColumnSource, batch: pa.RecordBatch, row_number: npt.NDArray[np.int64]
    ) -> pa.Array:
        if source.constant:
            return pa.repeat(source.constant, len(batch))
        if source.row_number:
            return pa.array(row_number)
        parts = [_decoded(batch.column(column)) for column in source.names()]
        if source.first_of:
            return parse.first_given(parts)
        if source.columns:
            if name not in TIMES:
                return parse.joined(parts, source.join)
            return parse.joined(parts, " ") if source.formats else parse_times.date_parts(parts)
        return parts[0]

    def _wanted(self, batch: pa.RecordBatch) -> Bools:
        """Return a mask of the rows that `where` asks for."""
        wanted = np.ones(len(batch), bool)
        for column, allowed in self._mapping.where.items():
            words = parse.plain_text(_decoded(batch.column(column)), "").fill_null("")
            choices = [allowed] if isinstance(allowed, str) else allowed
            wanted &= pc.is_in(words, pa.array(choices, pa.string())).to_numpy(zero_copy_only=False)
        return wanted

    def _extra(self, name: str, batch: pa.RecordBatch, faults: _Faults) -> pa.Array:
        raw = _decoded(batch.column(name))
        file = self._mapping.file
        parsed = parse.numbers(raw, ColumnSource(column=name, decimal=file.decimal, thousands=file.thousands))
        faults.add(parsed.bad, name, raw, parsed.reason)
        return parsed.values


def _unsigned(amounts: pa.Array, kind: pa.Array, negative: str) -> tuple[pa.Array, pa.Array, Bools]:
    """Return amounts without their sign, kinds with what the sign says, and where the two contradict each other.

    Args:
        amounts: Minor units.
        kind: Kinds of the transactions; one that says more than the sign stays.
        negative: What a negative amount is: `refund`, or `payment`, which makes a positive one a deposit.
    """
    below = pc.less(amounts, 0)
    comes_back = below if negative == "refund" else pc.greater(amounts, 0)
    wrong = mask(pc.and_(below, pc.is_in(kind, pa.array(PAYING[1:])))) & (negative == "refund")
    if mask(comes_back).any():
        plain = pc.or_kleene(kind.is_null(), pc.equal(kind, DEFAULT_KIND))
        word = "refund" if negative == "refund" else "deposit"
        kind = pc.if_else(pc.and_(comes_back, plain).fill_null(False), pa.scalar(word), kind)
    return (pc.abs(amounts) if mask(below).any() else amounts), kind, wrong


def _decoded(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _parse(name: str, raw: pa.Array, source: ColumnSource, done: dict[str, pa.Array], after_ms: int | None) -> Parsed:
    if name in TIMES:
        return parse_times.moments(raw, source, after_ms)
    if name in AMOUNTS:
        return parse.amounts(raw, source, done["currency"])
    if name in NUMBERS:
        return parse.numbers(raw, source)
    if name == "fraud":
        return parse.truths(raw, source)
    if name in CODES:
        return parse.codes(raw, source, CODES[name])
    parsed = parse.text(raw, source)
    return parsed._replace(values=pc.utf8_lower(parsed.values)) if name in ("channel", "kind") else parsed


def _outside(name: str, times: pa.Array) -> Iterator[tuple[Bools, str]]:
    """Yield the times that lie outside the bounds, with the reason for each side."""
    earliest = 0 if name == "account_opened_at" else MIN_TIME
    yield mask(pc.less(times, earliest)), f"is before {format_time(earliest)[:10]}"
    yield mask(pc.greater(times, MAX_TIME)), f"is after {format_time(MAX_TIME)[:10]}"


def _unit_hint(value: object, source: ColumnSource) -> str:
    """Return a hint at the probable unit of a time outside the bounds."""
    if source.form not in ("milliseconds", "seconds"):
        return ""
    try:
        count = int(float(str(value)))
    except (ValueError, OverflowError):
        return ""
    unit = "milliseconds" if MIN_TIME <= count <= MAX_TIME else likely_unit(count, MIN_TIME, MAX_TIME)
    return f': it looks like form = "{unit}"' if unit and unit != source.form else ""
