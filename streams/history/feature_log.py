"""Reading of the feature log: inputs and decisions of models, joined with the labels that have arrived since."""

from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from adapters.kafka_reader import BATCHES_AT_ONCE, TopicReader
from features.catalogue import NAMES, catalogue_hash
from models.frame import Frame
from streams.arrow import by_column, read
from vedette.clock import DAY
from vedette.errors import InputError
from vedette.events import EXTRA, Label
from vedette.reading import UNREADABLE
from vedette.settings import Settings
from vedette.topics import Name

OWN = (
    "transaction_id", "account_id", "event_time", "amount", "role", "model", "action", "shadow_model", "shadow_score",
    "shadow_action", "score",
)  # fmt: skip


@dataclass(frozen=True)
class FeatureLog:
    """Payments in order of event time, each once.

    Attributes:
        table: A row per payment with the columns of OWN: the deciding model (`role`, `model`), its score and action,
            and those of the other of champion and challenger (empty, NaN and -1 without one).
        names: Names of the columns of `matrix`: the catalogue's features, then `extra.*`.
        matrix: float64 [n, len(names)].
        skipped: Number of payments of another feature catalogue, on which models of this one cannot be compared.
    """

    table: pa.Table
    names: tuple[str, ...]
    matrix: NDArray[np.float64]
    skipped: int

    def column(self, name: str) -> NDArray[np.generic]:
        """Return a column of the table."""
        return self.table[name].to_numpy()  # type: ignore[no-any-return]

    def take(self, rows: NDArray[np.int64] | slice) -> "FeatureLog":
        """Return these rows only."""
        which = np.arange(len(self.table))[rows]
        return FeatureLog(self.table.take(pa.array(which)), self.names, self.matrix[rows], self.skipped)

    def frame(self, labels: dict[str, Label], delay_days: int) -> Frame:
        """Return rows to train or evaluate a model on: a payment that nobody has reported counts as honest.

        Args:
            labels: Labels by transaction.
            delay_days: Days that a label takes to arrive; labels of younger payments are not known yet.
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
    """Return the payments decided since a time (milliseconds of arrival, not of event).

    For a payment whose batch was repeated after a crash, the last decision is used.

    Raises:
        InputError: There are no payments.
        UnavailableError: The broker or the topic is not available.
    """
    published: list[tuple[int, pa.RecordBatch]] = []
    skipped = 0
    wanted = catalogue_hash(settings.features.label_delay).encode()
    with closing(TopicReader(settings, Name.FEATURES, since_ms, at_once=BATCHES_AT_ONCE)) as log:
        for message in chain.from_iterable(log):
            try:
                batch = read(message.value() or b"")
            except (pa.ArrowException, OSError):
                continue  # the archive reports what is not a batch
            if (batch.schema.metadata or {}).get(b"features_hash") != wanted:
                skipped += len(batch)
                continue
            published.append((message.timestamp()[1], by_column(batch).replace_schema_metadata(None)))
    if not published:
        raise InputError(
            f"the feature log holds no payment of this feature catalogue ({skipped} of others)",
            remedy="look further back, or let a worker decide on some first",
        )
    # A repeated decision may be in another partition of the log, so the time determines the last one.
    published.sort(key=itemgetter(0))
    table = pa.concat_tables([pa.Table.from_batches([batch]) for _, batch in published], promote_options="default")
    order = np.lexsort((np.arange(len(table)), table["event_time"].to_numpy()))
    newest_first = table["transaction_id"].take(pa.array(order[::-1])).combine_chunks().dictionary_encode()
    _, last = np.unique(newest_first.indices.to_numpy(), return_index=True)
    keep = np.sort(len(order) - 1 - last)
    table = table.take(pa.array(order[keep]))
    extra = tuple(sorted(name for name in table.schema.names if name.startswith(EXTRA)))
    names = (*NAMES, *extra)
    matrix = np.column_stack([pc.fill_null(table[name], np.nan).to_numpy() for name in names])
    return FeatureLog(table.select(list(OWN)), names, matrix, skipped)


def read_labels(settings: Settings) -> dict[str, Label]:
    """Return all labels by transaction; the last one of a transaction counts.

    Raises:
        UnavailableError: The broker or the topic is not available.
    """
    decoder = msgspec.json.Decoder(Label)
    labels: dict[str, Label] = {}
    with closing(TopicReader(settings, Name.LABELS)) as log:
        for message in chain.from_iterable(log):
            try:
                label = decoder.decode(message.value() or b"")
            except UNREADABLE:
                continue  # the worker has dead-lettered it, with the reason
            labels[label.transaction_id] = label
    return labels


def read_recent(settings: Settings, days: float, now: int) -> tuple[FeatureLog, dict[str, Label]]:
    """Return the payments that arrived in the last days, and all labels by transaction.

    Args:
        settings: Settings of the broker.
        days: Days by time of arrival.
        now: Milliseconds since 1970 UTC.

    Raises:
        InputError: There are no payments.
        UnavailableError: The broker or the topic is not available.
    """
    return read_log(settings, max(now - round(days * DAY), 0)), read_labels(settings)
