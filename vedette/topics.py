"""The topics as data: what `vedette topics apply` creates and `vedette topics diff` compares."""

from enum import StrEnum

import msgspec

from vedette.clock import DAY
from vedette.settings import TopicSettings


class Name(StrEnum):
    """Names of all topics, without the deployment's prefix."""

    TRANSACTIONS = "transactions"
    DLQ = "transactions.dlq"
    LABELS = "labels"
    ACTIVITY = "activity"
    DECISIONS = "decisions"
    FEATURES = "features"
    ALERTS = "alerts"
    CHALLENGES = "challenges"
    CALLS = "calls"
    INCIDENTS = "incidents"
    CONTROL = "control"


WORKER_INPUTS = (Name.TRANSACTIONS, Name.LABELS, Name.ACTIVITY)
"""The topics that the worker reads."""


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration of one topic."""

    name: str
    key: str
    value: str
    partitions: int
    replication: int
    config: dict[str, str]
    description: str


_FOREVER = -1

# Batches are large, and a dead letter contains its message and its reason.
_LARGE = (Name.FEATURES, Name.ACTIVITY, Name.DLQ)

# name, key, value, retention in days, about; the worker's own topics share one partition count, so that one
# worker owns the same partition number of each.
_PARTITIONED = (
    (Name.TRANSACTIONS, "account_id", "Transaction", 30, "payments to decide on"),
    (Name.DLQ, "original key", "original bytes", 90, "messages that could not be read, with the reason"),
    (Name.LABELS, "account_id", "Label", 400, "labels of transactions, as they arrive"),
    (Name.ACTIVITY, "none", "Arrow record batch", 60, "activity of merchants, devices and IPs, for their owners"),
    (Name.DECISIONS, "account_id", "Decision", 400, "one decision per transaction"),
    (Name.FEATURES, "none", "Arrow record batch", 90, "all features and scores, one record batch per batch"),
    (Name.ALERTS, "account_id", "Alert", 90, "flagged transactions"),
    (Name.CHALLENGES, "account_id", "Challenge", 400, "challenges for customers and their outcome"),
    (Name.CALLS, "account_id", "CallCheck", 400, "outcomes of call checks with customers"),
    (Name.INCIDENTS, "account_id", "ClosedIncident", 400, "closed incidents"),
)


def topics(settings: TopicSettings) -> tuple[Topic, ...]:
    """Return all topics of a deployment, in the order of creation."""
    large = {"max.message.bytes": str(settings.max_message_bytes)}
    partitioned = (
        Topic(
            name=settings.prefix + name,
            key=key,
            value=value,
            partitions=settings.partitions,
            replication=settings.replication,
            config={"cleanup.policy": "delete", "retention.ms": str(days * DAY)} | (large if name in _LARGE else {}),
            description=description,
        )
        for name, key, value, days, description in _PARTITIONED
    )
    control = Topic(
        name=settings.prefix + Name.CONTROL,
        key="name",
        value="JSON",
        partitions=1,
        replication=settings.replication,
        config={"cleanup.policy": "compact", "retention.ms": str(_FOREVER)},
        description="model and policy versions in force",
    )
    return (*partitioned, control)
