"""What to do about rare positives: resample the training rows, weight them, or look at the hard ones."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.zoo.entry import Imbalance

Floats = NDArray[np.float64]

SHARE = 0.1
"""Frauds per honest row after resampling. A full balance costs precision: with 1 % frauds, 50 copies of each."""

GAMMA, ALPHA = 2.0, 0.25
"""Of the focal loss, as its authors recommend (Lin et al., 2017)."""


def sampler(method: Imbalance, seed: int) -> Any:
    """A sampler with `fit_resample(matrix, fraud)`, or None for a method that leaves the rows as they are."""
    from imblearn.combine import SMOTETomek  # noqa: PLC0415 - imbalanced-learn is an extra
    from imblearn.over_sampling import SMOTE  # noqa: PLC0415
    from imblearn.under_sampling import RandomUnderSampler, TomekLinks  # noqa: PLC0415

    if method == "undersampling":
        return RandomUnderSampler(sampling_strategy=SHARE, random_state=seed)
    if method == "smote":
        return SMOTE(sampling_strategy=SHARE, random_state=seed)
    if method == "tomek":
        return TomekLinks()
    if method == "smote_tomek":
        return SMOTETomek(sampling_strategy=SHARE, random_state=seed)
    if method == "gan":
        from models.zoo.gan import ConditionalGan  # noqa: PLC0415

        return ConditionalGan(share=SHARE, seed=seed)
    return None


def balanced(fraud: NDArray[np.bool_]) -> Floats:
    """Weights that give both classes the same total, float64 [n]."""
    share = fraud.mean()
    weights: Floats = np.where(fraud, 0.5 / share, 0.5 / (1 - share))
    return weights


def focal(target: Floats, margin: Floats) -> tuple[Floats, Floats]:
    """Gradient and hessian of the focal loss in the margin, for boosted trees.

    With p the probability given to the truth and a its weight, the loss is -a (1-p)^g log p. Where it is not convex
    the hessian is held just above zero.
    """
    sign = 2 * target - 1
    p = np.clip(1 / (1 + np.exp(-sign * margin)), 1e-12, 1 - 1e-12)
    a = np.where(target > 0, ALPHA, 1 - ALPHA)
    inner = GAMMA * p * np.log(p) + p - 1
    gradient = a * sign * (1 - p) ** GAMMA * inner
    slope = (1 - p) ** GAMMA * (GAMMA * np.log(p) + GAMMA + 1) - GAMMA * (1 - p) ** (GAMMA - 1) * inner
    return gradient, np.maximum(a * p * (1 - p) * slope, 1e-9)
