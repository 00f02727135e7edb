"""Metrics of the worker for Prometheus, with its health and readiness."""

import threading
import time
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from decisions.policy_form import ACTIONS
from decisions.rollout import FlagCount
from streams.batch import Computed
from streams.health import Health
from streams.partition import Partition
from streams.placement import Misplacement
from vedette.topics import WORKER_INPUTS

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


class PartitionLag(Collector):
    """How far the partitions of the worker are behind, in messages and seconds.

    Seconds are the age of the newest message that has been read, while there are more; it grows also while the worker
    reads nothing.
    """

    def __init__(self) -> None:
        self._places: dict[tuple[str, int], tuple[int, int]] = {}

    def set(self, topic: str, partition: int, messages: int, produced_at: int) -> None:
        """Record how many messages are still to be read, and when the newest that was read was produced (ms UTC)."""
        self._places[topic, partition] = messages, produced_at

    def clear(self) -> None:
        """Forget all partitions."""
        self._places = {}

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        now_ms = time.time() * 1000
        messages = GaugeMetricFamily(
            "vedette_lag_messages", "Messages of a partition that are still to be read", labels=["topic", "partition"]
        )
        seconds = GaugeMetricFamily(
            "vedette_lag_seconds", "Age of the newest message read of a partition, 0 when nothing more is to be read",
            labels=["topic", "partition"],
        )  # fmt: skip
        for (topic, partition), (behind, produced_at) in tuple(self._places.items()):
            messages.add_metric([topic, str(partition)], behind)
            seconds.add_metric([topic, str(partition)], max(now_ms - produced_at, 0) / 1000 if behind else 0.0)
        yield messages
        yield seconds


class Metrics:
    """All metrics of one worker."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.latency = Distribution(
            "vedette_latency_seconds",
            "From the produce call of a transaction until its decision is published and its state written",
            _LATENCY_S,
        )
        self.batch = Distribution("vedette_batch_messages", "Messages of any topic in a batch", _BATCH)
        self.owner_lag = Distribution(
            "vedette_owner_lag_seconds",
            "From the publication of a payment's or label's activity until the owner of its entities has written it",
            _LATENCY_S,
        )
        registry.register(self.latency)
        registry.register(self.owner_lag)
        registry.register(self.batch)
        self.messages = Counter("vedette_messages", "Messages applied durably", ["topic"], registry=registry)
        self.decisions = Counter("vedette_decisions", "Decisions", ["action"], registry=registry)
        self.alerts = Counter("vedette_alerts", "Alerts", registry=registry)
        self.rejected = Counter("vedette_dlq", "Messages sent to the dead-letter topic", ["topic"], registry=registry)
        self.unscored = Counter(
            "vedette_unscored", "Transactions approved without a score", ["kind"], registry=registry
        )
        self.unmatched = Counter(
            "vedette_unmatched", "Transactions that take back or complete one which is not known", registry=registry
        )
        self.duplicates = Counter("vedette_duplicates", "Repeated transactions", registry=registry)
        self.late = Counter("vedette_late", "Transactions older than their account's newest", registry=registry)
        self.misplaced = Counter(
            "vedette_misplaced", "Messages on another partition than their account's", ["topic", "reason"],
            registry=registry,
        )  # fmt: skip
        self.partitions_lost = Counter(
            "vedette_partitions_lost", "Partitions found to belong to another worker", registry=registry
        )
        self.shadow = Counter("vedette_shadow_rule", "Times a shadow rule was true", ["rule"], registry=registry)
        self.stage = Counter("vedette_stage_seconds", "Time spent", ["stage"], registry=registry)
        self.lag = PartitionLag()
        registry.register(self.lag)
        self.partitions = Gauge("vedette_partitions", "Partitions owned", registry=registry)
        self.degraded = Gauge(
            "vedette_degraded",
            "1 while waiting for Redis or the broker, or deciding without history",
            registry=registry,
        )
        self.health = Health()
        self.degraded.set_function(lambda: float(self.health.waiting_for is not None))
        self.degraded_decisions = Counter(
            "vedette_degraded_decisions", "Decisions without history, to be followed by others", registry=registry
        )
        self.in_force = Gauge("vedette_in_force", "1 for versions in force", ["role", "version"], registry=registry)
        self.scored = Counter("vedette_model_scored", "Payments a model scored", ["role", "model"], registry=registry)
        self.flagged = Counter(
            "vedette_model_flagged",
            "Payments flagged, or that would be, by a model",
            ["role", "model"],
            registry=registry,
        )
        self.refused = Counter(
            "vedette_model_refused", "Control records that could not be put into force", registry=registry
        )
        self.withdrawn = Counter("vedette_model_withdrawn", "Challengers withdrawn by the guardrail", registry=registry)

        # A counter that first appears with its first event would show no increase.
        for topic in WORKER_INPUTS:
            self.messages.labels(topic)
            self.rejected.labels(topic)
            for reason in Misplacement:
                self.misplaced.labels(topic, reason)
        for action in ACTIONS:
            self.decisions.labels(action)

    def finished(self, batch: Computed, now_ms: int) -> None:
        """Count a batch that is published and written."""
        topic, counts = batch.topic, batch.counts
        self.batch.observe(np.array([float(batch.received)]))
        if len(counts.produced_at):
            # A producer's clock may be ahead of this one.
            self.latency.observe(np.maximum(now_ms - counts.produced_at, 0) / 1000.0)
        if len(counts.activity_at):
            self.owner_lag.observe(np.maximum(now_ms - counts.activity_at, 0) / 1000.0)
        for action, times in zip(ACTIONS, counts.actions.tolist(), strict=False):
            if times:
                self.decisions.labels(action).inc(times)
        for kind, times in counts.unscored.items():
            self.decisions.labels(ACTIONS[0]).inc(times)
            self.unscored.labels(kind).inc(times)
        self.unmatched.inc(counts.unmatched)
        for stage, seconds in batch.stages.items():
            self.stage.labels(stage).inc(seconds)
        self.alerts.inc(counts.alerts)
        if counts.rejects:
            self.rejected.labels(topic).inc(counts.rejects)
        for reason, times in counts.misplaced.items():
            self.misplaced.labels(topic, reason).inc(times)
        self.duplicates.inc(counts.duplicates)
        self.late.inc(counts.late)
        for rule, times in counts.shadow_rules.items():
            self.shadow.labels(rule).inc(times)
        # Last: whoever sees the messages counted, in a page that is read meanwhile, sees what came of them too.
        self.messages.labels(topic).inc(batch.received)

    def in_force_is(self, versions: Mapping[str, str]) -> None:
        """Show which models and which policy are in force from now on."""
        self.in_force.clear()
        for role in ("model", "challenger", "policy"):
            if role in versions:
                self.in_force.labels("champion" if role == "model" else role, versions[role]).set(1)
        self.health.refusal = None

    def decided(self, versions: Mapping[str, str], flag_counts: Mapping[str, FlagCount]) -> None:
        """Count the results of each model on a batch, whichever decides."""
        for role, count in flag_counts.items():
            model = versions["model" if role == "champion" else role]
            self.scored.labels(role, model).inc(count.scored)
            self.flagged.labels(role, model).inc(count.flagged)

    def refuse(self, why: str) -> None:
        """Count a control record that could not be put into force, and show the reason."""
        self.refused.inc()
        self.health.refusal = why

    def owned(self, partitions: Mapping[int, Partition]) -> None:
        """Show the partitions that the worker owns, and remove the lag of others."""
        self.partitions.set(len(partitions))
        self.lag.clear()
        self.health.assigned = bool(partitions)

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
