"""Complete output of a run of workers on its topics and in Redis, in a form that allows comparing two runs."""

import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from adapters.kafka_reader import TopicReader
from adapters.redis import connect
from features.catalogue import LIVE, NAMES
from features.engine import without_live
from features.signals import fill_live
from streams.arrow import by_column, read
from streams.own_decisions import standing_decisions
from vedette.errors import UnavailableError
from vedette.money import exponent
from vedette.settings import Settings
from vedette.topics import Name

_READ_WITHIN_S = 120.0
_PAUSE_S = 0.1


@dataclass
class RunInput:
    """Input of a run."""

    transactions: set[str] = field(default_factory=set)
    poison: dict[str, bytes] = field(default_factory=dict)
    """Key and value by topic, partition and offset."""


@dataclass(frozen=True)
class Difference:
    """Differences from the expected output; false if there are none. Items are named by transaction, state by key."""

    unlike: frozenset[str] = frozenset()
    """Items whose live features in the feature log are not those that their standing decision saw."""
    lost: frozenset[str] = frozenset()
    """Items without decision, features, alert or dead letter that should have one."""
    doubled: frozenset[str] = frozenset()
    """Items with two different ones of a kind. Byte-identical repetitions count once."""
    changed: frozenset[str] = frozenset()
    """Items that are not bit-identical to those of the run without the fault."""

    def __bool__(self) -> bool:
        return bool(self.lost or self.doubled or self.changed or self.unlike)


@dataclass
class RunOutput:
    """Output of a run. Messages published more than once with the same content are included once.

    Decisions without history are left out: they have no effect unless one with history follows.
    """

    decisions: dict[str, set[bytes]] = field(default_factory=dict)
    alerts: dict[str, set[bytes]] = field(default_factory=dict)
    dead: dict[str, set[bytes]] = field(default_factory=dict)
    """Key and value of every dead letter, by its source."""
    features: dict[str, set[bytes]] = field(default_factory=dict)
    """The bits of every row of the feature log, by transaction."""
    unscored: set[str] = field(default_factory=set)
    """Transactions that were decided without a score, and so without features."""
    settled: dict[str, set[bytes]] = field(default_factory=dict)
    """The same without the live features, which depend on how far the owners of entities had come."""
    unlike: set[str] = field(default_factory=set)
    """Transactions whose live features in the log are not those that the standing decision saw."""
    state: dict[str, set[bytes]] = field(default_factory=dict)
    """The state blob by key, without the deployment's prefix and without the live part."""

    def against(self, published: RunInput, undisturbed: "RunOutput | None" = None) -> Difference:
        """Return the differences, given the input and, optionally, the output of a run without faults."""
        wanted = {
            "decisions": published.transactions,
            "features": published.transactions - self.unscored,
            "dead": published.poison.keys(),
        }
        lost: set[str] = set()
        doubled: set[str] = set()
        changed: set[str] = set()
        for what, keys in wanted.items():
            own = getattr(self, what)
            lost |= keys - own.keys()
            changed |= own.keys() - keys
        for what in ("decisions", "features", "alerts", "dead"):
            doubled |= {key for key, values in getattr(self, what).items() if len(values) > 1}
        changed |= {key for key, values in self.dead.items() if values != {published.poison.get(key)}}
        if undisturbed:
            lost |= undisturbed.alerts.keys() - self.alerts.keys()
            for what in ("decisions", "settled", "alerts", "state"):
                own, expected = getattr(self, what), getattr(undisturbed, what)
                changed |= {key for key in own.keys() & expected.keys() if own[key] != expected[key]}
                changed |= own.keys() ^ expected.keys()
        unlike = frozenset(self.unlike)
        return Difference(
            lost=frozenset(lost), doubled=frozenset(doubled), changed=frozenset(changed - lost - doubled), unlike=unlike
        )


class Topics:
    """Reads a deployment's topics."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._readers: dict[Name, TopicReader] = {}

    def ends(self, topic: Name) -> dict[int, int]:
        """Return the offset that the next message of each partition will get.

        Raises:
            UnavailableError: The broker does not answer.
        """
        return {number: known.stop for number, known in self._offsets(topic).items()}

    def messages(self, topic: Name) -> list[Any]:
        """Return a whole topic, partition by partition in order.

        Waits for a broker that has just been restarted until it leads the topic's partitions again.

        Raises:
            UnavailableError: The broker does not answer in time.
        """
        deadline = time.monotonic() + _READ_WITHIN_S
        while True:
            try:
                self._offsets(topic)
                break
            except UnavailableError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE_S)
        reader = self._readers[topic]
        return [message for piece in reader.read(reader.current_offsets()) for message in piece]

    def _offsets(self, topic: Name) -> dict[int, range]:
        if topic in self._readers:
            return self._readers[topic].current_offsets()
        reader = self._readers[topic] = TopicReader(self._settings, topic)
        return reader.offsets

    def close(self) -> None:
        """Close the connections."""
        for reader in self._readers.values():
            reader.close()


class _OfTransaction(msgspec.Struct):
    transaction_id: str
    degraded: bool = False
    model: str = ""


def read_output(settings: Settings, topics: Topics) -> RunOutput:
    """Read all output."""
    result = RunOutput()
    seen = standing_signals(topics.messages(Name.DECISIONS))
    for topic, into in ((Name.DECISIONS, result.decisions), (Name.ALERTS, result.alerts)):
        for message in topics.messages(topic):
            payment = msgspec.json.decode(message.value(), type=_OfTransaction)
            if not payment.degraded:
                into.setdefault(payment.transaction_id, set()).add(message.value())
            if topic == Name.DECISIONS and not payment.model:
                result.unscored.add(payment.transaction_id)
    for message in topics.messages(Name.DLQ):
        result.dead.setdefault(source(message, settings), set()).add(content(message.key(), message.value()))
    for message in topics.messages(Name.FEATURES):
        batch = by_column(read(message.value()))
        for transaction, bits in _rows(batch):
            result.features.setdefault(transaction, set()).add(bits)
        for transaction, bits in _rows(batch.select([name for name in batch.schema.names if name not in LIVE])):
            result.settled.setdefault(transaction, set()).add(bits)
        result.unlike |= _unlike(batch, seen)
    result.state = state(settings)
    return result


def source(dead: Any, settings: Settings) -> str:
    """Return the source of a dead letter, from its headers."""
    topic, partition, offset = (
        dict(dead.headers())[f"__connect.errors.{name}"].decode() for name in ("topic", "partition", "offset")
    )
    return position(topic.removeprefix(settings.topics.prefix), int(partition), int(offset))


def position(topic: str, partition: int, offset: int) -> str:
    """Return the name of a position on a topic."""
    return f"{topic} {partition}:{offset}"


def content(key: bytes | None, value: bytes | None) -> bytes:
    """Return key and value combined."""
    return repr((key, value)).encode()


def state(settings: Settings) -> dict[str, set[bytes]]:
    """Return state blobs by key, without the deployment's prefix, and without watermarks and epochs."""
    prefix = settings.redis.prefix
    with closing(connect(settings.redis)) as client:
        names = [name for name in client.scan_iter(match=f"{prefix}*", count=5000) if not name.endswith(b"}meta")]
        blobs = client.mget(names) if names else []
    of_entities = [place for place, name in enumerate(names) if b"}e:" in name]
    for place, blob in zip(of_entities, without_live([blobs[place] for place in of_entities]), strict=True):
        blobs[place] = blob
    return {name.decode().removeprefix(prefix): {blob} for name, blob in zip(names, blobs, strict=True)}


def standing_signals(messages: Iterable[Any]) -> dict[str, tuple[NDArray[np.int64], float]]:
    """Return the live signals of each standing decision, and the minor units in a major unit of its currency."""
    return {
        transaction: (known.signals, 10.0 ** exponent(known.decision.currency))
        for (_, transaction), known in standing_decisions(messages).items()
        if known.signals is not None
    }


def _unlike(batch: pa.RecordBatch, seen: dict[str, tuple[NDArray[np.int64], float]]) -> set[str]:
    """Return the transactions of a batch whose live features are not those of their signals."""
    transactions = batch.column("transaction_id").to_pylist()
    logged = np.column_stack([batch.column(name).to_numpy() for name in NAMES])
    known = [row for row, transaction in enumerate(transactions) if transaction in seen]
    expected = logged[known].copy()
    signals = np.array([seen[transactions[row]][0] for row in known], np.int64).reshape(len(known), -1)
    if known:
        fill_live(signals, np.array([seen[transactions[row]][1] for row in known]), expected)
    same = (expected.view(np.int64) == logged[known].view(np.int64)) | (np.isnan(expected) & np.isnan(logged[known]))
    unlike = {transactions[row] for row, is_same in zip(known, same.all(axis=1).tolist(), strict=True) if not is_same}
    return unlike | (set(transactions) - seen.keys())


def _rows(batch: pa.RecordBatch) -> Iterable[tuple[str, bytes]]:
    """Yield the transaction of each row, and the bits of its numbers."""
    numbers = [
        np.asarray(batch.column(field.name).to_numpy()).view(np.int64)
        for field in batch.schema
        if not pa.types.is_string(field.type)
    ]
    bits = np.column_stack(numbers)
    return zip(batch.column("transaction_id").to_pylist(), (row.tobytes() for row in bits), strict=True)
