"""Bootstrap over accounts: an account's payments are not independent, so whole accounts are drawn."""

import numpy as np
from numpy.typing import NDArray


class AveragePrecision:
    """Average precision of one ranking for many weightings of its rows; rows of equal score stay together.

    Args:
        fraud: bool [n], the truth.
        score: float64 [n].
    """

    def __init__(self, fraud: NDArray[np.bool_], score: NDArray[np.float64]) -> None:
        self._order = np.argsort(-score, kind="stable")
        ranked = score[self._order]
        self._fraud = fraud[self._order]
        self._last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))

    def __call__(self, weight: NDArray[np.int64]) -> float:
        """Return the average precision with row weights, int64 [n], that leave at least one fraud."""
        weight = weight[self._order]
        hits = np.cumsum(weight * self._fraud)[self._last].astype(np.float64)
        flagged = np.cumsum(weight)[self._last]
        gained = np.diff(hits, prepend=0.0) / hits[-1]
        return float((gained * hits / np.maximum(flagged, 1)).sum())


def average_precision_gains(
    fraud: NDArray[np.bool_],
    old: NDArray[np.float64],
    new: NDArray[np.float64],
    account: NDArray[np.int64],
    *,
    draws: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return what the new score gains in average precision, for each draw of accounts that holds a fraud.

    Args:
        fraud: bool [n], the truth.
        old: float64 [n], one score.
        new: float64 [n], the other.
        account: int64 [n].
        draws: Number of bootstrap samples.
        rng: Source of the samples.
    """
    accounts, inverse = np.unique(account, return_inverse=True)
    before, after = AveragePrecision(fraud, old), AveragePrecision(fraud, new)
    gains: list[float] = []
    for _ in range(draws):
        times = np.bincount(rng.integers(len(accounts), size=len(accounts)), minlength=len(accounts))[inverse]
        if (times * fraud).any():
            gains.append(after(times) - before(times))
    return np.array(gains)
