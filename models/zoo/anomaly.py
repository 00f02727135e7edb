"""Anomaly detectors: trained without labels, they give unusual rows a high score."""

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor

from models.zoo.builder import FitSettings, Parameters
from models.zoo.networks import Autoencoder

Floats = NDArray[np.float64]

NEIGHBOURS_FROM = 20_000
"""Number of rows, drawn evenly, that the local outlier factor compares with: its cost grows with their square."""


class Neighbourhood:
    """Local outlier factor relative to a sample of the training rows."""

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
        """Return scores, high for usual rows as in scikit-learn."""
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
        """Return the matrix with one more column."""
        return np.column_stack([matrix, -self.forest_.score_samples(matrix)])


def isolation_forest(settings: FitSettings) -> Any:
    """Return an isolation forest, whose random cuts isolate unusual rows sooner."""
    return IsolationForest(random_state=settings.seed, n_jobs=settings.threads, **settings.parameters)


def local_outlier_factor(settings: FitSettings) -> Any:
    """Return a local outlier factor, which finds rows in less dense surroundings than their neighbours."""
    return Neighbourhood(settings.seed, settings.threads, settings.parameters)


BUILDERS: dict[str, Callable[[FitSettings], Any]] = {
    "isolation_forest": isolation_forest,
    "local_outlier_factor": local_outlier_factor,
    "autoencoder": Autoencoder,
}
