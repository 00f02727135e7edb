"""The live state of a merchant, device, address or payee: what happened there in the last seven days, up to now.

It has a fixed upper size, however popular the entity is:

- `events`, the newest payments one by one, at most KEPT + FOLDED;
- `tiles`, older payments folded together in the order of time. A tile is at most as long as a minute or an eighth of
  its age, so there are at most MOST_TILES of them;
- `sample`, accounts of the folded payments with their last visit, from which the number of distinct accounts in each
  window is estimated: all of them as long as there are at most SAMPLED in a window, and otherwise those whose hash ends
  in as many zeros as necessary (adaptive sampling, Flajolet 1990). The estimate has no bias and a standard error of at
  most 1 / sqrt(SAMPLED / 2), 18 %.

The live part of an entity's blob:

    varint      time of the first payment ever + 1 (0: none), distance to the newest, confirmed frauds ever,
                the levels of the sample in each window, 5 bits each
    tile        start since the start before, length, then count, sum and the numbers by flag as varints
    event       distance in time x 128 + flags, then the account's hash (3 bytes) if it differs, the amount, and
                two bytes of the transaction's hash
    sample      time before the newest (zigzag), the account's hash, its levels as a varint
"""

import numba
import numpy as np
from numpy.typing import NDArray

from features.catalogue_live import LIVE_WINDOWS
from features.varint import LONGEST, get, get_fixed, put, put_fixed, unzigzag, zigzag
from vedette.clock import HOUR, MINUTE

KEPT, FOLDED = 48, 16
"""Payments kept one by one, and payments folded at once when there are FOLDED more."""
MOST_EVENTS = KEPT + FOLDED
MOST_TILES = 200
SAMPLED = 64
"""Accounts of folded payments known for each window before they are sampled."""

WINDOWS = np.array(list(LIVE_WINDOWS.values()), np.int64)
N_WINDOWS = len(LIVE_WINDOWS)
MOST_SAMPLES = N_WINDOWS * SAMPLED
KEEP = max(LIVE_WINDOWS.values()) + HOUR
"""Age, relative to the newest payment, at which payments are dropped; readers may lag by up to an hour."""
SHORTEST_TILE = MINUTE
TILE_SHARE = 8
"""A tile may be as long as its age divided by this."""

FIRST_HERE, SMALL, UNUSUAL, FLAGGED, FRAUD, GHOST = 1, 2, 4, 8, 16, 32
"""Flags of a payment: the account's first here, small, unusual for the account, flagged by Vedette, confirmed as fraud,
or a label whose payment has not arrived yet."""
OF_PAYMENTS = FIRST_HERE | SMALL | UNUSUAL | FLAGGED
"""Flags that a payment comes with; the others are given by labels."""
REPEATED = 128
"""Flag, in a backfill, of a payment that is delivered again, which leaves no trace."""
NO_PAYMENT = 64
"""Flag, in a backfill, of a transaction that is no payment."""
_OTHER = 64

TIME, ACCOUNT, AMOUNT, FLAGS, TX = range(5)
EVENT_COLUMNS = 5
TX_BYTES = 2
TX_MASK = (1 << (8 * TX_BYTES)) - 1
"""The transaction hash only tells the payments of one moment apart, for labels."""
START, END, COUNT, SUM, FIRST_HERE_COUNT, SMALL_COUNT, UNUSUAL_COUNT, FLAGGED_COUNT, FRAUD_COUNT = range(9)
TILE_COLUMNS = 9
WHO, LAST, LEVELS = range(3)
SAMPLE_COLUMNS = 3

FIRST_SEEN, NEWEST, FRAUDS, EVENTS, TILES, SAMPLES, LEVEL = range(7)
LIVE_COLUMNS = LEVEL + N_WINDOWS
"""Columns of the state; from LEVEL on, the level of the sample in each window."""

LIVE_HEADER = 4
"""Bytes with the numbers of events, of tiles and of sampled accounts (2 bytes), in the header of the blob."""
LEVEL_BITS = 5
ACCOUNT_BYTES = 3
EVENT_BOUND = 2 * LONGEST + ACCOUNT_BYTES + TX_BYTES
TILE_BOUND = TILE_COLUMNS * LONGEST
SAMPLE_BOUND = 2 * LONGEST + ACCOUNT_BYTES
LIVE_BOUND = 4 * LONGEST


@numba.njit(cache=True, nogil=True)
def read_sizes(buffer: NDArray[np.uint8], at: int, live: NDArray[np.int64]) -> bool:
    """Read the header at `at` into the state; return whether its numbers are possible."""
    live[:] = 0
    live[FIRST_SEEN] = live[NEWEST] = -1
    live[EVENTS] = buffer[at]
    live[TILES] = buffer[at + 1]
    live[SAMPLES] = np.int64(buffer[at + 2]) | np.int64(buffer[at + 3]) << 8
    possible: bool = live[EVENTS] < MOST_EVENTS and live[TILES] <= MOST_TILES and live[SAMPLES] <= MOST_SAMPLES
    return possible


@numba.njit(cache=True, nogil=True)
def write_sizes(live: NDArray[np.int64], buffer: NDArray[np.uint8], at: int) -> None:
    """Write the header at `at`."""
    buffer[at] = live[EVENTS]
    buffer[at + 1] = live[TILES]
    buffer[at + 2] = live[SAMPLES] & 0xFF
    buffer[at + 3] = live[SAMPLES] >> 8


@numba.njit(cache=True, nogil=True)
def decode_live(
    buffer: NDArray[np.uint8],
    at: int,
    end: int,
    live: NDArray[np.int64],
    events: NDArray[np.int64],
    tiles: NDArray[np.int64],
    sample: NDArray[np.int64],
) -> int:
    """Read the live part, whose sizes `read_sizes` has read; return the position after it, or -1 if it is not valid."""
    first, at = get(buffer, at, end)
    span, at = get(buffer, at, end)
    live[FRAUDS], at = get(buffer, at, end)
    levels, at = get(buffer, at, end)
    live[FIRST_SEEN] = first - 1
    live[NEWEST] = first - 1 + span
    for w in range(N_WINDOWS):
        live[LEVEL + w] = (levels >> (LEVEL_BITS * w)) & ((1 << LEVEL_BITS) - 1)
    time = np.int64(0)
    for r in range(live[TILES]):
        delta, at = get(buffer, at, end)
        length, at = get(buffer, at, end)
        time += delta
        tiles[r, START], tiles[r, END] = time, time + length
        for c in range(COUNT, TILE_COLUMNS):
            tiles[r, c], at = get(buffer, at, end)
    time, account = np.int64(0), np.int64(0)
    for r in range(live[EVENTS]):
        delta, at = get(buffer, at, end)
        if delta & _OTHER:
            account, at = get_fixed(buffer, at, end, ACCOUNT_BYTES)
        events[r, AMOUNT], at = get(buffer, at, end)
        events[r, TX], at = get_fixed(buffer, at, end, TX_BYTES)
        time += delta >> 7
        events[r, TIME], events[r, ACCOUNT], events[r, FLAGS] = time, account, delta & (_OTHER - 1)
    for r in range(live[SAMPLES]):
        before, at = get(buffer, at, end)
        sample[r, WHO], at = get_fixed(buffer, at, end, ACCOUNT_BYTES)
        sample[r, LEVELS], at = get(buffer, at, end)
        sample[r, LAST] = live[NEWEST] - unzigzag(before)
    return at


@numba.njit(cache=True, nogil=True)
def encode_live(
    live: NDArray[np.int64],
    events: NDArray[np.int64],
    tiles: NDArray[np.int64],
    sample: NDArray[np.int64],
    buffer: NDArray[np.uint8],
    at: int,
) -> int:
    """Write the live part without its sizes, and return the next free position. Inverse of decode_live."""
    levels = np.int64(0)
    for w in range(N_WINDOWS):
        levels |= live[LEVEL + w] << (LEVEL_BITS * w)
    at = put(buffer, at, live[FIRST_SEEN] + 1)
    at = put(buffer, at, live[NEWEST] - live[FIRST_SEEN])
    at = put(buffer, at, live[FRAUDS])
    at = put(buffer, at, levels)
    time = np.int64(0)
    for r in range(live[TILES]):
        at = put(buffer, at, tiles[r, START] - time)
        at = put(buffer, at, tiles[r, END] - tiles[r, START])
        time = tiles[r, START]
        for c in range(COUNT, TILE_COLUMNS):
            at = put(buffer, at, tiles[r, c])
    time, account = np.int64(0), np.int64(0)
    for r in range(live[EVENTS]):
        other = events[r, ACCOUNT] != account
        at = put(buffer, at, (events[r, TIME] - time) << 7 | (_OTHER if other else 0) | events[r, FLAGS])
        time = events[r, TIME]
        if other:
            account = events[r, ACCOUNT]
            at = put_fixed(buffer, at, account, ACCOUNT_BYTES)
        at = put(buffer, at, events[r, AMOUNT])
        at = put_fixed(buffer, at, events[r, TX], TX_BYTES)
    for r in range(live[SAMPLES]):
        at = put(buffer, at, zigzag(live[NEWEST] - sample[r, LAST]))
        at = put_fixed(buffer, at, sample[r, WHO], ACCOUNT_BYTES)
        at = put(buffer, at, sample[r, LEVELS])
    return at
