"""The stream that is processed with and without faults."""

from dataclasses import dataclass, field

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from producers.frame import rows_to_labels, rows_to_transactions
from producers.poison import POISON
from producers.simulation import Simulation
from producers.simulator import simulate
from vedette.clock import DAY
from vedette.topics import Name

_PAUSE = (6, 8)
"""Days without payments. Merchant features look back a week: with the pause, and everything before it applied
before anything after it is published, they never depend on which partition is ahead."""
_DAYS = 14


@dataclass(frozen=True)
class StreamMessage:
    """A message to publish; poison has no transaction id."""

    topic: Name
    key: bytes | None
    value: bytes | None
    transaction_id: str | None = None
    poison: bool = False
    skew_ms: int = 0
    """Milliseconds by which the producer's clock is ahead."""


@dataclass(frozen=True)
class Stream:
    """Simulated payments with labels and poison among them, in two parts that are published in order."""

    history: list[StreamMessage] = field(repr=False)
    burst: list[StreamMessage] = field(repr=False)

    def small(self) -> "Stream":
        """Return the beginning of both parts."""
        return Stream(self.history[:2_000], self.burst[:6_000])


def simulated(transactions: int) -> Stream:
    """Return payments of two weeks, their labels, and every kind of poison in both parts."""
    config = Simulation(customers=4300, terminals=1200, days=_DAYS, seed=7)
    frame = pa.Table.from_batches(simulate(config))
    day = pc.divide(pc.subtract(frame["event_time"], config.start), DAY)
    history = frame.filter(pc.less(day, _PAUSE[0])).slice(0, transactions // 2)
    burst = frame.filter(pc.greater_equal(day, _PAUSE[1])).slice(0, transactions - len(history))
    rng = np.random.default_rng(7)
    return Stream(_messages(history, rng), _messages(burst, rng))


def _messages(table: pa.Table, rng: np.random.Generator) -> list[StreamMessage]:
    encode = msgspec.json.encode
    frame = table.combine_chunks().to_batches()[0]
    labels = {label.transaction_id: label for label in rows_to_labels(frame, "simulator")}
    messages: list[StreamMessage] = []
    for transaction in rows_to_transactions(frame):
        key = transaction.account_id.encode()
        messages.append(StreamMessage(Name.TRANSACTIONS, key, encode(transaction), transaction.transaction_id))
        if label := labels.get(transaction.transaction_id):
            messages.append(StreamMessage(Name.LABELS, key, encode(label)))
    for poison in POISON:
        at = int(rng.integers(len(messages)))
        messages.insert(at, StreamMessage(Name.TRANSACTIONS, messages[at].key, poison.value, poison=True))
    return messages


def repeated(
    messages: list[StreamMessage], times: int, rng: np.random.Generator, batch: int = 500
) -> list[StreamMessage]:
    """Return every message repeated, shuffled within batches; the first copy of each keeps its place in the order."""
    result: list[StreamMessage] = []
    for start in range(0, len(messages), batch):
        part = messages[start : start + batch]
        places = rng.permutation(np.repeat(np.arange(len(part)), times))
        _, first = np.unique(places, return_index=True)
        in_order = np.empty(len(part), np.int64)
        in_order[np.argsort(first)] = np.arange(len(part))
        result += [part[place] for place in in_order[places].tolist()]
    return result
