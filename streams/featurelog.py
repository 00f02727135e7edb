"""The feature log read back: what models saw and decided, joined with the labels that have come since."""

from collections.abc import Iterator
from dataclasses import dataclass

import confluent_kafka
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features import NAMES, catalogue_hash
from models.frame import EXTRA, Frame
from streams.arrow import read
from vedette.clock import DAY
from vedette.errors import InputError, UnavailableError
from vedette.events import Label
from vedette.settings import Settings
from vedette.topics import Name

_TIMEOUT_S = 10.0
_OWN = (
    "transaction_id", "account_id", "event_time", "amount", "role", "model", "action", "shadow_model", "shadow_score",
    "shadow_action", "score",
)  # fmt: skip


@dataclass(frozen=True)
class FeatureLog:
    """Payments in order of event time, each once.

    Attributes:
        table: A row per payment with the columns of _OWN: who decided (`role`, `model`), the score and action that
            counted, and what the other of champion and challenger would have given (empty, NaN and -1 without one).
        names: Of the columns of `matrix`: the catalogue's features, then `extra.*`.
        matrix: float64 [n, len(names)].
        skipped: Payments of another feature catalogue, which no model of this one can be compared on.
    """

    table: pa.Table
    names: tuple[str, ...]
    matrix: NDArray[np.float64]
    skipped: int

    def column(self, name: str) -> NDArray[np.generic]:
        """A column of the table."""
        return self.table[name].to_numpy()  # type: ignore[no-any-return]

    def take(self, rows: NDArray[np.int64] | slice) -> "FeatureLog":
        """These rows only."""
        which = np.arange(len(self.table))[rows]
        return FeatureLog(self.table.take(pa.array(which)), self.names, self.matrix[rows], self.skipped)

    def frame(self, labels: dict[str, Label], delay_days: int) -> Frame:
        """What a model can learn from or be measured on: a payment that nobody has reported counts as honest.

        Args:
            labels: By transaction.
            delay_days: What a label takes to arrive; the truth of younger payments is not known yet.
        """
        identities = self.table["transaction_id"].to_pylist()
        time = self.column("event_time").astype(np.int64)
        found = [labels.get(identity) for identity in identities]
        known_at = [label.labelled_at if label else 0 for label in found]
        return Frame(
            names=self.names,
            matrix=self.matrix,
            account=self.table["account_id"].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64),
            event_time=time,
            amount=self.column("amount").astype(np.int64),
            fraud=np.array([label is not None and label.fraud for label in found], np.bool_),
            labelled_at=np.maximum(known_at, time + delay_days * DAY),
        )


def read_log(settings: Settings, since_ms: int) -> FeatureLog:
    """The payments decided on since a moment (milliseconds of arrival, not of event).

    A payment whose batch was repeated after a crash is taken as it was decided last.

    Raises:
        InputError: There are none.
        UnavailableError: The broker or the topic is not there.
    """
    batches: list[pa.RecordBatch] = []
    skipped = 0
    wanted = catalogue_hash().encode()
    for _, value in _messages(settings, Name.FEATURES, since_ms):
        batch = read(value)
        if (batch.schema.metadata or {}).get(b"features_hash") != wanted:
            skipped += len(batch)
            continue
        batches.append(batch)
    if not batches:
        raise InputError(
            f"the feature log holds no payment of this feature catalogue ({skipped} of others)",
            remedy="look further back, or let a worker decide on some first",
        )
    table = pa.concat_tables(
        [pa.Table.from_batches([batch.replace_schema_metadata(None)]) for batch in batches], promote_options="default"
    )
    order = np.lexsort((np.arange(len(table)), table["event_time"].to_numpy()))
    newest_first = table["transaction_id"].take(pa.array(order[::-1])).combine_chunks().dictionary_encode()
    _, last = np.unique(newest_first.indices.to_numpy(), return_index=True)
    keep = np.sort(len(order) - 1 - last)
    table = table.take(pa.array(order[keep]))
    extra = tuple(sorted(name for name in table.schema.names if name.startswith(EXTRA)))
    names = (*NAMES, *extra)
    matrix = np.column_stack([pc.fill_null(table[name], np.nan).to_numpy() for name in names])
    return FeatureLog(table.select(list(_OWN)), names, matrix, skipped)


def read_labels(settings: Settings) -> dict[str, Label]:
    """All labels by transaction; the last one of a transaction counts.

    Raises:
        UnavailableError: The broker or the topic is not there.
    """
    decoder = msgspec.json.Decoder(Label)
    labels: dict[str, Label] = {}
    for _, value in _messages(settings, Name.LABELS, 0):
        try:
            label = decoder.decode(value)
        except msgspec.MsgspecError:
            continue  # the worker has set it aside, with the reason
        labels[label.transaction_id] = label
    return labels


def _messages(settings: Settings, topic: Name, since_ms: int) -> Iterator[tuple[int, bytes]]:
    """Partition and content of every message of a topic, from a moment to its present end."""
    name = settings.topics.prefix + topic
    consumer = confluent_kafka.Consumer(
        settings.kafka.client_config()
        | {"group.id": f"{settings.worker.group}-log", "enable.auto.commit": False, "log_level": 2}
    )
    try:
        for number in range(settings.topics.partitions):
            start, end = consumer.get_watermark_offsets(confluent_kafka.TopicPartition(name, number), _TIMEOUT_S)
            if since_ms and start < end:
                asked = confluent_kafka.TopicPartition(name, number, since_ms)
                (found,) = consumer.offsets_for_times([asked], _TIMEOUT_S)
                start = found.offset if found.offset >= 0 else end
            if start >= end:
                continue
            consumer.assign([confluent_kafka.TopicPartition(name, number, start)])
            position = start
            while position < end:
                message = consumer.poll(_TIMEOUT_S)
                if message is None or message.error():
                    because = message.error().str() if message else "no answer"
                    raise UnavailableError(f"topic {name} cannot be read: {because}")
                position = message.offset() + 1
                yield number, message.value() or b""
    except confluent_kafka.KafkaException as error:
        raise UnavailableError(f"topic {name}: {error.args[0].str()}", remedy="`vedette doctor` looks") from error
    finally:
        consumer.close()
