"""Cleaning inside the pipeline, so that the same preparation runs before training and before scoring."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

Floats = NDArray[np.float64]


class OutlierBounds(BaseEstimator, TransformerMixin):  # type: ignore[misc]
    """Replaces infinite values by missing ones and clips values to the range of the training rows.

    The range is not narrower, because frauds are among the outliers: bounds at the outer thousandths cost logistic
    regression .012 of average precision on the folds of the handbook.
    """

    def fit(self, matrix: Floats, _target: Any = None) -> Self:
        """Learn the limits of each column; one without any value becomes missing throughout."""
        finite = np.isfinite(matrix)
        self.low_ = np.where(finite, matrix, np.inf).min(axis=0)
        self.high_ = np.where(finite, matrix, -np.inf).max(axis=0)
        return self

    def transform(self, matrix: Floats) -> Floats:
        """Return a matrix of the same shape, without infinities and outliers."""
        known = np.where(np.isfinite(matrix) & (self.low_ <= self.high_), matrix, np.nan)
        return np.clip(known, self.low_, self.high_)


def scaled(*, flags: bool = True) -> Pipeline:
    """Return the preparation for distance-based models: clipping, medians for missing values with flags, scaling."""
    return Pipeline(
        [
            ("limits", OutlierBounds()),
            ("impute", SimpleImputer(strategy="median", add_indicator=flags, keep_empty_features=True)),
            ("scale", StandardScaler()),
        ]
    )
