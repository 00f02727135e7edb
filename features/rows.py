"""What an account or a merchant remembers: rows in order of event time, as int64[n, columns].

A row is an event (COUNT 1), a label whose event has not arrived yet (COUNT 0, FRAUD 1), or a tile: the events of one
hour folded together once there are more than EXACT events. A tile stands before all events and counts as if
everything in it had happened at the time of its last event. Rows leave when they are older than the horizon.

Folding, like leaving, depends only on the order in which events arrive, never on how they were cut into batches.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from vedette.clock import HOUR

TIME, COUNT, FRAUD, TX = 0, 1, 2, 3
SUM, MAX, MERCHANT, CATEGORY, DEVICE, COUNTRY, PAYEE = 4, 5, 6, 7, 8, 9, 10
EVENT_COLUMNS = 4
PAYMENT_COLUMNS = 11

EXACT = 512
FOLD = 64
"""EXACT events are kept one by one; when FOLD more have come, the FOLD oldest are folded into tiles."""


@numba.njit(cache=True, nogil=True)
def place(rows: NDArray[np.int64], head: int, tail: int, time: int) -> int:
    """Index after the last of rows[head:tail] that is not later than time."""
    p = tail
    while p > head and rows[p - 1, TIME] > time:
        p -= 1
    return p


@numba.njit(cache=True, nogil=True)
def find(rows: NDArray[np.int64], first: int, end: int, time: int, tx: int) -> int:
    """Index of the event with this time and transaction hash that stands before `end`, else -1."""
    p = end - 1
    while p >= first and rows[p, TIME] == time:
        if rows[p, TX] == tx:
            return p
        p -= 1
    return -1


@numba.njit(cache=True, nogil=True)
def open_gap(rows: NDArray[np.int64], squares: NDArray[np.float64], p: int, tail: int) -> None:
    """Move rows[p:tail] one down, so that rows[p] can be written."""
    for r in range(tail, p, -1):
        rows[r] = rows[r - 1]
        squares[r] = squares[r - 1]


@numba.njit(cache=True, nogil=True)
def merge(rows: NDArray[np.int64], squares: NDArray[np.float64], into: int, row: int) -> None:
    """Add one row to a tile."""
    rows[into, TIME] = max(rows[into, TIME], rows[row, TIME])
    rows[into, COUNT] += rows[row, COUNT]
    rows[into, FRAUD] += rows[row, FRAUD]
    if rows.shape[1] > SUM:
        rows[into, SUM] += rows[row, SUM]
        rows[into, MAX] = max(rows[into, MAX], rows[row, MAX])
        squares[into] += squares[row]


@numba.njit(cache=True, nogil=True)
def fold(rows: NDArray[np.int64], squares: NDArray[np.float64], head: int, tiles: int) -> tuple[int, int]:
    """Fold the FOLD oldest events into hourly tiles, in place; new head and number of tiles."""
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
            rows[last, TX] = 0
            for c in range(MERCHANT, rows.shape[1]):
                rows[last, c] = 0
    # Close the hole between the tiles and the events that stay, by moving the tiles.
    shift = first + FOLD - 1 - last
    if shift:
        for r in range(last, head - 1, -1):
            rows[r + shift] = rows[r]
            squares[r + shift] = squares[r]
    return head + shift, last + 1 - head


@numba.njit(cache=True, nogil=True)
def settle(rows: NDArray[np.int64], squares: NDArray[np.float64], head: int, tiles: int, p: int) -> tuple[int, int]:
    """Turn row p, an event that arrived among the tiles, into a tile; new head and number of tiles."""
    rows[p, TX] = 0
    for c in range(MERCHANT, rows.shape[1]):
        rows[p, c] = 0
    if p + 1 == head + tiles or rows[p + 1, TIME] // HOUR != rows[p, TIME] // HOUR:
        return head, tiles
    merge(rows, squares, p + 1, p)
    for r in range(p, head, -1):
        rows[r] = rows[r - 1]
        squares[r] = squares[r - 1]
    return head + 1, tiles - 1


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
    """Apply a label; 1 if a row was added at its place (a label before its event), else 0.

    A label on an event that is part of a tile counts in the tile; the caller deals with one beyond the horizon.
    """
    p = place(rows, head, tail, time)
    found = find(rows, head + tiles, p, time, tx)
    if found >= 0:
        rows[found, FRAUD] = 1 if fraud else 0
        return 0
    if not fraud:
        return 0
    if p < head + tiles:
        rows[p, FRAUD] += 1  # the first tile that ends after the event
        return 0
    if p == head + tiles and tiles > 0 and time == rows[p - 1, TIME]:
        rows[p - 1, FRAUD] += 1  # the last event of the newest tile
        return 0
    open_gap(rows, squares, p, tail)
    rows[p] = 0
    squares[p] = 0.0
    rows[p, TIME] = time
    rows[p, TX] = tx
    rows[p, FRAUD] = 1
    return 1
