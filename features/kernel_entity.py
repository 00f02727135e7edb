"""The entity kernel: activity and confirmed frauds of merchants, devices and addresses across accounts.

Features look at (t - delay - window, t - delay], the labels' delay, so what has happened since then, at whatever speed
the entity's own partition runs, changes nothing. The blob of an entity, version 1:

    byte 0      version
    bytes 1-2   number of rows, little-endian
    varint      tiles
    tile        distance in time to the row before, count and frauds as varints
    event       distance in time x 8 + (another account than the event before) x 4 + fraud x 2 + (label without event),
                then the transaction hash (3 bytes) and the hash of that other account (3 bytes)

A merchant's events have no account: nearly each would have another one, and nothing asks for it.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from features.account_codec import TABLE, TX_BYTES, lookup
from features.catalogue import DEVICE_WINDOWS, ENTITIES, LABEL_DELAY, MERCHANT_WINDOWS, NAMES
from features.rows import (
    ACCOUNT,
    COUNT,
    ENTITY_COLUMNS,
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
REACH = max(MERCHANT_WINDOWS.values())
HORIZON = LABEL_DELAY + REACH + 7 * DAY
"""Rows older than the entity's newest by this are dropped; a reader may lag the entity by the last seven days."""

ACCOUNT_BYTES = 3
ACCOUNT_MASK = (1 << (8 * ACCOUNT_BYTES)) - 1

# Per kind of entity, in the order of ENTITIES: its windows, shortest first, and where its columns begin. Count and
# fraud rate alternate, window by window; the others stand behind them.
_SPANS = (MERCHANT_WINDOWS, DEVICE_WINDOWS, DEVICE_WINDOWS)
_N_WINDOWS = np.array([len(spans) for spans in _SPANS])
_WINDOWS = np.zeros((len(_SPANS), max(_N_WINDOWS)), np.int64)
for _kind, _spans in enumerate(_SPANS):
    _WINDOWS[_kind, : len(_spans)] = list(_spans.values())
_FIRST = np.array([NAMES.index(f"{entity}_count_1d") for entity in ENTITIES])
_MERCHANT = list(ENTITIES).index("merchant")

_ROW_BOUND = 3 * LONGEST + TX_BYTES + ACCOUNT_BYTES
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
            delta >>= 3
        if at < 0:
            return -1, 0
        time += delta
        rows[r, TIME] = time
        rows[r, ACCOUNT] = account
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
            flags = (4 if other else 0) | (2 if rows[r, FRAUD] else 0) | (1 if rows[r, COUNT] == 0 else 0)
            at = put(buffer, at, delta << 3 | flags)
            at = put_fixed(buffer, at, rows[r, TX], TX_BYTES)
            if other:
                account = rows[r, ACCOUNT]
                at = put_fixed(buffer, at, account, ACCOUNT_BYTES)
    return at


@numba.njit(cache=True, nogil=True)
def advance_entities(
    blobs: NDArray[np.uint8],
    starts: NDArray[np.int64],
    slots: NDArray[np.int64],
    time: NDArray[np.int64],
    tx: NDArray[np.int64],
    account: NDArray[np.int64],
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
            if known >= 0:
                rows[known, COUNT] = 1
                rows[known, ACCOUNT] = account[i]
            else:
                open_gap(rows, squares, p, tail)
                rows[p, TIME], rows[p, TX], rows[p, COUNT], rows[p, FRAUD], rows[p, ACCOUNT] = t, h, 1, 0, account[i]
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
def query_entities(
    blobs: NDArray[np.uint8],
    starts: NDArray[np.int64],
    slots: NDArray[np.int64],
    time: NDArray[np.int64],
    out: NDArray[np.float64],
) -> int:
    """Fill the entity features of payments, reading states only.

    Args:
        blobs: uint8, the blobs of all entities of the batch one after the other.
        starts: int64[entities + 1], where each begins.
        slots: int64[n, 3], merchant, device and address of each payment; -1 for none, whose features become NaN.
        time: int64[n], event times in milliseconds.
        out: float64[n, features].

    Returns:
        -1, or the index of an entity whose blob is not valid.
    """
    entities = starts.shape[0] - 1
    base = layout(blobs, starts, np.empty(0, np.int64))
    rows = np.empty((base[entities], ENTITY_COLUMNS), np.int64)
    ends = np.empty(entities, np.int64)
    for e in range(entities):
        n, _ = decode_entity(blobs, starts[e], starts[e + 1], rows, base[e])
        if n < 0:
            return e
        ends[e] = base[e] + n
    keys = np.empty(TABLE, np.int64)
    marks = np.zeros(TABLE, np.int32)
    values = np.empty(TABLE, np.int32)
    generation = 0
    for kind in range(slots.shape[1]):
        for i in range(slots.shape[0]):
            e = slots[i, kind]
            generation += 1
            if e < 0:
                _unknown(out, i, kind)
            else:
                _delayed(rows, base[e], ends[e], kind, time[i], out, i, keys, marks, values, generation)
    return -1


@numba.njit(cache=True, nogil=True)
def _unknown(out: NDArray[np.float64], i: int, kind: int) -> None:
    """Features of payment i, which names no entity of this kind."""
    extra = _FIRST[kind] + 2 * _N_WINDOWS[kind]
    out[i, _FIRST[kind] : extra + (2 if kind == _MERCHANT else 1)] = np.nan


@numba.njit(cache=True, nogil=True)
def _delayed(
    rows: NDArray[np.int64],
    first: int,
    end: int,
    kind: int,
    t: int,
    out: NDArray[np.float64],
    i: int,
    keys: NDArray[np.int64],
    marks: NDArray[np.int32],
    values: NDArray[np.int32],
    generation: int,
) -> None:
    """Features of payment i at time t from its entity's rows[first:end], newest first."""
    column, windows = _FIRST[kind], _N_WINDOWS[kind]
    count, frauds, accounts, window = 0, 0, 0, 0
    latest, earliest = np.nan, np.nan
    for r in range(end - 1, first - 1, -1):
        age = t - LABEL_DELAY - rows[r, TIME]
        if age < 0:
            continue
        while window < windows and age >= _WINDOWS[kind, window]:
            out[i, column + 2 * window] = count
            out[i, column + 2 * window + 1] = frauds / count if count else 0.0
            window += 1
        if window == windows:
            break
        if rows[r, COUNT] == 0:
            continue
        count += rows[r, COUNT]
        if rows[r, FRAUD]:
            frauds += rows[r, FRAUD]
            earliest = (t - rows[r, TIME]) / DAY
            if np.isnan(latest):
                latest = earliest
        if rows[r, ACCOUNT] and lookup(keys, marks, values, generation, rows[r, ACCOUNT], r) == r:
            accounts += 1
    while window < windows:
        out[i, column + 2 * window] = count
        out[i, column + 2 * window + 1] = frauds / count if count else 0.0
        window += 1
    if kind == _MERCHANT:
        out[i, column + 2 * windows] = latest
        out[i, column + 2 * windows + 1] = earliest
    else:
        out[i, column + 2 * windows] = accounts
