"""Columns as they stand in files, turned into the canonical types; what does not fit is marked, never guessed."""

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from producers.mapping import UNITS, Source
from vedette.clock import parse_time
from vedette.errors import InputError
from vedette.events import MAX_AMOUNT
from vedette.money import exponent, to_minor

Bools = npt.NDArray[np.bool_]

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_NO_AMOUNT = f"is not an amount of at most {MAX_AMOUNT} minor units"
_TRUTHS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


class Parsed(NamedTuple):
    """A column's values: null where the file has none, and where `bad` says that they do not fit."""

    values: pa.Array
    bad: Bools
    reason: str


def mask(condition: pa.Array) -> Bools:
    """A boolean column as an array; null is false."""
    marked: Bools = condition.fill_null(False).to_numpy(zero_copy_only=False)
    return marked


def text(raw: pa.Array, source: Source) -> Parsed:
    """Strings, after taking out `remove`, looking up `values`, keeping `only`, and adding `prefix`."""
    plain = _plain(raw, source.remove)
    bad = np.zeros(len(plain), bool)
    if source.values:
        encoded = plain.dictionary_encode()
        words = encoded.dictionary.to_pylist()
        found = pa.array([source.values.get(word) or None for word in words], pa.string()).take(encoded.indices)
        strange = pa.array([word not in source.values for word in words], pa.bool_()).take(encoded.indices)
        plain, bad = found, mask(strange)
    if source.only:
        plain = pc.if_else(pc.starts_with(plain, source.only), plain, pa.scalar(None, pa.string()))
    if source.prefix:
        plain = pc.binary_join_element_wise(pa.scalar(source.prefix), plain, pa.scalar(""))
    return Parsed(plain, bad, f"is not one of {', '.join(source.values)}")


def numbers(raw: pa.Array, source: Source) -> Parsed:
    """Finite floats; NaN counts as missing."""
    if _is_text(raw):
        parsed = _cast_each(_plain(raw, source.remove), pa.float64(), _number, "is not a number")
    else:
        parsed = Parsed(raw.cast(pa.float64(), safe=False), np.zeros(len(raw), bool), "is not a number")
    values = pc.if_else(pc.is_nan(parsed.values), pa.scalar(None, pa.float64()), parsed.values)
    endless = mask(pc.is_inf(values))
    return Parsed(_without(values, endless), parsed.bad | endless, "is not a finite number")


def amounts(raw: pa.Array, source: Source, currency: pa.Array) -> Parsed:
    """Minor units, rounded half to even on the decimal digits as vedette.money does.

    Args:
        raw: Numbers or text, of major or minor units as the source says; a fraction of a minor unit does not fit.
        source: Where they come from.
        currency: The code of each.
    """
    if source.unit == "minor":
        return _minor(raw, source)
    parsed = numbers(raw, source)
    codes = currency.fill_null("").dictionary_encode()
    scale = np.array([10.0 ** exponent(code) for code in codes.dictionary.to_pylist()])[codes.indices.to_numpy()]
    major = parsed.values.fill_null(0).to_numpy(zero_copy_only=False)
    bad = parsed.bad | (np.abs(major) > MAX_AMOUNT / scale)
    scaled = np.where(bad, 0, major) * scale
    minor = np.rint(scaled).astype(np.int64)
    # Near a half the binary product may fall on the wrong side of the decimal one; there the digits decide.
    doubtful = np.abs(scaled - np.floor(scaled) - 0.5) < 1e-9 + np.abs(scaled) * 1e-15
    plain = _plain(raw, source.remove) if _is_text(raw) else raw
    for row in np.flatnonzero(doubtful).tolist():
        minor[row] = to_minor(plain[row].as_py(), currency[row].as_py() or "")
    return Parsed(pa.array(minor, mask=bad | mask(parsed.values.is_null())), bad, _NO_AMOUNT)


def _minor(raw: pa.Array, source: Source) -> Parsed:
    if pa.types.is_integer(raw.type):
        return Parsed(raw.cast(pa.int64()), np.zeros(len(raw), bool), _NO_AMOUNT)
    parsed = numbers(raw, source)
    values = parsed.values.fill_null(0).to_numpy(zero_copy_only=False)
    bad = parsed.bad | (np.abs(values) > MAX_AMOUNT) | (values != np.rint(values))
    whole = np.where(bad, 0, values).astype(np.int64)
    return Parsed(pa.array(whole, mask=bad | mask(parsed.values.is_null())), bad, _NO_AMOUNT)


def moments(raw: pa.Array, source: Source) -> Parsed:
    """Milliseconds since epoch, from dates and times, or from counts since the source's origin."""
    if source.form != "datetime":
        return _counted(raw, source)
    reason = "is not an ISO 8601 date or time"
    if pa.types.is_date(raw.type):
        raw = raw.cast(pa.timestamp("ms"))
    if pa.types.is_timestamp(raw.type):
        micros = raw.cast(pa.timestamp("us", raw.type.tz), safe=False).cast(pa.int64())
        return Parsed(_thousandth(micros), np.zeros(len(raw), bool), reason)
    plain = _plain(raw, source.remove)
    for zone in (None, "UTC"):  # without an offset it is UTC; a column that mixes both is read one by one
        try:
            return Parsed(
                _thousandth(plain.cast(pa.timestamp("us", zone)).cast(pa.int64())), np.zeros(len(raw), bool), reason
            )
        except pa.ArrowInvalid:
            continue
    return _cast_each(plain, pa.int64(), _moment, reason)


def _counted(raw: pa.Array, source: Source) -> Parsed:
    unit, origin = UNITS[source.form], parse_time(source.origin)
    reason = f"is not a number of {source.form}"
    if unit == 1 and pa.types.is_integer(raw.type):
        return Parsed(pc.add(raw.cast(pa.int64()), origin), np.zeros(len(raw), bool), reason)
    parsed = numbers(raw, source)
    count = parsed.values.fill_null(0).to_numpy(zero_copy_only=False)
    bad = parsed.bad | (np.abs(count) > 2.0**53 / unit)
    times = np.rint(np.where(bad, 0, count) * unit).astype(np.int64) + origin
    return Parsed(pa.array(times, mask=bad | mask(parsed.values.is_null())), bad, reason)


def date_parts(parts: list[pa.Array]) -> pa.Array:
    """ISO 8601 text from columns year, month, day and (if given) a time such as 06:21."""
    year, month, day, *time = (_plain(part, "") for part in parts)
    date = pc.binary_join_element_wise(
        pc.utf8_lpad(year, 4, "0"), pc.utf8_lpad(month, 2, "0"), pc.utf8_lpad(day, 2, "0"), pa.scalar("-")
    )
    return pc.binary_join_element_wise(date, time[0], pa.scalar(" ")) if time else date


def joined(parts: list[pa.Array], join: str) -> pa.Array:
    """One id from several columns; missing where one of them is."""
    return pc.binary_join_element_wise(*(_plain(part, "") for part in parts), pa.scalar(join))


def truths(raw: pa.Array, source: Source) -> Parsed:
    """Booleans from true and false, 1 and 0, Yes and No."""
    reason = "is neither yes nor no"
    if pa.types.is_boolean(raw.type):
        return Parsed(raw, np.zeros(len(raw), bool), reason)
    encoded = pc.utf8_lower(_plain(raw, source.remove)).dictionary_encode()
    words = encoded.dictionary.to_pylist()
    values = pa.array([_TRUTHS.get(word) for word in words], pa.bool_()).take(encoded.indices)
    strange = pa.array([word not in _TRUTHS for word in words], pa.bool_()).take(encoded.indices)
    return Parsed(values, mask(strange), reason)


def _is_text(raw: pa.Array) -> bool:
    return bool(pa.types.is_string(raw.type) or pa.types.is_large_string(raw.type))


def _plain(raw: pa.Array, remove: str) -> pa.Array:
    """Text without surrounding space and without the characters to remove; empty is missing."""
    plain = raw.cast(pa.string())
    for character in remove:
        plain = pc.replace_substring(plain, character, "")
    plain = pc.utf8_trim_whitespace(plain)
    return pc.if_else(pc.equal(plain, ""), pa.scalar(None, pa.string()), plain)


def _cast_each(plain: pa.Array, kind: pa.DataType, parse: Callable[[str], float | None], reason: str) -> Parsed:
    """All at once if every value fits, else one by one, so that only those that do not fit are lost."""
    try:
        return Parsed(plain.cast(kind), np.zeros(len(plain), bool), reason)
    except pa.ArrowInvalid:
        pass
    words = plain.to_pylist()
    values = [None if word is None else parse(word) for word in words]
    bad = np.array([word is not None and value is None for word, value in zip(words, values, strict=True)], bool)
    return Parsed(pa.array(values, kind), bad, reason)


def _number(word: str) -> float | None:
    return float(word) if _NUMBER.fullmatch(word) else None


def _moment(word: str) -> int | None:
    try:
        return parse_time(word)
    except InputError:
        return None


def _thousandth(micros: pa.Array) -> pa.Array:
    return pc.round(pc.divide(micros.cast(pa.float64()), 1000.0), round_mode="half_to_even").cast(pa.int64())


def _without(values: pa.Array, bad: Bools) -> pa.Array:
    return pc.if_else(pa.array(bad), pa.scalar(None, values.type), values) if bad.any() else values
