"""Calibration: from a booster's margin (log-odds) to a probability that can be multiplied by an amount of money."""

from functools import cached_property

import msgspec
import numpy as np
from numpy.typing import NDArray

REACH = 20.0
"""Distance in log-odds beyond the outermost knots over which the map continues to 0 and 1."""

ROUNDING = 1e-9
"""Largest difference at which probabilities of neighbouring steps count as equal."""


class Calibration(msgspec.Struct, frozen=True, dict=True):
    """A strictly rising, piecewise linear map, given by its knots.

    Attributes:
        margins: Knots on the side of the booster, rising.
        probabilities: Their probabilities, rising, from 0 to 1.
    """

    margins: list[float]
    probabilities: list[float]

    @cached_property
    def _knots(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.array(self.margins), np.array(self.probabilities)

    def apply(self, margin: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probabilities of margins, both float64 [n]."""
        return np.interp(margin, *self._knots)


def fit(margin: NDArray[np.float64], fraud: NDArray[np.bool_]) -> Calibration:
    """Fit on rows that the booster was not trained on.

    Isotonic regression yields steps, and on a step all payments would rank the same. So each step becomes one knot
    at its mean margin (centred isotonic regression, Oron and Flournoy 2017), which keeps the booster's order.
    The rule of succession bounds every step, so the probability of a step without any fraud is not zero.

    Args:
        margin: float64 [n], log-odds of the booster.
        fraud: bool [n], the labels; both classes must occur.
    """
    from sklearn.isotonic import IsotonicRegression

    frauds = int(fraud.sum())
    isotonic = IsotonicRegression(y_min=1 / (len(fraud) - frauds + 2), y_max=1 - 1 / (frauds + 2))
    order = np.argsort(margin, kind="stable")
    margin, fraud = margin[order], fraud[order]
    step = isotonic.fit_transform(margin, fraud.astype(np.float64))
    member = np.cumsum(np.diff(step, prepend=step[0]) > ROUNDING)
    size = np.bincount(member)
    centres = np.bincount(member, weights=margin) / size
    levels = np.bincount(member, weights=step) / size
    return Calibration(
        margins=[float(centres[0]) - REACH, *centres.tolist(), float(centres[-1]) + REACH],
        probabilities=[0.0, *levels.tolist(), 1.0],
    )
