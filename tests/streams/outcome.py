"""Everything a run leaves on its topics and in Redis, in a form in which two runs can be compared."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import redis
from confluent_kafka import Consumer, TopicPartition

from streams.arrow import read
from tests.conftest import wait_for
from vedette.settings import Settings
from vedette.topics import Name

_READ_WITHIN_S = 120.0

Position = tuple[int, int]
"""Partition and offset."""


@dataclass
class Published:
    """What went in."""

    transactions: set[str] = field(default_factory=set)
    poison: dict[Position, tuple[bytes | None, bytes | None]] = field(default_factory=dict)
    """Key and value by where it stands in the transactions topic."""


@dataclass
class Outcome:
    """What came out. Whatever was published more than once with the same content is there once."""

    decisions: dict[str, set[bytes]] = field(default_factory=dict)
    alerts: dict[str, set[bytes]] = field(default_factory=dict)
    dead: dict[Position, set[tuple[bytes | None, bytes | None]]] = field(default_factory=dict)
    """Key and value of every dead letter, by where it comes from."""
    features: dict[str, set[bytes]] = field(default_factory=dict)
    """The bits of every row of the feature log, by transaction."""
    state: dict[str, bytes] = field(default_factory=dict)
    """State blobs by key, without the deployment's prefix."""

    def check(self, published: Published) -> None:
        """What must hold of every run, however it was disturbed."""
        assert self.decisions.keys() == published.transactions, "every transaction has a decision, and nothing else has"
        assert self.features.keys() == published.transactions
        for contents in (self.decisions, self.alerts, self.features, self.dead):
            unclear = {key for key, values in contents.items() if len(values) != 1}
            assert unclear == set(), "what was published again has the same content"
        assert {position: next(iter(values)) for position, values in self.dead.items()} == published.poison

    def same_as(self, other: "Outcome") -> None:
        """Nothing tells the two runs apart, bit for bit."""
        for what in ("features", "decisions", "alerts", "state"):
            mine, others = getattr(self, what), getattr(other, what)
            assert mine.keys() == others.keys(), what
            different = {key for key in mine if mine[key] != others[key]}
            assert different == set(), what


class Topics:
    """Reads a deployment's topics."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer = Consumer(
            settings.kafka.client_config() | {"group.id": "test", "enable.auto.commit": False, "log_level": 0}
        )

    def ends(self, topic: Name) -> dict[int, int]:
        """The offset that the next message of each partition will get."""
        name = self._settings.topics.prefix + topic
        return {
            number: self._consumer.get_watermark_offsets(TopicPartition(name, number), timeout=30, cached=False)[1]
            for number in range(self._settings.topics.partitions)
        }

    def messages(self, topic: Name) -> list[Any]:
        """A whole topic, partition by partition in order."""
        ends = self.ends(topic)
        name = self._settings.topics.prefix + topic
        self._consumer.assign([TopicPartition(name, number, 0) for number in ends])
        found: list[Any] = []

        def read_on() -> bool:
            if left := sum(ends.values()) - len(found):
                for message in self._consumer.consume(min(left, 10_000), 0.2):
                    assert message.error() is None, message.error()
                    found.append(message)
            return len(found) >= sum(ends.values())

        wait_for(read_on, _READ_WITHIN_S)
        self._consumer.unassign()
        return found

    def close(self) -> None:
        """Give up the connection."""
        self._consumer.close()


class _OfTransaction(msgspec.Struct):
    transaction_id: str


def outcome(settings: Settings, topics: Topics) -> Outcome:
    """Read everything back."""
    result = Outcome()
    for topic, into in ((Name.DECISIONS, result.decisions), (Name.ALERTS, result.alerts)):
        for message in topics.messages(topic):
            transaction = msgspec.json.decode(message.value(), type=_OfTransaction).transaction_id
            into.setdefault(transaction, set()).add(message.value())
    for message in topics.messages(Name.DLQ):
        result.dead.setdefault(source(message), set()).add((message.key(), message.value()))
    for message in topics.messages(Name.FEATURES):
        for transaction, bits in _rows(read(message.value())):
            result.features.setdefault(transaction, set()).add(bits)
    result.state = state(settings)
    return result


def source(dead: Any) -> Position:
    """Where a dead letter comes from, by its headers."""
    headers = dict(dead.headers())
    return int(headers["__connect.errors.partition"]), int(headers["__connect.errors.offset"])


def state(settings: Settings) -> dict[str, bytes]:
    """State blobs by key, without the deployment's prefix; watermarks and epochs are not among them."""
    prefix = settings.redis.prefix
    with redis.Redis.from_url(settings.redis.url) as client:
        names = [name for name in client.scan_iter(match=f"{prefix}*", count=5000) if not name.endswith(b"}meta")]
        blobs: Any = client.mget(names) if names else []
    return {name.decode().removeprefix(prefix): blob for name, blob in zip(names, blobs, strict=True)}


def _rows(batch: pa.RecordBatch) -> Iterable[tuple[str, bytes]]:
    """Each row's transaction, and the bits of its numbers."""
    numbers = [
        np.asarray(batch.column(field.name).to_numpy()).view(np.int64)
        for field in batch.schema
        if not pa.types.is_string(field.type)
    ]
    bits = np.column_stack(numbers)
    return zip(batch.column("transaction_id").to_pylist(), (row.tobytes() for row in bits), strict=True)
