"""Treatments of rare positives: resample the training rows, weight them, or focus on the hard ones."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.extras import needs_extra
from models.zoo.entry import Imbalance
from models.zoo.gan import ConditionalGan

Floats = NDArray[np.float64]

SHARE = 0.1
"""Frauds per honest row after resampling. A full balance costs precision: with 1 % frauds, 50 copies of each."""


def sampler(method: Imbalance, seed: int) -> Any:
    """Return a sampler with `fit_resample(matrix, fraud)`, or None for a method that leaves the rows as they are."""
    if method == "gan":
        return ConditionalGan(share=SHARE, seed=seed)
    if method in ("none", "class_weights", "focal"):
        return None
    with needs_extra("models", "resampling"):
        from imblearn.combine import SMOTETomek  # noqa: PLC0415 - an extra
        from imblearn.over_sampling import SMOTE  # noqa: PLC0415
        from imblearn.under_sampling import RandomUnderSampler, TomekLinks  # noqa: PLC0415

    if method == "undersampling":
        return RandomUnderSampler(sampling_strategy=SHARE, random_state=seed)
    if method == "smote":
        return SMOTE(sampling_strategy=SHARE, random_state=seed)
    if method == "tomek":
        return TomekLinks()
    return SMOTETomek(sampling_strategy=SHARE, random_state=seed)


def balanced(fraud: NDArray[np.bool_]) -> Floats:
    """Return weights that give both classes the same total, float64 [n]."""
    share = fraud.mean()
    weights: Floats = np.where(fraud, 0.5 / share, 0.5 / (1 - share))
    return weights
