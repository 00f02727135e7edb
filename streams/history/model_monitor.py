"""Monitoring of a model on the stream: drift of its inputs and scores, and its metrics where labels have arrived."""

import threading

import msgspec
import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Gauge

from models.drift import LEAST_ROWS, Drift, drift
from models.folder import Baseline
from models.metrics import ScoreMetrics, measure
from models.protocol import known_from
from models.scorer import Scorer
from streams.history.feature_log import FeatureLog
from vedette.clock import DAY
from vedette.errors import InputError
from vedette.events import EXTRA, Label


class Week(msgspec.Struct, frozen=True, kw_only=True):
    """Seven days of event time.

    Attributes:
        start: First moment, milliseconds UTC.
        payments: Number of decided payments.
        alert_rate: Share that was flagged, by either model.
        mature: Whether all its labels have had time to arrive; otherwise its metrics would be too low.
        metrics: Metrics of the model's score, if the week is mature and has a fraud.
    """

    start: int
    payments: int
    alert_rate: float
    mature: bool
    metrics: ScoreMetrics | None


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """Current drift and metrics of a model.

    Attributes:
        model: Version.
        payments: Number of payments used for drift: those of the last days of event time.
        drift: Drift of the score, then of the features, the largest first.
        weeks: Weeks, the oldest first.
        skipped: Number of payments of another feature catalogue.
    """

    model: str
    payments: int
    drift: list[Drift]
    weeks: list[Week]
    skipped: int


def recent(log: FeatureLog, days: float) -> FeatureLog:
    """Return the payments of the last days of event time."""
    time = log.column("event_time").astype(np.int64)
    return log.take(np.flatnonzero(time > time[-1] - days * DAY))


def rows_for(scorer: Scorer, log: FeatureLog) -> NDArray[np.float64]:
    """Return the log's features as input of a model; a vendor feature that was not logged is missing."""
    catalogue = log.matrix[:, : sum(not name.startswith(EXTRA) for name in log.names)]
    missing = np.full(len(log.matrix), np.nan)
    columns = [
        log.matrix[:, log.names.index(EXTRA + name)] if EXTRA + name in log.names else missing for name in scorer.extra
    ]
    return np.column_stack([catalogue, *columns]) if columns else catalogue


def observe(
    scorer: Scorer, baseline: Baseline, log: FeatureLog, labels: dict[str, Label], window_days: float
) -> Observation:
    """Observe a model, whether or not it decided the payments: it scores each of them again.

    Args:
        scorer: The model.
        baseline: Baseline of its folder.
        log: Payments of the feature log.
        labels: Labels by transaction.
        window_days: Number of last days of event time over which drift is measured.

    Raises:
        InputError: There are too few payments.
    """
    score = scorer.predict(rows_for(scorer, log))
    time = log.column("event_time").astype(np.int64)
    window = time > time[-1] - window_days * DAY
    if window.sum() < LEAST_ROWS:
        raise InputError(
            f"{int(window.sum())} payments in {window_days:g} days are too few to measure drift",
            remedy="give more --window",
        )
    return Observation(
        model=scorer.version,
        payments=int(window.sum()),
        drift=drift(baseline, log.names, log.matrix[window], score[window]),
        weeks=_weeks(scorer, log, labels, score),
        skipped=log.skipped,
    )


def _weeks(scorer: Scorer, log: FeatureLog, labels: dict[str, Label], score: NDArray[np.float64]) -> list[Week]:
    delay, contact_cost = scorer.contract.label_delay_days, scorer.contract.config.contact_cost
    frame = log.frame(labels, delay)
    action = log.column("action").astype(np.int64)
    newest = int(frame.event_time[-1])
    mature = known_from(frame, delay) <= newest
    first = int(frame.event_time[0]) // DAY * DAY
    weeks: list[Week] = []
    for start in range(first, newest + 1, 7 * DAY):
        low, high = np.searchsorted(frame.event_time, [start, start + 7 * DAY])
        rows = slice(int(low), int(high))
        if low == high:
            continue
        part, whole = frame.take(rows), start + (7 + delay) * DAY <= newest + 1
        known = np.flatnonzero(mature[rows])
        measured = whole and 0 < part.fraud[known].sum() < len(known)
        weeks.append(
            Week(
                start=start,
                payments=len(part),
                alert_rate=float((action[rows] > 0).mean()),
                mature=whole,
                metrics=measure(
                    part.take(known), score[rows][known], threshold=scorer.threshold, contact_cost=contact_cost
                )
                if measured
                else None,
            )
        )
    return weeks


class Gauges:
    """Prometheus gauges of an observation."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._psi = self._gauge("drift_psi", "Population stability index against training", "column")
        self._ks = self._gauge("drift_ks", "Kolmogorov-Smirnov distance against training", "column")
        self._missing = self._gauge("drift_missing_ratio", "Share of missing values", "column")
        self._rate = self._gauge("drift_alert_ratio", "Share of payments flagged in the latest week")
        self._precision = self._gauge("drift_average_precision", "Average precision in the latest mature week")
        self._recall = self._gauge("drift_recall", "Recall in the latest mature week")
        self._payments = self._gauge("drift_payments", "Payments used for drift")
        self._lock = threading.Lock()

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"vedette_{name}", meaning, ["model", *labels], registry=self.registry)

    def show(self, seen: Observation) -> None:
        """Update the gauges."""
        with self._lock:
            for column in seen.drift:
                self._psi.labels(seen.model, column.name).set(column.psi)
                self._ks.labels(seen.model, column.name).set(column.ks)
                self._missing.labels(seen.model, column.name).set(column.missing)
            self._payments.labels(seen.model).set(seen.payments)
            self._rate.labels(seen.model).set(seen.weeks[-1].alert_rate)
            if measured := [week.metrics for week in seen.weeks if week.metrics]:
                self._precision.labels(seen.model).set(measured[-1].average_precision)
                self._recall.labels(seen.model).set(measured[-1].recall)
