"""Money that comes back, in the rows of an account: what refunds, reversals and completions do to a payment."""

import numba
import numpy as np
from numpy.typing import NDArray

from features.rows import BACK, COMPLETED, COUNT, LARGEST_SUM, MAX, SUM, TX


@numba.njit(cache=True, nogil=True, inline="always")
def bounded(total: int) -> int:
    """Return a sum of amounts, capped so that adding another cannot overflow."""
    return max(-LARGEST_SUM, min(LARGEST_SUM, total))


@numba.njit(cache=True, nogil=True)
def original_of(rows: NDArray[np.int64], first: int, tail: int, tx: int, other_than: int) -> int:
    """Return the index of the newest payment with this transaction hash among events, or -1."""
    r = tail - 1
    while r >= first:
        if rows[r, TX] == tx and rows[r, COUNT] == 1 and r != other_than:
            return r
        r -= 1
    return -1


@numba.njit(cache=True, nogil=True)
def take_back(rows: NDArray[np.int64], p: int, amount: int) -> bool:
    """Take an amount out of the payment in row p, down to nothing; return whether there was anything to take out."""
    left = rows[p, SUM] - rows[p, BACK]
    rows[p, BACK] += min(left, amount)
    return bool(left > 0)


@numba.njit(cache=True, nogil=True)
def complete(rows: NDArray[np.int64], p: int, amount: int) -> int:
    """Let a completion replace the amount authorised in row p, or add to that of earlier ones.

    Returns:
        By how much the payment is now larger than authorised.
    """
    if not rows[p, COMPLETED]:
        rows[p, COMPLETED] = 1
        rows[p, BACK] = rows[p, SUM]
    rows[p, BACK] -= amount
    if rows[p, BACK] >= 0:
        return 0
    more: int = -rows[p, BACK]
    rows[p, BACK] = 0
    rows[p, SUM] += more
    rows[p, MAX] = rows[p, SUM]
    return more
