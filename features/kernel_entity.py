"""The entity kernel: activity and confirmed frauds of merchants, devices and addresses across accounts.

Features look at (t - delay - window, t - delay], the labels' delay, so what has happened since then, at whatever speed
the entity's own partition runs, changes nothing. The blob of an entity, version 1:

    byte 0      version
    bytes 1-2   number of rows, little-endian
    varint      tiles
    tile        distance in time to the row before, count and frauds as varints
    event       distance in time x 16 + paid x 8 + (another account than the event before) x 4 + fraud x 2
                + (label without event), then the transaction hash (3 bytes), the hash of that other account (3 bytes),
                and where it says paid the amount as a varint and the unusualness (1 byte)

Devices and addresses keep the accounts that paid, merchants what was paid: nothing asks for the rest.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from features.account_codec import TABLE, TX_BYTES, lookup
from features.catalogue import ENTITIES, ENTITY_WINDOWS, LABEL_DELAY, NAMES
from features.rows import (
    ACCOUNT,
    AMOUNT,
    COUNT,
    ENTITY_COLUMNS,
    EXACT,
    FOLD,
    FRAUD,
    HEADER,
    MOST,
    TIME,
    TX,
    UNUSUAL,
    claim,
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
REACH = max(ENTITY_WINDOWS.values())
HORIZON = LABEL_DELAY + REACH + 7 * DAY
"""Rows older than the entity's newest by this are dropped; a reader may lag the entity by the last seven days."""

ACCOUNT_BYTES = 3
ACCOUNT_MASK = (1 << (8 * ACCOUNT_BYTES)) - 1

UNUSUAL_STEPS = 16
"""Unusualness is kept in sixteenths, in one byte."""

_WINDOWS = np.array(list(ENTITY_WINDOWS.values()))
_N_WINDOWS = len(_WINDOWS)
# Where the columns of each kind begin, in the order of ENTITIES, and how many there are. Count and fraud rate
# alternate, window by window; the others stand behind them.
_FIRST = np.array([NAMES.index(f"{kind}_count_1d") for kind in ENTITIES])
_COLUMNS = np.array([len([name for name in NAMES if name.startswith(f"{kind}_")]) for kind in ENTITIES])
_MERCHANT = list(ENTITIES).index("merchant")

_ROW_BOUND = 3 * LONGEST + TX_BYTES + ACCOUNT_BYTES + 1
_STATE_BOUND = HEADER + LONGEST


@numba.njit(cache=True, nogil=True)
def decode_entity(
    buffer: NDArray[np.uint8], start: int, end: int, rows: NDArray[np.int64], first: int
) -> tuple[int, int]:
    """Read one blob into rows[first:, ENTITY_COLUMNS]; number of rows (-1 if the blob is not valid) and of tiles."""
    if end == start:
        return 0, 0
    if end - start < HEADER or buffer[start] != VERSION:
        return -1, 0
    n = np.int64(buffer[start + 1]) | np.int64(buffer[start + 2]) << 8
    tiles, at = get(buffer, start + HEADER, end)
    if n > MOST or tiles > n or n - tiles >= EXACT + FOLD:
        return -1, 0
    time, account = np.int64(0), np.int64(0)
    for r in range(first, first + n):
        amount, unusual = np.int64(0), np.int64(0)
        delta, at = get(buffer, at, end)
        if r < first + tiles:
            rows[r, COUNT], at = get(buffer, at, end)
            rows[r, FRAUD], at = get(buffer, at, end)
            rows[r, TX] = 0
        else:
            rows[r, COUNT] = 1 - (delta & 1)
            rows[r, FRAUD] = (delta >> 1) & 1
            rows[r, TX], at = get_fixed(buffer, at, end, TX_BYTES)
            if delta & 4:
                account, at = get_fixed(buffer, at, end, ACCOUNT_BYTES)
            if delta & 8:
                amount, at = get(buffer, at, end)
                unusual, at = get_fixed(buffer, at, end, 1)
            delta >>= 4
        if at < 0:
            return -1, 0
        time += delta
        rows[r, TIME] = time
        rows[r, ACCOUNT] = account
        rows[r, AMOUNT] = amount
        rows[r, UNUSUAL] = unusual
    return (int(n), tiles) if at == end else (-1, 0)


@numba.njit(cache=True, nogil=True)
def encode_entity(rows: NDArray[np.int64], first: int, end: int, tiles: int, buffer: NDArray[np.uint8], at: int) -> int:
    """Write rows[first:end] as a blob at a position of the buffer; the next free position. Undoes decode_entity."""
    n = end - first
    buffer[at] = VERSION
    buffer[at + 1] = n & 0xFF
    buffer[at + 2] = n >> 8
    at = put(buffer, at + HEADER, tiles)
    time, account = np.int64(0), np.int64(0)
    for r in range(first, end):
        delta = rows[r, TIME] - time
        time = rows[r, TIME]
        if r < first + tiles:
            at = put(buffer, at, delta)
            at = put(buffer, at, rows[r, COUNT])
            at = put(buffer, at, rows[r, FRAUD])
        else:
            other = rows[r, ACCOUNT] != account
            paid = (rows[r, AMOUNT] | rows[r, UNUSUAL]) != 0
            flags = (4 if other else 0) | (2 if rows[r, FRAUD] else 0) | (1 if rows[r, COUNT] == 0 else 0)
            at = put(buffer, at, delta << 4 | (8 if paid else 0) | flags)
            at = put_fixed(buffer, at, rows[r, TX], TX_BYTES)
            if other:
                account = rows[r, ACCOUNT]
                at = put_fixed(buffer, at, account, ACCOUNT_BYTES)
            if paid:
                at = put(buffer, at, rows[r, AMOUNT])
                at = put_fixed(buffer, at, rows[r, UNUSUAL], 1)
    return at


@numba.njit(cache=True, nogil=True)
def advance_entities(
    blobs: NDArray[np.uint8],
    starts: NDArray[np.int64],
    slots: NDArray[np.int64],
    time: NDArray[np.int64],
    tx: NDArray[np.int64],
    account: NDArray[np.int64],
    amount: NDArray[np.int64],
    unusual: NDArray[np.uint8],
    label: NDArray[np.int8],
) -> tuple[NDArray[np.uint8], NDArray[np.int64], int]:
    """Take activity into the states of its entities, in order.

    Args:
        blobs: uint8, the blobs of all entities of the batch one after the other; an empty one is a new entity.
        starts: int64[entities + 1], where each begins.
        slots: int64[n], the entity of each record.
        time: int64[n], event times in milliseconds.
        tx: int64[n], transaction hashes within TX_MASK.
        account: int64[n], account hashes within ACCOUNT_MASK, 0 where they are not kept.
        amount: int64[n], minor units, 0 where they are not kept.
        unusual: uint8[n], unusualness in sixteenths, likewise.
        label: int8[n], -1 for a payment, else a label on the payment with this time and hash: 1 fraud, 0 not.

    Returns:
        The new blobs, where each begins, and -1, or else the index of an entity whose blob is not valid.
    """
    entities = starts.shape[0] - 1
    base = layout(blobs, starts, slots)
    rows = np.empty((base[entities], ENTITY_COLUMNS), np.int64)
    squares = np.zeros(base[entities], np.float64)  # unused by entities, moved along by the row functions
    heads = np.empty(entities, np.int64)
    tails = np.empty(entities, np.int64)
    tiled = np.empty(entities, np.int64)
    for e in range(entities):
        n, tiled[e] = decode_entity(blobs, starts[e], starts[e + 1], rows, base[e])
        if n < 0:
            return np.empty(0, np.uint8), starts, e
        heads[e], tails[e] = base[e], base[e] + n

    for i in range(slots.shape[0]):
        e = slots[i]
        head, tail, tiles = heads[e], tails[e], tiled[e]
        t, h = time[i], tx[i]
        newest = newest_event(rows, head, tail)
        if newest >= 0 and t <= newest - HORIZON:
            continue
        if label[i] >= 0:
            tail += mark(rows, squares, head, tail, tiles, t, h, label[i] == 1)
            oldest = newest - HORIZON
        else:
            p = place(rows, head, tail, t)
            known = find(rows, head + tiles, p, t, h)
            if known >= 0 and rows[known, COUNT] == 0:
                p = claim(rows, squares, known, p)
                _write(rows, p, t, h, account[i], amount[i], unusual[i])
            elif known < 0:
                open_gap(rows, squares, p, tail)
                rows[p, FRAUD] = 0
                _write(rows, p, t, h, account[i], amount[i], unusual[i])
                tail += 1
                if p < head + tiles:
                    head, tiles = settle(rows, squares, head, tiles + 1, p)
            oldest = max(newest, t) - HORIZON
        heads[e], tiled[e], _ = tidy(rows, squares, head, tail, tiles, oldest)
        tails[e] = tail

    size = np.int64(0)
    for e in range(entities):
        size += _STATE_BOUND + (tails[e] - heads[e]) * _ROW_BOUND
    blobs_out = np.empty(size, np.uint8)
    starts_out = np.zeros(entities + 1, np.int64)
    at = 0
    for e in range(entities):
        at = encode_entity(rows, heads[e], tails[e], tiled[e], blobs_out, at)
        starts_out[e + 1] = at
    return blobs_out, starts_out, -1


@numba.njit(cache=True, nogil=True)
def _write(rows: NDArray[np.int64], p: int, time: int, tx: int, account: int, amount: int, unusual: int) -> None:
    """Make row p the event, leaving its label."""
    rows[p, TIME], rows[p, TX], rows[p, COUNT] = time, tx, 1
    rows[p, ACCOUNT], rows[p, AMOUNT], rows[p, UNUSUAL] = account, amount, unusual


@numba.njit(cache=True, nogil=True)
def query_entities(
    blobs: NDArray[np.uint8],
    starts: NDArray[np.int64],
    slots: NDArray[np.int64],
    time: NDArray[np.int64],
    scale: NDArray[np.float64],
    out: NDArray[np.float64],
) -> int:
    """Fill the entity features of payments, reading states only.

    Args:
        blobs: uint8, the blobs of all entities of the batch one after the other.
        starts: int64[entities + 1], where each begins.
        slots: int64[n, 3], merchant, device and address of each payment; -1 for none, whose features become NaN.
        time: int64[n], event times in milliseconds.
        scale: float64[n], minor units in a major unit of the payment's currency.
        out: float64[n, features].

    Returns:
        -1, or the index of an entity whose blob is not valid.
    """
    entities = starts.shape[0] - 1
    base = layout(blobs, starts, np.empty(0, np.int64))
    rows = np.empty((base[entities], ENTITY_COLUMNS), np.int64)
    singles = np.empty(entities, np.int64)  # where the tiles end
    ends = np.empty(entities, np.int64)
    for e in range(entities):
        n, tiles = decode_entity(blobs, starts[e], starts[e + 1], rows, base[e])
        if n < 0:
            return e
        singles[e] = base[e] + tiles
        ends[e] = base[e] + n
    keys = np.empty(TABLE, np.int64)
    marks = np.zeros(TABLE, np.int32)
    values = np.empty(TABLE, np.int32)
    generation = 0
    for kind in range(slots.shape[1]):
        for i in range(slots.shape[0]):
            e = slots[i, kind]
            generation += 1
            column = _FIRST[kind]
            out[i, column : column + _COLUMNS[kind]] = np.nan
            if e < 0:
                continue
            first, end = base[e], ends[e]
            while end > first and rows[end - 1, TIME] > time[i] - LABEL_DELAY:
                end -= 1
            accounts = _activity(rows, first, end, time[i], out[i], column, keys, marks, values, generation)
            column += 2 * _N_WINDOWS
            if kind == _MERCHANT:
                _run(rows, first, singles[e], end, time[i], scale[i], out[i], column)
            else:
                out[i, column] = accounts
    return -1


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
    """Counts and fraud rates of a payment at time t, from rows[first:end], newest first; the number of accounts."""
    count, frauds, accounts, window = 0, 0, 0, 0
    for r in range(end - 1, first - 1, -1):
        age = t - LABEL_DELAY - rows[r, TIME]
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
    scale: float,
    out: NDArray[np.float64],
    column: int,
) -> None:
    """The merchant's latest payments as long as they are all frauds, from rows[first:end], single from `singles` on.

    Payments of one moment come from different partitions in any order. So if one of them is honest, the run begins
    after that moment.
    """
    oldest = t - LABEL_DELAY - REACH
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
            if r >= singles:  # of the payments in a tile nothing is known
                unusual = min(unusual, float(rows[r, UNUSUAL]))
                amount = min(amount, float(rows[r, AMOUNT]))
        r -= 1
    out[column] = run
    if unusual < np.inf:
        out[column + 3] = unusual / UNUSUAL_STEPS
        out[column + 4] = amount / scale
