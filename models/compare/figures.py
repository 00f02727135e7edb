"""Metrics of an entry on one case and over all cases, with bootstrap intervals."""

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from models.frame import Frame
from models.metrics import calibration_error, card_precision, card_precision_by_day, expected_cost, threshold_at_fpr
from vedette.clock import DAY
from vedette.errors import InputError

Floats = NDArray[np.float64]

REPLICATES = 200
"""Bootstrap samples; the interval is their 2.5 % and 97.5 % quantiles."""

RATES = {"recall_at_fpr_01": 0.001, "recall_at_fpr_05": 0.005, "recall_at_fpr_1": 0.01}


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One entry on one test.

    Attributes:
        auc: Area under the ROC curve, over transactions.
        ap: Average precision (AUPRC), over transactions.
        cp100: Card precision at 100, mean over days; None where rows have no card.
        best_cp100: What a perfect ranking would reach; None where rows have no card.
        precision: At the threshold chosen on validation.
        recall: At the threshold chosen on validation.
        f1: At the threshold chosen on validation.
        recall_at_fpr_01: Recall while 0.1 % of the honest payments are flagged.
        recall_at_fpr_05: Recall while 0.5 % of them are flagged.
        recall_at_fpr_1: Recall while 1 % of them are flagged.
        calibration_error: Expected calibration error over 20 bins with equally many rows.
        cost: Minor units lost at the threshold.
        saved: Share of the loss without any model that this one avoids.
        threshold: The threshold chosen on validation.
        fit_s: Seconds to train on all training rows.
        predict_s: Seconds to score the test.
        training_rows: Number of training rows.
        rows: Number of test rows.
        frauds: Frauds among them.
    """

    auc: float
    ap: float
    cp100: float | None
    best_cp100: float | None
    precision: float
    recall: float
    f1: float
    recall_at_fpr_01: float
    recall_at_fpr_05: float
    recall_at_fpr_1: float
    calibration_error: float
    cost: int
    saved: float
    threshold: float
    fit_s: float
    predict_s: float
    training_rows: int
    rows: int
    frauds: int


class CaseFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one entry on one case, and the replicates of its bootstrap."""

    case: str
    figures: Figures
    replicates: dict[str, list[float]]
    importance: dict[str, float]


def measure(
    frame: Frame,
    score: Floats,
    *,
    threshold: float,
    contact_cost: int,
    cards: bool,
    fit_s: float,
    predict_s: float,
    training_rows: int,
) -> tuple[Figures, dict[str, list[float]]]:
    """Return the metrics of probabilities on a test, and their bootstrap replicates.

    Raises:
        InputError: The test holds no fraud, or nothing else.
    """
    fraud = frame.fraud
    frauds = int(fraud.sum())
    if frauds in (0, len(frame)):
        raise InputError(f"{frauds} of {len(frame)} test rows are frauds", remedy="use a longer test")
    flagged = score >= threshold
    caught, alarms = int((flagged & fraud).sum()), max(int(flagged.sum()), 1)
    precision, recall = caught / alarms, caught / frauds
    cost = expected_cost(flagged, fraud, frame.amount, contact_cost)
    days = card_precision_by_day(score, fraud, frame.account, frame.event_time // DAY) if cards else np.empty(0)
    at_rate = {
        name: float((score[fraud] >= threshold_at_fpr(score, fraud, rate)).mean()) for name, rate in RATES.items()
    }
    figures = Figures(
        auc=float(roc_auc_score(fraud, score)),
        ap=float(average_precision_score(fraud, score)),
        cp100=float(days.mean()) if cards else None,
        best_cp100=(
            card_precision(fraud.astype(np.float64), fraud, frame.account, frame.event_time // DAY) if cards else None
        ),
        precision=precision,
        recall=recall,
        f1=2 * precision * recall / max(precision + recall, 1e-12),
        calibration_error=calibration_error(score, fraud),
        cost=cost,
        saved=1 - cost / max(int(frame.amount[fraud].sum()), 1),
        threshold=threshold,
        fit_s=fit_s,
        predict_s=predict_s,
        training_rows=training_rows,
        rows=len(frame),
        frauds=frauds,
        **at_rate,
    )
    return figures, bootstrap(score, fraud, days)


def bootstrap(score: Floats, fraud: NDArray[np.bool_], days: Floats, seed: int = 0) -> dict[str, list[float]]:
    """Return the AUC and AP of resampled rows, and the card precision of resampled days.

    Each row counts a Poisson(1) number of times, which is the bootstrap for many rows. Rows of equal score stay
    together.
    """
    rng = np.random.default_rng(seed)
    order = np.argsort(-score, kind="stable")
    truth, ranked = fraud[order], score[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    found: dict[str, list[float]] = {"auc": [], "ap": []}
    for _ in range(REPLICATES):
        weight = rng.poisson(1.0, len(order))
        hits = np.cumsum(weight * truth)[last].astype(np.float64)
        alarms = np.cumsum(weight * ~truth)[last].astype(np.float64)
        if hits[-1] == 0 or alarms[-1] == 0:
            continue
        gained = np.diff(hits, prepend=0.0) / hits[-1]
        found["ap"].append(float((gained * hits / np.maximum(hits + alarms, 1)).sum()))
        found["auc"].append(float(np.trapezoid(np.append(0, hits), np.append(0, alarms)) / (hits[-1] * alarms[-1])))
    if len(days):
        samples = rng.choice(days, (REPLICATES, len(days)))
        found["cp100"] = samples.mean(axis=1).tolist()
    return found


def mean(outcomes: list[CaseFigures]) -> dict[str, float | None]:
    """Return the mean of every figure over the cases; None where a case has none."""
    rows = [msgspec.to_builtins(outcome.figures) for outcome in outcomes]
    return {
        name: None if any(row[name] is None for row in rows) else float(np.mean([row[name] for row in rows]))
        for name in Figures.__struct_fields__
    }


def intervals(outcomes: list[CaseFigures]) -> dict[str, tuple[float, float]]:
    """Return 95 % bootstrap intervals of the means."""
    result: dict[str, tuple[float, float]] = {}
    for name in outcomes[0].replicates:
        samples = [outcome.replicates[name] for outcome in outcomes]
        least = min(len(sample) for sample in samples)
        low, high = np.quantile(np.mean([sample[:least] for sample in samples], axis=0), [0.025, 0.975])
        result[name] = (float(low), float(high))
    return result
