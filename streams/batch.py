"""A batch of messages at each stage: received, computed, sent. A sent batch is then written to the store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from decisions.rollout import BatchDecision, Rollout
from features.store import CommitStep
from streams.decode import Record
from streams.own_decisions import StandingDecision
from streams.partition import Partition
from streams.payments import Payments, ScoredPayments
from streams.placement import Misplacement
from streams.publish import Delivery
from vedette import keys
from vedette.topics import Name


@dataclass(frozen=True)
class Received:
    """Messages of one topic that have not been applied yet."""

    topic: Name
    partitions: list[Partition]
    """The partitions in order of their numbers."""
    positions: list[int]
    """The next offset to apply in each partition, after these messages."""
    records: list[Record]
    """Messages grouped by partition, in order of their offsets."""


@dataclass(frozen=True)
class PartitionUpdate:
    """The changes of a batch in one partition."""

    partition: Partition
    watermarks: dict[str, int]
    """Watermarks by field, see vedette.keys."""
    states: dict[str, bytes]
    """State blobs by key."""


@dataclass(frozen=True)
class BatchCounts:
    """Counts of a batch, for the metrics once it is written."""

    actions: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Number of scored decisions by action, in the order of ACTIONS."""
    unscored: Mapping[str, int] = field(default_factory=dict)
    """Kind → number of transactions that were approved without a score."""
    unmatched: int = 0
    """Number of transactions that name one which is not known to their account, or of which all has come back."""
    alerts: int = 0
    rejects: int = 0
    duplicates: int = 0
    late: int = 0
    misplaced: Mapping[Misplacement, int] = field(default_factory=dict)
    """Reason → number of messages on another partition than their account's."""
    shadow_rules: Mapping[str, int] = field(default_factory=dict)
    """Shadow rule → number of payments on which it was true."""
    produced_at: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Time at which each decided payment was produced, milliseconds."""
    activity_at: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Time at which each message of activity was produced, milliseconds."""


@dataclass(frozen=True)
class Computed:
    """A batch whose events are applied to the states in memory, and whose decisions are handed to the producer."""

    topic: Name
    received: int
    """Number of messages."""
    updates: list[PartitionUpdate]
    """Updates in order of partition number."""
    delivery: Delivery
    """Delivery of decisions and dead letters; for labels, also of activity."""
    decided: "DecidedBatch | None"
    """The decisions, of which alerts, feature log and activity are made once it is known which stand."""
    counts: BatchCounts
    stages: dict[str, float]
    """Seconds spent in each stage; later stages are added."""


@dataclass(frozen=True)
class DecidedBatch:
    """Transactions with their decisions."""

    rollout: Rollout
    decided: BatchDecision
    """The decisions on those that were scored."""
    payments: Payments
    """All transactions."""
    scored: ScoredPayments
    """Those that were scored."""
    scored_rows: NDArray[np.intp]
    """Their rows among all."""
    partitions: dict[int, Partition]
    taken_over: frozenset[int] = frozenset()
    """Rows whose decision was already there when the batch was computed, and was taken over."""
    standing: dict[int, StandingDecision] = field(default_factory=dict)
    """By row, decisions of another worker that came before those of this one, and so stand."""


@dataclass(frozen=True)
class SentBatch:
    """A batch that is completely handed to the producer. Once the broker has it, it may be written to Redis."""

    computed: Computed
    deliveries: tuple[Delivery, ...]
    """Of batches sent together, the first has the deliveries of what was joined."""


def commit_step(batches: Sequence[SentBatch], partition: Partition) -> CommitStep:
    """Return the changes of batches, in order, in a partition."""
    updates = [
        (batch.computed.topic, update)
        for batch in batches
        for update in batch.computed.updates
        if update.partition is partition
    ]
    states: dict[str, bytes] = {}
    watermarks: dict[str, int] = {}
    for _, update in updates:
        states |= update.states
        watermarks |= update.watermarks
    first_topic = updates[0][0]
    after = (keys.position(first_topic), partition.written_position(first_topic))
    return CommitStep(partition.number, partition.epoch, states, watermarks, after)


def updates_of(
    received: Received, states: Sequence[dict[str, bytes]], watermarks: Sequence[Mapping[str, int]] | None = None
) -> list[PartitionUpdate]:
    """Return the changes of a batch in each partition: states, position on the topic, and other watermarks."""
    position = keys.position(received.topic)
    others = watermarks or [{}] * len(received.partitions)
    return [
        PartitionUpdate(partition, {position: end, **other}, new)
        for partition, end, other, new in zip(received.partitions, received.positions, others, states, strict=True)
    ]


class StageClock:
    """Adds up the seconds since the last lap, by stage."""

    def __init__(self, stages: dict[str, float]) -> None:
        self._stages = stages
        self._last = perf_counter()

    def lap(self, stage: str) -> None:
        """End a stage."""
        now = perf_counter()
        self._stages[stage] = self._stages.get(stage, 0.0) + now - self._last
        self._last = now
