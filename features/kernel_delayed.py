"""The delayed features of merchants, devices and addresses: activity and confirmed frauds before the labels' delay.

They look at (t - delay - window, t - delay], so later events, and the progress of the entity's own partition, have no
effect.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from features.account_codec import lookup
from features.catalogue import DELAYED, ENTITY_WINDOWS, LIVE, NAMES
from features.entity_codec import EntityStates
from features.rows import (
    ACCOUNT,
    AMOUNT,
    COUNT,
    FRAUD,
    TIME,
    TX,
    UNUSUAL,
    claim,
    find,
    mark,
    newest_event,
    open_gap,
    place,
    settle,
    tidy,
)
from vedette.clock import DAY

REACH = max(ENTITY_WINDOWS.values())
BEYOND_DELAY = REACH + 7 * DAY
"""Age beyond the label delay, relative to the entity's newest row, at which rows are dropped; readers may lag by up to
seven days."""

UNUSUAL_STEPS = 16
"""Resolution of unusualness, which is stored in sixteenths in one byte."""

MERCHANT = DELAYED.index("merchant")

_WINDOWS = np.array(list(ENTITY_WINDOWS.values()))
_N_WINDOWS = len(_WINDOWS)
# First column and number of columns of each kind, in the order of DELAYED. Count and fraud rate alternate, window by
# window; the others follow.
_FIRST = np.array([NAMES.index(f"{kind}_count_1d") for kind in DELAYED])
_COLUMNS = np.array([len([n for n in NAMES if n.startswith(f"{kind}_") and n not in LIVE]) for kind in DELAYED])


@numba.njit(cache=True, nogil=True)
def apply_delayed(
    states: EntityStates,
    e: int,
    t: int,
    h: int,
    account: int,
    amount: int,
    unusual: int,
    label: int,
    delay: int,
) -> None:
    """Apply a payment (label -1) or a label to the rows of entity e; t is its event time, h its hash."""
    rows, squares, horizon = states.rows, states.squares, delay + BEYOND_DELAY
    head, tail, tiles = states.heads[e], states.tails[e], states.tiled[e]
    newest = newest_event(rows, head, tail)
    if newest >= 0 and t <= newest - horizon:
        return
    if label >= 0:
        tail += mark(rows, squares, head, tail, tiles, t, h, label == 1)
        oldest = newest - horizon
    else:
        p = place(rows, head, tail, t)
        known = find(rows, head + tiles, p, t, h)
        if known >= 0 and rows[known, COUNT] == 0:
            p = claim(rows, squares, known, p)
            _write(rows, p, t, h, account, amount, unusual)
        elif known < 0:
            open_gap(rows, squares, p, tail)
            rows[p, FRAUD] = 0
            _write(rows, p, t, h, account, amount, unusual)
            tail += 1
            if p < head + tiles:
                head, tiles = settle(rows, squares, head, tiles + 1, p)
        oldest = max(newest, t) - horizon
    states.heads[e], states.tiled[e], _ = tidy(rows, squares, head, tail, tiles, oldest)
    states.tails[e] = tail


@numba.njit(cache=True, nogil=True)
def _write(rows: NDArray[np.int64], p: int, time: int, tx: int, account: int, amount: int, unusual: int) -> None:
    """Write the event to row p, keeping its label."""
    rows[p, TIME], rows[p, TX], rows[p, COUNT] = time, tx, 1
    rows[p, ACCOUNT], rows[p, AMOUNT], rows[p, UNUSUAL] = account, amount, unusual


@numba.njit(cache=True, nogil=True)
def clear_delayed(kind: int, out: NDArray[np.float64]) -> None:
    """Make the delayed features of a kind missing in a payment's row."""
    out[_FIRST[kind] : _FIRST[kind] + _COLUMNS[kind]] = np.nan


@numba.njit(cache=True, nogil=True)
def query_delayed(
    states: EntityStates,
    e: int,
    kind: int,
    time: int,
    delay: int,
    scale: float,
    out: NDArray[np.float64],
    keys: NDArray[np.int64],
    marks: NDArray[np.int32],
    values: NDArray[np.int32],
    generation: int,
) -> None:
    """Fill the delayed features of entity e in a payment's row; the kind is an index into DELAYED."""
    rows, first, end = states.rows, states.heads[e], states.tails[e]
    while end > first and rows[end - 1, TIME] > time - delay:
        end -= 1
    column = _FIRST[kind]
    accounts = _activity(rows, first, end, time - delay, out, column, keys, marks, values, generation)
    column += 2 * _N_WINDOWS
    if kind == MERCHANT:
        _run(rows, first, first + states.tiled[e], end, time, delay, scale, out, column)
    else:
        out[column] = accounts


@numba.njit(cache=True, nogil=True)
def _activity(
    rows: NDArray[np.int64],
    first: int,
    end: int,
    t: int,
    out: NDArray[np.float64],
    column: int,
    keys: NDArray[np.int64],
    marks: NDArray[np.int32],
    values: NDArray[np.int32],
    generation: int,
) -> int:
    """Fill counts and fraud rates up to time t from rows[first:end], newest first; return the number of accounts."""
    count, frauds, accounts, window = 0, 0, 0, 0
    for r in range(end - 1, first - 1, -1):
        age = t - rows[r, TIME]
        while window < _N_WINDOWS and age >= _WINDOWS[window]:
            out[column + 2 * window] = count
            out[column + 2 * window + 1] = frauds / count if count else 0.0
            window += 1
        if window == _N_WINDOWS:
            break
        if rows[r, COUNT]:
            count += rows[r, COUNT]
            frauds += rows[r, FRAUD]
            if rows[r, ACCOUNT] and lookup(keys, marks, values, generation, rows[r, ACCOUNT], r) == r:
                accounts += 1
    while window < _N_WINDOWS:
        out[column + 2 * window] = count
        out[column + 2 * window + 1] = frauds / count if count else 0.0
        window += 1
    return accounts


@numba.njit(cache=True, nogil=True)
def _run(
    rows: NDArray[np.int64],
    first: int,
    singles: int,
    end: int,
    t: int,
    delay: int,
    scale: float,
    out: NDArray[np.float64],
    column: int,
) -> None:
    """Fill the features of the latest unbroken run of frauds, from rows[first:end]; rows from `singles` are events.

    Payments of one moment arrive from different partitions in any order, so if one of them is honest, the run begins
    after that moment.
    """
    oldest = t - delay - REACH
    honest = oldest
    r = end - 1
    while r >= first and rows[r, TIME] > oldest:
        if rows[r, COUNT] > rows[r, FRAUD]:
            honest = rows[r, TIME]
            out[column + 2] = t // DAY - honest // DAY
            break
        r -= 1
    run, unusual, amount = 0, np.inf, np.inf
    r = end - 1
    while r >= first and rows[r, TIME] > honest:
        if rows[r, COUNT]:
            run += rows[r, COUNT]
            out[column + 1] = t // DAY - rows[r, TIME] // DAY
            if r >= singles:  # the payments of a tile are not known individually
                unusual = min(unusual, float(rows[r, UNUSUAL]))
                amount = min(amount, float(rows[r, AMOUNT]))
        r -= 1
    out[column] = run
    if unusual < np.inf:
        out[column + 3] = unusual / UNUSUAL_STEPS
        out[column + 4] = amount / scale
