"""Types and helpers shared by the builders of the zoo's models."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.zoo.entry import Parameter

Floats = NDArray[np.float64]
Parameters = dict[str, Parameter]

_SUREST = 1e-12

LENGTH = 5
"""Number of the account's payments, this one included, that a sequence model reads; the handbook's choice."""


@dataclass(frozen=True)
class FitSettings:
    """Input of a builder: the entry's parameters and how it is to be trained."""

    parameters: Parameters
    seed: int
    threads: int
    weighted: bool
    focal: bool
    scheduler: str = ""
    """Address of the Dask cluster that trains the models it can train; empty for this machine."""


def log_odds(probability: Floats) -> Floats:
    """Return the log-odds of probabilities, float64 [n]; finite even for probabilities of 0 and 1."""
    clipped = np.clip(probability, _SUREST, 1 - _SUREST)
    odds: Floats = np.log(clipped / (1 - clipped))
    return odds
