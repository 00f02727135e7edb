"""Parsing of times: ISO 8601, other written forms, counts, and local times across changes of the clock."""

from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from producers.mapping import UNITS, ColumnSource
from producers.parse import Bools, Parsed, mask, numbers, plain_text
from vedette.clock import parse_time
from vedette.errors import InputError

_ISO = "is not an ISO 8601 date or time"
_US_PER_MS = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moments(raw: pa.Array, source: ColumnSource, after_ms: int | None = None) -> Parsed:
    """Return milliseconds since epoch, from dates and times, or from counts since the source's origin.

    Args:
        raw: Text, numbers, dates or timestamps.
        source: Source of the column.
        after_ms: The last instant before these rows, where `ambiguous` is `order`.
    """
    if source.form != "datetime":
        return _counted(raw, source)
    if source.formats:
        local, instants, bad = _written(plain_text(raw, source.remove), source.formats)
        return _in_zone(local, instants, bad, f"is not written like {' or '.join(source.formats)}", source, after_ms)
    nothing = np.zeros(len(raw), bool)
    if pa.types.is_date(raw.type):
        raw = raw.cast(pa.timestamp("ms"))
    if not pa.types.is_timestamp(raw.type):
        raw = plain_text(raw, source.remove)
        for zone in (None, "UTC"):  # a column that mixes times with and without an offset is parsed value by value
            try:
                raw = raw.cast(pa.timestamp("us", zone))
                break
            except pa.ArrowInvalid:
                continue
        else:
            local, instants, bad = _each(raw)
            return _in_zone(local, instants, bad, _ISO, source, after_ms)
    micros = raw.cast(pa.timestamp("us", raw.type.tz), safe=False).cast(pa.int64())
    none = pa.nulls(len(raw), pa.int64())
    local, instants = (none, micros) if raw.type.tz else (micros, none)
    return _in_zone(local, instants, nothing, _ISO, source, after_ms)


def date_parts(parts: list[pa.Array]) -> pa.Array:
    """Return ISO 8601 text from columns date and time; or year, month, day and (if given) a time such as 06:21."""
    year, *others = (plain_text(part, "") for part in parts)
    if len(others) == 1:
        return pc.binary_join_element_wise(year, others[0], pa.scalar(" "))
    month, day, *time = others
    date = pc.binary_join_element_wise(
        pc.utf8_lpad(year, 4, "0"), pc.utf8_lpad(month, 2, "0"), pc.utf8_lpad(day, 2, "0"), pa.scalar("-")
    )
    return pc.binary_join_element_wise(date, time[0], pa.scalar(" ")) if time else date


def _counted(raw: pa.Array, source: ColumnSource) -> Parsed:
    unit, origin = UNITS[source.form], parse_time(source.origin)
    reason = f"is not a number of {source.form}"
    if unit == 1 and pa.types.is_integer(raw.type):
        return Parsed(pc.add(raw.cast(pa.int64()), origin), np.zeros(len(raw), bool), reason)
    given, bad, _, _ = numbers(raw, source)
    count = given.fill_null(0).to_numpy(zero_copy_only=False)
    bad |= np.abs(count) > 2.0**53 / unit
    times = np.rint(np.where(bad, 0, count) * unit).astype(np.int64) + origin
    return Parsed(pa.array(times, mask=bad | mask(given.is_null())), bad, reason)


def _written(plain: pa.Array, formats: list[str]) -> tuple[pa.Array, pa.Array, Bools]:
    """Return local times and instants in microseconds, each from the first form that fits, and what fits none."""
    words = pd.Series(plain.to_pylist(), dtype=object)
    local = pa.nulls(len(plain), pa.int64())
    instants = local
    for form in formats:
        with_offset = "%z" in form
        found = pd.to_datetime(words, format=form, errors="coerce", utc=with_offset)
        found_us = pa.array(found.dt.tz_localize(None) if with_offset else found, pa.timestamp("us")).cast(pa.int64())
        open_ = pc.and_(local.is_null(), instants.is_null())
        new = pc.if_else(open_, found_us, pa.scalar(None, pa.int64()))
        local, instants = (local, pc.coalesce(instants, new)) if with_offset else (pc.coalesce(local, new), instants)
    return local, instants, mask(pc.and_(plain.is_valid(), pc.and_(local.is_null(), instants.is_null())))


def _each(plain: pa.Array) -> tuple[pa.Array, pa.Array, Bools]:
    """Return local times and instants in microseconds from ISO 8601, one by one, and what is not valid."""
    words = plain.to_pylist()
    local: list[int | None] = [None] * len(words)
    instants = list(local)
    for row, word in enumerate(words):
        try:
            found = datetime.fromisoformat(word) if word is not None else None
        except ValueError:
            continue
        if found is not None:
            target = local if found.tzinfo is None else instants
            target[row] = _micros(found if found.tzinfo else found.replace(tzinfo=UTC))
    bad = [
        word is not None and place is None and instant is None
        for word, place, instant in zip(words, local, instants, strict=True)
    ]
    return pa.array(local, pa.int64()), pa.array(instants, pa.int64()), np.array(bad, bool)


def _micros(moment: datetime) -> int:
    past = moment - _EPOCH
    return (past.days * 86_400 + past.seconds) * 1_000_000 + past.microseconds


def _in_zone(
    local: pa.Array, instants: pa.Array, bad: Bools, reason: str, source: ColumnSource, after_ms: int | None
) -> Parsed:
    """Return milliseconds of instants and of local times of the source's zone.

    A local time that the zone skips, when its clocks go forward, is invalid. One that comes twice, when they go back,
    is invalid too unless the source says which of both instants it means.
    """
    zone = source.zone or "UTC"
    if zone == "UTC" or local.null_count == len(local):
        return Parsed(_milliseconds(pc.coalesce(instants, local)), bad, reason)
    times = local.cast(pa.timestamp("us"))
    try:
        early = pc.assume_timezone(times, zone, ambiguous="earliest", nonexistent="earliest").cast(pa.int64())
        late = pc.assume_timezone(times, zone, ambiguous="latest", nonexistent="earliest").cast(pa.int64())
        behind = pc.assume_timezone(times, zone, ambiguous="earliest", nonexistent="latest").cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise InputError(
            f"times cannot be converted from {zone}: {error}", remedy="check the mapping's zone"
        ) from error
    skipped, twice = mask(pc.not_equal(early, behind)), mask(pc.not_equal(early, late))
    chosen = late if source.ambiguous == "later" else early
    if source.ambiguous == "order" and twice.any():
        chosen = _by_order(pc.coalesce(instants, early), late, twice, after_ms)
    lost = skipped | (twice if source.ambiguous == "reject" else np.zeros(len(twice), bool))
    values = pc.if_else(pa.array(lost), pa.scalar(None, pa.int64()), pc.coalesce(instants, chosen))
    others = (
        (skipped, f"does not exist in {zone}, whose clocks went forward"),
        (lost & ~skipped, f"comes twice in {zone}, whose clocks went back: set `ambiguous` in the mapping"),
    )
    return Parsed(_milliseconds(values), bad, reason, others)


def _by_order(early: pa.Array, late: pa.Array, twice: Bools, after_ms: int | None) -> pa.Array:
    """Return for each local time that comes twice the first instant that is not before that of the row above."""
    found: npt.NDArray[np.int64] = early.fill_null(0).to_numpy(zero_copy_only=False).copy()
    second = late.fill_null(0).to_numpy(zero_copy_only=False)
    given = mask(early.is_valid())
    last = after_ms * _US_PER_MS if after_ms is not None else int(found[given][0]) if given.any() else 0
    for row in np.flatnonzero(given).tolist():
        if twice[row] and found[row] < last:
            found[row] = second[row]
        last = int(found[row])
    return pa.array(found, mask=~given)


def _milliseconds(micros: pa.Array) -> pa.Array:
    rounded = pc.round(pc.divide(micros.cast(pa.float64()), 1000.0), round_mode="half_to_even")
    return rounded.cast(pa.int64())
