"""What the worker counts, for Prometheus, and whether it is healthy and ready."""

import collections
import threading
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from streams.panel import Tally
from streams.partition import Partition
from streams.work import Work

_LATENCY_S = (0.001, 0.002, 0.003, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60)
_BATCH = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)


class Distribution(Collector):
    """A Prometheus histogram that takes a whole array at once."""

    def __init__(self, name: str, meaning: str, bounds: tuple[float, ...]) -> None:
        self._name = name
        self._meaning = meaning
        self._bounds = np.array(bounds)
        self._counts = np.zeros(len(bounds) + 1, np.int64)
        self._sum = 0.0
        self._lock = threading.Lock()

    def observe(self, values: NDArray[np.float64]) -> None:
        """Count values, float64[n]."""
        places = np.bincount(np.searchsorted(self._bounds, values), minlength=len(self._counts))
        with self._lock:
            self._counts += places
            self._sum += float(values.sum())

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        with self._lock:
            cumulative, total = np.cumsum(self._counts).tolist(), self._sum
        bounds = [*(f"{bound:g}" for bound in self._bounds), "+Inf"]
        family = HistogramMetricFamily(self._name, self._meaning)
        family.add_metric([], list(zip(bounds, cumulative, strict=True)), total)
        yield family


class Metrics:
    """All metrics of one worker."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.latency = Distribution(
            "vedette_latency_seconds", "From the produce call of a transaction to its decision made to last", _LATENCY_S
        )
        self.batch = Distribution("vedette_batch_transactions", "Messages per processed batch", _BATCH)
        registry.register(self.latency)
        registry.register(self.batch)
        self.messages = Counter("vedette_messages", "Messages taken in for good", ["topic"], registry=registry)
        self.decisions = Counter("vedette_decisions", "Decisions", ["action"], registry=registry)
        self.alerts = Counter("vedette_alerts", "Alerts", registry=registry)
        self.rejected = Counter("vedette_dlq", "Messages sent to the dead-letter topic", ["topic"], registry=registry)
        self.duplicates = Counter("vedette_duplicates", "Transactions seen before", registry=registry)
        self.late = Counter("vedette_late", "Transactions older than their account's newest", registry=registry)
        self.fenced = Counter("vedette_fenced", "Batches given up to another worker", registry=registry)
        self.shadow = Counter("vedette_shadow_rule", "Times a shadow rule was true", ["rule"], registry=registry)
        self.stage = Counter("vedette_stage_seconds", "Time spent", ["stage"], registry=registry)
        self.lag = Gauge(
            "vedette_lag", "Messages behind the end of a partition", ["topic", "partition"], registry=registry
        )
        self.partitions = Gauge("vedette_partitions", "Partitions owned", registry=registry)
        self.degraded = Gauge(
            "vedette_degraded",
            "1 while waiting for a part that is away, or deciding without history",
            registry=registry,
        )
        self.degraded_decisions = Counter(
            "vedette_degraded_decisions", "Decisions without history, to be followed by others", registry=registry
        )
        self.in_force = Gauge("vedette_in_force", "1 for what is in force", ["role", "version"], registry=registry)
        self.scored = Counter("vedette_model_scored", "Payments a model scored", ["role", "model"], registry=registry)
        self.flagged = Counter(
            "vedette_model_flagged",
            "Payments flagged, or that would be, by a model",
            ["role", "model"],
            registry=registry,
        )
        self.refused = Counter("vedette_model_refused", "Control records that could not be obeyed", registry=registry)
        self.withdrawn = Counter("vedette_model_withdrawn", "Challengers withdrawn by the guard", registry=registry)
        self.refusal: str | None = None
        """Why the latest control record was refused; None once one has been obeyed."""
        self.waiting_for: str | None = None
        self.deciding_without_history = False
        self.assigned = False

    def finished(self, work: Work, now_ms: int) -> None:
        """Count a batch that is published and written."""
        self.messages.labels(work.topic).inc(work.received)
        self.batch.observe(np.array([float(work.received)]))
        if len(work.produced_at):
            # A producer's clock may be ahead of this one.
            self.latency.observe(np.maximum(now_ms - work.produced_at, 0) / 1000.0)
        for action, times in collections.Counter(decision.action for decision in work.outbox.decisions).items():
            self.decisions.labels(action).inc(times)
        for stage, seconds in work.stages.items():
            self.stage.labels(stage).inc(seconds)
        self.alerts.inc(len(work.outbox.alerts))
        if work.outbox.rejects:
            self.rejected.labels(work.topic).inc(len(work.outbox.rejects))
        self.duplicates.inc(work.duplicates)
        self.late.inc(work.late)
        for rule, times in work.shadow.items():
            self.shadow.labels(rule).inc(times)

    def in_force_is(self, about: Mapping[str, str]) -> None:
        """Say which models and which policy are in force from now on."""
        self.in_force.clear()
        for role in ("model", "challenger", "policy"):
            if role in about:
                self.in_force.labels("champion" if role == "model" else role, about[role]).set(1)
        self.refusal = None

    def judged(self, about: Mapping[str, str], tallies: Mapping[str, Tally]) -> None:
        """Count what each model made of a batch, whoever decided."""
        for role, tally in tallies.items():
            model = about["model" if role == "champion" else role]
            self.scored.labels(role, model).inc(tally.scored)
            self.flagged.labels(role, model).inc(tally.flagged)

    def refuse(self, why: str) -> None:
        """Count a control record that could not be obeyed, and show why."""
        self.refused.inc()
        self.refusal = why

    def without_history(self) -> None:
        """Say that payments are decided without history from now on."""
        self.deciding_without_history = True
        self.waiting("Redis")

    def with_history(self) -> None:
        """Say that payments are decided with history again."""
        self.deciding_without_history = False
        self.waiting(None)

    def waiting(self, what: str | None) -> None:
        """Say what the worker waits for, or that it goes on."""
        self.waiting_for = what or ("Redis" if self.deciding_without_history else None)
        self.degraded.set(self.waiting_for is not None)

    def owned(self, partitions: Mapping[int, Partition]) -> None:
        """Say which partitions the worker owns; of the lag of others it says nothing any more."""
        self.partitions.set(len(partitions))
        self.lag.clear()
        self.assigned = bool(partitions)

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
