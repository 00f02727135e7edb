"""The state of an account, merchant, device or address: rows in order of event time, as int64[n, columns].

A row is a payment (COUNT 1), another event (COUNT NOTE: a refund, a deposit …), a label whose event has not arrived yet
(COUNT 0, FRAUD 1), or a tile: the events of one hour folded together once there are more than EXACT events. Tiles
precede all events, and a tile counts as if everything in it had happened at the time of its last event. Its events no
longer have ids, so a repeated event or label counts again there, a withdrawn label still counts, and a payment can no
longer be taken back. Rows older than the horizon are dropped.

A parallel array `squares` holds the sum of squared deviations of a tile's amounts from their mean, 0 for events.

Folding and dropping depend only on the order in which events arrive, never on how they are batched.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from vedette.clock import HOUR

TIME, COUNT, FRAUD, TX = 0, 1, 2, 3
ACCOUNT, AMOUNT, UNUSUAL = 4, 5, 6
ENTITY_COLUMNS = 7
"""Columns of the row of a merchant, device or address: the first four and its fields of a payment."""

SUM, MAX, BACK, MERCHANT, CATEGORY, DEVICE, COUNTRY, PAYEE, ADDRESS, COMPLETED = 4, 5, 6, 7, 8, 9, 10, 11, 12, 13
PAYMENT_COLUMNS = 14
"""Columns of the row of an account: the first four, the amount, how much of it came back (of a note, what comes back
without a payment here that it belongs to), the identifiers of the payment, and whether a completion has arrived."""

NOTE = -1
"""COUNT of an event that is not a payment: it is recognised when it is repeated, and takes its amount out of totals."""

EXACT = 512
FOLD = 64
"""Number of events folded at once: EXACT are stored singly, and after FOLD more the FOLD oldest become tiles."""

MOST = 2304
"""Maximum number of rows, more than any horizon has hours and events; only orphaned labels could exceed it."""

LARGEST_SUM = (1 << 62) - 1
"""Cap on sums of amounts, so that adding two of them cannot overflow."""

HEADER = 3
"""Length in bytes of the header of a state blob: its version, then its number of rows, little-endian."""


@numba.njit(cache=True, nogil=True)
def layout(blobs: NDArray[np.uint8], starts: NDArray[np.int64], slots: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first row of each state in a pool, int64[states + 1]: its rows and one more per event.

    Args:
        blobs: uint8, the concatenated blobs; bytes 1 and 2 of each hold its number of rows.
        starts: int64[states + 1], start of each blob.
        slots: int64[n], the state of each event.
    """
    states = starts.shape[0] - 1
    room = np.zeros(states + 1, np.int64)
    for i in range(slots.shape[0]):
        room[slots[i] + 1] += 1
    for s in range(states):
        if starts[s + 1] - starts[s] >= HEADER:
            n = np.int64(blobs[starts[s] + 1]) | np.int64(blobs[starts[s] + 2]) << 8
            room[s + 1] += min(n, MOST)  # a blob that claims more is refused when it is decoded
        room[s + 1] += room[s]
    return room


@numba.njit(cache=True, nogil=True)
def place(rows: NDArray[np.int64], head: int, tail: int, time: int) -> int:
    """Return the index after the last of rows[head:tail] that is not later than time."""
    p = tail
    while p > head and rows[p - 1, TIME] > time:
        p -= 1
    return p


@numba.njit(cache=True, nogil=True)
def find(rows: NDArray[np.int64], first: int, end: int, time: int, tx: int) -> int:
    """Return the index of the event with this time and transaction hash before `end`, or -1."""
    p = end - 1
    while p >= first and rows[p, TIME] == time:
        if rows[p, TX] == tx:
            return p
        p -= 1
    return -1


@numba.njit(cache=True, nogil=True)
def open_gap(rows: NDArray[np.int64], squares: NDArray[np.float64], p: int, tail: int) -> None:
    """Shift rows[p:tail] by one, so that rows[p] can be written."""
    for r in range(tail, p, -1):
        rows[r] = rows[r - 1]
        squares[r] = squares[r - 1]


@numba.njit(cache=True, nogil=True)
def merge(rows: NDArray[np.int64], squares: NDArray[np.float64], into: int, row: int) -> None:
    """Add one row to a tile; squares follow Chan, Golub and LeVeque (1979), which avoids cancellation."""
    n, m = rows[into, COUNT], max(rows[row, COUNT], 0)
    if rows.shape[1] == PAYMENT_COLUMNS:
        if n and m:
            apart = rows[into, SUM] / n - rows[row, SUM] / m
            squares[into] += apart * apart * n * m / (n + m)
        squares[into] += squares[row]
        rows[into, SUM] = min(LARGEST_SUM, rows[into, SUM] + rows[row, SUM])
        rows[into, MAX] = max(rows[into, MAX], rows[row, MAX])
        rows[into, BACK] = min(LARGEST_SUM, rows[into, BACK] + rows[row, BACK])
    rows[into, TIME] = max(rows[into, TIME], rows[row, TIME])
    rows[into, COUNT] = n + m
    rows[into, FRAUD] += rows[row, FRAUD]


@numba.njit(cache=True, nogil=True)
def anonymise(rows: NDArray[np.int64], p: int) -> None:
    """Clear the fields of row p that identify a single event, as a tile has none of them; a tile counts payments."""
    rows[p, TX] = 0
    rows[p, COUNT] = max(rows[p, COUNT], 0)
    for c in range(MERCHANT if rows.shape[1] == PAYMENT_COLUMNS else ACCOUNT, rows.shape[1]):
        rows[p, c] = 0


@numba.njit(cache=True, nogil=True)
def fold(rows: NDArray[np.int64], squares: NDArray[np.float64], head: int, tiles: int) -> tuple[int, int]:
    """Fold the FOLD oldest events into hourly tiles, in place; return the new head and number of tiles."""
    first = head + tiles
    last = head + tiles - 1  # the newest tile, if any
    for r in range(first, first + FOLD):
        if last >= head and rows[last, TIME] // HOUR == rows[r, TIME] // HOUR:
            merge(rows, squares, last, r)
        else:
            last += 1
            if last != r:
                rows[last] = rows[r]
                squares[last] = squares[r]
            anonymise(rows, last)
    # Close the gap between the tiles and the remaining events by moving the tiles.
    shift = first + FOLD - 1 - last
    if shift:
        for r in range(last, head - 1, -1):
            rows[r + shift] = rows[r]
            squares[r + shift] = squares[r]
    return head + shift, last + 1 - head


@numba.njit(cache=True, nogil=True)
def settle(rows: NDArray[np.int64], squares: NDArray[np.float64], head: int, tiles: int, p: int) -> tuple[int, int]:
    """Turn row p, an event that arrived among the tiles, into a tile; return the new head and number of tiles."""
    anonymise(rows, p)
    hour = rows[p, TIME] // HOUR
    if p + 1 < head + tiles and rows[p + 1, TIME] // HOUR == hour:
        gone = p
    elif p > head and rows[p - 1, TIME] // HOUR == hour:
        gone = p - 1
    else:
        return head, tiles
    merge(rows, squares, gone + 1, gone)
    for r in range(gone, head, -1):
        rows[r] = rows[r - 1]
        squares[r] = squares[r - 1]
    return head + 1, tiles - 1


@numba.njit(cache=True, nogil=True)
def claim(rows: NDArray[np.int64], squares: NDArray[np.float64], known: int, p: int) -> int:
    """Move the label in row `known`, whose event has arrived, after the others of its time; return its new index."""
    fraud = rows[known, FRAUD]
    for r in range(known, p - 1):
        rows[r] = rows[r + 1]
        squares[r] = squares[r + 1]
    rows[p - 1] = 0
    squares[p - 1] = 0.0
    rows[p - 1, FRAUD] = fraud
    return p - 1


@numba.njit(cache=True, nogil=True)
def newest_event(rows: NDArray[np.int64], head: int, tail: int) -> int:
    """Return the time of the newest event, -1 without any; a label that waits for its event does not count."""
    r = tail - 1
    while r >= head and rows[r, COUNT] == 0:
        r -= 1
    time: int = rows[r, TIME] if r >= head else -1
    return time


@numba.njit(cache=True, nogil=True)
def tidy(
    rows: NDArray[np.int64], squares: NDArray[np.float64], head: int, tail: int, tiles: int, oldest: int
) -> tuple[int, int, int]:
    """Drop rows not newer than `oldest`, fold if there are many; return new head, number of tiles, frauds dropped."""
    frauds = 0
    while head < tail and (rows[head, TIME] <= oldest or tail - head > MOST):
        frauds += rows[head, FRAUD]
        head += 1
        tiles = max(tiles - 1, 0)
    if tail - head - tiles >= EXACT + FOLD:
        head, tiles = fold(rows, squares, head, tiles)
    return head, tiles, frauds


@numba.njit(cache=True, nogil=True)
def mark(
    rows: NDArray[np.int64],
    squares: NDArray[np.float64],
    head: int,
    tail: int,
    tiles: int,
    time: int,
    tx: int,
    fraud: bool,
) -> int:
    """Apply a label; return 1 if a row was inserted for it (a label before its event), otherwise 0.

    A label of an event that is part of a tile counts in the tile; the caller handles labels beyond the horizon.
    """
    p = place(rows, head, tail, time)
    found = find(rows, head + tiles, p, time, tx)
    if found >= 0:
        rows[found, FRAUD] = 1 if fraud else 0
        return 0
    if not fraud:
        return 0
    in_tiles = min(p, head + tiles)
    if in_tiles > head and rows[in_tiles - 1, TIME] == time:
        in_tiles -= 1
    if in_tiles < head + tiles:
        rows[in_tiles, FRAUD] += 1  # the first tile that does not end before the event
        return 0
    open_gap(rows, squares, p, tail)
    rows[p] = 0
    squares[p] = 0.0
    rows[p, TIME] = time
    rows[p, TX] = tx
    rows[p, FRAUD] = 1
    return 1
