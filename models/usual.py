"""What is usual: the distribution of every feature in training, kept with the model."""

import math
from typing import TYPE_CHECKING

from models.folder import Baseline

if TYPE_CHECKING:
    from collections.abc import Mapping

_LEVELS = 101


class Usual:
    """Quantiles of the training rows by feature, from the baseline of a model.

    Args:
        baseline: The baseline. A feature that it does not have, or without a value in training, has no quantiles, and
            whatever value it has counts as unusual: then the account's own habit decides.
        label_delay_days: The label delay of the model.

    Attributes:
        currency: The currency of all training rows; empty if they have several.
        label_delay_s: Seconds that a label takes to arrive, before which merchants, devices and addresses are known.
    """

    def __init__(self, baseline: Baseline, label_delay_days: float) -> None:
        self.currency = baseline.currency
        self.label_delay_s = label_delay_days * 86_400.0
        self._quantiles: Mapping[str, list[float]] = {
            name: found.quantiles for name, found in baseline.features.items() if len(found.quantiles) == _LEVELS
        }

    def at(self, name: str, percent: int) -> float:
        """Return the value that `percent` per cent of the training rows do not exceed; NaN if it is unknown."""
        quantiles = self._quantiles.get(name)
        return quantiles[percent] if quantiles else math.nan

    def above(self, name: str, value: float, percent: int) -> bool:
        """Return whether more than `percent` per cent of the training rows are lower; true if that is unknown."""
        quantiles = self._quantiles.get(name)
        return value > quantiles[percent] if quantiles else not math.isnan(value)

    def below(self, name: str, value: float, percent: int) -> bool:
        """Return whether all but `percent` per cent of the training rows are higher; true if that is unknown."""
        quantiles = self._quantiles.get(name)
        return value < quantiles[percent] if quantiles else not math.isnan(value)
