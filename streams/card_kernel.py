"""Card numbers in identifiers, compiled: the same as `vedette.card_numbers` for ASCII; tests compare the two."""

import numba
import numpy as np
from numpy.typing import NDArray

_SHORTEST, _LONGEST = 14, 19


@numba.njit(cache=True, nogil=True)
def has_card_number(data: NDArray[np.uint8], start: int, end: int, lengths: NDArray[np.uint8]) -> bool:
    """Return whether there is a card number in a text.

    Args:
        data: Bytes that hold the text.
        start: Where it begins.
        end: Where it ends.
        lengths: uint8[10000], see vedette.card_numbers.LENGTHS.
    """
    i = start + _SHORTEST - 1
    while i < end:  # digits and separators of a card number are so many that one of these places is among them
        if not _is_part(data[i]):
            i += _SHORTEST
            continue
        first, last = i, i + 1
        while first > start and _is_part(data[first - 1]):
            first -= 1
        while last < end and _is_part(data[last]):
            last += 1
        if last - first >= _SHORTEST and _has_within(data, first, last, start, end, lengths):
            return True
        i = last + _SHORTEST
    return False


@numba.njit(cache=True, nogil=True)
def _has_within(
    data: NDArray[np.uint8], first: int, last: int, start: int, end: int, lengths: NDArray[np.uint8]
) -> bool:
    """Return whether a card number begins between two places of a text."""
    i = first
    while i < last:
        if not _is_digit(data[i]):
            i += 1
            continue
        behind = _digits_end(data, i, end)
        if i == start or not _is_letter(data[i - 1]):
            stop = behind
            if behind - i == 4:
                stop = _groups_end(data, i, end)
            if stop > 0 and (stop == end or not _is_letter(data[stop])) and _is_card(data, i, stop, lengths):
                return True
        i = behind
    return False


@numba.njit(cache=True, nogil=True)
def _is_digit(byte: int) -> bool:
    return bool(48 <= byte <= 57)


@numba.njit(cache=True, nogil=True)
def _is_part(byte: int) -> bool:
    return bool(48 <= byte <= 57 or byte == 32 or byte == 45)  # noqa: PLR1714 — compiled


@numba.njit(cache=True, nogil=True)
def _is_letter(byte: int) -> bool:
    return bool(65 <= byte <= 90 or 97 <= byte <= 122)


@numba.njit(cache=True, nogil=True)
def _digits_end(data: NDArray[np.uint8], i: int, end: int) -> int:
    while i < end and _is_digit(data[i]):
        i += 1
    return i


@numba.njit(cache=True, nogil=True)
def _groups_end(data: NDArray[np.uint8], first: int, end: int) -> int:  # noqa: PLR0911 — one return for each form
    """Return where the groups of digits end that begin with these four digits, -1 if they are not those of a card."""
    i = first + 4
    if i >= end or (data[i] != 32 and data[i] != 45):
        return -1
    separator = data[i]
    second = _digits_end(data, i + 1, end)
    if second >= end or data[second] != separator:
        return -1
    third = _digits_end(data, second + 1, end)
    if second - i - 1 == 6:
        return int(third) if third - second - 1 in (4, 5) else -1
    if second - i - 1 != 4 or third - second - 1 != 4 or third >= end or data[third] != separator:
        return -1
    fourth = _digits_end(data, third + 1, end)
    if fourth - third - 1 != 4:
        return -1
    if fourth < end and data[fourth] == separator:
        fifth = _digits_end(data, fourth + 1, end)
        if fifth - fourth - 1 == 3 and (fifth == end or not _is_letter(data[fifth])):
            return int(fifth)
    return int(fourth)


@numba.njit(cache=True, nogil=True)
def _is_card(data: NDArray[np.uint8], start: int, end: int, lengths: NDArray[np.uint8]) -> bool:
    """Return whether the digits between two places are a card number."""
    count, prefix = 0, 0
    for i in range(start, end):
        if _is_digit(data[i]):
            count += 1
            if count <= 4:
                prefix = 10 * prefix + data[i] - 48
    if not _SHORTEST <= count <= _LONGEST or not lengths[prefix] >> (count - _SHORTEST) & 1:
        return False
    total, double = 0, False
    for i in range(end - 1, start - 1, -1):
        if _is_digit(data[i]):
            digit = 2 * (data[i] - 48) if double else data[i] - 48
            total += digit - 9 if digit > 9 else digit
            double = not double
    return total % 10 == 0
