"""Prometheus metrics of webhooks."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class WebhookMetrics:
    """The metrics of one process, in a separate registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.attempts = Counter(
            "vedette_webhook_attempts", "Attempts by outcome: sent, retry, dead", ["outcome"], registry=self.registry
        )
        for outcome in ("sent", "retry", "dead"):  # a new series would show no increase
            self.attempts.labels(outcome)
        self.events = Counter("vedette_webhook_events", "Deliveries written to the outbox", registry=self.registry)
        self.unreadable = Counter(
            "vedette_webhook_unreadable", "Messages of the topics that are not theirs", registry=self.registry
        )
        self.waiting = Gauge(
            "vedette_webhook_deliveries", "Deliveries in the outbox by status", ["status"], registry=self.registry
        )
