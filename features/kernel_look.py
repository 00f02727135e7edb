"""The signals of an entity at a moment: read from its live state by the worker and by the backfill.

The worker reads as far as the entity's owner has come; the backfill reads before each payment and so has no lag.
Signals are whole numbers, so that those a decision was made on can travel with it exactly; features.signals turns them
into features. They are exact as long as the window holds single events; where the edge of a window cuts a tile (see
features.live_codec), the part inside is taken to be proportional to time.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from features.account_codec import lookup
from features.kernel_live import LEVEL_MASK
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
    FRAUD,
    FRAUD_COUNT,
    FRAUDS,
    GHOST,
    LAST,
    LEVEL_BITS,
    LEVELS,
    MOST_EVENTS,
    N_WINDOWS,
    NEWEST,
    SAMPLES,
    SMALL,
    SMALL_COUNT,
    START,
    SUM,
    TILE_COLUMNS,
    TILES,
    TIME,
    UNUSUAL,
    UNUSUAL_COUNT,
    WHO,
    WINDOWS,
)
from features.rows import LARGEST_SUM

ACCOUNTS_SEEN = TILE_COLUMNS
WINDOW_SIGNALS = TILE_COLUMNS - COUNT + 1
"""Signals of a window: those of a tile from COUNT on, then the number of accounts."""
AGE, SINCE, FRAUDS_KNOWN = range(N_WINDOWS * WINDOW_SIGNALS, N_WINDOWS * WINDOW_SIGNALS + 3)
KIND_SIGNALS = N_WINDOWS * WINDOW_SIGNALS + 3
"""Signals of an entity: those of each window, then its age and the time since its last payment in milliseconds (-1
without one), and all frauds known."""

SCRATCH = (2, N_WINDOWS, TILE_COLUMNS + 1)
"""Shape of the numbers that `look` needs room for."""
LARGEST_SIGNAL = 1 << 60
"""Cap of a signal, so that its encoding fits into 63 bits."""


@numba.njit(cache=True, nogil=True)
def look(
    live: NDArray[np.int64],
    events: NDArray[np.int64],
    tiles: NDArray[np.int64],
    sample: NDArray[np.int64],
    t: int,
    own: int,
    keys: NDArray[np.int64],
    marks: NDArray[np.int32],
    values: NDArray[np.int32],
    generation: int,
    scratch: NDArray[np.int64],
    out: NDArray[np.int64],
) -> None:
    """Write the signals of an entity at time t, KIND_SIGNALS numbers, to out.

    Payments after t, and those of the account `own` at t itself, are not seen: what is decided again must not see what
    it has itself contributed. `scratch` has the shape SCRATCH.
    """
    if not (live[EVENTS] or live[TILES] or live[SAMPLES]):  # most devices and payees, most of the time
        out[:] = 0
        newest = live[NEWEST] if 0 <= live[NEWEST] < t else np.int64(-1)
        out[AGE] = t - live[FIRST_SEEN] if 0 <= live[FIRST_SEEN] < t else -1
        out[SINCE] = t - newest if newest >= 0 else -1
        out[FRAUDS_KNOWN] = live[FRAUDS]
        return
    scratch[:] = 0
    totals = scratch[0]  # of what the window and all longer ones contain
    edges = scratch[1]  # of what counts for one window only
    newest = np.int64(-1)
    for r in range(live[EVENTS] - 1, -1, -1):
        age, flags = t - events[r, TIME], events[r, FLAGS]
        if age < 0 or flags & GHOST or (age == 0 and events[r, ACCOUNT] == own):
            continue
        newest = max(newest, events[r, TIME])
        first = lookup(keys, marks, values, generation, events[r, ACCOUNT], r) == r
        w = 0
        while w < N_WINDOWS and age >= WINDOWS[w]:
            w += 1
        if w == N_WINDOWS:
            continue
        totals[w, COUNT] += 1
        totals[w, SUM] = min(LARGEST_SUM, totals[w, SUM] + events[r, AMOUNT])
        totals[w, FIRST_HERE_COUNT] += 1 if flags & FIRST_HERE else 0
        totals[w, SMALL_COUNT] += 1 if flags & SMALL else 0
        totals[w, UNUSUAL_COUNT] += 1 if flags & UNUSUAL else 0
        totals[w, FLAGGED_COUNT] += 1 if flags & FLAGGED else 0
        totals[w, FRAUD_COUNT] += 1 if flags & FRAUD else 0
        totals[w, ACCOUNTS_SEEN] += 1 if first else 0
    for r in range(live[TILES]):
        if tiles[r, START] > t:
            break
        end = min(tiles[r, END], t)
        newest = max(newest, end)
        w = 0
        while w < N_WINDOWS and t - tiles[r, START] >= WINDOWS[w]:
            inside = WINDOWS[w] - (t - end)
            if inside > 0:
                share = inside / (end - tiles[r, START] + 1)
                for c in range(COUNT, TILE_COLUMNS):
                    edges[w, c] += np.int64(tiles[r, c] * share + 0.5)
            w += 1
        if w < N_WINDOWS:
            for c in range(COUNT, TILE_COLUMNS):
                totals[w, c] = min(LARGEST_SUM, totals[w, c] + tiles[r, c])
    for r in range(live[SAMPLES]):
        age = t - sample[r, LAST]
        if age < 0 or lookup(keys, marks, values, generation, sample[r, WHO], MOST_EVENTS) != MOST_EVENTS:
            continue
        for w in range(N_WINDOWS):
            level = sample[r, LEVELS] >> (LEVEL_BITS * w) & LEVEL_MASK
            if level and age < WINDOWS[w]:
                edges[w, ACCOUNTS_SEEN] += 1 << (level - 1)
    for w in range(N_WINDOWS):
        for c in range(COUNT, TILE_COLUMNS + 1):
            if w:
                totals[w, c] = min(LARGEST_SUM, totals[w, c] + totals[w - 1, c])
        at = w * WINDOW_SIGNALS
        for c in range(COUNT, TILE_COLUMNS + 1):
            out[at + c - COUNT] = min(LARGEST_SIGNAL, totals[w, c] + edges[w, c])
        count = out[at]
        accounts = min(out[at + ACCOUNTS_SEEN - COUNT], count)
        out[at + ACCOUNTS_SEEN - COUNT] = max(accounts, 1) if count else 0
    if newest < 0 and 0 <= live[NEWEST] < t:
        newest = live[NEWEST]  # longer ago than what is kept
    seen = 0 <= live[FIRST_SEEN] < t or (live[FIRST_SEEN] == t and newest >= 0)
    out[AGE] = t - live[FIRST_SEEN] if seen else -1
    out[SINCE] = t - newest if newest >= 0 else -1
    out[FRAUDS_KNOWN] = live[FRAUDS]
