"""What whoever builds a model of the zoo is told."""

from dataclasses import dataclass

from models.zoo.entry import Parameter

Parameters = dict[str, Parameter]

SUREST = 1e-12
"""Probabilities are held this far from 0 and 1, so that their log-odds are finite."""


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


LENGTH = 5
"""Payments of the account that a sequence model sees, this one included; the handbook's choice."""
