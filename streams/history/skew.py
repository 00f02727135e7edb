"""Skew of live features: what decisions saw, as logged, beside the same features computed without lag."""

from collections.abc import Iterable
from contextlib import closing
from itertools import chain

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from adapters.kafka_reader import BATCHES_AT_ONCE, TopicReader
from features.backfill import FLAGGED, Backfill
from features.catalogue import LABEL_DELAY, LIVE, NAMES
from features.identity import identity_of
from streams.arrow import read_activity
from streams.history.feature_log import FeatureLog
from vedette.errors import InputError
from vedette.settings import Settings
from vedette.topics import Name

QUANTILES = (0.5, 0.9, 0.99, 1.0)


class FeatureSkew(msgspec.Struct, frozen=True, kw_only=True):
    """The difference of one live feature between the stream and a computation without lag.

    Attributes:
        feature: Its name.
        equal: Share of payments where both are equal, or both missing.
        quantiles: Quantiles of the absolute difference, at the levels QUANTILES, where both are known.
    """

    feature: str
    equal: float
    quantiles: list[float]


class Skew(msgspec.Struct, frozen=True, kw_only=True):
    """The skew of all live features.

    Attributes:
        payments: Number of payments compared.
        features: One entry for each feature, the least equal first.
        published_after_s: Quantiles of the time from a payment's arrival until its activity was published, in seconds,
            at the levels QUANTILES: how far the owners of entities were behind at least.
    """

    payments: int
    features: list[FeatureSkew]
    published_after_s: list[float]


def skew(
    batches: Iterable[pa.RecordBatch], log: FeatureLog, published_after_s: list[float], label_delay: int = LABEL_DELAY
) -> Skew:
    """Compare the live features of a feature log with those computed from the transactions.

    Args:
        batches: All transactions in order of event time, as from streams.history.topic_history.past.
        log: The feature log.
        published_after_s: See Skew.
        label_delay: Milliseconds.

    Raises:
        InputError: No payment of the log is among the transactions, or these are not in order.
    """
    names = [name for name in log.names if name in LIVE]
    logged = log.matrix[:, [log.names.index(name) for name in names]]
    place = {transaction: row for row, transaction in enumerate(log.column("transaction_id").tolist())}
    columns = [NAMES.index(name) for name in names]
    state = Backfill(label_delay=label_delay)
    computed: list[NDArray[np.float64]] = []
    rows: list[int] = []
    for batch in batches:
        action = batch.column("recorded_action").fill_null(0).to_numpy()
        features = state.advance(batch.append_column(FLAGGED, pa.array(action > 0)))
        found = [place.get(transaction, -1) for transaction in batch.column("transaction_id").to_pylist()]
        known = np.flatnonzero(np.array(found) >= 0)
        computed.append(features[known][:, columns])
        rows += [found[row] for row in known.tolist()]
    if not rows:
        raise InputError("no payment of the feature log is among the transactions", remedy="look further back")
    seen, exact = logged[rows], np.concatenate(computed)
    of_features = [_of_feature(name, seen[:, k], exact[:, k]) for k, name in enumerate(names)]
    return Skew(
        payments=len(rows),
        features=sorted(of_features, key=lambda one: one.equal),
        published_after_s=published_after_s,
    )


def published_after(settings: Settings, since_ms: int) -> list[float]:
    """Return quantiles of the time from a payment's arrival until its activity was published; see Skew.

    Raises:
        UnavailableError: The broker or a topic is not available.
    """
    arrived: dict[tuple[int, int], int] = {}
    with closing(TopicReader(settings, Name.TRANSACTIONS, since_ms)) as log:
        for message in chain.from_iterable(log):
            arrived[message.partition(), message.offset()] = message.timestamp()[1]
    waits: list[int] = []
    fingerprint = identity_of(settings.identity).fingerprint
    with closing(TopicReader(settings, Name.ACTIVITY, since_ms, at_once=BATCHES_AT_ONCE)) as log:
        for message in chain.from_iterable(log):
            try:
                batch = read_activity(message.value() or b"", settings.topics.partitions, fingerprint)
            except (pa.ArrowException, ValueError, OSError):
                continue  # the worker has dead-lettered it, with the reason
            if (batch.schema.metadata or {}).get(b"source") != Name.TRANSACTIONS.encode():
                continue
            sources = set(zip(batch.column("partition").to_pylist(), batch.column("offset").to_pylist(), strict=True))
            published = message.timestamp()[1]
            waits += [max(published - arrived[source], 0) for source in sources if source in arrived]
    return np.quantile(np.array(waits) / 1000, QUANTILES).tolist() if waits else []


def _of_feature(name: str, seen: NDArray[np.float64], exact: NDArray[np.float64]) -> FeatureSkew:
    missing = np.isnan(seen) & np.isnan(exact)
    both = ~np.isnan(seen) & ~np.isnan(exact)
    apart = np.abs(seen[both] - exact[both])
    quantiles = np.quantile(apart, QUANTILES).tolist() if len(apart) else []
    return FeatureSkew(feature=name, equal=float(np.mean(missing | (seen == exact))), quantiles=quantiles)
