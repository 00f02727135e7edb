"""The plain counter, for reference: alert when many accounts pay at one entity within an hour."""

import re
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from models.zoo.builder import FitSettings
from vedette.errors import InputError

Floats = NDArray[np.float64]

COUNTED = re.compile(r"(merchant|device|ip|payee)_live_accounts_1h")
"""Columns that count accounts at an entity over the last hour."""


class Counter:
    """Scores a payment by the number of accounts at its entity; the threshold that is chosen later is the N.

    Which entity is watched, or the largest number over all of them, is chosen by average precision on the training.
    """

    def __init__(self, settings: FitSettings) -> None:
        if settings.parameters:
            raise InputError("counter has no parameters", remedy="remove them")

    def fit(self, matrix: Floats, fraud: NDArray[np.bool_]) -> Self:
        """Choose what to count."""
        candidates = [[column] for column in range(matrix.shape[1])]
        candidates.append(list(range(matrix.shape[1])))
        self._columns = max(candidates, key=lambda columns: average_precision_score(fraud, _most(matrix, columns)))
        self.feature_importances_ = np.isin(np.arange(matrix.shape[1]), self._columns).astype(np.float64)
        return self

    def margins(self, matrix: Floats) -> Floats:
        """Return the number of accounts, float64 [n]."""
        return _most(matrix, self._columns)


def _most(matrix: Floats, columns: list[int]) -> Floats:
    most: Floats = np.nan_to_num(matrix[:, columns], nan=0.0).max(axis=1)
    return most
