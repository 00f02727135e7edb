"""The live kernel: activity of merchants, devices, addresses and payees up to the moment, in bounded state.

`apply_live` takes the state of one entity (see features.live_codec) forward by one payment or label, in the worker that
owns it and in the backfill.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from features.live_codec import (
    ACCOUNT,
    AMOUNT,
    COUNT,
    END,
    EVENTS,
    FIRST_HERE,
    FIRST_HERE_COUNT,
    FIRST_SEEN,
    FLAGGED,
    FLAGGED_COUNT,
    FLAGS,
    FOLDED,
    FRAUD,
    FRAUD_COUNT,
    FRAUDS,
    GHOST,
    KEEP,
    LAST,
    LEVEL,
    LEVEL_BITS,
    LEVELS,
    MOST_EVENTS,
    MOST_TILES,
    N_WINDOWS,
    NEWEST,
    SAMPLED,
    SAMPLES,
    SHORTEST_TILE,
    SMALL,
    SMALL_COUNT,
    START,
    SUM,
    TILE_COLUMNS,
    TILE_SHARE,
    TILES,
    TIME,
    TX,
    TX_MASK,
    UNUSUAL,
    UNUSUAL_COUNT,
    WHO,
    WINDOWS,
)
from features.rows import LARGEST_SUM

LEVEL_MASK = (1 << LEVEL_BITS) - 1
_MOST_LEVEL = 20
"""Highest level of a sample: account hashes have 24 bits."""


@numba.njit(cache=True, nogil=True)
def apply_live(
    live: NDArray[np.int64],
    events: NDArray[np.int64],
    tiles: NDArray[np.int64],
    sample: NDArray[np.int64],
    time: int,
    tx: int,
    account: int,
    amount: int,
    flags: int,
    label: int,
) -> None:
    """Apply a payment (label -1) or a label (1 fraud, 0 not) to the state of an entity.

    Args:
        live: int64[LIVE_COLUMNS].
        events: int64[…, EVENT_COLUMNS]; like tiles and sample, it has room for what is added.
        tiles: int64[…, TILE_COLUMNS].
        sample: int64[…, SAMPLE_COLUMNS].
        time: Event time of the payment.
        tx: Hash of the transaction.
        account: Hash of its account.
        amount: Minor units.
        flags: Flags of the payment.
        label: -1, or whether the payment with this time and hash was fraud.
    """
    tx &= TX_MASK
    found = live[EVENTS] - 1
    while found >= 0 and events[found, TIME] > time:
        found -= 1
    place = found + 1
    while found >= 0 and events[found, TIME] == time:
        if events[found, TX] == tx and (label >= 0 or events[found, FLAGS] & GHOST):
            break
        found -= 1
    known = found >= 0 and events[found, TIME] == time
    if label >= 0:
        _label(live, events, tiles, place, found if known else -1, time, tx, label == 1)
        _expire(live, events, tiles)
    elif time > live[NEWEST] - KEEP:
        if live[FIRST_SEEN] < 0 or time < live[FIRST_SEEN]:
            live[FIRST_SEEN] = time
        live[NEWEST] = max(live[NEWEST], time)
        if known:
            events[found, ACCOUNT], events[found, AMOUNT] = account, amount
            events[found, FLAGS] = flags | (events[found, FLAGS] & FRAUD)
        else:
            _insert(live, events, place, time, tx, account, amount, flags)
        _expire(live, events, tiles)
    if live[EVENTS] >= MOST_EVENTS:
        _fold(live, events, tiles, sample)


@numba.njit(cache=True, nogil=True)
def _insert(
    live: NDArray[np.int64],
    events: NDArray[np.int64],
    place: int,
    time: int,
    tx: int,
    account: int,
    amount: int,
    flags: int,
) -> None:
    for r in range(live[EVENTS], place, -1):
        events[r] = events[r - 1]
    events[place, TIME], events[place, TX], events[place, ACCOUNT] = time, tx, account
    events[place, AMOUNT], events[place, FLAGS] = amount, flags
    live[EVENTS] += 1


@numba.njit(cache=True, nogil=True)
def _label(
    live: NDArray[np.int64],
    events: NDArray[np.int64],
    tiles: NDArray[np.int64],
    place: int,
    found: int,
    time: int,
    tx: int,
    fraud: bool,
) -> None:
    if found >= 0:
        before = events[found, FLAGS] & FRAUD
        if fraud and not before:
            events[found, FLAGS] |= FRAUD
            live[FRAUDS] += 1
        elif before and not fraud:
            events[found, FLAGS] &= ~FRAUD
            live[FRAUDS] -= 1
        return
    if not fraud:
        return
    live[FRAUDS] += 1
    if time <= live[NEWEST] - KEEP:
        return
    r = live[TILES] - 1
    while r >= 0 and tiles[r, START] > time:
        r -= 1
    if r >= 0 and time <= tiles[r, END]:
        tiles[r, FRAUD_COUNT] += 1
    else:
        _insert(live, events, place, time, tx, 0, 0, GHOST | FRAUD)


@numba.njit(cache=True, nogil=True)
def _expire(live: NDArray[np.int64], events: NDArray[np.int64], tiles: NDArray[np.int64]) -> None:
    """Drop what is older than KEEP."""
    oldest = live[NEWEST] - KEEP
    gone = 0
    while gone < live[EVENTS] and events[gone, TIME] <= oldest:
        gone += 1
    if gone:
        for r in range(gone, live[EVENTS]):
            events[r - gone] = events[r]
        live[EVENTS] -= gone
    gone = 0
    while gone < live[TILES] and tiles[gone, END] <= oldest:
        gone += 1
    if gone:
        for r in range(gone, live[TILES]):
            tiles[r - gone] = tiles[r]
        live[TILES] -= gone


@numba.njit(cache=True, nogil=True)
def _fold(
    live: NDArray[np.int64], events: NDArray[np.int64], tiles: NDArray[np.int64], sample: NDArray[np.int64]
) -> None:
    """Fold the FOLDED oldest events into tiles and the sample."""
    for r in range(FOLDED):
        _to_tile(live, events[r], tiles)
        if not events[r, FLAGS] & GHOST:
            _to_sample(live, sample, events[r, ACCOUNT], events[r, TIME])
    for r in range(FOLDED, live[EVENTS]):
        events[r - FOLDED] = events[r]
    live[EVENTS] -= FOLDED
    _compact(live, tiles)
    kept = 0
    for r in range(live[SAMPLES]):
        if sample[r, LEVELS] and sample[r, LAST] > live[NEWEST] - KEEP:
            sample[kept] = sample[r]
            kept += 1
    live[SAMPLES] = kept


@numba.njit(cache=True, nogil=True)
def _to_tile(live: NDArray[np.int64], event: NDArray[np.int64], tiles: NDArray[np.int64]) -> None:
    """Add an event to the tile of its time, or make one of it."""
    time, flags = event[TIME], event[FLAGS]
    at = live[TILES] - 1
    while at >= 0 and tiles[at, START] > time:
        at -= 1
    if at < 0 or time > tiles[at, END]:
        at += 1
        for r in range(live[TILES], at, -1):
            tiles[r] = tiles[r - 1]
        tiles[at] = 0
        tiles[at, START] = tiles[at, END] = time
        live[TILES] += 1
    if flags & FRAUD:
        tiles[at, FRAUD_COUNT] += 1
    if flags & GHOST:
        return
    tiles[at, COUNT] += 1
    tiles[at, SUM] = min(LARGEST_SUM, tiles[at, SUM] + event[AMOUNT])
    tiles[at, FIRST_HERE_COUNT] += 1 if flags & FIRST_HERE else 0
    tiles[at, SMALL_COUNT] += 1 if flags & SMALL else 0
    tiles[at, UNUSUAL_COUNT] += 1 if flags & UNUSUAL else 0
    tiles[at, FLAGGED_COUNT] += 1 if flags & FLAGGED else 0


@numba.njit(cache=True, nogil=True)
def _compact(live: NDArray[np.int64], tiles: NDArray[np.int64]) -> None:
    """Merge neighbouring tiles as far as their age allows, beginning with the newest."""
    write = live[TILES] - 1
    for r in range(live[TILES] - 2, -1, -1):
        longest = max(SHORTEST_TILE, (live[NEWEST] - tiles[write, END]) // TILE_SHARE)
        if tiles[write, END] - tiles[r, START] <= longest:
            _merge(tiles, write, r)
        else:
            write -= 1
            if write != r:
                tiles[write] = tiles[r]
    for r in range(write, live[TILES]):
        tiles[r - write] = tiles[r]
    live[TILES] -= max(write, 0)
    while live[TILES] > MOST_TILES:
        _merge(tiles, 1, 0)
        for r in range(1, live[TILES]):
            tiles[r - 1] = tiles[r]
        live[TILES] -= 1


@numba.njit(cache=True, nogil=True)
def _merge(tiles: NDArray[np.int64], into: int, older: int) -> None:
    tiles[into, START] = tiles[older, START]
    tiles[into, END] = max(tiles[into, END], tiles[older, END])
    for c in range(COUNT, TILE_COLUMNS):
        tiles[into, c] = min(LARGEST_SUM, tiles[into, c] + tiles[older, c])


@numba.njit(cache=True, nogil=True)
def _to_sample(live: NDArray[np.int64], sample: NDArray[np.int64], account: int, time: int) -> None:
    """Record an account's visit in the sample of each window that it may still be in."""
    at = 0
    while at < live[SAMPLES] and sample[at, WHO] != account:
        at += 1
    zeros = _zeros(account)
    levels = np.int64(0)
    for w in range(N_WINDOWS):
        if live[NEWEST] - time < WINDOWS[w] and zeros >= live[LEVEL + w]:
            levels |= (live[LEVEL + w] + 1) << (LEVEL_BITS * w)
    if at < live[SAMPLES]:
        sample[at, LAST] = max(sample[at, LAST], time)
        sample[at, LEVELS] = levels
    elif levels:
        sample[at, WHO], sample[at, LAST], sample[at, LEVELS] = account, time, levels
        live[SAMPLES] += 1
    for w in range(N_WINDOWS):
        if levels >> (LEVEL_BITS * w) & LEVEL_MASK:
            _adjust(live, sample, w)
    if live[SAMPLES] and sample[live[SAMPLES] - 1, LEVELS] == 0:
        live[SAMPLES] -= 1


@numba.njit(cache=True, nogil=True)
def _adjust(live: NDArray[np.int64], sample: NDArray[np.int64], w: int) -> None:
    """Drop the expired of a window's sample; raise its level while there are too many, lower it if there are few."""
    shift = LEVEL_BITS * w
    members = 0
    for r in range(live[SAMPLES]):
        if sample[r, LEVELS] >> shift & LEVEL_MASK:
            if live[NEWEST] - sample[r, LAST] >= WINDOWS[w]:
                sample[r, LEVELS] &= ~(LEVEL_MASK << shift)
            else:
                members += 1
    if members * 4 < SAMPLED and live[LEVEL + w] > 0:
        live[LEVEL + w] -= 1
    while members > SAMPLED and live[LEVEL + w] < _MOST_LEVEL:
        live[LEVEL + w] += 1
        level = live[LEVEL + w]
        members = 0
        for r in range(live[SAMPLES]):
            before = sample[r, LEVELS] >> shift & LEVEL_MASK
            if before:
                sample[r, LEVELS] &= ~(LEVEL_MASK << shift)
                if _zeros(sample[r, WHO]) >= level:
                    sample[r, LEVELS] |= max(before, level + 1) << shift
                    members += 1


@numba.njit(cache=True, nogil=True)
def _zeros(account: int) -> int:
    """Return the number of zeros at the end of an account's hash."""
    zeros = 0
    while zeros < _MOST_LEVEL and not account >> zeros & 1:
        zeros += 1
    return zeros
