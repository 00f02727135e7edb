"""An entry over all cases, as one row of the table."""

from typing import Any

import msgspec
import numpy as np

from models.compare.figures import intervals, mean
from models.compare.run import CaseResult
from models.compare.scenarios import by_scenario
from models.compare.source import SCENARIO, Case
from models.zoo.entry import ModelEntry


def row(entry: ModelEntry, results: list[CaseResult], cases: list[Case]) -> dict[str, Any]:
    """Return an entry's JSON line: means with their intervals, every case, and the share of each scenario caught."""
    outcomes = [result.outcome for result in results]
    return {
        "model": entry.model,
        "imbalance": entry.imbalance,
        "features": entry.features,
        "history": entry.history,
        "parameters": entry.parameters,
        **mean(outcomes),
        "intervals": intervals(outcomes),
        "scenarios": caught(results, cases),
        "by_scenario": {name: msgspec.to_builtins(figures) for name, figures in by_scenario(results, cases).items()},
        "cases": [{"case": outcome.case, "figures": outcome.figures} for outcome in outcomes],
    }


def caught(results: list[CaseResult], cases: list[Case]) -> dict[str, float]:
    """Return the share of each scenario's frauds found at the chosen thresholds, over all cases; empty if unknown."""
    found: dict[str, list[bool]] = {}
    for result, case in zip(results, cases, strict=True):
        if SCENARIO not in case.frame.groups:
            return {}
        frauds = np.flatnonzero(case.frame.fraud[case.test])
        flagged = np.array(result.score)[frauds] >= result.outcome.figures.threshold
        scenarios = case.frame.groups[SCENARIO][case.test[frauds]]
        for scenario in np.unique(scenarios[scenarios != ""]).tolist():
            found.setdefault(scenario, []).extend(flagged[scenarios == scenario].tolist())
    return {scenario: float(np.mean(found[scenario])) for scenario in sorted(found)}
