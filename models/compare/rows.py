"""An entry over all cases, as one row of the table."""

from typing import Any

from models.compare.figures import Outcome, intervals, mean
from models.zoo.entry import Entry


def row(entry: Entry, outcomes: list[Outcome]) -> dict[str, Any]:
    """What the JSON line says of an entry: the means, their intervals, and every case."""
    return {
        "model": entry.model,
        "imbalance": entry.imbalance,
        "features": entry.features,
        "history": entry.history,
        "parameters": entry.parameters,
        **mean(outcomes),
        "intervals": intervals(outcomes),
        "cases": [{"case": outcome.case, "figures": outcome.figures} for outcome in outcomes],
    }
