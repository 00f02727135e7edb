"""An account's state as one compact blob, version 3.

byte 0      version
bytes 1-2   number of rows, little-endian
varints     tiles, payments ever, sum ever, frauds before the horizon
8 bytes     typical amount (see features.kernel_account), a float
varints     place: 0, or its time + 1, then latitude and longitude in millionths of a degree, zigzag
varint      time of the first row; every row then starts with its distance in time to the one before
tile        count, sum, max, what came back, frauds as varints, then the squares (see features.rows) as 8 bytes
event       amount, transaction hash (3 bytes), flags (which identifiers differ from the event before, fraud,
            label without event, money came back), then per differing identifier an index into the dictionary of this
            blob: 0 missing, a known entry, or the next free index followed by the entry's 4 bytes; then, where the flag
            says so, a varint: what came back x 4 + completed x 2 + (not a payment)

An earlier version is refused.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from features.rows import (
    ADDRESS,
    BACK,
    COMPLETED,
    COUNT,
    EXACT,
    FOLD,
    FRAUD,
    HEADER,
    MAX,
    MERCHANT,
    MOST,
    NOTE,
    PAYMENT_COLUMNS,
    SUM,
    TIME,
    TX,
)
from features.varint import LONGEST, get, get_fixed, put, put_fixed, unzigzag, zigzag

VERSION = 3
TX_BYTES = 3
TX_MASK = (1 << (8 * TX_BYTES)) - 1

TILES, LIFE_COUNT, LIFE_SUM, FRAUDS_BEFORE, TYPICAL, PLACE_TIME, LAT, LON = range(8)
STATE_COLUMNS = 8
"""Number of state columns; all are integers except TYPICAL, which holds the bits of a float64."""

NO_PLACE = -1

_IDENTIFIERS = ADDRESS - MERCHANT + 1
_FLAG_FRAUD = 1 << _IDENTIFIERS
_FLAG_GHOST = 1 << (_IDENTIFIERS + 1)
_FLAG_BACK = 1 << (_IDENTIFIERS + 2)
_ROW_BYTES = 3 * LONGEST + TX_BYTES + 2 + _IDENTIFIERS * 7
_TILE_BYTES = 6 * LONGEST + 8
ROW_BOUND = max(_ROW_BYTES, _TILE_BYTES)
STATE_BOUND = HEADER + 8 + (STATE_COLUMNS + 1) * LONGEST

TABLE = 8192
"""Slots of the hash table for dictionary entries and distinct values: more than a state has identifiers."""


@numba.njit(cache=True, nogil=True)
def lookup(
    keys: NDArray[np.int64],
    marks: NDArray[np.int32],
    values: NDArray[np.int32],
    mark: int,
    key: int,
    value: int,
) -> int:
    """Return the value of a key in the table's generation `mark`; a missing key is added with `value`."""
    h = ((key * 0x9E3779B1) >> 12) & (TABLE - 1)
    while marks[h] == mark:
        if keys[h] == key:
            return values[h]
        h = (h + 1) & (TABLE - 1)
    marks[h] = mark
    keys[h] = key
    values[h] = value
    return value


@numba.njit(cache=True, nogil=True)
def decode_account(
    buffer: NDArray[np.uint8],
    start: int,
    end: int,
    state: NDArray[np.int64],
    rows: NDArray[np.int64],
    squares: NDArray[np.float64],
    floats: NDArray[np.float64],
) -> int:
    """Read one blob into state[STATE_COLUMNS], rows[n, PAYMENT_COLUMNS] and squares[n].

    The blob is buffer[start:end]; floats is float64[1], scratch to turn 8 bytes into a float.

    Returns:
        Number of rows; 0 for an empty blob (a new account); -1 if the blob is not valid.
    """
    state[:] = 0
    state[PLACE_TIME] = NO_PLACE
    if end == start:
        return 0
    if end - start < HEADER or buffer[start] != VERSION:
        return -1
    n = np.int64(buffer[start + 1]) | np.int64(buffer[start + 2]) << 8
    at = start + HEADER
    for k in range(FRAUDS_BEFORE + 1):
        state[k], at = get(buffer, at, end)
    bits = floats.view(np.int64)
    state[TYPICAL], at = get_fixed(buffer, at, end, 8)
    place_time, at = get(buffer, at, end)
    if place_time:
        state[PLACE_TIME] = place_time - 1
        lat, at = get(buffer, at, end)
        lon, at = get(buffer, at, end)
        state[LAT] = unzigzag(lat)
        state[LON] = unzigzag(lon)
    tiles = state[TILES]
    if n > MOST or tiles > n or n - tiles >= EXACT + FOLD:
        return -1
    entries = np.empty(_IDENTIFIERS * n + 1, np.int64)
    entries[0] = 0
    known = 1
    time = np.int64(0)
    for r in range(n):
        delta, at = get(buffer, at, end)
        time += delta
        for c in range(PAYMENT_COLUMNS):
            rows[r, c] = 0
        rows[r, TIME] = time
        if r < tiles:
            rows[r, COUNT], at = get(buffer, at, end)
            rows[r, SUM], at = get(buffer, at, end)
            rows[r, MAX], at = get(buffer, at, end)
            rows[r, BACK], at = get(buffer, at, end)
            rows[r, FRAUD], at = get(buffer, at, end)
            bits[0], at = get_fixed(buffer, at, end, 8)
            squares[r] = floats[0]
        else:
            amount, at = get(buffer, at, end)
            rows[r, SUM] = amount
            rows[r, MAX] = amount
            rows[r, TX], at = get_fixed(buffer, at, end, TX_BYTES)
            flags, at = get(buffer, at, end)
            rows[r, FRAUD] = 1 if flags & _FLAG_FRAUD else 0
            rows[r, COUNT] = 0 if flags & _FLAG_GHOST else 1
            squares[r] = 0.0
            for k in range(_IDENTIFIERS):
                if flags & (1 << k):
                    index, at = get(buffer, at, end)
                    if index > known or at < 0:
                        return -1
                    if index == known:
                        entries[known], at = get_fixed(buffer, at, end, 4)
                        known += 1
                    rows[r, MERCHANT + k] = entries[index]
                elif r > tiles:
                    rows[r, MERCHANT + k] = rows[r - 1, MERCHANT + k]
            if flags & _FLAG_BACK:
                back, at = get(buffer, at, end)
                rows[r, BACK] = back >> 2
                rows[r, COMPLETED] = back >> 1 & 1
                if back & 1:
                    rows[r, COUNT] = NOTE
        if at < 0:
            return -1
    return n if at == end else -1


@numba.njit(cache=True, nogil=True)
def encode_account(
    state: NDArray[np.int64],
    rows: NDArray[np.int64],
    squares: NDArray[np.float64],
    buffer: NDArray[np.uint8],
    at: int,
    keys: NDArray[np.int64],
    marks: NDArray[np.int32],
    values: NDArray[np.int32],
    mark: int,
    floats: NDArray[np.float64],
) -> int:
    """Write one blob at a position of the buffer, and return the next free position. The inverse of decode_account."""
    n = rows.shape[0]
    tiles = state[TILES]
    buffer[at] = VERSION
    buffer[at + 1] = n & 0xFF
    buffer[at + 2] = n >> 8
    at += HEADER
    for k in range(FRAUDS_BEFORE + 1):
        at = put(buffer, at, state[k])
    at = put_fixed(buffer, at, state[TYPICAL], 8)
    at = put(buffer, at, state[PLACE_TIME] + 1)
    if state[PLACE_TIME] != NO_PLACE:
        at = put(buffer, at, zigzag(state[LAT]))
        at = put(buffer, at, zigzag(state[LON]))
    bits = floats.view(np.int64)
    known = 1
    time = np.int64(0)
    for r in range(n):
        at = put(buffer, at, rows[r, TIME] - time)
        time = rows[r, TIME]
        if r < tiles:
            at = put(buffer, at, rows[r, COUNT])
            at = put(buffer, at, rows[r, SUM])
            at = put(buffer, at, rows[r, MAX])
            at = put(buffer, at, rows[r, BACK])
            at = put(buffer, at, rows[r, FRAUD])
            floats[0] = squares[r]
            at = put_fixed(buffer, at, bits[0], 8)
            continue
        flags = 0
        for k in range(_IDENTIFIERS):
            before = rows[r - 1, MERCHANT + k] if r > tiles else 0
            if rows[r, MERCHANT + k] != before:
                flags |= 1 << k
        if rows[r, FRAUD]:
            flags |= _FLAG_FRAUD
        if rows[r, COUNT] == 0:
            flags |= _FLAG_GHOST
        back = rows[r, BACK] << 2 | rows[r, COMPLETED] << 1 | (1 if rows[r, COUNT] == NOTE else 0)
        if back:
            flags |= _FLAG_BACK
        at = put(buffer, at, rows[r, SUM])
        at = put_fixed(buffer, at, rows[r, TX], TX_BYTES)
        at = put(buffer, at, flags)
        for k in range(_IDENTIFIERS):
            if flags & (1 << k):
                identifier = rows[r, MERCHANT + k]
                index = 0 if identifier == 0 else lookup(keys, marks, values, mark, identifier, known)
                at = put(buffer, at, index)
                if index == known:
                    at = put_fixed(buffer, at, identifier, 4)
                    known += 1
        if back:
            at = put(buffer, at, back)
    return at
