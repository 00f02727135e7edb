"""The zoo: every model of the comparison, and every answer to rare positives, under one interface.

`fit(entry, frame, rows, seed, threads)` gives a `Fitted`, whose `score(frame, rows)` ranks payments.
"""

from models.zoo.entry import Entry
from models.zoo.fit import Fitted, fit

__all__ = ["Entry", "Fitted", "fit"]
