"""What to do about rare positives: resample the training rows, weight them, or look at the hard ones."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.zoo.entry import Imbalance
from models.zoo.gan import ConditionalGan

Floats = NDArray[np.float64]

SHARE = 0.1
"""Frauds per honest row after resampling. A full balance costs precision: with 1 % frauds, 50 copies of each."""


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
        return ConditionalGan(share=SHARE, seed=seed)
    return None


def balanced(fraud: NDArray[np.bool_]) -> Floats:
    """Weights that give both classes the same total, float64 [n]."""
    share = fraud.mean()
    weights: Floats = np.where(fraud, 0.5 / share, 0.5 / (1 - share))
    return weights
