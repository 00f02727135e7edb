"""The zoo: every model of the comparison, and every treatment of class imbalance, under one interface.

`fit(entry, frame, rows, seed, threads)` returns a `Fitted`, whose `score(frame, rows)` ranks payments.
"""

from models.zoo.entry import ModelEntry
from models.zoo.fit import Fitted, fit

__all__ = ["Fitted", "ModelEntry", "fit"]
