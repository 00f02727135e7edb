"""Parsing of file columns into the canonical types; invalid values are marked, never guessed."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from producers.mapping import ColumnSource
from vedette.errors import InputError
from vedette.events import MAX_AMOUNT
from vedette.money import exponent, to_minor

Bools = npt.NDArray[np.bool_]

_NUMBER = re.compile(r"[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|nan|inf|infinity)", re.IGNORECASE)
_SPACES = " \u00a0\u2009\u202f"
_SEPARATORS = ",.'_\u2019" + _SPACES
"""Characters that group the digits of a number in some countries."""
_NO_AMOUNT = f"is not an amount of at most {MAX_AMOUNT} minor units"
_TRUTHS = {
    "1": True, "1.0": True, "true": True, "t": True, "yes": True, "y": True,
    "0": False, "0.0": False, "false": False, "f": False, "no": False, "n": False,
}  # fmt: skip


class Parsed(NamedTuple):
    """Values of a column: null where the file has none, and where `bad` marks them as invalid."""

    values: pa.Array
    bad: Bools
    reason: str
    others: tuple[tuple[Bools, str], ...] = ()
    """Values that are invalid for other reasons."""


def mask(condition: pa.Array) -> Bools:
    """Return a boolean column as an array; null is false."""
    marked: Bools = condition.fill_null(False).to_numpy(zero_copy_only=False)
    return marked


def text(raw: pa.Array, source: ColumnSource) -> Parsed:
    """Return strings, after removing `remove`, looking up `values`, filtering by `only`, and adding `prefix`."""
    plain = plain_text(raw, source.remove)
    bad = np.zeros(len(plain), bool)
    if source.values:
        encoded = plain.dictionary_encode()
        words = encoded.dictionary.to_pylist()
        found = pa.array([source.values.get(word) or None for word in words], pa.string()).take(encoded.indices)
        strange = pa.array([word not in source.values for word in words], pa.bool_()).take(encoded.indices)
        plain, bad = found, mask(strange)
    if source.signs:
        plain, bad = _by_sign(plain, source.signs)
        return Parsed(plain, bad, f"has none of the signs {', '.join(source.signs)}")
    if source.only:
        plain = pc.if_else(pc.starts_with(plain, source.only), plain, pa.scalar(None, pa.string()))
    if source.prefix:
        plain = pc.binary_join_element_wise(pa.scalar(source.prefix), plain, pa.scalar(""))
    return Parsed(plain, bad, f"is not one of {', '.join(source.values)}")


def _by_sign(plain: pa.Array, signs: Mapping[str, str]) -> tuple[pa.Array, Bools]:
    """Return the code of the longest sign that each value contains, and a mask of the values that contain none."""
    encoded = plain.dictionary_encode()
    longest = sorted(signs, key=len, reverse=True)
    codes = [next((signs[sign] for sign in longest if sign in word), None) for word in encoded.dictionary.to_pylist()]
    found = pa.array(codes, pa.string()).take(encoded.indices)
    return found, mask(pc.and_(found.is_null(), plain.is_valid()))


def first_given(parts: list[pa.Array]) -> pa.Array:
    """Return the first of several columns that is not empty, by row."""
    return pc.coalesce(*(plain_text(part, "") for part in parts))


def numbers(raw: pa.Array, source: ColumnSource) -> Parsed:
    """Return finite floats; NaN counts as missing.

    A separator among the characters to remove must group thousands (also 12,34,567): 12,34 is not 1234.
    """
    if is_text(raw):
        plain, ungrouped = _digits(raw, source)
        parsed = _cast_each(plain, pa.float64(), _number, "is not a number")
    else:
        ungrouped = np.zeros(len(raw), bool)
        parsed = Parsed(raw.cast(pa.float64(), safe=False), ungrouped, "is not a number")
    values = pc.if_else(pc.is_nan(parsed.values), pa.scalar(None, pa.float64()), parsed.values)
    bad = parsed.bad | ungrouped | mask(pc.is_inf(values))
    return Parsed(_without(values, bad), bad, "is not a finite number")


def codes(raw: pa.Array, source: ColumnSource, canonical: Callable[[str], str]) -> Parsed:
    """Return codes in their canonical spelling, see vedette.codes."""
    parsed = text(raw, source)
    encoded = parsed.values.dictionary_encode()
    spelt: list[str | None] = []
    reasons: list[str] = []
    for word in encoded.dictionary.to_pylist():
        try:
            spelt.append(canonical(word))
        except InputError as error:
            spelt.append(None)
            reasons.append(error.args[0].removeprefix(f"{word!r} "))
    values = pa.array(spelt, pa.string()).take(encoded.indices)
    unknown = mask(pc.and_(values.is_null(), parsed.values.is_valid()))
    return Parsed(values, parsed.bad | unknown, reasons[0] if unknown.any() else parsed.reason)


def amounts(raw: pa.Array, source: ColumnSource, currency: pa.Array) -> Parsed:
    """Return minor units, rounded half to even on the decimal digits as in vedette.money.

    Args:
        raw: Numbers or text, in major or minor units according to the source; a fraction of a minor unit is invalid.
        source: Source of the column.
        currency: Currency code of each row.
    """
    if source.unit == "minor":
        return _minor(raw, source)
    parsed = numbers(raw, source)
    encoded = currency.fill_null("").dictionary_encode()
    # A row without a currency is rejected for that reason.
    places = [exponent(code) if code else 0 for code in encoded.dictionary.to_pylist()]
    scale = np.array([10.0**number for number in places])[encoded.indices.to_numpy()]
    major = parsed.values.fill_null(0).to_numpy(zero_copy_only=False)
    bad = parsed.bad | (np.abs(major) > MAX_AMOUNT / scale)
    scaled = np.where(bad, 0, major) * scale
    minor = np.rint(scaled).astype(np.int64)
    # Near a half, the binary product may fall on the wrong side of the decimal one; there the digits decide.
    doubtful = np.abs(scaled - np.floor(scaled) - 0.5) < 1e-9 + np.abs(scaled) * 1e-15
    plain = _digits(raw, source)[0] if is_text(raw) else raw
    for row in np.flatnonzero(doubtful & ~bad).tolist():
        minor[row] = to_minor(plain[row].as_py(), currency[row].as_py() or "")
    return Parsed(pa.array(minor, mask=bad | mask(parsed.values.is_null())), bad, _NO_AMOUNT)


def _minor(raw: pa.Array, source: ColumnSource) -> Parsed:
    if pa.types.is_integer(raw.type):
        return Parsed(raw.cast(pa.int64()), np.zeros(len(raw), bool), _NO_AMOUNT)
    parsed = numbers(raw, source)
    values = parsed.values.fill_null(0).to_numpy(zero_copy_only=False)
    bad = parsed.bad | (np.abs(values) > MAX_AMOUNT) | (values != np.rint(values))
    whole = np.where(bad, 0, values).astype(np.int64)
    return Parsed(pa.array(whole, mask=bad | mask(parsed.values.is_null())), bad, _NO_AMOUNT)


def joined(parts: list[pa.Array], join: str) -> pa.Array:
    """Return one id from several columns; missing where one of them is missing."""
    return pc.binary_join_element_wise(*(plain_text(part, "") for part in parts), pa.scalar(join))


def truths(raw: pa.Array, source: ColumnSource) -> Parsed:
    """Return booleans from true and false, 1 and 0, yes and no; or from `values`, which are case-sensitive."""
    reason = "is neither yes nor no"
    if pa.types.is_boolean(raw.type) and not source.values:
        return Parsed(raw, np.zeros(len(raw), bool), reason)
    known: dict[str, bool | None] = dict(_TRUTHS)
    words = plain_text(raw, source.remove)
    if source.values:
        known = {word: _TRUTHS.get(truth.lower()) for word, truth in source.values.items()}
        reason = f"is not one of {', '.join(known)}"
    else:
        words = pc.utf8_lower(words)
    encoded = words.dictionary_encode()
    found = encoded.dictionary.to_pylist()
    values = pa.array([known.get(word) for word in found], pa.bool_()).take(encoded.indices)
    strange = pa.array([word not in known for word in found], pa.bool_()).take(encoded.indices)
    return Parsed(values, mask(strange), reason)


def is_text(raw: pa.Array) -> bool:
    """Return whether a column holds text."""
    return bool(pa.types.is_string(raw.type) or pa.types.is_large_string(raw.type))


def plain_text(raw: pa.Array, remove: str) -> pa.Array:
    """Return a column as text without surrounding space and without the characters to remove; empty is missing."""
    plain = raw.cast(pa.string())
    for character in remove:
        plain = pc.replace_substring(plain, character, "")
    plain = pc.utf8_trim_whitespace(plain)
    return pc.if_else(pc.equal(plain, ""), pa.scalar(None, pa.string()), plain)


def _digits(raw: pa.Array, source: ColumnSource) -> tuple[pa.Array, Bools]:
    """Return numbers in the form that Arrow parses, and a mask of those with misplaced thousands separators."""
    thousands = source.thousands or ""
    removed = source.remove + (_SPACES if thousands == " " else thousands)
    separators = "".join(character for character in removed if character in _SEPARATORS or character == thousands)
    symbols = "".join(character for character in removed if character not in separators)
    plain = plain_text(raw, symbols)
    ungrouped = np.zeros(len(plain), bool)
    if separators:
        group = re.escape(separators).replace("]", r"\]")
        point = re.escape(source.decimal or ".")
        grouped = rf"^[+-]?[0-9]{{1,3}}(?:[{group}][0-9]{{2,3}})*[{group}][0-9]{{3}}(?:{point}[0-9]*)?$"
        separated = pc.match_substring_regex(plain, f"[{group}]")
        ungrouped = mask(pc.and_(separated, pc.invert(pc.match_substring_regex(plain, grouped))))
        plain = plain_text(plain, separators)
    if source.decimal == ",":
        plain = pc.replace_substring(plain, ".", "?")  # a remaining point is not part of such a number
        plain = pc.replace_substring(plain, ",", ".")
    return plain, ungrouped


def _cast_each(plain: pa.Array, kind: pa.DataType, parse: Callable[[str], float | None], reason: str) -> Parsed:
    """Cast all at once if every value is valid, otherwise one by one, so that only invalid ones are lost."""
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


def _without(values: pa.Array, bad: Bools) -> pa.Array:
    return pc.if_else(pa.array(bad), pa.scalar(None, values.type), values) if bad.any() else values
