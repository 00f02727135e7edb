"""The feature log read back: what models saw and decided, joined with the labels that have come since."""

from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features import NAMES, catalogue_hash
from models.frame import Frame
from streams.arrow import read
from streams.log import BATCHES_AT_ONCE, TopicLog
from vedette.clock import DAY
from vedette.errors import InputError
from vedette.events import EXTRA, Label
from vedette.settings import Settings
from vedette.topics import Name

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
    published: list[tuple[int, pa.RecordBatch]] = []
    skipped = 0
    wanted = catalogue_hash().encode()
    with closing(TopicLog(settings, Name.FEATURES, since_ms, at_once=BATCHES_AT_ONCE)) as log:
        for message in chain.from_iterable(log):
            batch = read(message.value() or b"")
            if (batch.schema.metadata or {}).get(b"features_hash") != wanted:
                skipped += len(batch)
                continue
            published.append((message.timestamp()[1], batch.replace_schema_metadata(None)))
    if not published:
        raise InputError(
            f"the feature log holds no payment of this feature catalogue ({skipped} of others)",
            remedy="look further back, or let a worker decide on some first",
        )
    # A payment decided again may stand in another partition of the log than before: what is last, time must tell.
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
    return FeatureLog(table.select(list(_OWN)), names, matrix, skipped)


def read_labels(settings: Settings) -> dict[str, Label]:
    """All labels by transaction; the last one of a transaction counts.

    Raises:
        UnavailableError: The broker or the topic is not there.
    """
    decoder = msgspec.json.Decoder(Label)
    labels: dict[str, Label] = {}
    with closing(TopicLog(settings, Name.LABELS)) as log:
        for message in chain.from_iterable(log):
            try:
                label = decoder.decode(message.value() or b"")
            except msgspec.MsgspecError:
                continue  # the worker has set it aside, with the reason
            labels[label.transaction_id] = label
    return labels
