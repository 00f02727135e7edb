"""Prometheus metrics of the gateway."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS_S = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0, 2.0)


class GatewayMetrics:
    """The metrics of one process, in a separate registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.answers = Counter(
            "vedette_gateway_answers", "Answers about single payments, by outcome", ["outcome"], registry=self.registry
        )
        for outcome in ("decided", "provisional", "degraded"):  # a new series would show no increase
            self.answers.labels(outcome)
        self.latency = Histogram(
            "vedette_gateway_latency_seconds", "From the request to the decision", buckets=_BUCKETS_S,
            registry=self.registry,
        )  # fmt: skip
        self.published = Counter("vedette_gateway_published", "Payments handed to the broker", registry=self.registry)
        self.in_flight = Gauge("vedette_gateway_in_flight", "Payments that wait at present", registry=self.registry)
        self.behind = Gauge(
            "vedette_gateway_behind_seconds", "Age of the oldest payment without a decision", registry=self.registry
        )
        self.room = Gauge(
            "vedette_gateway_room", "Payments that may be undecided at present before more are refused",
            registry=self.registry,
        )  # fmt: skip
        self.loop_lag = Gauge(
            "vedette_gateway_loop_lag_seconds", "Time by which the gateway's event loop runs behind",
            registry=self.registry,
        )  # fmt: skip
        self.remembered = Gauge("vedette_gateway_remembered", "Payments recognised by their id", registry=self.registry)
        self.card_messages = Counter(
            "vedette_gateway_card_messages", "Messages of card switches, by type and response code", ["type", "code"],
            registry=self.registry,
        )  # fmt: skip
        self.card_latency = Histogram(
            "vedette_gateway_card_latency_seconds", "From a message of a card switch to its response code",
            buckets=_BUCKETS_S, registry=self.registry,
        )  # fmt: skip
        self.unreadable = Counter(
            "vedette_gateway_unreadable",
            "Messages on the decisions topic that are not decisions",
            registry=self.registry,
        )
