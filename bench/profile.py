"""Cost of a batch by stage, for batches of several sizes, in one process: a guard against regressions.

The worker's pipeline and producer run as in a worker. The messages go to librdkafka's mock broker inside the process,
and state is stored in a dictionary, so the figures do not include the time of broker and Redis.
"""

import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice
from statistics import median
from time import perf_counter, process_time
from typing import Any, NamedTuple

import confluent_kafka
import msgspec

from bench.measurement import Measurement
from decisions.rollout import Rollout, StaticStrategies
from features.hashing import hash_strings
from features.identity import KINDS, Identity
from features.store import Claim, CommitStep
from producers.frame import rows_to_transactions
from producers.simulation import Simulation
from producers.simulator import simulate
from streams.bootstrap import load_strategy
from streams.decode import decode_transactions
from streams.pipeline import Pipeline
from streams.publish import LARGEST_MESSAGE, ResultPublisher
from streams.warmup import relieve_collector, warm_up
from vedette.errors import FencedError
from vedette.partitioner import partition_of
from vedette.settings import DecisionSettings, KafkaSettings
from vedette.topics import Name

SIZES = (1, 10, 30, 100, 1_000, 8_000)
PARTITIONS = 4

_PREFIX = "profile."
_ACCOUNTS = 5_000
_WARM = 20_000
"""Payments before the measurement, so that accounts have a history."""
_HASHED = 8_000
_TURNS = 50
_FEWEST = 10
"""Minimum number of batches of each size."""


@dataclass(frozen=True)
class BatchCost:
    """The medians over many batches of one size, in microseconds.

    Attributes:
        size: Payments in a batch.
        batches: Number of batches measured.
        compute_us: Time from messages to decisions handed to the producer.
        publish_us: Time to encode the feature log and activity, and until the mock broker has everything.
        commit_us: Time to pass state and watermarks to the store.
        cpu_us: Processor time of all threads for the whole batch.
        cpu_us_per_payment: Processor time per payment.
        stages_us: Time of each stage inside compute, publish and commit.
    """

    size: int
    batches: int
    compute_us: float
    publish_us: float
    commit_us: float
    cpu_us: float
    cpu_us_per_payment: float
    stages_us: dict[str, float]


@dataclass(frozen=True)
class Profile(Measurement):
    """One row for each size of batch.

    Attributes:
        sizes: The rows.
        hashing_ns_per_payment: Median time to hash all identifiers of a payment under the deployment's key, part of the
            stage `columns`, nanoseconds.
    """

    sizes: list[BatchCost]
    hashing_ns_per_payment: float

    def lines(self) -> list[str]:
        """Return a table with a row for each stage and a column for each size of batch."""
        rows: dict[str, list[float]] = {
            name: [getattr(row, f"{name}_us") for row in self.sizes] for name in ("compute", "publish", "commit", "cpu")
        }
        for stage in self.sizes[-1].stages_us:
            rows[f"  {stage}"] = [row.stages_us.get(stage, 0.0) for row in self.sizes]
        rows["cpu per payment"] = [row.cpu_us_per_payment for row in self.sizes]
        head = f"{'µs per batch of':<18}" + "".join(f"{row.size:>11,}" for row in self.sizes)
        table = [f"{name:<18}" + "".join(f"{value:>11,.1f}" for value in row) for name, row in rows.items()]
        return [head, *table, f"hashing the identifiers of a payment: {self.hashing_ns_per_payment:,.0f} ns"]


class _Record(NamedTuple):
    """A message as delivered by a consumer."""

    key: bytes
    value: bytes
    partition: int
    offset: int
    timestamp: int


class _MemoryStore:
    """State in a dictionary: the pipeline's port, without a server."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}

    def claim(self, partition: int, identity: int = 0) -> Claim:
        del partition, identity
        return Claim(1, {})

    def load(self, names: Sequence[str]) -> list[bytes | None]:
        return [self._blobs.get(name) for name in names]

    def commit_all(self, steps: Sequence[CommitStep]) -> list[FencedError | None]:
        for step in steps:
            self._blobs.update(step.blobs)
        return [None] * len(steps)

    def probe(self, partition: int) -> None:
        del partition


class _NoDecisions:
    """A topic of decisions that no other worker writes to."""

    def end(self, partition: int) -> int:
        del partition
        return 0

    def read(self, partition: int, offsets: range) -> list[Any]:
        del partition, offsets
        return []


def measure(*, seconds: float, sizes: Sequence[int] = SIZES) -> Profile:
    """Run batches of each size for some seconds each."""
    shipped = DecisionSettings()
    rollout = Rollout(load_strategy(shipped.model_folder, shipped.policy_file))
    warm_up(rollout)
    mock = confluent_kafka.Producer({"test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = mock.list_topics(timeout=10).brokers.values()
    kafka = KafkaSettings(bootstrap_servers=f"{broker.host}:{broker.port}")
    pipeline = Pipeline(
        store=_MemoryStore(),
        decisions=_NoDecisions(),
        publisher=ResultPublisher(kafka, _PREFIX, dict.fromkeys(Name, LARGEST_MESSAGE)),
        strategies=StaticStrategies(rollout),
        partitions=PARTITIONS,
        prefix=_PREFIX,
        cache_accounts=1_000_000,
        max_future_ms=float("inf"),
    )
    pipeline.assign(set(range(PARTITIONS)))
    records = _records()
    for _ in range(_WARM // 1_000):
        _run(pipeline, list(islice(records, 1_000)))
    threshold = gc.get_threshold()
    relieve_collector()
    try:
        costs = [_cost(pipeline, records, size, seconds) for size in sizes]
        return Profile(costs, _hashing_ns(records))
    finally:
        gc.unfreeze()
        gc.set_threshold(*threshold)


def _hashing_ns(records: Iterator[_Record]) -> float:
    messages = list(islice(records, _HASHED))
    batch = decode_transactions(messages, float("inf"))[0].batch
    identity = Identity("a key of thirty-two characters ..")
    columns = [(batch.column(kind), identity.keys[kind]) for kind in KINDS]
    times = []
    for _ in range(_TURNS):
        started = perf_counter()
        for column, key in columns:
            hash_strings(column, key)
        times.append(perf_counter() - started)
    return round(median(times) / len(batch) * 1e9, 1)


class _Batch(NamedTuple):
    compute: float
    publish: float
    commit: float
    cpu: float
    stages: dict[str, float]


def _cost(pipeline: Pipeline, records: Iterator[_Record], size: int, seconds: float) -> BatchCost:
    measured: list[_Batch] = []
    spent = 0.0
    while spent < seconds or len(measured) < _FEWEST:
        batch = _run(pipeline, list(islice(records, size)))
        measured.append(batch)
        spent += batch.compute + batch.publish + batch.commit
    compute, publish, commit, cpu = (
        round(median(getattr(batch, name) for batch in measured) * 1e6, 1)
        for name in ("compute", "publish", "commit", "cpu")
    )
    stages = {
        stage: round(median(batch.stages.get(stage, 0.0) for batch in measured) * 1e6, 1)
        for stage in measured[-1].stages
    }
    # The clock of processor time is coarse for a small batch, so the mean is used instead of the median.
    cpu = round(sum(batch.cpu for batch in measured) / len(measured) * 1e6, 1)
    return BatchCost(size, len(measured), compute, publish, commit, cpu, round(cpu / size, 2), stages)


def _run(pipeline: Pipeline, records: Sequence[_Record]) -> _Batch:
    by_partition: dict[int, list[_Record]] = {}
    for record in records:
        by_partition.setdefault(record.partition, []).append(record)
    cpu, started = process_time(), perf_counter()
    batch = pipeline.compute(Name.TRANSACTIONS, by_partition)
    if batch is None:
        raise AssertionError("payments that were never seen before count as seen")
    computed = perf_counter()
    pipeline.settle([batch])
    sent = pipeline.send([batch])
    pipeline.confirm(sent)
    published = perf_counter()
    pipeline.commit_all(sent, [update.partition for update in batch.updates])
    committed = perf_counter()
    return _Batch(
        computed - started, published - computed, committed - published, process_time() - cpu, dict(batch.stages)
    )


def _records() -> Iterator[_Record]:
    """Yield an endless stream of simulated payments as messages, with unique ids and increasing times."""
    encode = msgspec.json.Encoder().encode
    offsets = [count() for _ in range(PARTITIONS)]
    days = simulate(Simulation(customers=_ACCOUNTS, terminals=_ACCOUNTS // 10, days=3650, seed=5))
    for payment in chain.from_iterable(map(rows_to_transactions, days)):
        key = payment.account_id.encode()
        partition = partition_of(key, PARTITIONS)
        yield _Record(key, encode(payment), partition, next(offsets[partition]), payment.event_time)
