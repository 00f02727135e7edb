"""Everything a run leaves on its topics and in Redis, in a form in which two runs can be compared."""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from confluent_kafka import Consumer, KafkaException, TopicPartition

from bench.rig import wait_until
from features.redis_client import connect
from streams.arrow import read
from vedette.errors import UnavailableError
from vedette.settings import Settings
from vedette.topics import Name

_READ_WITHIN_S = 120.0


@dataclass
class Published:
    """What went in."""

    transactions: set[str] = field(default_factory=set)
    poison: dict[str, bytes] = field(default_factory=dict)
    """Key and value by topic, partition and offset."""


@dataclass(frozen=True)
class Difference:
    """What is not as it should be; false if nothing is. Everything is named by transaction, state by its key."""

    lost: frozenset[str] = frozenset()
    """Without decision, features, alert or dead letter, though it should have one."""
    doubled: frozenset[str] = frozenset()
    """With two of a kind that differ. What was published again, byte for byte, is the same one."""
    changed: frozenset[str] = frozenset()
    """Other than without the fault, bit for bit."""

    def __bool__(self) -> bool:
        return bool(self.lost or self.doubled or self.changed)


@dataclass
class Outcome:
    """What came out. Whatever was published more than once with the same content is there once.

    What was decided without history is left out: it counts for nothing unless something with history follows.
    """

    decisions: dict[str, set[bytes]] = field(default_factory=dict)
    alerts: dict[str, set[bytes]] = field(default_factory=dict)
    dead: dict[str, set[bytes]] = field(default_factory=dict)
    """Key and value of every dead letter, by where it comes from."""
    features: dict[str, set[bytes]] = field(default_factory=dict)
    """The bits of every row of the feature log, by transaction."""
    state: dict[str, set[bytes]] = field(default_factory=dict)
    """The state blob by key, without the deployment's prefix."""

    def against(self, published: Published, undisturbed: "Outcome | None" = None) -> Difference:
        """What is wrong, given what went in and, if there is one, the outcome of a run without faults."""
        wanted = {
            "decisions": published.transactions,
            "features": published.transactions,
            "dead": published.poison.keys(),
        }
        lost: set[str] = set()
        doubled: set[str] = set()
        changed: set[str] = set()
        for what, keys in wanted.items():
            mine = getattr(self, what)
            lost |= keys - mine.keys()
            changed |= mine.keys() - keys
        for what in ("decisions", "features", "alerts", "dead"):
            doubled |= {key for key, values in getattr(self, what).items() if len(values) > 1}
        changed |= {key for key, values in self.dead.items() if values != {published.poison.get(key)}}
        if undisturbed:
            lost |= undisturbed.alerts.keys() - self.alerts.keys()
            for what in ("decisions", "features", "alerts", "state"):
                mine, others = getattr(self, what), getattr(undisturbed, what)
                changed |= {key for key in mine.keys() & others.keys() if mine[key] != others[key]}
                changed |= mine.keys() ^ others.keys()
        return Difference(frozenset(lost), frozenset(doubled), frozenset(changed - lost - doubled))


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
        wait_until(lambda: self._answers(topic), _READ_WITHIN_S, f"an answer about {topic}", every_s=0.1)
        ends = self.ends(topic)
        name = self._settings.topics.prefix + topic
        self._consumer.assign([TopicPartition(name, number, 0) for number in ends])
        found: list[Any] = []

        def read_on() -> bool:
            if left := sum(ends.values()) - len(found):
                for message in self._consumer.consume(min(left, 10_000), 0.2):
                    if error := message.error():
                        raise UnavailableError(f"{name} cannot be read back: {error}")
                    found.append(message)
            return len(found) >= sum(ends.values())

        wait_until(read_on, _READ_WITHIN_S, f"{name} read back")
        self._consumer.unassign()
        return found

    def _answers(self, topic: Name) -> bool:
        """Whether the broker, which may have been restarted, leads the topic's partitions again."""
        try:
            self.ends(topic)
        except KafkaException:
            return False
        return True

    def close(self) -> None:
        """Give up the connection."""
        self._consumer.close()


class _OfTransaction(msgspec.Struct):
    transaction_id: str
    degraded: bool = False


def outcome(settings: Settings, topics: Topics) -> Outcome:
    """Read everything back."""
    result = Outcome()
    for topic, into in ((Name.DECISIONS, result.decisions), (Name.ALERTS, result.alerts)):
        for message in topics.messages(topic):
            about = msgspec.json.decode(message.value(), type=_OfTransaction)
            if not about.degraded:
                into.setdefault(about.transaction_id, set()).add(message.value())
    for message in topics.messages(Name.DLQ):
        result.dead.setdefault(source(message, settings), set()).add(content(message.key(), message.value()))
    for message in topics.messages(Name.FEATURES):
        for transaction, bits in _rows(read(message.value())):
            result.features.setdefault(transaction, set()).add(bits)
    result.state = state(settings)
    return result


def source(dead: Any, settings: Settings) -> str:
    """Where a dead letter comes from, by its headers."""
    topic, partition, offset = (
        dict(dead.headers())[f"__connect.errors.{name}"].decode() for name in ("topic", "partition", "offset")
    )
    return position(topic.removeprefix(settings.topics.prefix), int(partition), int(offset))


def position(topic: str, partition: int, offset: int) -> str:
    """A place on a topic."""
    return f"{topic} {partition}:{offset}"


def content(key: bytes | None, value: bytes | None) -> bytes:
    """Key and value as one."""
    return repr((key, value)).encode()


def state(settings: Settings) -> dict[str, set[bytes]]:
    """State blobs by key, without the deployment's prefix; watermarks and epochs are not among them."""
    prefix = settings.redis.prefix
    with closing(connect(settings.redis)) as client:
        names = [name for name in client.scan_iter(match=f"{prefix}*", count=5000) if not name.endswith(b"}meta")]
        blobs = client.mget(names) if names else []
    return {name.decode().removeprefix(prefix): {blob} for name, blob in zip(names, blobs, strict=True)}


def _rows(batch: pa.RecordBatch) -> Iterable[tuple[str, bytes]]:
    """Each row's transaction, and the bits of its numbers."""
    numbers = [
        np.asarray(batch.column(field.name).to_numpy()).view(np.int64)
        for field in batch.schema
        if not pa.types.is_string(field.type)
    ]
    bits = np.column_stack(numbers)
    return zip(batch.column("transaction_id").to_pylist(), (row.tobytes() for row in bits), strict=True)
