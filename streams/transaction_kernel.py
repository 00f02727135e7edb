"""Transactions in their regular form, read from JSON in one compiled pass that holds no lock.

A message is regular if it is one object with known fields, each once; if its texts are printable ASCII without escapes,
its integers have at most 18 digits and its decimals at most 15; if no identifier is a card number; and if
`vedette.events` accepts it. Nearly all are. The kernel finds the regular messages and reads only them. All others,
valid or not, are left to msgspec, which defines what a transaction is; tests compare the two.
"""

from typing import Any, get_args

import numba
import numpy as np
from numpy.typing import NDArray

from features.transaction_schema import SCHEMA
from streams.card_kernel import has_card_number
from vedette.card_numbers import LENGTHS, SHORTEST
from vedette.codes import COUNTRIES, CURRENCIES
from vedette.events import MAX_AMOUNT, MAX_TIME, MIN_TIME, PAYING, Channel, Kind

FIELDS = tuple(SCHEMA.names)
WHOLE = tuple(field.name for field in SCHEMA if field.type == "int64")
DECIMAL = tuple(field.name for field in SCHEMA if field.type == "double")
TEXT = tuple(field.name for field in SCHEMA if field.type == "string")
CHANNELS: tuple[str, ...] = get_args(Channel)
KINDS: tuple[str, ...] = get_args(Kind)

_ID, _CURRENCY, _CATEGORY, _CHANNEL, _COUNTRY, _ADDRESS, _KIND, _WHOLE, _DECIMAL = range(9)
_KIND_OF = {
    "currency": _CURRENCY, "mcc": _CATEGORY, "channel": _CHANNEL, "country": _COUNTRY, "ip_address": _ADDRESS,
    "kind": _KIND,
    "amount": _WHOLE, "event_time": _WHOLE, "balance": _WHOLE, "account_opened_at": _WHOLE,
    "lat": _DECIMAL, "lon": _DECIMAL,
}  # fmt: skip
_BOUNDS = {
    "amount": (0, MAX_AMOUNT), "event_time": (MIN_TIME, MAX_TIME), "balance": (-MAX_AMOUNT, MAX_AMOUNT),
    "account_opened_at": (0, MAX_TIME), "lat": (-90, 90), "lon": (-180, 180),
}  # fmt: skip
_REQUIRED = ("transaction_id", "account_id", "amount", "currency", "event_time")
_MOST_TEXT = 64
_MOST_ADDRESS = 45
_MOST_DIGITS = 18
_MOST_DECIMAL_DIGITS = 15  # such a number and the power of ten are exact, so that their quotient is rounded once


def _table(words: tuple[str, ...]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    edges = np.cumsum([0, *map(len, words)]).astype(np.int64)
    return np.frombuffer("".join(words).encode(), np.uint8), edges


def _codes(codes: Any, length: int) -> NDArray[np.bool_]:
    known = np.zeros(26**length, np.bool_)
    for code in codes:
        place = 0
        for letter in code:
            place = 26 * place + ord(letter) - ord("A")
        known[place] = True
    return known


def _bits(names: tuple[str, ...]) -> int:
    return sum(1 << FIELDS.index(name) for name in names)


TABLES = (
    *_table(FIELDS),
    np.array([_KIND_OF.get(name, _ID) for name in FIELDS], np.int64),
    np.array([_BOUNDS.get(name, (0, 0))[0] for name in FIELDS], np.int64),
    np.array([_BOUNDS.get(name, (0, 0))[1] for name in FIELDS], np.int64),
    *_table(CHANNELS),
    *_table(KINDS),
    _codes(CURRENCIES, 3),
    _codes(COUNTRIES, 2),
    np.array(
        [
            _bits(_REQUIRED),
            _bits(("merchant_id", "payee")),
            FIELDS.index("event_time"),
            sum(1 << place for place, kind in enumerate(KINDS) if kind not in PAYING),
            KINDS.index("reversal"),
            FIELDS.index("original_id"),
        ],
        np.int64,
    ),
    10.0 ** np.arange(_MOST_DECIMAL_DIGITS + 1),
    np.array([max((names.index(name) for names in (WHOLE, DECIMAL) if name in names), default=0) for name in FIELDS]),
    np.frombuffer(LENGTHS, np.uint8),
)
"""Tables of the fields as arguments of the kernel, because a cached kernel does not notice changed constants."""


@numba.njit(cache=True, nogil=True)
def read_transactions(  # noqa: C901, PLR0912, PLR0915, D417 — one pass; TABLES describes what is not described below
    data: NDArray[np.uint8],
    starts: NDArray[np.int64],
    latest: NDArray[np.float64],
    names: NDArray[np.uint8],
    name_edges: NDArray[np.int64],
    kinds: NDArray[np.int64],
    least: NDArray[np.int64],
    most: NDArray[np.int64],
    channels: NDArray[np.uint8],
    channel_edges: NDArray[np.int64],
    kind_words: NDArray[np.uint8],
    kind_edges: NDArray[np.int64],
    currencies: NDArray[np.bool_],
    countries: NDArray[np.bool_],
    rules: NDArray[np.int64],
    powers: NDArray[np.float64],
    slots: NDArray[np.int64],
    card_lengths: NDArray[np.uint8],
    looks: bool,
    begin: NDArray[np.int32],
    size: NDArray[np.int32],
    whole: NDArray[np.int64],
    decimal: NDArray[np.float64],
    regular: NDArray[np.bool_],
) -> bool:
    """Read n messages.

    Args:
        data: The messages, one after the other.
        starts: int64[n + 1], where each begins.
        latest: float64[n], the last event time that is not too far ahead.
        names: The first of TABLES; the others follow, up to `card_lengths`.
        looks: Whether a message with a card number among its identifiers is not regular.
        begin: int32[fields, n], filled with where each text begins in `data`.
        size: int32[fields, n], filled with its length; 0 or more for any value that is there, -1 for none.
        whole: int64[WHOLE, n], filled with integers; 0 where there is none.
        decimal: float64[DECIMAL, n], filled with decimals; 0 where there is none.
        regular: bool[n], filled with whether each message is; the other arrays say nothing of those that are not.

    Returns:
        Whether some address is not IPv4 in canonical text, and is to be looked at.
    """
    other_address = False
    fields = kinds.shape[0]
    for row in range(starts.shape[0] - 1):
        for field in range(fields):
            size[field, row] = -1
        whole[:, row] = 0
        decimal[:, row] = 0.0
        i, end = _skip(data, starts[row], starts[row + 1]), starts[row + 1]
        regular[row] = False
        if i >= end or data[i] != 123:  # {
            continue
        i = _skip(data, i + 1, end)
        seen, expected, named = 0, 0, 0
        while i < end and data[i] == 34:  # "
            start = i + 1
            i = _text_end(data, start, end)
            if i < 0:
                break
            field = _find(data, start, i, names, name_edges, expected)
            if field < 0 or seen >> field & 1:
                break
            expected = field + 1
            i = _skip(data, i + 1, end)
            if i >= end or data[i] != 58:  # :
                break
            i = _skip(data, i + 1, end)
            if i >= end:
                break
            kind = kinds[field]
            if data[i] == 110:  # null; of a required field it is missing
                if i + 4 > end or data[i + 1] != 117 or data[i + 2] != 108 or data[i + 3] != 108:
                    break
                if rules[0] >> field & 1:
                    break
                i += 4
            elif kind >= _WHOLE:
                negative = data[i] == 45  # -
                i += 1 if negative else 0
                first, value, digits, places = i, 0, 0, 0
                while i < end and 48 <= data[i] <= 57 and digits <= _MOST_DIGITS:
                    value = 10 * value + data[i] - 48
                    digits += 1
                    i += 1
                if digits == 0 or digits > _MOST_DIGITS or (digits > 1 and data[first] == 48):
                    break
                if kind == _DECIMAL:
                    point = i < end and data[i] == 46
                    if point:
                        i += 1
                        while i < end and 48 <= data[i] <= 57 and digits <= _MOST_DECIMAL_DIGITS:
                            value = 10 * value + data[i] - 48
                            digits += 1
                            places += 1
                            i += 1
                    if digits > _MOST_DECIMAL_DIGITS or (point and places == 0) or (negative and not point):
                        break
                    number = value / powers[places]
                    number = -number if negative else number
                    if not least[field] <= number <= most[field]:
                        break
                    decimal[slots[field], row] = number
                else:
                    value = -value if negative else value
                    if (negative and value == 0) or not least[field] <= value <= most[field]:
                        break
                    whole[slots[field], row] = value
                size[field, row] = 0
            else:
                if data[i] != 34:
                    break
                start = i + 1
                i = _text_end(data, start, end)
                if i < 0:
                    break
                if kind == _ADDRESS:
                    if not 2 <= i - start <= _MOST_ADDRESS:
                        break
                    other_address |= not _is_ipv4(data, start, i)
                elif kind == _KIND:
                    named = _find(data, start, i, kind_words, kind_edges, 0)
                    if named < 0:
                        break
                elif not _is_valid(data, start, i, kind, channels, channel_edges, currencies, countries):
                    break
                if kind == _ID and looks and i - start >= SHORTEST and has_card_number(data, start, i, card_lengths):
                    break
                begin[field, row] = start
                size[field, row] = i - start
                i += 1
            seen |= 1 << field
            i = _skip(data, i, end)
            if i >= end or (data[i] != 44 and data[i] != 125):  # , }
                break
            closed = data[i] == 125
            i = _skip(data, i + 1, end)
            if closed:
                merchant, payee = _two_bits(rules[1])
                regular[row] = (
                    i == end
                    and seen & rules[0] == rules[0]
                    and (size[merchant, row] >= 0 or size[payee, row] >= 0 or rules[3] >> named & 1 != 0)
                    and (named != rules[4] or size[rules[5], row] >= 0)
                    and whole[slots[rules[2]], row] <= latest[row]
                )
                break
    return other_address


@numba.njit(cache=True, nogil=True)
def _two_bits(bits: int) -> tuple[int, int]:
    low = 0
    while not bits >> low & 1:
        low += 1
    high = low + 1
    while not bits >> high & 1:
        high += 1
    return low, high


@numba.njit(cache=True, nogil=True)
def _skip(data: NDArray[np.uint8], i: int, end: int) -> int:
    """Return the first place that is not white space."""
    while i < end and (data[i] == 32 or data[i] == 10 or data[i] == 13 or data[i] == 9):
        i += 1
    return i


@numba.njit(cache=True, nogil=True)
def _text_end(data: NDArray[np.uint8], i: int, end: int) -> int:
    """Return the end of a text, -1 if it is not printable ASCII without escapes."""
    while i < end and data[i] != 34:
        if data[i] < 32 or data[i] == 92 or data[i] > 126:
            return -1
        i += 1
    return i if i < end else -1


@numba.njit(cache=True, nogil=True)
def _find(
    data: NDArray[np.uint8], start: int, end: int, words: NDArray[np.uint8], edges: NDArray[np.int64], expected: int
) -> int:
    """Return which word a text is, -1 if none; looked for from the expected one on."""
    count = edges.shape[0] - 1
    for step in range(count):
        word = (expected + step) % count
        if edges[word + 1] - edges[word] == end - start:
            same = True
            for j in range(end - start):
                if data[start + j] != words[edges[word] + j]:
                    same = False
                    break
            if same:
                return int(word)
    return -1


@numba.njit(cache=True, nogil=True)
def _is_valid(  # noqa: PLR0911 — one return for each kind
    data: NDArray[np.uint8], start: int, end: int, kind: int, channels: NDArray[np.uint8],
    channel_edges: NDArray[np.int64], currencies: NDArray[np.bool_], countries: NDArray[np.bool_],
) -> bool:  # fmt: skip
    length = end - start
    if kind == _ID:
        return bool(1 <= length <= _MOST_TEXT and data[start] != 32 and data[end - 1] != 32)
    if kind == _CHANNEL:
        return bool(_find(data, start, end, channels, channel_edges, 0) >= 0)
    if kind == _CATEGORY:
        if length != 4:
            return False
        digits = 0
        for i in range(start, end):
            digits += 48 <= data[i] <= 57
        return bool(digits == length)
    known = currencies if kind == _CURRENCY else countries
    if length != (3 if kind == _CURRENCY else 2):
        return False
    place = 0
    for i in range(start, end):
        if not 65 <= data[i] <= 90:
            return False
        place = 26 * place + data[i] - 65
    return bool(known[place])


@numba.njit(cache=True, nogil=True)
def _is_ipv4(data: NDArray[np.uint8], i: int, end: int) -> bool:
    """Return whether a text is four numbers up to 255 without leading zeros."""
    for part in range(4):
        value, digits, first = 0, 0, i
        while i < end and 48 <= data[i] <= 57 and digits < 4:
            value = 10 * value + data[i] - 48
            digits += 1
            i += 1
        if digits == 0 or digits > 3 or value > 255 or (digits > 1 and data[first] == 48):
            return False
        if part < 3:
            if i >= end or data[i] != 46:
                return False
            i += 1
    return i == end


@numba.njit(cache=True, nogil=True)
def gather_texts(
    data: NDArray[np.uint8],
    fields: NDArray[np.int64],
    begin: NDArray[np.int32],
    size: NDArray[np.int32],
    offsets: NDArray[np.int32],
    valid: NDArray[np.uint8],
    out: NDArray[np.uint8],
    edges: NDArray[np.int64],
) -> None:
    """Put the texts of each column one after the other, as Arrow keeps them.

    Args:
        data: The messages.
        fields: int64[k], the fields that are text.
        begin: int32[fields, n], as `read_transactions` gives it.
        size: int32[fields, n], as `read_transactions` gives it.
        offsets: int32[k, n + 1], filled with where each text begins within its column.
        valid: uint8[k, (n + 7) // 8], one bit for each text, set where there is one; zeros before.
        out: Eight bytes for each column larger than `data`, filled with the columns.
        edges: int64[k + 1], filled with where each column begins in `out`.
    """
    n = size.shape[1]
    base = 0
    for column in range(fields.shape[0]):
        field, at = fields[column], 0
        edges[column] = base
        for row in range(n):
            offsets[column, row] = at
            if size[field, row] >= 0:
                valid[column, row >> 3] |= 1 << (row & 7)
                for j in range(size[field, row]):
                    out[base + at + j] = data[begin[field, row] + j]
                at += size[field, row]
        offsets[column, n] = at
        base += (at + 7) // 8 * 8  # Arrow wants its buffers at multiples of eight
    edges[fields.shape[0]] = base
