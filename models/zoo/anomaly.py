"""Models that learn what is usual, without labels; the unusual scores high."""

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor

from models.zoo.builder import Parameters, Settings
from models.zoo.networks import Autoencoder

Floats = NDArray[np.float64]

NEIGHBOURS_FROM = 20_000
"""Rows that the local outlier factor compares with, drawn evenly: its cost grows with their square."""


class Neighbourhood:
    """Local outlier factor against a sample of the training rows."""

    def __init__(self, seed: int, threads: int, parameters: Parameters) -> None:
        self._seed = seed
        self._model = LocalOutlierFactor(novelty=True, n_jobs=threads, **parameters)

    def fit(self, matrix: Floats) -> Self:
        """Learn the densities."""
        rng = np.random.default_rng(self._seed)
        rows = rng.choice(len(matrix), min(len(matrix), NEIGHBOURS_FROM), replace=False)
        self._model.fit(matrix[np.sort(rows)])
        return self

    def score_samples(self, matrix: Floats) -> Floats:
        """Usual rows score high, as scikit-learn has it."""
        usual: Floats = self._model.score_samples(matrix)
        return usual


class WithAnomaly(BaseEstimator, TransformerMixin):  # type: ignore[misc]
    """Adds an isolation forest's score as a column: the unsupervised part of the stacked model."""

    def __init__(self, seed: int = 0, threads: int = 1) -> None:
        self.seed = seed
        self.threads = threads

    def fit(self, matrix: Floats, _target: Any = None) -> Self:
        """Learn what is usual."""
        self.forest_ = IsolationForest(random_state=self.seed, n_jobs=self.threads).fit(matrix)
        return self

    def transform(self, matrix: Floats) -> Floats:
        """One column more than came in."""
        return np.column_stack([matrix, -self.forest_.score_samples(matrix)])


def isolation_forest(settings: Settings) -> Any:
    """Random cuts isolate the unusual sooner."""
    return IsolationForest(random_state=settings.seed, n_jobs=settings.threads, **settings.parameters)


def local_outlier_factor(settings: Settings) -> Any:
    """Less dense than the neighbours."""
    return Neighbourhood(settings.seed, settings.threads, settings.parameters)


BUILDERS: dict[str, Callable[[Settings], Any]] = {
    "isolation_forest": isolation_forest,
    "local_outlier_factor": local_outlier_factor,
    "autoencoder": Autoencoder,
}
