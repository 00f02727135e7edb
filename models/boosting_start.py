"""LightGBM's `boost_from_average` with rare positives: refused, with an explanation."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vedette.errors import InputError

RARE = 0.02
"""Share of positives below which the first steps overshoot."""

EXPLANATION = (
    "boosting would start at the log-odds of the fraud rate r = {rate:.4%}, where a row's hessian is r(1-r): a leaf "
    "full of frauds steps 1/r = {step:,.0f} log-odds instead of 2, probabilities saturate, gradients vanish and the "
    "ranking is spoilt"
)


def check(parameters: dict[str, Any], fraud: NDArray[np.bool_]) -> None:
    """Refuse LightGBM's default start where it spoils the ranking.

    Args:
        parameters: LightGBM's, under any of its aliases; what is absent has its default.
        fraud: bool [n], the training labels.

    Raises:
        InputError: The default start would spoil the ranking; the message explains it with the numbers of this
            training.
    """
    rate = float(fraud.mean())
    on = parameters.get("boost_from_average", parameters.get("boost_from_avg", True))
    binary = str(parameters.get("objective", "binary")) in ("binary", "cross_entropy", "xentropy")
    if binary and on and 0 < rate < RARE and not _weighted(parameters):
        raise InputError(EXPLANATION.format(rate=rate, step=1 / rate), remedy="set boost_from_average to false")


def _weighted(parameters: dict[str, Any]) -> bool:
    """Return whether class weights raise the rate at which boosting starts."""
    return bool(parameters.get("is_unbalance")) or float(parameters.get("scale_pos_weight", 1.0)) > 1.0
