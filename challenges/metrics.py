"""Prometheus metrics of challenges."""

from prometheus_client import CollectorRegistry, Counter, Histogram

_ANSWER_S = (5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 900.0)


class ChallengeMetrics:
    """The metrics of one process, in a separate registry."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.challenges = Counter(
            "vedette_challenges", "Challenges by status: issued, or how they ended", ["status"], registry=registry
        )
        self.answered = Histogram(
            "vedette_challenge_answer_seconds", "From the issue of a challenge to the customer's answer",
            buckets=_ANSWER_S, registry=registry,
        )  # fmt: skip
        self.messages = Counter(
            "vedette_challenge_messages", "Messages to customers by outcome: sent, failed, or to be tried again",
            ["outcome"], registry=registry,
        )  # fmt: skip
        for outcome in ("sent", "failed", "retried"):  # a new series would show no increase
            self.messages.labels(outcome)
