"""The focal loss, which focuses on the payments that a model finds hard."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

GAMMA, ALPHA = 2.0, 0.25
"""Parameters of the focal loss, as its authors recommend (Lin et al., 2017)."""


def focal(target: Floats, margin: Floats) -> tuple[Floats, Floats]:
    """Return gradient and hessian of the focal loss with respect to the margin, for boosted trees.

    With p the probability of the true class and a its weight, the loss is -a (1-p)^g log p. Where it is not convex
    the hessian is clipped just above zero.
    """
    sign = 2 * target - 1
    p = np.clip(1 / (1 + np.exp(-sign * margin)), 1e-12, 1 - 1e-12)
    a = np.where(target > 0, ALPHA, 1 - ALPHA)
    inner = GAMMA * p * np.log(p) + p - 1
    gradient = a * sign * (1 - p) ** GAMMA * inner
    slope = (1 - p) ** GAMMA * (GAMMA * np.log(p) + GAMMA + 1) - GAMMA * (1 - p) ** (GAMMA - 1) * inner
    return gradient, np.maximum(a * p * (1 - p) * slope, 1e-9)
