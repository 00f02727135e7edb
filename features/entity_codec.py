"""The state of a merchant, device, address or payee as one compact blob, version 2.

    byte 0      version
    bytes 1-2   number of rows, little-endian
    bytes 3-6   sizes of the live part
    live part   see features.live_codec
    varint      tiles
    tile        distance in time to the row before, count and frauds as varints
    event       distance in time x 16 + paid x 8 + (another account than the event before) x 4 + fraud x 2
                + (label without event), then the transaction hash (3 bytes), the hash of that other account (3 bytes),
                and where it says paid the amount as a varint and the unusualness (1 byte)

Of its rows, which the delayed features need, devices and addresses store the accounts that paid, merchants the amounts
paid, and payees have none.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from features.account_codec import TX_BYTES
from features.live_codec import (
    ACCOUNT_BYTES,
    EVENT_BOUND,
    EVENT_COLUMNS,
    EVENTS,
    FOLDED,
    LIVE_BOUND,
    LIVE_COLUMNS,
    LIVE_HEADER,
    MOST_EVENTS,
    MOST_SAMPLES,
    MOST_TILES,
    SAMPLE_BOUND,
    SAMPLE_COLUMNS,
    SAMPLES,
    TILE_BOUND,
    TILE_COLUMNS,
    TILES,
    decode_live,
    encode_live,
    read_sizes,
    write_sizes,
)
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
    layout,
)
from features.varint import LONGEST, get, get_fixed, put, put_fixed

VERSION = 2

ACCOUNT_MASK = (1 << (8 * ACCOUNT_BYTES)) - 1

_ROW_BOUND = 3 * LONGEST + TX_BYTES + ACCOUNT_BYTES + 1
_STATE_BOUND = HEADER + LIVE_HEADER + LIVE_BOUND + LONGEST


class EntityStates(NamedTuple):
    """The states of a batch's entities in pools of rows, of which each entity has a part."""

    rows: NDArray[np.int64]
    """int64[…, ENTITY_COLUMNS]: entity e has rows[heads[e]:tails[e]], the first tiled[e] of which are tiles."""
    squares: NDArray[np.float64]
    """Unused by entities, moved along by the row functions."""
    heads: NDArray[np.int64]
    tails: NDArray[np.int64]
    tiled: NDArray[np.int64]
    live: NDArray[np.int64]
    """int64[entities, LIVE_COLUMNS]."""
    events: NDArray[np.int64]
    tiles: NDArray[np.int64]
    sample: NDArray[np.int64]
    event_base: NDArray[np.int64]
    """int64[entities + 1], the first event of each."""
    tile_base: NDArray[np.int64]
    sample_base: NDArray[np.int64]
    broken: int
    """The index of an entity whose blob is not valid, or -1."""


@numba.njit(cache=True, nogil=True)
def unpack_entities(blobs: NDArray[np.uint8], starts: NDArray[np.int64], slots: NDArray[np.int64]) -> EntityStates:
    """Return the states of entities, with room for what is to be added.

    Args:
        blobs: uint8, the concatenated blobs; an empty one is a new entity.
        starts: int64[entities + 1], start of each blob.
        slots: int64[n], the entity of each record that is to be added.
    """
    entities = starts.shape[0] - 1
    base = layout(blobs, starts, slots)
    live = np.zeros((entities, LIVE_COLUMNS), np.int64)
    added = np.zeros(entities, np.int64)
    for i in range(slots.shape[0]):
        added[slots[i]] += 1
    event_base = np.zeros(entities + 1, np.int64)
    tile_base = np.zeros(entities + 1, np.int64)
    sample_base = np.zeros(entities + 1, np.int64)
    broken = -1
    for e in range(entities):
        if starts[e + 1] == starts[e]:
            live[e, :2] = -1
        elif starts[e + 1] - starts[e] < HEADER + LIVE_HEADER or blobs[starts[e]] != VERSION:
            broken = e
        elif not read_sizes(blobs, starts[e] + HEADER, live[e]):
            broken = e
            live[e] = 0
        n = live[e, EVENTS] + added[e]
        folds = n >= MOST_EVENTS
        tiles = min(live[e, TILES] + n, MOST_TILES + FOLDED) if folds else live[e, TILES]
        sample = min(live[e, SAMPLES] + n, MOST_SAMPLES + FOLDED) if folds else live[e, SAMPLES]
        event_base[e + 1] = event_base[e] + min(n, MOST_EVENTS)
        tile_base[e + 1] = tile_base[e] + tiles
        sample_base[e + 1] = sample_base[e] + sample
    states = EntityStates(
        np.empty((base[entities], ENTITY_COLUMNS), np.int64),
        np.zeros(base[entities], np.float64),
        base[:-1].copy(),
        base[:-1].copy(),
        np.zeros(entities, np.int64),
        live,
        np.empty((event_base[entities], EVENT_COLUMNS), np.int64),
        np.empty((tile_base[entities], TILE_COLUMNS), np.int64),
        np.empty((sample_base[entities], SAMPLE_COLUMNS), np.int64),
        event_base,
        tile_base,
        sample_base,
        broken,
    )
    if broken >= 0:
        return states
    for e in range(entities):
        start, end = starts[e], starts[e + 1]
        if start == end:
            continue
        at = decode_live(
            blobs,
            start + HEADER + LIVE_HEADER,
            end,
            live[e],
            states.events[event_base[e] : event_base[e + 1]],
            states.tiles[tile_base[e] : tile_base[e + 1]],
            states.sample[sample_base[e] : sample_base[e + 1]],
        )
        n = np.int64(blobs[start + 1]) | np.int64(blobs[start + 2]) << 8
        tiles = _decode_rows(blobs, at, end, states.rows, base[e], n) if at >= 0 else -1
        if tiles < 0:
            broken_states: EntityStates = _broken(states, e)
            return broken_states
        states.tails[e] += n
        states.tiled[e] = tiles
    return states


@numba.njit(cache=True, nogil=True)
def _broken(states: EntityStates, entity: int) -> EntityStates:
    return EntityStates(
        states.rows, states.squares, states.heads, states.tails, states.tiled, states.live, states.events,
        states.tiles, states.sample, states.event_base, states.tile_base, states.sample_base, entity,
    )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def pack_entities(states: EntityStates) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the blobs of entities, and the start of each."""
    entities = states.heads.shape[0]
    size = np.int64(0)
    for e in range(entities):
        size += _STATE_BOUND + (states.tails[e] - states.heads[e]) * _ROW_BOUND
        size += states.live[e, EVENTS] * EVENT_BOUND
        size += states.live[e, TILES] * TILE_BOUND + states.live[e, SAMPLES] * SAMPLE_BOUND
    blobs = np.empty(size, np.uint8)
    starts = np.zeros(entities + 1, np.int64)
    at = 0
    for e in range(entities):
        n = states.tails[e] - states.heads[e]
        blobs[at] = VERSION
        blobs[at + 1] = n & 0xFF
        blobs[at + 2] = n >> 8
        write_sizes(states.live[e], blobs, at + HEADER)
        at = encode_live(
            states.live[e],
            states.events[states.event_base[e] : states.event_base[e + 1]],
            states.tiles[states.tile_base[e] : states.tile_base[e + 1]],
            states.sample[states.sample_base[e] : states.sample_base[e + 1]],
            blobs,
            at + HEADER + LIVE_HEADER,
        )
        at = _encode_rows(states.rows, states.heads[e], states.tails[e], states.tiled[e], blobs, at)
        starts[e + 1] = at
    return blobs, starts


@numba.njit(cache=True, nogil=True)
def _decode_rows(buffer: NDArray[np.uint8], at: int, end: int, rows: NDArray[np.int64], first: int, n: int) -> int:
    """Read the n rows that end the blob into rows[first:, ENTITY_COLUMNS]; return how many are tiles, or -1."""
    tiles, at = get(buffer, at, end)
    if n > MOST or tiles > n or n - tiles >= EXACT + FOLD:
        return -1
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
            return -1
        time += delta
        rows[r, TIME] = time
        rows[r, ACCOUNT] = account
        rows[r, AMOUNT] = amount
        rows[r, UNUSUAL] = unusual
    return tiles if at == end else -1


@numba.njit(cache=True, nogil=True)
def _encode_rows(rows: NDArray[np.int64], first: int, end: int, tiles: int, buffer: NDArray[np.uint8], at: int) -> int:
    """Write rows[first:end] into the buffer, and return the next free position. Inverse of _decode_rows."""
    at = put(buffer, at, tiles)
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
