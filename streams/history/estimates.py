"""Rates and differences of rates with 95 % intervals that hold for small and for clustered samples.

An account's payments are not independent, so the number of observations is reduced to an effective number: divided by
the design effect (Kish 1965), the variance of the rate between accounts over that of independent payments, and reduced
further where few accounts estimate that variance (Korn and Graubard 1998). The interval is Wilson's for that number
(Wilson 1927), which stays within 0 to 1 and has a width even at rates of 0 and 1; the interval of a difference combines
two of them (Newcombe 1998, method 10).
"""

import math

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from models.metrics import Z_95, wilson


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A figure with its 95 % interval; the ends are None where there is too little data for an interval."""

    value: float
    low: float | None
    high: float | None


def rate(hits: NDArray[np.float64], trials: NDArray[np.float64]) -> Estimate:
    """Estimate a rate from clusters, such as accounts.

    Args:
        hits: float64 [clusters], number of hits in each cluster.
        trials: float64 [clusters], number of payments in each cluster, at least one in total.
    """
    hits, trials = hits[trials > 0], trials[trials > 0]
    number, clusters = float(trials.sum()), len(trials)
    value = float(hits.sum()) / number
    return _interval(value, _effective(hits, trials, value, number, clusters))


def _interval(value: float, number: float) -> Estimate:
    value, low, high = wilson(value, number)
    return Estimate(value=value, low=low, high=high)


def difference(new: Estimate | None, old: Estimate | None) -> Estimate | None:
    """Return the difference of two independent rates; None if either is unknown."""
    if new is None or old is None or new.low is None or new.high is None or old.low is None or old.high is None:
        return None
    value = new.value - old.value
    return Estimate(
        value=value,
        low=value - math.hypot(new.value - new.low, old.high - old.value),
        high=value + math.hypot(new.high - new.value, old.value - old.low),
    )


def _effective(
    hits: NDArray[np.float64], trials: NDArray[np.float64], value: float, number: float, clusters: int
) -> float:
    """Return the effective number of independent payments; the number of clusters if there is no variance."""
    if not 0 < value < 1 or clusters == 1:
        return clusters
    residuals = hits - value * trials
    variance = clusters / (clusters - 1) * float((residuals**2).sum()) / number**2
    effective = number / max(variance / (value * (1 - value) / number), 1.0)
    return effective * (Z_95 / float(stdtrit(clusters - 1, 0.975))) ** 2
