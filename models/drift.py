"""Drift: how far features and score have moved from the baseline in the model folder.

Population stability index over the deciles of the baseline, with missing values as a bin of their own, and the
Kolmogorov-Smirnov distance between the two distribution functions. Both are distances, not tests: with as many payments
as a stream has, every test rejects. The usual readings of PSI are below 0.1 stable, to 0.25 moving, above that moved
(Siddiqi, "Credit Risk Scorecards", 2006).
"""

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.folder import Baseline, BaselineDistribution

MOVING, MOVED = 0.1, 0.25
"""PSI from which a column counts as moving, and as moved."""

LEAST_ROWS = 200
"""Minimum number of rows for deciles to be meaningful."""

_DECILES = np.linspace(0.1, 0.9, 9)
_LEAST_SHARE = 1e-4
"""Share assigned to an empty bin, without which one payment would make the index infinite."""


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """One column compared with its baseline.

    Attributes:
        name: Feature, or `score`.
        psi: Population stability index.
        ks: Largest distance between the distribution functions of the values that are present.
        missing: Share of missing values now.
        missing_before: Share of missing values in training.
        stability: By PSI.
    """

    name: str
    psi: float
    ks: float
    missing: float
    missing_before: float
    stability: Literal["stable", "moving", "moved"]


def drift(
    baseline: Baseline, names: tuple[str, ...], matrix: NDArray[np.float64], score: NDArray[np.float64]
) -> list[Drift]:
    """Return the drift of the score, then of the model's features, the largest first.

    Args:
        baseline: Baseline of the model.
        names: Names of the columns of `matrix`; those that the model does not use are left out.
        matrix: float64 [n, len(names)], NaN is a missing value.
        score: float64 [n], probability of fraud by that model.
    """
    levels = np.array(baseline.levels)
    features = [
        _drift(name, baseline.features[name], levels, matrix[:, column])
        for column, name in enumerate(names)
        if name in baseline.features
    ]
    return [_drift("score", baseline.score, levels, score), *sorted(features, key=lambda found: -found.psi)]


def _drift(name: str, before: BaselineDistribution, levels: NDArray[np.float64], now: NDArray[np.float64]) -> Drift:
    known = np.sort(now[~np.isnan(now)])
    missing = 1 - len(known) / max(len(now), 1)
    quantiles = np.array(before.quantiles)
    if len(quantiles) and len(known):
        borders = np.unique(quantiles[np.searchsorted(levels, _DECILES - 1e-9)])
        was = np.diff(_cumulated(levels, quantiles, borders), prepend=0.0, append=1.0)
        is_ = np.diff(np.searchsorted(known, borders, "right") / len(known), prepend=0.0, append=1.0)
        points = np.unique(quantiles)
        steps = np.searchsorted(known, points, "right") / len(known)
        distance = float(np.abs(steps - _cumulated(levels, quantiles, points)).max())
    else:
        was = is_ = np.ones(1)
        distance = 0.0
    psi = stability_index(
        np.append(was * (1 - before.missing), before.missing), np.append(is_ * (1 - missing), missing)
    )  # fmt: skip
    return Drift(
        name=name,
        psi=psi,
        ks=distance,
        missing=missing,
        missing_before=before.missing,
        stability="moved" if psi > MOVED else "moving" if psi > MOVING else "stable",
    )


def _cumulated(
    levels: NDArray[np.float64], quantiles: NDArray[np.float64], at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the baseline's distribution function at some of its own quantiles: the highest level there."""
    return levels[np.searchsorted(quantiles, at, "right") - 1]


def stability_index(was: NDArray[np.float64], is_: NDArray[np.float64]) -> float:
    """Return the population stability index of two distributions over the same bins, as shares."""
    was, is_ = np.maximum(was, _LEAST_SHARE), np.maximum(is_, _LEAST_SHARE)
    return float(((is_ - was) * np.log(is_ / was)).sum())
