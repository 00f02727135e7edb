"""Importance of a model's features over many payments."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.scorer import Scorer


class Importance(NamedTuple):
    """One feature: mean absolute contribution to the log-odds (TreeSHAP), and its fraction of the sum of all."""

    feature: str
    contribution: float
    fraction: float


def importance(scorer: Scorer, rows: NDArray[np.float64]) -> list[Importance]:
    """Return every feature of a model, the most important first.

    Args:
        scorer: The model.
        rows: float64 [n, features of the catalogue + extra]; some thousand payments are enough.
    """
    mean = np.abs(scorer.contributions(rows)).mean(axis=0) if len(rows) else np.zeros(len(scorer.names))
    total = float(mean.sum()) or 1.0
    order = np.argsort(-mean, kind="stable").tolist()
    return [Importance(scorer.names[k], float(mean[k]), float(mean[k]) / total) for k in order]
