"""Cleaning inside the pipeline, so that whatever was done before training is done again before scoring."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

Floats = NDArray[np.float64]


class Limits(BaseEstimator, TransformerMixin):  # type: ignore[misc]
    """Infinite values become missing; outliers are drawn in to the quantiles seen in training.

    Args:
        share: Share of the rows beyond each of the two limits.
    """

    def __init__(self, share: float = 0.001) -> None:
        self.share = share

    def fit(self, matrix: Floats, _target: Any = None) -> Self:
        """Learn the limits of each column; a column without any value keeps none."""
        finite = np.where(np.isfinite(matrix), matrix, np.nan)
        empty = np.isnan(finite).all(axis=0)
        finite[:, empty] = 0.0
        self.low_, self.high_ = np.nanquantile(finite, [self.share, 1 - self.share], axis=0)
        # A flag that is rarely set has no outliers: its limits would hide it.
        flat = self.low_ == self.high_
        self.low_[flat], self.high_[flat] = np.nanmin(finite[:, flat], axis=0), np.nanmax(finite[:, flat], axis=0)
        return self

    def transform(self, matrix: Floats) -> Floats:
        """The same shape, without infinities and outliers."""
        return np.clip(np.where(np.isfinite(matrix), matrix, np.nan), self.low_, self.high_)


def scaled(*, flags: bool = True) -> Pipeline:
    """For models that need distances: limits, medians for missing values (with flags that say so), unit variance."""
    return Pipeline(
        [
            ("limits", Limits()),
            ("impute", SimpleImputer(strategy="median", add_indicator=flags, keep_empty_features=True)),
            ("scale", StandardScaler()),
        ]
    )
