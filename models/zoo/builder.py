"""What the builders of the zoo's models share."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.zoo.entry import Parameter

Floats = NDArray[np.float64]
Parameters = dict[str, Parameter]

_SUREST = 1e-12

LENGTH = 5
"""Payments of the account that a sequence model sees, this one included; the handbook's choice."""


@dataclass(frozen=True)
class Settings:
    """What a builder is told: the entry's parameters and how it is to be trained."""

    parameters: Parameters
    seed: int
    threads: int
    weighted: bool
    focal: bool
    scheduler: str = ""
    """Of the Dask cluster that trains what can be trained there; empty for this machine."""


def log_odds(probability: Floats) -> Floats:
    """Of probabilities, float64 [n]; finite also where a model is sure."""
    clipped = np.clip(probability, _SUREST, 1 - _SUREST)
    odds: Floats = np.log(clipped / (1 - clipped))
    return odds
