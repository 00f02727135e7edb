"""An entry over all cases, as one row of the table."""

from typing import Any

import numpy as np

from models.compare.figures import intervals, mean
from models.compare.run import Verdict
from models.compare.source import SCENARIO, Case
from models.zoo.entry import Entry


def row(entry: Entry, verdicts: list[Verdict], cases: list[Case]) -> dict[str, Any]:
    """What the JSON line says of an entry: means with their intervals, every case, what is caught of each scenario."""
    outcomes = [verdict.outcome for verdict in verdicts]
    return {
        "model": entry.model,
        "imbalance": entry.imbalance,
        "features": entry.features,
        "history": entry.history,
        "parameters": entry.parameters,
        **mean(outcomes),
        "intervals": intervals(outcomes),
        "scenarios": caught(verdicts, cases),
        "cases": [{"case": outcome.case, "figures": outcome.figures} for outcome in outcomes],
    }


def caught(verdicts: list[Verdict], cases: list[Case]) -> dict[str, float]:
    """Share of each scenario's frauds that is found at the chosen thresholds, over all cases; empty if not known."""
    found: dict[str, list[bool]] = {}
    for verdict, case in zip(verdicts, cases, strict=True):
        if SCENARIO not in case.frame.groups:
            return {}
        frauds = np.flatnonzero(case.frame.fraud[case.test])
        flagged = np.array(verdict.score)[frauds] >= verdict.outcome.figures.threshold
        scenarios = case.frame.groups[SCENARIO][case.test[frauds]]
        for scenario in np.unique(scenarios[scenarios != ""]).tolist():
            found.setdefault(scenario, []).extend(flagged[scenarios == scenario].tolist())
    return {scenario: float(np.mean(found[scenario])) for scenario in sorted(found)}
