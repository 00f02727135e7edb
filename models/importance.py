"""What a model looks at: importance of its features over many payments, and how the score moves with one of them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.catalogue import NAMES
from models.scorer import Scorer
from vedette.events import EXTRA


class Importance(NamedTuple):
    """One feature: mean absolute contribution to the log-odds (TreeSHAP), and its share of all."""

    feature: str
    contribution: float
    share: float


class Dependence(NamedTuple):
    """How the mean probability moves when one feature is set to each of some values for every payment."""

    feature: str
    values: NDArray[np.float64]
    probability: NDArray[np.float64]


def importance(scorer: Scorer, rows: NDArray[np.float64]) -> list[Importance]:
    """Every feature of a model, the most important first.

    Args:
        scorer: The model.
        rows: float64 [n, features of the catalogue + extra]; some thousand payments are enough.
    """
    mean = np.abs(scorer.contributions(rows)).mean(axis=0) if len(rows) else np.zeros(len(scorer.names))
    total = float(mean.sum()) or 1.0
    order = np.argsort(-mean, kind="stable").tolist()
    return [Importance(scorer.names[k], float(mean[k]), float(mean[k]) / total) for k in order]


def partial_dependence(scorer: Scorer, rows: NDArray[np.float64], feature: str, points: int = 20) -> Dependence:
    """The mean probability over `rows` with one feature set to each of its quantiles (Friedman 2001, section 8.2).

    Args:
        scorer: The model.
        rows: float64 [n, features of the catalogue + extra].
        feature: A column of the model.
        points: At most this many values, fewer if quantiles coincide; none if the feature is always missing.
    """
    offered = (*NAMES, *(EXTRA + name for name in scorer.extra))
    column = offered.index(feature)
    known = rows[:, column][~np.isnan(rows[:, column])]
    values = np.unique(np.quantile(known, np.linspace(0, 1, points))) if len(known) else np.empty(0)
    changed = rows.copy()
    means = np.empty(len(values))
    for k, value in enumerate(values):
        changed[:, column] = value
        means[k] = scorer.predict(changed).mean()
    return Dependence(feature, values, means)
