"""What an entry finds of each scenario of fraud, and how often it takes each kind of honest payments for fraud."""

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from models.compare.figures import RATES
from models.compare.run import CaseResult
from models.compare.source import SCENARIO, Case
from models.metrics import threshold_at_fpr

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ScenarioFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The payments of one scenario, over all cases.

    Attributes:
        fraud: Whether they are frauds; the others are honest look-alikes.
        payments: Number of them in the tests.
        at_threshold: Share that is flagged at the threshold chosen on validation: recall, or the rate of false alarms.
        at_fpr_01: Share flagged while 0.1 % of all honest payments are.
        at_fpr_05: Share flagged while 0.5 % of them are.
    """

    fraud: bool
    payments: int
    at_threshold: float
    at_fpr_01: float
    at_fpr_05: float


def by_scenario(results: list[CaseResult], cases: list[Case]) -> dict[str, ScenarioFigures]:
    """Return the figures of each scenario, frauds first; empty where scenarios are not known."""
    found: dict[tuple[bool, str], list[NDArray[np.bool_]]] = {}
    for result, case in zip(results, cases, strict=True):
        if SCENARIO not in case.frame.groups:
            return {}
        score, fraud = np.array(result.score), case.frame.fraud[case.test]
        thresholds = [
            result.outcome.figures.threshold,
            threshold_at_fpr(score, fraud, RATES["recall_at_fpr_01"]),
            threshold_at_fpr(score, fraud, RATES["recall_at_fpr_05"]),
        ]
        flagged = np.column_stack([score >= threshold for threshold in thresholds])
        scenarios = case.frame.groups[SCENARIO][case.test]
        for scenario in np.unique(scenarios[scenarios != ""]).tolist():
            of = scenarios == scenario
            found.setdefault((bool(fraud[of].any()), scenario), []).append(flagged[of])
    figures: dict[str, ScenarioFigures] = {}
    for (is_fraud, scenario), parts in sorted(found.items(), key=lambda one: (not one[0][0], one[0][1])):
        every = np.concatenate(parts)
        threshold, tight, loose = every.mean(axis=0).tolist()
        figures[scenario] = ScenarioFigures(
            fraud=is_fraud, payments=len(every), at_threshold=threshold, at_fpr_01=tight, at_fpr_05=loose
        )
    return figures
