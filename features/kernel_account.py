"""The account kernel: the one place where account features are computed, online and offline.

The features of an event cover the account's events up to its event time that arrived before it, and the event itself. A
late event therefore never sees the future, and results are bit-identical however events are batched. The one exception
is the account's typical amount, a running mean in which no amount counts for more than UNUSUAL times the typical amount
so far: it is used as it stands when the event arrives.

Money that comes back leaves sums and totals and nothing else: what was attempted stays counted. A refund, reversal or
completion that names a payment here changes that payment when it arrives, whatever its event time. A refund that names
none, or one that is not known, stands at its own time, and no sum falls below zero for it. Features of an event that is
not a payment are those of a payment of its amount.
"""

import math

import numba
import numpy as np
from numpy.typing import NDArray

from features.account_codec import (
    FRAUDS_BEFORE,
    LAT,
    LIFE_COUNT,
    LIFE_SUM,
    LON,
    NO_PLACE,
    PLACE_TIME,
    ROW_BOUND,
    STATE_BOUND,
    STATE_COLUMNS,
    TABLE,
    TILES,
    TX_MASK,
    TYPICAL,
    decode_account,
    encode_account,
    lookup,
)
from features.catalogue import ACCOUNT_WINDOWS, NAMES
from features.returns import bounded, complete, original_of, take_back
from features.rows import (
    ADDRESS,
    BACK,
    COUNT,
    COUNTRY,
    DEVICE,
    FRAUD,
    LARGEST_SUM,
    MAX,
    MERCHANT,
    NOTE,
    PAYEE,
    PAYMENT_COLUMNS,
    SUM,
    TIME,
    TX,
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
from vedette.clock import DAY, HOUR

HORIZON = 31 * DAY
"""Age, relative to the account's newest event, at which rows are dropped: the longest window and month."""

MISSING = np.iinfo(np.int64).min
"""Value of a missing integer input (place, balance, opening date)."""

NEW, DUPLICATE, LATE, UNMATCHED = 0, 1, 2, 3
"""Status of an event. UNMATCHED: it names a transaction that is not known here, or of which all has come back."""

PAYS, COMPLETES, REFUNDS, REVERSES, PAYS_IN = range(5)
"""What an event does to its account; the kinds of transaction map onto these."""

_WINDOWS = np.array(list(ACCOUNT_WINDOWS.values()), np.int64)
_N_WINDOWS = len(_WINDOWS)
_MONTH = 30 * DAY
_WEEK = 7 * DAY
_FORTNIGHT = 14 * DAY

UNUSUAL = 3.0
"""Multiple of the account's typical amount from which an amount is unusual, and to which its influence is capped."""
_LEARNT = 3
"""Number of first amounts that count in full."""
_MEMORY = 200
"""Number of amounts after which the typical amount changes from a plain mean to an exponential one."""
_IDENTIFIERS = ADDRESS - MERCHANT + 1
_EARTH_KM = 6371.0088  # mean radius, IUGG


def _column(name: str) -> int:
    return NAMES.index(name)


_AMOUNT = _column("amount_major")
_HOUR = _column("hour")
_WEEKDAY = _column("weekday")
_NIGHT = _column("is_night")
_WEEKEND = _column("is_weekend")
_FIRST_WINDOW = _column("account_count_1min")
_TO_MEAN = _column("amount_to_mean_30d")
_TO_MAX = _column("amount_to_max_30d")
_DEVIATION = _column("amount_deviation_30d")
_RANK = _column("amount_rank_30d")
_TYPICAL = _column("account_typical")
_TO_TYPICAL = _column("amount_to_typical")
_LARGEST_TO_TYPICAL = _column("largest_to_typical_14d")
_UNUSUAL_7D = _column("unusual_count_7d")
_UNUSUAL_14D = _column("unusual_count_14d")
_SINCE_LAST = _column("seconds_since_last")
_GAP = _column("gap_to_mean_30d")
_BURST = _column("burst_1h")
_HABIT = _column("hour_habit_30d")
_HOUR_OF_WEEK = _column("hour_of_week_count_30d")
_FAMILIARITY = _column("used_merchant_30d")  # first of five pairs, in the order of the row's columns
_DISTINCT = _column("distinct_merchants_1d")
_DISTANCE = _column("distance_km")
_SPEED = _column("speed_kmh")
_DAY_TOTAL = _column("day_total")
_MONTH_TOTAL = _column("month_total")
_TO_BALANCE = _column("amount_to_balance")
_DRAIN = _column("drain_1d")
_AGE = _column("account_age_days")
_LIFE_COUNT = _column("account_lifetime_count")
_LIFE_MEAN = _column("account_mean_lifetime")
_FRAUDS = _column("account_frauds")


@numba.njit(cache=True, nogil=True)
def _month_start(time: int) -> int:
    """Return the start of the UTC month, by the civil calendar's 400-year cycle counted in days from 0000-03-01."""
    days = time // DAY + 719468
    day_of_era = days % 146097
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month = (5 * day_of_year + 2) // 153
    day_of_month = day_of_year - (153 * month + 2) // 5
    return (time // DAY - day_of_month) * DAY


@numba.njit(cache=True, nogil=True)
def _distance_km(lat_1: int, lon_1: int, lat_2: int, lon_2: int) -> float:
    """Return the great-circle distance by the haversine formula, from millionths of a degree."""
    to_radians = math.pi / 180e6
    a = math.sin((lat_2 - lat_1) * to_radians / 2) ** 2
    b = math.sin((lon_2 - lon_1) * to_radians / 2) ** 2
    h = a + math.cos(lat_1 * to_radians) * math.cos(lat_2 * to_radians) * b
    return 2 * _EARTH_KM * math.asin(min(1.0, math.sqrt(h)))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _history(
    rows: NDArray[np.int64],
    squares: NDArray[np.float64],
    head: int,
    tail: int,
    p: int,
    tiles: int,
    state: NDArray[np.int64],
    typical: float,
    scale: float,
    out: NDArray[np.float64],
    keys: NDArray[np.int64],
    marks: NDArray[np.int32],
    values: NDArray[np.int32],
    generation: int,
    delay: int,
) -> int:
    """Write the features of the event in row p, from rows[head:p + 1], newest first, to out.

    Returns:
        As bits in the order of the identifiers, which of them the account has not used in the 30 days before.
    """
    t = rows[p, TIME]
    x = rows[p, SUM]
    day_start = t // DAY * DAY
    month_start = _month_start(t)
    time_of_day = t % DAY
    hour_of_week = (t // HOUR) % 168

    count, total, net, largest = 0, 0, 0, 0
    # Sums of (amount - y) and its square: no cancellation as long as y is one of the amounts. For windows, y is this
    # amount; for the earlier amounts alone, it is the previous one.
    near_1, near_2 = 0.0, 0.0
    earlier_1, earlier_2, last_amount = 0.0, 0.0, 0.0
    window = 0
    before, smaller, habit, same_hour, earlier_max = 0, 0, 0, 0, 0
    newest_before, oldest_before = t, t
    day_total, month_total, frauds = 0, 0, state[FRAUDS_BEFORE]
    used = np.zeros(_IDENTIFIERS, np.int64)
    largest_lately, unusual_7d, unusual_14d = 0, 0, 0
    merchants, devices, countries, payees, merchants_1d = 0, 0, 0, 0, 0

    for r in range(p, head - 1, -1):
        age = t - rows[r, TIME]
        while window < _N_WINDOWS and age >= _WINDOWS[window]:
            _window(out, window, count, total, net, largest, near_1, near_2, scale)
            window += 1
        if rows[r, FRAUD] and age >= delay:
            frauds += rows[r, FRAUD]
        n = rows[r, COUNT]
        spent = rows[r, SUM] - rows[r, BACK]
        if n <= 0 and spent == 0:
            continue
        if rows[r, TIME] >= month_start:
            month_total = bounded(month_total + spent)
            if rows[r, TIME] >= day_start:
                day_total = bounded(day_total + spent)
        if age >= _MONTH:
            continue
        net = bounded(net + spent)
        if n <= 0:
            continue
        count += n
        total = min(LARGEST_SUM, total + rows[r, SUM])
        largest = max(largest, rows[r, MAX])
        amount = float(rows[r, SUM])
        if r < head + tiles:
            amount /= n
            squared = squares[r]
        else:
            squared = 0.0
        d = amount - x
        near_1 += d * n
        near_2 += d * d * n + squared
        if age < _WEEK:
            if rows[r, MERCHANT] and lookup(keys, marks, values, generation, rows[r, MERCHANT], r) == r:
                merchants += 1
                if age < DAY:
                    merchants_1d += 1
            if rows[r, DEVICE] and lookup(keys, marks, values, generation, rows[r, DEVICE] | 1 << 32, r) == r:
                devices += 1
            if rows[r, COUNTRY] and lookup(keys, marks, values, generation, rows[r, COUNTRY] | 2 << 32, r) == r:
                countries += 1
            if rows[r, PAYEE] and lookup(keys, marks, values, generation, rows[r, PAYEE] | 3 << 32, r) == r:
                payees += 1
        if r == p:
            continue
        if age < _FORTNIGHT:
            largest_lately = max(largest_lately, rows[r, MAX])
            if typical > 0 and amount > UNUSUAL * typical:
                unusual_14d += n
                if age < _WEEK:
                    unusual_7d += n
        if before == 0:
            newest_before = rows[r, TIME]
            last_amount = amount
        d = amount - last_amount
        earlier_1 += d * n
        earlier_2 += d * d * n + squared
        oldest_before = rows[r, TIME]
        before += n
        earlier_max = max(earlier_max, rows[r, MAX])
        if rows[r, SUM] < x * n:
            smaller += n
        apart = abs(rows[r, TIME] % DAY - time_of_day)
        if min(apart, DAY - apart) <= HOUR:
            habit += n
        if (rows[r, TIME] // HOUR) % 168 == hour_of_week:
            same_hour += n
        for k in range(_IDENTIFIERS):
            if rows[r, MERCHANT + k] == rows[p, MERCHANT + k]:
                used[k] += 1
    while window < _N_WINDOWS:
        _window(out, window, count, total, net, largest, near_1, near_2, scale)
        window += 1

    if typical > 0:
        out[_TYPICAL] = typical / scale
        out[_TO_TYPICAL] = x / typical
        out[_LARGEST_TO_TYPICAL] = largest_lately / typical
    out[_UNUSUAL_7D] = unusual_7d
    out[_UNUSUAL_14D] = unusual_14d
    if before:
        earlier_mean = (total - x) / before
        if earlier_mean > 0:
            out[_TO_MEAN] = x / earlier_mean
        if earlier_max > 0:
            out[_TO_MAX] = x / earlier_max
        out[_RANK] = smaller / before
        out[_HABIT] = habit / before
        out[_SINCE_LAST] = (t - newest_before) / 1000.0
        if before > 1:
            mean = earlier_1 / before
            variance = earlier_2 / before - mean * mean
            if variance > 0:
                out[_DEVIATION] = (x - last_amount - mean) / math.sqrt(variance)
            if newest_before > oldest_before:
                out[_GAP] = (t - newest_before) * (before - 1) / (newest_before - oldest_before)
    for k in range(PAYEE - MERCHANT + 1):
        if rows[p, MERCHANT + k]:
            out[_FAMILIARITY + 2 * k] = used[k]
            if before:
                out[_FAMILIARITY + 2 * k + 1] = 1.0 if used[k] == 0 else 0.0
    out[_HOUR_OF_WEEK] = same_hour
    out[_BURST] = out[_FIRST_WINDOW + 5 * 2] * 720.0 / count
    out[_DISTINCT] = merchants_1d
    out[_DISTINCT + 1] = merchants
    out[_DISTINCT + 2] = devices
    out[_DISTINCT + 3] = countries
    out[_DISTINCT + 4] = payees
    out[_DAY_TOTAL] = max(0, day_total) / scale
    out[_MONTH_TOTAL] = max(0, month_total) / scale
    out[_FRAUDS] = frauds

    life_count, life_sum = state[LIFE_COUNT], state[LIFE_SUM]
    for r in range(p + 1, tail):
        life_count -= max(0, rows[r, COUNT])
        life_sum -= rows[r, SUM]
    out[_LIFE_COUNT] = life_count
    out[_LIFE_MEAN] = life_sum / scale / life_count
    new = 0
    for k in range(_IDENTIFIERS):
        new |= (1 if used[k] == 0 else 0) << k
    return new


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _window(
    out: NDArray[np.float64],
    window: int,
    count: int,
    total: int,
    net: int,
    largest: int,
    near_1: float,
    near_2: float,
    scale: float,
) -> None:
    at = _FIRST_WINDOW + 5 * window
    out[at] = count
    out[at + 1] = max(0, net) / scale
    out[at + 2] = total / scale / count
    out[at + 3] = largest / scale
    mean = near_1 / count
    out[at + 4] = math.sqrt(max(0.0, near_2 / count - mean * mean)) / scale


@numba.njit(cache=True, nogil=True, error_model="numpy")
def stateless(time: int, amount: int, scale: float, balance: int, opened_at: int, out: NDArray[np.float64]) -> None:
    """Fill a row with the features that need no history; all others become NaN."""
    out[:] = np.nan
    hour = time % DAY // HOUR
    weekday = (time // DAY + 3) % 7  # 1970-01-01 was a Thursday
    out[_AMOUNT] = amount / scale
    out[_HOUR] = hour
    out[_WEEKDAY] = weekday
    out[_NIGHT] = 1.0 if hour <= 6 else 0.0
    out[_WEEKEND] = 1.0 if weekday >= 5 else 0.0
    if balance != MISSING and balance > 0:
        out[_TO_BALANCE] = amount / balance
    if opened_at != MISSING:
        out[_AGE] = (time - opened_at) / DAY


@numba.njit(cache=True, nogil=True, error_model="numpy")
def advance_accounts(
    blobs: NDArray[np.uint8],
    starts: NDArray[np.int64],
    slots: NDArray[np.int64],
    time: NDArray[np.int64],
    amount: NDArray[np.int64],
    scale: NDArray[np.float64],
    tx: NDArray[np.int64],
    identifiers: NDArray[np.int64],
    lat: NDArray[np.int64],
    lon: NDArray[np.int64],
    balance: NDArray[np.int64],
    opened_at: NDArray[np.int64],
    label: NDArray[np.int8],
    kind: NDArray[np.int8],
    original: NDArray[np.int64],
    delay: int,
    out: NDArray[np.float64],
    status: NDArray[np.int8],
    pays: NDArray[np.bool_],
    new: NDArray[np.uint8],
) -> tuple[NDArray[np.uint8], NDArray[np.int64], int]:
    """Apply events to the states of their accounts, in order, and compute their features.

    Args:
        blobs: uint8, the concatenated blobs of all accounts of the batch; an empty one is a new account.
        starts: int64[accounts + 1], start of each blob.
        slots: int64[n], the account of each event.
        time: int64[n], event times in milliseconds.
        amount: int64[n], minor units.
        scale: float64[n], minor units in a major unit of the event's currency.
        tx: int64[n], transaction hashes, masked by TX_MASK here.
        identifiers: int64[n, 6], 32-bit hashes of merchant, category, device, country, payee and address; 0 is missing.
        lat: int64[n], millionths of a degree, or MISSING.
        lon: int64[n], millionths of a degree, or MISSING.
        balance: int64[n], minor units, or MISSING.
        opened_at: int64[n], milliseconds, or MISSING.
        label: int8[n], -1 for a payment, otherwise a label of the payment with this time and hash: 1 fraud, 0 not.
        kind: int8[n], what an event that is not a label does: PAYS, COMPLETES, REFUNDS, REVERSES or PAYS_IN.
        original: int64[n], hash of the transaction that the event names, masked by TX_MASK here, or MISSING.
        delay: Time from a payment until its label takes effect, milliseconds, at most HORIZON.
        out: float64[n, features], filled for events that are not labels; a repeated event that is not a payment has
            only the features that need no history.
        status: int8[n], set to NEW, DUPLICATE, LATE or UNMATCHED for these.
        pays: bool[n], set to whether these are payments: a completion is one if its authorisation is not known.
        new: uint8[n], set for payments to the identifiers that the account has not used in the 30 days before, as bits.

    Returns:
        The new blobs, the start of each, and -1 or the index of an account whose blob is not valid.
    """
    accounts = starts.shape[0] - 1
    base = layout(blobs, starts, slots)
    rows = np.empty((base[accounts], PAYMENT_COLUMNS), np.int64)
    squares = np.empty(base[accounts], np.float64)
    states = np.empty((accounts, STATE_COLUMNS), np.int64)
    heads = np.empty(accounts, np.int64)
    tails = np.empty(accounts, np.int64)
    keys = np.empty(TABLE, np.int64)
    marks = np.zeros(TABLE, np.int32)
    values = np.empty(TABLE, np.int32)
    floats = np.empty(1, np.float64)
    bits = floats.view(np.int64)
    generation = 0
    for a in range(accounts):
        first, last = base[a], base[a + 1]
        n = decode_account(blobs, starts[a], starts[a + 1], states[a], rows[first:last], squares[first:last], floats)
        if n < 0:
            return np.empty(0, np.uint8), starts, a
        heads[a] = first
        tails[a] = first + n

    for i in range(slots.shape[0]):
        a = slots[i]
        state = states[a]
        head, tail, tiles = heads[a], tails[a], state[TILES]
        t, h = time[i], tx[i] & TX_MASK
        newest = newest_event(rows, head, tail)
        if label[i] >= 0:
            if newest >= 0 and t <= newest - HORIZON:
                state[FRAUDS_BEFORE] += label[i]
            else:
                tails[a] = tail + mark(rows, squares, head, tail, tiles, t, h, label[i] == 1)
                heads[a], state[TILES], frauds = tidy(rows, squares, head, tails[a], tiles, newest - HORIZON)
                state[FRAUDS_BEFORE] += frauds
            continue
        stateless(t, amount[i], scale[i], balance[i], opened_at[i], out[i])
        generation += 1
        p = place(rows, head, tail, t)
        known = find(rows, head + tiles, p, t, h)
        status[i] = LATE if t < newest else NEW
        if known >= 0 and rows[known, COUNT] == NOTE:
            status[i] = DUPLICATE
            continue
        if known >= 0 and rows[known, COUNT]:
            p = known
            status[i] = DUPLICATE
        elif known >= 0:
            p = claim(rows, squares, known, p)
        else:
            open_gap(rows, squares, p, tail)
            if p < head + tiles:
                tiles += 1
            tail += 1
            rows[p] = 0
            squares[p] = 0.0
        life_sum = state[LIFE_SUM]
        if status[i] != DUPLICATE:
            state[LIFE_COUNT] += 1
            state[LIFE_SUM] = min(LARGEST_SUM, life_sum + amount[i])
            rows[p, TIME] = t
            rows[p, TX] = h
            rows[p, COUNT] = 1
            rows[p, SUM] = amount[i]
            rows[p, MAX] = amount[i]
            for k in range(_IDENTIFIERS):
                rows[p, MERCHANT + k] = identifiers[i, k]
        bits[0] = state[TYPICAL]
        typical = floats[0]
        new[i] = _history(
            rows,
            squares,
            head,
            tail,
            p,
            tiles,
            state,
            typical,
            scale[i],
            out[i],
            keys,
            marks,
            values,
            generation,
            delay,
        )
        pays[i] = rows[p, COUNT] == 1
        if status[i] != DUPLICATE and kind[i] != PAYS:
            named = -1
            if original[i] != MISSING:
                named = original_of(rows, head + tiles, tail, original[i] & TX_MASK, p)
            pays[i] = kind[i] == COMPLETES and named < 0
            if original[i] != MISSING and named < 0:
                status[i] = UNMATCHED
            if not pays[i]:
                state[LIFE_COUNT] -= 1
                state[LIFE_SUM] = life_sum
                rows[p, COUNT] = NOTE
                rows[p, SUM] = 0
                rows[p, MAX] = 0
                if kind[i] == REFUNDS and named < 0:
                    rows[p, BACK] = amount[i]
                elif kind[i] == COMPLETES:
                    state[LIFE_SUM] = min(LARGEST_SUM, life_sum + complete(rows, named, amount[i]))
                elif kind[i] != PAYS_IN and named >= 0 and not take_back(rows, named, amount[i]):
                    status[i] = UNMATCHED
        if status[i] != DUPLICATE and pays[i]:
            x, k = float(amount[i]), state[LIFE_COUNT]
            floats[0] += ((x if k <= _LEARNT else min(x, UNUSUAL * typical)) - typical) / min(k, _MEMORY)
            state[TYPICAL] = bits[0]
        if balance[i] != MISSING and balance[i] > 0:
            spent = np.rint(out[i, _FIRST_WINDOW + 5 * 4 + 1] * scale[i])  # whole minor units, as before
            before = balance[i] + (spent - amount[i])
            if before > 0:
                out[i, _DRAIN] = spent / before
        if lat[i] != MISSING and lon[i] != MISSING and status[i] != DUPLICATE and t >= state[PLACE_TIME]:
            if state[PLACE_TIME] != NO_PLACE:
                km = _distance_km(state[LAT], state[LON], lat[i], lon[i])
                out[i, _DISTANCE] = km
                out[i, _SPEED] = km * HOUR / max(t - state[PLACE_TIME], 1000)
            if pays[i]:
                state[PLACE_TIME] = t
                state[LAT] = lat[i]
                state[LON] = lon[i]
        if p < head + tiles:
            head, tiles = settle(rows, squares, head, tiles, p)
        heads[a], state[TILES], frauds = tidy(rows, squares, head, tail, tiles, max(newest, t) - HORIZON)
        state[FRAUDS_BEFORE] += frauds
        tails[a] = tail

    size = np.int64(0)
    for a in range(accounts):
        size += STATE_BOUND + (tails[a] - heads[a]) * ROW_BOUND
    blobs_out = np.empty(size, np.uint8)
    starts_out = np.zeros(accounts + 1, np.int64)
    at = 0
    for a in range(accounts):
        generation += 1
        at = encode_account(
            states[a],
            rows[heads[a] : tails[a]],
            squares[heads[a] : tails[a]],
            blobs_out,
            at,
            keys,
            marks,
            values,
            generation,
            floats,
        )
        starts_out[a + 1] = at
    return blobs_out, starts_out, -1
