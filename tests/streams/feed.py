"""Feeds a pipeline with the messages of a small deployment, the way a worker would but without Kafka's consumer."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from producers.frame import rows_to_labels, rows_to_transactions
from producers.simulation import Simulation
from producers.simulator import simulate
from streams.batch import Computed
from streams.history.run_output import Topics
from streams.pipeline import Pipeline
from vedette.clock import DAY
from vedette.events import Transaction
from vedette.topics import Name

_DAYS = 14
_PAUSE = (6, 8)
"""Days without payments, so that what merchants saw before never depends on what runs ahead after."""


@dataclass(frozen=True)
class Record:
    """A message as a consumer returns it."""

    key: bytes | None
    value: bytes | None
    partition: int
    offset: int
    timestamp: int = 1_600_000_000_000


@dataclass
class Log:
    """The messages of some partitions."""

    partitions: int
    records: dict[tuple[Name, int], list[Record]] = field(default_factory=dict)

    def append(self, topic: Name, key: bytes, value: bytes) -> None:
        """Add a message at the end of the partition of its key."""
        partition = sum(key) % self.partitions
        records = self.records.setdefault((topic, partition), [])
        records.append(Record(key, value, partition, len(records)))

    @property
    def transactions(self) -> set[str]:
        """Ids of all payments."""
        values = [
            record.value for (topic, _), queue in self.records.items() if topic == Name.TRANSACTIONS for record in queue
        ]
        return {msgspec.json.decode(value or b"", type=Transaction).transaction_id for value in values}


def logs(partitions: int, customers: int, *, times: int = 1) -> tuple[Log, Log]:
    """Simulated payments and labels: what there is before the pause, and all of it.

    Args:
        partitions: Over which they are spread by account.
        customers: How many pay; there are some 24 payments of each.
        times: How often every payment is delivered: again among the payments after it, as from a producer that
            retries without idempotence.
    """
    config = Simulation(customers=customers, terminals=40, days=_DAYS, seed=3)
    frame = pa.Table.from_batches(simulate(config))
    day = pc.divide(pc.subtract(frame["event_time"], config.start), DAY)
    before = frame.filter(pc.less(day, _PAUSE[0]))
    after = frame.filter(pc.greater_equal(day, _PAUSE[1]))
    first = _extended(Log(partitions), before, times)
    return first, _extended(first, after, times)


def _extended(log: Log, table: pa.Table, times: int) -> Log:
    log = Log(log.partitions, {place: list(records) for place, records in log.records.items()})
    frame = table.combine_chunks().to_batches()[0]
    transactions = rows_to_transactions(frame)
    for turn in range(len(transactions) + (times - 1) * 7):
        for repeat in range(times):
            if 0 <= turn - repeat * 7 < len(transactions):
                transaction = transactions[turn - repeat * 7]
                log.append(Name.TRANSACTIONS, transaction.account_id.encode(), msgspec.json.encode(transaction))
    for label in rows_to_labels(frame, "simulator"):
        for _ in range(times):
            log.append(Name.LABELS, label.account_id.encode(), msgspec.json.encode(label))
    return log


def batches(
    pipeline: Pipeline, log: Log, topics: Topics, cut: int, *, behind: int = 0, activity: bool = True
) -> Iterator[Computed]:
    """Compute everything that the pipeline has not applied yet, in batches of at most `cut` messages of each partition.

    The caller publishes and commits what comes out, or does not. Topics take turns.

    Args:
        pipeline: Owns its partitions.
        log: Payments and labels.
        topics: Where the activity is.
        cut: Most messages of a partition in a batch.
        behind: How many messages before its watermark each partition is delivered from, as after a commit of Kafka's
            offset that did not happen.
        activity: Whether the activity that payments and labels gave rise to comes last, or not at all.
    """
    yield from _turns(pipeline, log.records, cut, behind)
    if activity:
        yield from _turns(pipeline, activity_of(topics), cut, behind)


def activity_of(topics: Topics) -> dict[tuple[Name, int], list[Record]]:
    """Return the activity topic by partition."""
    found: dict[tuple[Name, int], list[Record]] = {}
    for message in topics.messages(Name.ACTIVITY):
        record = Record(message.key(), message.value(), message.partition(), message.offset())
        found.setdefault((Name.ACTIVITY, message.partition()), []).append(record)
    return found


def _turns(
    pipeline: Pipeline, records: dict[tuple[Name, int], list[Record]], cut: int, behind: int
) -> Iterator[Computed]:
    at = {(topic, number): max((pipeline.owned[number].position(topic) or 0) - behind, 0) for topic, number in records}
    topics = {topic: [number for of, number in records if of == topic] for topic, _ in records}
    while any(at[place] < len(queue) for place, queue in records.items()):
        for topic, numbers in topics.items():
            parts = {number: records[topic, number][at[topic, number] :][:cut] for number in numbers}
            for number, part in parts.items():
                at[topic, number] += len(part)
            if work := pipeline.compute(topic, {number: part for number, part in parts.items() if part}):
                yield work
