"""The merchant kernel: activity and confirmed frauds at a merchant, seen with the labels' delay.

Features look at (t - delay - window, t - delay], so what has happened since then, at whatever speed the merchant's
own partition runs, changes nothing. The blob of a merchant, version 1:

    byte 0      version
    bytes 1-2   number of rows, little-endian
    varint      tiles
    tile        distance in time to the row before, count and frauds as varints
    event       distance in time x 4 + fraud x 2 + (label without event), then the transaction hash (3 bytes)
"""

import numba
import numpy as np
from numpy.typing import NDArray

from features.account_codec import TX_BYTES, TX_MASK
from features.catalogue import LABEL_DELAY, MERCHANT_WINDOWS, NAMES
from features.rows import (
    COUNT,
    EVENT_COLUMNS,
    EXACT,
    FOLD,
    FRAUD,
    HEADER,
    MOST,
    TIME,
    TX,
    find,
    layout,
    mark,
    newest_event,
    open_gap,
    place,
    settle,
    tidy,
)
from features.varint import LONGEST, get, get_fixed, put, put_fixed
from vedette.clock import DAY

VERSION = 1
HORIZON = LABEL_DELAY + max(MERCHANT_WINDOWS.values()) + 7 * DAY
"""Rows older than the merchant's newest by this are dropped; a reader may lag the merchant by the last seven days."""

_WINDOWS = np.array(list(MERCHANT_WINDOWS.values()), np.int64)
_N_WINDOWS = len(_WINDOWS)
_FIRST = NAMES.index("merchant_count_1d")  # count and fraud rate alternate from here
_ROW_BOUND = 3 * LONGEST + TX_BYTES
_STATE_BOUND = HEADER + LONGEST


@numba.njit(cache=True, nogil=True)
def decode_merchant(buffer: NDArray[np.uint8], start: int, end: int, rows: NDArray[np.int64]) -> tuple[int, int]:
    """Read one blob into rows[n, EVENT_COLUMNS]; number of rows (-1 if the blob is not valid) and of tiles."""
    if end == start:
        return 0, 0
    if end - start < HEADER or buffer[start] != VERSION:
        return -1, 0
    n = np.int64(buffer[start + 1]) | np.int64(buffer[start + 2]) << 8
    tiles, at = get(buffer, start + HEADER, end)
    if n > MOST or tiles > n or n - tiles >= EXACT + FOLD:
        return -1, 0
    time = np.int64(0)
    for r in range(n):
        row = rows[r]
        delta, at = get(buffer, at, end)
        if r < tiles:
            row[COUNT], at = get(buffer, at, end)
            row[FRAUD], at = get(buffer, at, end)
            row[TX] = 0
        else:
            row[COUNT] = 1 - (delta & 1)
            row[FRAUD] = (delta >> 1) & 1
            delta >>= 2
            row[TX], at = get_fixed(buffer, at, end, TX_BYTES)
        if at < 0:
            return -1, 0
        time += delta
        row[TIME] = time
    return (n, tiles) if at == end else (-1, 0)


@numba.njit(cache=True, nogil=True)
def encode_merchant(rows: NDArray[np.int64], tiles: int, buffer: NDArray[np.uint8], at: int) -> int:
    """Write one blob at a position of the buffer; the next free position. The inverse of decode_merchant."""
    n = rows.shape[0]
    buffer[at] = VERSION
    buffer[at + 1] = n & 0xFF
    buffer[at + 2] = n >> 8
    at = put(buffer, at + HEADER, tiles)
    time = np.int64(0)
    for r in range(n):
        delta = rows[r, TIME] - time
        time = rows[r, TIME]
        if r < tiles:
            at = put(buffer, at, delta)
            at = put(buffer, at, rows[r, COUNT])
            at = put(buffer, at, rows[r, FRAUD])
        else:
            at = put(buffer, at, delta << 2 | (2 if rows[r, FRAUD] else 0) | (1 if rows[r, COUNT] == 0 else 0))
            at = put_fixed(buffer, at, rows[r, TX], TX_BYTES)
    return at


@numba.njit(cache=True, nogil=True)
def advance_merchants(
    blobs: NDArray[np.uint8],
    starts: NDArray[np.int64],
    slots: NDArray[np.int64],
    time: NDArray[np.int64],
    tx: NDArray[np.int64],
    label: NDArray[np.int8],
) -> tuple[NDArray[np.uint8], NDArray[np.int64], int]:
    """Take activity into the states of its merchants, in order.

    Args:
        blobs: uint8, the blobs of all merchants of the batch one after the other; an empty one is a new merchant.
        starts: int64[merchants + 1], where each begins.
        slots: int64[n], the merchant of each record.
        time: int64[n], event times in milliseconds.
        tx: int64[n], transaction hashes, cut to TX_MASK here.
        label: int8[n], -1 for a payment, else a label on the payment with this time and hash: 1 fraud, 0 not.

    Returns:
        The new blobs, where each begins, and -1, or else the index of a merchant whose blob is not valid.
    """
    merchants = starts.shape[0] - 1
    base = layout(blobs, starts, slots)
    rows = np.empty((base[merchants], EVENT_COLUMNS), np.int64)
    squares = np.zeros(base[merchants], np.float64)  # unused by merchants, moved along by the row functions
    heads = np.empty(merchants, np.int64)
    tails = np.empty(merchants, np.int64)
    tiled = np.empty(merchants, np.int64)
    for m in range(merchants):
        n, tiled[m] = decode_merchant(blobs, starts[m], starts[m + 1], rows[base[m] : base[m + 1]])
        if n < 0:
            return np.empty(0, np.uint8), starts, m
        heads[m], tails[m] = base[m], base[m] + n

    for i in range(slots.shape[0]):
        m = slots[i]
        head, tail, tiles = heads[m], tails[m], tiled[m]
        t, h = time[i], tx[i] & TX_MASK
        newest = newest_event(rows, head, tail)
        if newest >= 0 and t <= newest - HORIZON:
            continue
        if label[i] >= 0:
            tail += mark(rows, squares, head, tail, tiles, t, h, label[i] == 1)
            oldest = newest - HORIZON
        else:
            p = place(rows, head, tail, t)
            known = find(rows, head + tiles, p, t, h)
            if known >= 0:
                rows[known, COUNT] = 1
            else:
                open_gap(rows, squares, p, tail)
                rows[p, TIME], rows[p, TX], rows[p, COUNT], rows[p, FRAUD] = t, h, 1, 0
                tail += 1
                if p < head + tiles:
                    head, tiles = settle(rows, squares, head, tiles + 1, p)
            oldest = max(newest, t) - HORIZON
        heads[m], tiled[m], _ = tidy(rows, squares, head, tail, tiles, oldest)
        tails[m] = tail

    size = np.int64(0)
    for m in range(merchants):
        size += _STATE_BOUND + (tails[m] - heads[m]) * _ROW_BOUND
    blobs_out = np.empty(size, np.uint8)
    starts_out = np.zeros(merchants + 1, np.int64)
    at = 0
    for m in range(merchants):
        at = encode_merchant(rows[heads[m] : tails[m]], tiled[m], blobs_out, at)
        starts_out[m + 1] = at
    return blobs_out, starts_out, -1


@numba.njit(cache=True, nogil=True)
def query_merchants(
    blobs: NDArray[np.uint8],
    starts: NDArray[np.int64],
    slots: NDArray[np.int64],
    time: NDArray[np.int64],
    out: NDArray[np.float64],
) -> int:
    """Fill the merchant features of events, reading states only.

    Args:
        blobs: uint8, the blobs of all merchants of the batch one after the other.
        starts: int64[merchants + 1], where each begins.
        slots: int64[n], the merchant of each event, -1 for none.
        time: int64[n], event times in milliseconds.
        out: float64[n, features].

    Returns:
        -1, or the index of a merchant whose blob is not valid.
    """
    merchants = starts.shape[0] - 1
    base = layout(blobs, starts, np.empty(0, np.int64))
    rows = np.empty((base[merchants], EVENT_COLUMNS), np.int64)
    sizes = np.empty(merchants, np.int64)
    for m in range(merchants):
        sizes[m], _ = decode_merchant(blobs, starts[m], starts[m + 1], rows[base[m] : base[m + 1]])
        if sizes[m] < 0:
            return m
    for i in range(slots.shape[0]):
        count, frauds, window = 0, 0, 0
        upto = time[i] - LABEL_DELAY
        if slots[i] >= 0:
            first = base[slots[i]]
            for r in range(first + sizes[slots[i]] - 1, first - 1, -1):
                age = upto - rows[r, TIME]
                if age < 0:
                    continue
                while window < _N_WINDOWS and age >= _WINDOWS[window]:
                    out[i, _FIRST + 2 * window] = count
                    out[i, _FIRST + 2 * window + 1] = frauds / count if count else 0.0
                    window += 1
                if window == _N_WINDOWS:
                    break
                count += rows[r, COUNT]
                if rows[r, COUNT]:
                    frauds += rows[r, FRAUD]
        while window < _N_WINDOWS:
            out[i, _FIRST + 2 * window] = count
            out[i, _FIRST + 2 * window + 1] = frauds / count if count else 0.0
            window += 1
    return -1
